"""Parked pays and refunds that wait for a person, and what every kind of open work of this service shares."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from shoudan.pay.v1 import payment_events_pb2 as events
from shoudan_kit.service import App
from shoudan_kit.tasks.open_work import Count, Decision, DecisionEvents, Item
from shoudan_kit.tasks.unit_of_work import UnitOfWork
from shoudan_pay.config import PaySettings
from shoudan_pay.payserver import corrections
from shoudan_pay.payserver.history import History
from shoudan_pay.payserver.protocol import AnswerKind, ComponentAnswer
from shoudan_pay.payserver.refusals import ResourceNotFound
from shoudan_pay.payserver.settlement import (
    EVENTS,
    PAYS,
    REFUNDS,
    FinalResult,
    settle_pays,
    settle_refunds,
)
from shoudan_pay.payserver.states import AGREES, OPEN_PAYS, OPEN_REFUNDS, PayStatus, RefundStatus
from shoudan_pay.payserver.store import open_work as store
from shoudan_pay.store.open_work import Queue, Row

SUCCESS: Final = "success"
FAILED: Final = "failed"
KEEP: Final = "keep"
WORDS: Final = {SUCCESS: AnswerKind.SUCCESS, FAILED: AnswerKind.FAILED}
# The other result that a person may decide for a contradicted one.
OTHER_ENDS: Final[Mapping[str, tuple[str, ...]]] = {
    PayStatus.PAY_FAILED: (SUCCESS,),
    PayStatus.PAYED: (FAILED,),
    RefundStatus.REFUND_FAILED: (SUCCESS,),
    RefundStatus.REFUNDED: (FAILED,),
}
DECIDED: Final = DecisionEvents("shoudan.events.pay.work.decided", events.WorkDecided)
REASON_CHARS_MAX: Final = 200


@dataclass(frozen=True, slots=True)
class WorkKind(ABC):
    """One kind of open work, over its statements."""

    app: App[PaySettings]
    history: History

    kind: ClassVar[str]
    queue: ClassVar[Queue]
    moves_money: ClassVar[bool] = True

    async def page(self, after: str, most: int) -> Sequence[Item]:
        """Items after this key, by number, which is the order of time."""
        async with self.app.db.connect() as db:
            return [self._item(row) for row in await self.queue.page(db, after, most)]

    async def find(self, key: str) -> Item | None:
        """The item with this key."""
        async with self.app.db.connect() as db:
            row = await self.queue.find(db, key)
        return None if row is None else self._item(row)

    async def count(self, most: int) -> Count:
        """How many items wait."""
        async with self.app.db.connect() as db:
            return Count(*await self.queue.count(db, most))

    async def decide(self, item: Item, decision: Decision) -> None:
        """Decision, its effect and its record are one transaction."""
        async with self.app.work("open_work_decide") as work:
            await self.decide_in(work, item, decision)

    async def decide_in(self, work: UnitOfWork, item: Item, decision: Decision) -> None:
        """The same inside a transaction of the caller's."""
        await self._decide(work, item, decision)
        DECIDED.add(work, self.kind, item.key, decision)

    async def decided(self, key: str, asked: Decision) -> Decision | None:
        """By the event that was written with it."""
        return await DECIDED.last(self.app.db, self.kind, key)

    def _item(self, row: Row) -> Item:
        return Item(
            key=row.key,
            state=row.state,
            reason=row.reason,
            evidence="; ".join(self._evidence(row)),
            decisions=self._decisions(row),
            since=row.since,
            amount_micros=row.amount_micros,
        )

    def _evidence(self, row: Row) -> Sequence[str]:
        third = [f"third number {row.third_no}"] if row.third_no else []
        return [f"client number {row.client_no}", f"sent {row.sent}", *third, row.history]

    @abstractmethod
    def _decisions(self, row: Row) -> tuple[str, ...]:
        """The decisions that are allowed in the state of the row."""

    @abstractmethod
    async def _decide(self, work: UnitOfWork, item: Item, decision: Decision) -> None:
        """Raises ResourceNotFound when the item waits no longer."""


class ParkedPays(WorkKind):
    """A pay with an unknown result is ended; a contradicted one keeps its result or takes the other one."""

    kind = "pay"
    queue = store.PAYS

    def _decisions(self, row: Row) -> tuple[str, ...]:
        # A pay that was refunded, in part or whole, was paid.
        return (
            (SUCCESS, FAILED) if row.state in OPEN_PAYS else (KEEP, *OTHER_ENDS.get(row.state, ()))
        )

    async def _decide(self, work: UnitOfWork, item: Item, decision: Decision) -> None:
        answer = _answer(decision)
        if answer is None:
            still(await PAYS.orders.unpark(work.db, item.key), item)
            return
        if KEEP in item.decisions:
            still(await corrections.pay(work, self.history, item.key, answer), item)
        else:
            (pay,) = await settle_pays(work, self.history, [FinalResult(item.key, answer)])
            # A late answer that came first and says otherwise stands.
            still(pay.status in AGREES[EVENTS[answer.word]], item)
        await PAYS.orders.unpark(work.db, item.key)


class ParkedRefunds(WorkKind):
    """The same for a refund."""

    kind = "refund"
    queue = store.REFUNDS

    def _decisions(self, row: Row) -> tuple[str, ...]:
        return (SUCCESS, FAILED) if row.state in OPEN_REFUNDS else (KEEP, *OTHER_ENDS[row.state])

    async def _decide(self, work: UnitOfWork, item: Item, decision: Decision) -> None:
        answer = _answer(decision)
        if answer is None:
            still(await REFUNDS.orders.unpark(work.db, item.key), item)
        elif KEEP in item.decisions:
            still(await corrections.refund(work, self.history, item.key, answer), item)
            await REFUNDS.orders.unpark(work.db, item.key)
        else:
            await settle_refund(work, self.history, item, decision)


async def settle_refund(work: UnitOfWork, history: History, item: Item, decision: Decision) -> None:
    """End a refund as decided. Raises ResourceNotFound when it has ended otherwise."""
    answer = _answer(decision)
    assert answer is not None, "only an open refund is settled, which cannot be kept"
    (refund,) = await settle_refunds(work, history, [FinalResult(item.key, answer)])
    still(refund.status in AGREES[EVENTS[answer.word]], item)
    await REFUNDS.orders.unpark(work.db, item.key)


def _answer(decision: Decision) -> ComponentAnswer | None:
    """The decision as a component's final result, whose reason names the person; None for KEEP."""
    reason = f"decided by {decision.by}: {decision.reason}"[:REASON_CHARS_MAX]
    word = WORDS.get(decision.word)
    return None if word is None else ComponentAnswer(word, reason=reason)


def still(moved: bool, item: Item) -> None:
    """Raises ResourceNotFound when another decision, or a late answer, came first."""
    if not moved:
        raise ResourceNotFound(item.key)
