"""What waits for a person at order: unknown deliveries and returns, parts, contradictions, notifies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from shoudan.order.v1 import events_pb2 as events
from shoudan_kit.tasks.open_work import Count, Decision, DecisionEvents, Item
from shoudan_kit.tasks.unit_of_work import UnitOfWork
from shoudan_order import audits, retries
from shoudan_order.catalogue import supplier_prices
from shoudan_order.context import Context
from shoudan_order.refusals import NotFound
from shoudan_order.states import AuditStatus, AuditType, OrderStatus
from shoudan_order.store import audits as audit_store
from shoudan_order.store import open_work as store
from shoudan_order.store import supplier_prices as price_store
from shoudan_order.store.open_work import Queue, Row

SUCCESS: Final = "success"
FAILED: Final = "failed"
PARTIAL: Final = "partial"
AUDIT: Final = "audit"
RETRY: Final = "retry"
ACCEPT: Final = "accept"
REFUSE: Final = "refuse"
STATUSES: Final = {
    SUCCESS: AuditStatus.SUCCEEDED,
    FAILED: AuditStatus.FAILED,
    PARTIAL: AuditStatus.PARTIAL,
}
WORDS: Final = {status: word for word, status in STATUSES.items()}
DECIDED: Final = DecisionEvents("shoudan.events.order.work.decided", events.WorkDecided)
DIGITS_MAX: Final = 19
ID_MAX: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class AuditKind:
    """One kind, over its statements; what it is about is `about` the other number of a row."""

    context: Context
    kind: str
    queue: Queue
    decisions: tuple[str, ...]
    about: str = ""
    audit: int = 0  # the change_type of audits
    moves_money: ClassVar[bool] = False  # at once: what is decided here goes on as any order does

    async def page(self, after: str, most: int) -> Sequence[Item]:
        """Those after this number; numbers are made in the order of time."""
        async with self.context.app.db.connect() as db:
            found = await store.page(db, self.queue, self.audit, _number(after), most)
        return [self._item(row) for row in found]

    async def find(self, key: str) -> Item | None:
        """The one that waits under this number."""
        number = _number(key)
        if not number:
            return None
        async with self.context.app.db.connect() as db:
            found = await store.find(db, self.queue, self.audit, number)
        return None if found is None else self._item(found)

    async def count(self, most: int) -> Count:
        """How many wait."""
        async with self.context.app.db.connect() as db:
            return Count(*await store.count(db, self.queue, self.audit, most))

    def _item(self, row: Row) -> Item:
        about = f"; {self.about} {row.other_id}" if self.about and row.other_id else ""
        return Item(
            key=str(row.key),
            state=f"order {OrderStatus(row.order_status).name.lower()}",
            reason=row.reason,
            evidence=f"order {row.order_id}{about}",
            decisions=self.decisions,
            since=row.since,
            amount_micros=row.amount_micros,
        )

    async def decide(self, item: Item, decision: Decision) -> None:
        """An audit is decided as by `shoudan audit decide`. Refuses: NotFound, AuditRefused."""
        await self.decide_audit(int(item.key), decision)

    async def decided(self, key: str, asked: Decision) -> Decision | None:
        """By its event, or by the audit itself, which may have been decided elsewhere.

        One that the system closed with the end that is asked for becomes the decision of who asks.
        """
        there = await DECIDED.last(self.context.app.db, self.kind, key)
        number = _number(key)
        if there is not None or not number or not self.audit:
            return there
        async with self.context.app.db.connect() as db:
            audit = await audit_store.lock_audit(db, number)
        ended = audit is not None and audit.audit_status != AuditStatus.WAITING
        if audit is None or not ended or audit.change_type != self.audit:
            return None
        if audit.audit_by == audit_store.SYSTEM and audit.audit_status == STATUSES.get(asked.word):
            await self.decide_audit(number, asked)
            return asked
        return Decision(WORDS[audit.audit_status], audit.audit_by, audit.audit_msg)

    async def decide_audit(
        self, number: int, decision: Decision, finish: audits.Finish | None = None
    ) -> None:
        """End an audit and record the decision with it; `finish` in the same transaction."""
        word = audits.Decision(STATUSES[decision.word], decision.by, decision.reason)
        await audits.decide(self.context, number, word, self._record(str(number), decision), finish)

    def _record(self, key: str, decision: Decision) -> Callable[[UnitOfWork], None]:
        """The event that answers a repeat, written in the transaction of the decision."""
        return lambda work: DECIDED.add(work, self.kind, key, decision)


class _Orders(AuditKind):
    """Orders parked without an audit: deciding requests the audit that will unpark them."""

    async def decide(self, item: Item, decision: Decision) -> None:
        """Ask for the audit."""
        await audits.request(
            self.context,
            AuditType.ORDER,
            int(item.key),
            decision.by,
            decision.reason,
            self._record(item.key, decision),
        )


class _Notifies(AuditKind):
    """Notifies that were given up get three attempts more."""

    async def decide(self, item: Item, decision: Decision) -> None:
        """Enqueue it again. Refuses NotFound when it is no longer given up."""
        record = self._record(item.key, decision)
        if not await retries.resend(self.context, [int(item.key)], "", decision.by, record):
            raise NotFound("notify", int(item.key))


class _Prices(AuditKind):
    """Prices of suppliers that moved further than their rule lets them by themselves."""

    moves_money: ClassVar[bool] = True  # every later order is bought at it

    async def page(self, after: str, most: int) -> Sequence[Item]:
        """Those after this number."""
        async with self.context.app.db.connect() as db:
            found = await price_store.asked(db, _number(after), most)
        return [_price_item(one) for one in found]

    async def find(self, key: str) -> Item | None:
        """The one that waits under this number."""
        asked = await self._asked(key)
        return None if asked is None else _price_item(asked)

    async def _asked(self, key: str) -> price_store.Asked | None:
        async with self.context.app.db.connect() as db:
            return await price_store.find(db, _number(key))

    async def count(self, most: int) -> Count:
        """How many wait."""
        async with self.context.app.db.connect() as db:
            return Count(*await price_store.count(db, most))

    async def decide(self, item: Item, decision: Decision) -> None:
        """Take the price over, or refuse it. Refuses NotFound when a newer one has replaced it."""
        asked, record = await self._asked(item.key), self._record(item.key, decision)
        accept = decision.word == ACCEPT
        if asked is None or not await supplier_prices.decide(
            self.context, asked, decision.by, record, accept=accept
        ):
            raise NotFound("supplier_price", _number(item.key))


def _price_item(one: price_store.Asked) -> Item:
    return Item(
        key=str(one.asked_id),
        state="price stated",
        reason=supplier_prices.words(one),
        evidence=f"up_products {one.product_id}",
        decisions=(ACCEPT, REFUSE),
        since=one.asked_time,
        amount_micros=one.face_micros,
    )


def sources(context: Context) -> Sequence[AuditKind]:
    """Every kind of this service; the refund of an order is `order_refund`, pay has refunds of its own."""
    either = SUCCESS, FAILED
    every = SUCCESS, FAILED, PARTIAL
    return (
        AuditKind(context, "delivery", store.AUDITS, either, "delivery", int(AuditType.DELIVERY)),
        AuditKind(context, "return", store.AUDITS, either, "return", int(AuditType.RETURN)),
        AuditKind(context, "order", store.AUDITS, every, "", int(AuditType.ORDER)),
        AuditKind(context, "order_refund", store.AUDITS, every, "refund", int(AuditType.REFUND)),
        AuditKind(
            context,
            "false_success",
            store.AUDITS,
            either,
            "delivery",
            int(AuditType.FALSE_SUCCESS),
        ),
        _Orders(context, "parked_order", store.ORDERS, (AUDIT,)),
        _Notifies(context, "notify", store.NOTIFIES, (RETRY,), "refund"),
        _Prices(context, "supplier_price", store.NOTIFIES, (ACCEPT, REFUSE)),
    )


def _number(text: str) -> int:
    """The number, 0 for what is none."""
    if not (text.isascii() and text.isdigit() and len(text) <= DIGITS_MAX):
        return 0
    return min(int(text), ID_MAX)
