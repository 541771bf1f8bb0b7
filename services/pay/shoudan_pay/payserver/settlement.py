"""Results of pays and refunds: a component's final answer, however it came, is stored once and in batches."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, Generic, TypeAlias, TypeVar

import msgspec

from shoudan_kit import log
from shoudan_kit.batch import Coalescer
from shoudan_kit.db.pool import retry
from shoudan_kit.faults import hit
from shoudan_kit.service import App
from shoudan_kit.state_machine import Machine
from shoudan_kit.tasks.kinds import Kind
from shoudan_kit.tasks.unit_of_work import UnitOfWork
from shoudan_pay.config import PaySettings
from shoudan_pay.payserver import numbers
from shoudan_pay.payserver.history import History
from shoudan_pay.payserver.kinds import ASK_PAY, ASK_REFUND, Ask
from shoudan_pay.payserver.protocol import AnswerKind, ComponentAnswer
from shoudan_pay.payserver.rules import Method
from shoudan_pay.payserver.states import (
    AGREES,
    OTHER_AMOUNT,
    PAY,
    REFUND,
    Event,
    PayStatus,
    RefundStatus,
)
from shoudan_pay.payserver.store import pays as pay_store
from shoudan_pay.payserver.store import refunds as refund_store
from shoudan_pay.payserver.store.orders import Order, Orders, Settled
from shoudan_pay.payserver.store.pays import PayOrder
from shoudan_pay.payserver.store.refunds import RefundOrder

EVENTS: Final = {AnswerKind.SUCCESS: Event.SUCCEEDED, AnswerKind.FAILED: Event.FAILED}

_log = log.get_logger("payserver")

T = TypeVar("T", bound=Order)


@dataclass(frozen=True, slots=True)
class OrderKind(Generic[T]):
    """What differs between pays and refunds: names, lifecycle, statements, task."""

    batches: str  # metrics: requests accepted together
    looks: str  # metrics: repeats that look for what another process stores
    settles: str  # metrics: results stored together
    transaction: str  # in the names of fault points
    unknown: str  # log event: a call whose result is unknown
    failed: str  # log event: a request that was not written
    parked: str  # log event: an order left to a person
    client_no: str
    machine: Machine[Any, Event]
    orders: Orders[T]
    task: Kind[Ask]
    asked: str  # the status from the call of a component until its final answer
    fen_of: Callable[[ComponentAnswer], int | None]  # the amount that an answer names


PAYS: Final = OrderKind(
    batches="pays",
    looks="pays_seen",
    settles="settle_pays",
    transaction="payserver_pay",
    unknown="pay_unknown",
    failed="pay_failed",
    parked="pay_parked",
    client_no=PayOrder.CLIENT_NO,
    machine=PAY,
    orders=pay_store.ORDERS,
    task=ASK_PAY,
    asked=PayStatus.PAYING,
    fen_of=lambda answer: answer.pay_fen,
)
REFUNDS: Final = OrderKind(
    batches="pay_refunds",
    looks="refunds_seen",
    settles="settle_refunds",
    transaction="payserver_refund",
    unknown="refund_unknown",
    failed="refund_failed",
    parked="refund_parked",
    client_no=RefundOrder.CLIENT_NO,
    machine=REFUND,
    orders=refund_store.ORDERS,
    task=ASK_REFUND,
    asked=RefundStatus.REFUNDING,
    fen_of=lambda answer: answer.refund_fen,
)


@dataclass(frozen=True, slots=True)
class FinalResult:
    """A component's final answer about one number."""

    traction_no: str
    answer: ComponentAnswer


Settle: TypeAlias = Callable[[UnitOfWork, History, Sequence[FinalResult]], Awaitable[list[Any]]]


class Settlement:
    """Stores results; concurrent ones share a transaction."""

    def __init__(self, app: App[PaySettings], history: History) -> None:
        self._app, self.history = app, history
        self._gathers = {
            PAYS.settles: self._gather(PAYS.settles, settle_pays),
            REFUNDS.settles: self._gather(REFUNDS.settles, settle_refunds),
        }

    async def settle(self, own: OrderKind[T], traction_no: str, answer: ComponentAnswer) -> T:
        """The order after SUCCESS or FAILED; a contradiction is added to its history and changes nothing."""
        hit("payserver.called")
        return await self._gathers[own.settles](FinalResult(traction_no, answer))

    async def pay(self, traction_no: str, answer: ComponentAnswer) -> PayOrder:
        """`settle` a pay."""
        return await self.settle(PAYS, traction_no, answer)

    async def refund(self, traction_no: str, answer: ComponentAnswer) -> RefundOrder:
        """`settle` a refund."""
        return await self.settle(REFUNDS, traction_no, answer)

    async def differs(self, traction_no: str, named: str) -> None:
        """Park a pay or refund whose component named another amount; nothing is booked.

        Repeats: one that is parked already is left unchanged.
        """

        async def transact() -> None:
            async with self._app.work("payserver_differs") as work:
                await _other_amount(work, self.history, traction_no, named)

        await retry(transact)

    async def aclose(self) -> None:
        """Finish what was accepted."""
        for gather in self._gathers.values():
            await gather.aclose()

    def _gather(self, name: str, settle: Settle) -> Coalescer[FinalResult, Any]:
        async def transact(results: Sequence[FinalResult]) -> Any:
            async with self._app.work("payserver_settle") as work:
                return await settle(work, self.history, results)

        async def run(results: Sequence[FinalResult]) -> Any:
            return await retry(partial(transact, results))

        settings = self._app.settings
        size, waiting = settings.pays_batch_max, settings.pays_waiting_max
        return Coalescer(run, name=name, size_max=size, waiting_max=waiting)


