"""What waits for a person at pay: pays, refunds, refunds at ChinaUMS, notices and trades of Dingdang."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from shoudan.pay.v1 import payment_events_pb2 as events
from shoudan_kit.service import App
from shoudan_kit.tasks.open_work import Count, Decision, DecisionEvents, Item, Source
from shoudan_kit.tasks.unit_of_work import UnitOfWork
from shoudan_pay.chinaums.kinds import ASK_UMS, AskUms
from shoudan_pay.chinaums.store import refunds
from shoudan_pay.config import PaySettings
from shoudan_pay.dingdang.kinds import TELL, Tell
from shoudan_pay.dingdang.states import NOTICE, TRADE_ENDED, NoticeEvent, NoticeStatus, TradeState
from shoudan_pay.dingdang.store import trades
from shoudan_pay.dingdang.trades import end_trade
from shoudan_pay.payserver import corrections
from shoudan_pay.payserver.history import History
from shoudan_pay.payserver.protocol import AnswerKind, ComponentAnswer
from shoudan_pay.payserver.refusals import ResourceNotFound
from shoudan_pay.payserver.settlement import FinalResult, settle_pays, settle_refunds
from shoudan_pay.payserver.states import (
    AGREES,
    OPEN_PAYS,
    OPEN_REFUNDS,
    Event,
    PayStatus,
    RefundStatus,
)
from shoudan_pay.platforms.states import RefundState
from shoudan_pay.store import open_work as store
from shoudan_pay.store.open_work import Queue, Row

SUCCESS: Final = "success"
FAILED: Final = "failed"
KEEP: Final = "keep"
RETRY: Final = "retry"
DROP: Final = "drop"
WORDS: Final = {SUCCESS: AnswerKind.SUCCESS, FAILED: AnswerKind.FAILED}
EVENTS: Final = {SUCCESS: Event.SUCCEEDED, FAILED: Event.FAILED}
# The end that a contradicted one may take by a person's word.
OTHER_ENDS: Final[Mapping[str, tuple[str, ...]]] = {
    PayStatus.PAY_FAILED: (SUCCESS,),
    PayStatus.PAYED: (FAILED,),
    RefundStatus.REFUND_FAILED: (SUCCESS,),
    RefundStatus.REFUNDED: (FAILED,),
}
TRADE_ENDS: Final = {SUCCESS: TradeState.SUCCESS, FAILED: TradeState.FAIL}
STATES: Final = {SUCCESS: RefundState.SUCCESS, FAILED: RefundState.FAIL}
DECIDED: Final = DecisionEvents("shoudan.events.pay.work.decided", events.WorkDecided)
REASON_CHARS_MAX: Final = 200


@dataclass(frozen=True, slots=True)
class _Kind(ABC):
    """One kind, over its statements."""

    app: App[PaySettings]
    history: History

    kind: ClassVar[str]
    queue: ClassVar[Queue]

    async def page(self, after: str, most: int) -> Sequence[Item]:
        """Those after this key, by number: numbers are made in the order of time."""
        async with self.app.db.connect() as db:
            return [self._item(row) for row in await store.page(db, self.queue, after, most)]

    async def find(self, key: str) -> Item | None:
        """The one that waits under this key."""
        async with self.app.db.connect() as db:
            row = await store.find(db, self.queue, key)
        return None if row is None else self._item(row)

    async def count(self, most: int) -> Count:
        """How many wait."""
        async with self.app.db.connect() as db:
            return Count(*await store.count(db, self.queue, most))

    async def decide(self, item: Item, decision: Decision) -> None:
        """Decision, its effect and its record are one transaction."""
        async with self.app.work("open_work_decide") as work:
            await self._decide(work, item, decision)
            DECIDED.add(work, self.kind, item.key, decision)

    async def decided(self, key: str, asked: Decision) -> Decision | None:
        """By the event that was written with it."""
        return await DECIDED.last(self.app.db, self.kind, key)

    def _item(self, row: Row) -> Item:
        told = [f"client number {row.client_no}", f"sent {row.sent}"]
        told += [f"third number {row.third_no}"] if row.third_no else []
        return Item(
            key=row.key,
            state=row.state,
            reason=row.reason,
            evidence="; ".join([*told, row.told]),
            decisions=self._decisions(row),
            since=row.since,
            amount_micros=row.amount_micros,
        )

    @abstractmethod
    def _decisions(self, row: Row) -> tuple[str, ...]:
        """What may be decided of it as it stands."""

    @abstractmethod
    async def _decide(self, work: UnitOfWork, item: Item, decision: Decision) -> None:
        """Raises ResourceNotFound when it waits no more."""


class ParkedPays(_Kind):
    """A pay nobody knows the end of is ended; one that was contradicted stays, or takes its other end."""

    kind = "pay"
    queue = store.PAYS

    def _decisions(self, row: Row) -> tuple[str, ...]:
        status = PayStatus(row.state)
        if status in OPEN_PAYS:
            return (SUCCESS, FAILED)
        # What has been given back in part or whole was paid.
        return (KEEP, *OTHER_ENDS.get(status, ()))

    async def _decide(self, work: UnitOfWork, item: Item, decision: Decision) -> None:
        if decision.word == KEEP:
            _still(await store.keep_pay(work.db, item.key), item)
            return
        if KEEP in item.decisions:
            heard = _heard(decision)
            _still(
                await corrections.pay(work, self.history, item.key, heard.word, heard.reason), item
            )
            await store.keep_pay(work.db, item.key)
            return
        (pay,) = await settle_pays(work, self.history, [FinalResult(item.key, _heard(decision))])
        # A late answer may have been quicker: what it said against the decision stands.
        _still(not isinstance(pay, Exception) and pay.status in AGREES[EVENTS[decision.word]], item)
        await store.keep_pay(work.db, item.key)


class ParkedRefunds(_Kind):
    """The same for a refund."""

    kind = "refund"
    queue = store.REFUNDS

    def _decisions(self, row: Row) -> tuple[str, ...]:
        status = RefundStatus(row.state)
        return (SUCCESS, FAILED) if status in OPEN_REFUNDS else (KEEP, *OTHER_ENDS[status])

    async def _decide(self, work: UnitOfWork, item: Item, decision: Decision) -> None:
        if decision.word == KEEP:
            _still(await store.keep_refund(work.db, item.key), item)
            return
        if KEEP in item.decisions:
            heard = _heard(decision)
            _still(
                await corrections.refund(work, self.history, item.key, heard.word, heard.reason),
                item,
            )
            await store.keep_refund(work.db, item.key)
            return
        await _settled_refund(work, self.history, item, decision)


class UmsRefunds(_Kind):
    """A refund ChinaUMS is no longer asked about: asked again for a day, or ended with PayServer's."""

    kind = "ums_refund"
    queue = store.UMS_REFUNDS

    def _decisions(self, row: Row) -> tuple[str, ...]:
        return (RETRY, SUCCESS, FAILED)

    async def _decide(self, work: UnitOfWork, item: Item, decision: Decision) -> None:
        row = await refunds.by_number(work.db, item.key, lock=True)
        if row is None:
            raise ResourceNotFound(item.key)
        if decision.word == RETRY:
            work.tasks.add(ASK_UMS, AskUms(item.key), order_no=item.key)
            return
        await _settled_refund(work, self.history, item, decision)
        moved = await refunds.advance_refund(
            work.db,
            item.key,
            row.status,
            STATES[decision.word],
            sent=row.sent,
            last_code=f"decided {decision.word}",
        )
        _still(moved, item)


class GivenUpNotices(_Kind):
    """A notice its partner never acknowledged: owed again from the beginning, or dropped."""

    kind = "notice"
    queue = store.NOTICES

    def _decisions(self, row: Row) -> tuple[str, ...]:
        return (RETRY, DROP)

    async def _decide(self, work: UnitOfWork, item: Item, decision: Decision) -> None:
        event = NoticeEvent.RETRIED if decision.word == RETRY else NoticeEvent.DROPPED
        status = NOTICE.next(NoticeStatus.GIVEN_UP, event)
        _still(await store.move_notice(work.db, int(item.key), status), item)
        if decision.word == RETRY:
            work.tasks.add(TELL, Tell(int(item.key)), order_no=item.key)


class ParkedTrades(_Kind):
    """A Dingdang trade that pays only an order: ended as the platform says, or left as it has ended."""

    kind = "trade"
    queue = store.TRADES

    def _decisions(self, row: Row) -> tuple[str, ...]:
        return (KEEP,) if TradeState(row.state) in TRADE_ENDED else (SUCCESS, FAILED)

    def _item(self, row: Row) -> Item:
        told = [f"pays {row.client_no}", row.told]
        told += [f"transactionId {row.third_no}"] if row.third_no else []
        return Item(
            key=row.key,
            state=row.state,
            reason=row.reason,
            evidence="; ".join(told),
            decisions=self._decisions(row),
            since=row.since,
            amount_micros=row.amount_micros,
        )

    async def _decide(self, work: UnitOfWork, item: Item, decision: Decision) -> None:
        domain_id, _, trade_no = item.key.partition(":")
        trade = await trades.by_no(work.db, domain_id, trade_no, lock=True)
        if trade is None:
            raise ResourceNotFound(item.key)
        if decision.word == KEEP:
            _still(await trades.unpark(work.db, domain_id, trade_no), item)
            return
        _still(await end_trade(work, trade, TRADE_ENDS[decision.word], ""), item)


def sources(app: App[PaySettings], history: History) -> Sequence[Source]:
    """Every kind of this service."""
    kinds = (ParkedPays, ParkedRefunds, UmsRefunds, GivenUpNotices, ParkedTrades)
    return [kind(app, history) for kind in kinds]


async def _settled_refund(
    work: UnitOfWork, history: History, item: Item, decision: Decision
) -> None:
    (refund,) = await settle_refunds(work, history, [FinalResult(item.key, _heard(decision))])
    right = not isinstance(refund, Exception) and refund.status in AGREES[EVENTS[decision.word]]
    _still(right, item)
    await store.keep_refund(work.db, item.key)


def _heard(decision: Decision) -> ComponentAnswer:
    """The decision as a component's final word; its result code says that it was a person's."""
    reason = f"decided by {decision.by}: {decision.reason}"[:REASON_CHARS_MAX]
    return ComponentAnswer(WORDS[decision.word], reason=reason)


def _still(moved: bool, item: Item) -> None:
    """Raises ResourceNotFound when somebody, or a late answer, was quicker."""
    if not moved:
        raise ResourceNotFound(item.key)