async def settle_pays(
    work: UnitOfWork, history: History, results: Sequence[FinalResult]
) -> list[PayOrder]:
    """Store the first final result of each number; the pay orders in the order given."""
    found, _ = await pay_store.lock(work.db, {one.traction_no for one in results})
    found |= await _settle(work, history, PAYS, found, results)
    return [found[one.traction_no] for one in results]


async def settle_refunds(
    work: UnitOfWork, history: History, results: Sequence[FinalResult]
) -> list[RefundOrder]:
    """The same for refunds; those that succeed are added to refunded_micros of their pay orders."""
    wanted = {one.traction_no for one in results}
    seen = await refund_store.by_number(work.db, wanted)
    locked, _ = await pay_store.lock(work.db, {r.pay_traction_no for r in seen.values()})
    found = await refund_store.by_number(work.db, wanted)  # again, under the lock
    moved = await _settle(work, history, REFUNDS, found, results)
    await given_back(work, history, moved.values(), locked)
    found |= moved
    return [found[one.traction_no] for one in results]


async def _settle(
    work: UnitOfWork,
    history: History,
    own: OrderKind[T],
    found: Mapping[str, T],
    results: Sequence[FinalResult],
) -> dict[str, T]:
    """Store the first final result of each order found, park contradicted ones; the orders that moved."""
    settled: dict[str, Settled] = {}
    conflicts: list[tuple[T, str]] = []
    for one in results:
        number, answer = one.traction_no, one.answer
        order, event = found[number], EVENTS[answer.word]
        status = settled[number].status if number in settled else order.status
        if own.machine.allows(status, event):
            after = own.machine.next(status, event)
            third, why, time = answer.third_no, answer.reason, answer.finish_time
            settled[number] = Settled(number, order.status, after, third, why, time)
        elif status not in AGREES[event]:
            conflicts.append((order, answer.word))
    moved: dict[str, T] = {}
    if settled:
        moved = await own.orders.settle(work.db, list(settled.values()))
        await history.changed(work, moved.values())
        if called := [n for n, one in moved.items() if one.method == Method.COMPONENT]:
            work.tasks.finish_for(own.task, called)
    if conflicts:
        await _contradicted(work, history, own, conflicts)
    return moved


async def given_back(
    work: UnitOfWork, history: History, moved: Iterable[RefundOrder], locked: Mapping[str, PayOrder]
) -> None:
    """Add refunds that have just succeeded to the locked pay orders."""
    after: dict[str, PayOrder] = {}
    for refund in moved:
        if refund.status != RefundStatus.REFUNDED:
            continue
        pay = after.get(refund.pay_traction_no) or locked[refund.pay_traction_no]
        refunded = pay.refunded_micros + refund.amount_micros
        whole = refunded == pay.amount_micros
        event = Event.ALL_GIVEN_BACK if whole else Event.PART_GIVEN_BACK
        after[pay.traction_no] = refunded_order(pay, refunded, event)
    if after:
        await store_refunded(work, history, after.values())


async def store_refunded(work: UnitOfWork, history: History, pays: Collection[PayOrder]) -> None:
    """Store refunded_micros and status of locked pay orders."""
    await pay_store.give_back(work.db, list(pays))
    await history.changed(work, pays)


def refunded_order(pay: PayOrder, refunded_micros: int, event: Event) -> PayOrder:
    """The pay order with another sum of refunds."""
    status = PAY.next(PayStatus(pay.status), event)
    return msgspec.structs.replace(pay, refunded_micros=refunded_micros, status=status)


def other_amount(name: str, named_fen: int | None, asked_fen: int) -> str:
    """The text of a conflict about another amount; None: what the answer named is no amount."""
    shown = "that is none" if named_fen is None else f"{named_fen} 分"
    return f"{name} {shown} for {asked_fen} 分"


def failed(answer: ComponentAnswer, reason: str) -> ComponentAnswer:
    """The result of a call that its component never received."""
    return replace(answer, word=AnswerKind.FAILED, reason=reason)


async def _other_amount(work: UnitOfWork, history: History, traction_no: str, named: str) -> None:
    kind = PAYS if traction_no.startswith(numbers.PAY) else REFUNDS
    orders: Orders[Any] = kind.orders
    order = (await orders.by_number(work.db, [traction_no])).get(traction_no)
    if order is None or order.parked:
        return
    _log.error("amount_differs", traction_no=traction_no, status=order.status, reported=named)
    await history.contradicted(work, [(order, named)])
    await orders.park(work.db, {traction_no: f"{OTHER_AMOUNT}{named}: not booked"})


async def _contradicted(
    work: UnitOfWork, history: History, own: OrderKind[T], conflicts: Sequence[tuple[T, str]]
) -> None:
    for order, word in conflicts:
        _log.error(
            "result_conflict", traction_no=order.traction_no, status=order.status, reported=word
        )
    await history.contradicted(work, conflicts)
    reasons = {
        one.traction_no: f"is {one.status}, now reported as {word}" for one, word in conflicts
    }
    await own.orders.park(work.db, reasons)
