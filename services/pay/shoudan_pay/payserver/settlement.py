"""Ends of pays and refunds: a component's word, whoever brought it, becomes a status once and in batches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import msgspec

from shoudan_kit import log
from shoudan_kit.batch import Coalescer
from shoudan_kit.db.pool import retry
from shoudan_kit.faults import hit
from shoudan_kit.service import App
from shoudan_kit.tasks.unit_of_work import UnitOfWork
from shoudan_pay.config import PaySettings
from shoudan_pay.payserver import numbers, states
from shoudan_pay.payserver.history import History
from shoudan_pay.payserver.kinds import ASK_PAY, ASK_REFUND
from shoudan_pay.payserver.protocol import AnswerKind, ComponentAnswer
from shoudan_pay.payserver.rules import Method
from shoudan_pay.payserver.states import OTHER_AMOUNT, Event, PayStatus, RefundStatus
from shoudan_pay.payserver.store import pays as pay_store
from shoudan_pay.payserver.store import refunds as refund_store
from shoudan_pay.payserver.store.pays import PayOrder
from shoudan_pay.payserver.store.refunds import RefundOrder

EVENTS: Final = {AnswerKind.SUCCESS: Event.SUCCEEDED, AnswerKind.FAILED: Event.FAILED}

_log = log.get_logger("payserver")


@dataclass(frozen=True, slots=True)
class FinalResult:
    """A component's final word about one number."""

    traction_no: str
    heard: ComponentAnswer


class Settlement:
    """Where all ends meet: concurrent ones share a transaction."""

    def __init__(self, app: App[PaySettings], history: History) -> None:
        self._app, self.history = app, history
        settings = app.settings
        size, waiting = settings.pays_batch_max, settings.pays_waiting_max
        self._pays: Coalescer[FinalResult, PayOrder] = Coalescer(
            self._settle_pays, name="settle_pays", size_max=size, waiting_max=waiting
        )
        self._refunds: Coalescer[FinalResult, RefundOrder] = Coalescer(
            self._settle_refunds, name="settle_refunds", size_max=size, waiting_max=waiting
        )

    async def pay(self, traction_no: str, heard: ComponentAnswer) -> PayOrder:
        """The pay order after SUCCESS or FAILED; a contradiction changes nothing but history."""
        hit("payserver.called")
        return await self._pays(FinalResult(traction_no, heard))

    async def refund(self, traction_no: str, heard: ComponentAnswer) -> RefundOrder:
        """The refund after SUCCESS or FAILED, likewise."""
        hit("payserver.called")
        return await self._refunds(FinalResult(traction_no, heard))

    async def differs(self, traction_no: str, told: str) -> None:
        """Leave to a person a pay or refund that was told with another amount; nothing is booked.

        What waits for a person already is left as it is, however often it is told.
        """

        async def transact() -> None:
            async with self._app.work("payserver_differs") as work:
                await _other_amount(work, self.history, traction_no, told)

        await retry(transact)

    async def aclose(self) -> None:
        """Finish what was taken."""
        await self._pays.aclose()
        await self._refunds.aclose()

    async def _settle_pays(self, said: Sequence[FinalResult]) -> Sequence[PayOrder | Exception]:
        async def transact() -> Sequence[PayOrder | Exception]:
            async with self._app.work("payserver_settle") as work:
                return await settle_pays(work, self.history, said)

        return await retry(transact)

    async def _settle_refunds(
        self, said: Sequence[FinalResult]
    ) -> Sequence[RefundOrder | Exception]:
        async def transact() -> Sequence[RefundOrder | Exception]:
            async with self._app.work("payserver_settle") as work:
                return await settle_refunds(work, self.history, said)

        return await retry(transact)


async def settle_pays(
    work: UnitOfWork, history: History, said: Sequence[FinalResult]
) -> Sequence[PayOrder | Exception]:
    """Write the first final word about each number; answers in order."""
    found, _ = await pay_store.lock(work.db, {one.traction_no for one in said})
    ended: dict[str, pay_store.Settled] = {}
    conflicts: list[tuple[PayOrder | RefundOrder, str]] = []
    for one in said:
        pay, event = found[one.traction_no], EVENTS[one.heard.word]
        status = PayStatus(pay.status)
        if one.traction_no in ended:
            status = PayStatus(ended[one.traction_no].status)
        if status in states.OPEN_PAYS:
            ended[one.traction_no] = pay_store.Settled(
                one.traction_no,
                pay.status,
                states.PAY.next(status, event),
                one.heard.third_no,
                one.heard.reason,
                one.heard.finish_time,
            )
        elif status not in states.AGREES[event]:
            conflicts.append((pay, one.heard.word))
    if ended:
        moved = await pay_store.settle(work.db, list(ended.values()))
        found |= moved
        await history.pays_changed(work, moved.values())
        if asked := [pay.traction_no for pay in moved.values() if pay.method == Method.COMPONENT]:
            work.tasks.finish_for(ASK_PAY, asked)
    if conflicts:
        await _contradicted(work, history, conflicts)
        await pay_store.park(work.db, _reasons(conflicts))
    return [found[one.traction_no] for one in said]


async def settle_refunds(
    work: UnitOfWork, history: History, said: Sequence[FinalResult]
) -> Sequence[RefundOrder | Exception]:
    """Write the first final word about each number, and on success what its pay order has given back."""
    numbers = {one.traction_no for one in said}
    seen = await refund_store.by_number(work.db, numbers)
    locked, _ = await pay_store.lock(work.db, {r.pay_traction_no for r in seen.values()})
    found = await refund_store.by_number(work.db, numbers)  # again, now that nobody can move them
    ended: dict[str, refund_store.Settled] = {}
    conflicts: list[tuple[PayOrder | RefundOrder, str]] = []
    for one in said:
        refund, event = found[one.traction_no], EVENTS[one.heard.word]
        status = RefundStatus(refund.status)
        if one.traction_no in ended:
            status = RefundStatus(ended[one.traction_no].status)
        if states.REFUND.allows(status, event):
            ended[one.traction_no] = refund_store.Settled(
                one.traction_no,
                refund.status,
                states.REFUND.next(status, event),
                one.heard.third_no,
                one.heard.reason,
                one.heard.finish_time,
            )
        elif status not in states.AGREES[event]:
            conflicts.append((refund, one.heard.word))
    if ended:
        moved = await refund_store.settle(work.db, list(ended.values()))
        found |= moved
        await history.refunds_changed(work, moved.values())
        await given_back(work, history, moved.values(), locked)
        if asked := [one.traction_no for one in moved.values() if one.method == Method.COMPONENT]:
            work.tasks.finish_for(ASK_REFUND, asked)
    if conflicts:
        await _contradicted(work, history, conflicts)
        await refund_store.park(work.db, _reasons(conflicts))
    return [found[one.traction_no] for one in said]


async def given_back(
    work: UnitOfWork, history: History, moved: Iterable[RefundOrder], locked: Mapping[str, PayOrder]
) -> None:
    """Write to the locked pay orders what refunds that have just succeeded gave back."""
    after: dict[str, PayOrder] = {}
    for refund in moved:
        if refund.status != RefundStatus.REFUNDED:
            continue
        pay = after.get(refund.pay_traction_no) or locked[refund.pay_traction_no]
        refunded = pay.refunded_micros + refund.amount_micros
        whole = refunded == pay.amount_micros
        event = Event.ALL_GIVEN_BACK if whole else Event.PART_GIVEN_BACK
        status = states.PAY.next(PayStatus(pay.status), event)
        after[pay.traction_no] = _with(pay, refunded, status)
    if after:
        changed = [(p.id, p.refunded_micros, p.status) for p in after.values()]
        await pay_store.give_back(work.db, changed)
        await history.pays_changed(work, after.values())


def failed(heard: ComponentAnswer, reason: str) -> ComponentAnswer:
    """The end of what a component never took up."""
    return replace(heard, word=AnswerKind.FAILED, reason=reason)


async def _other_amount(work: UnitOfWork, history: History, traction_no: str, told: str) -> None:
    orders = pay_store if traction_no.startswith(numbers.PAY) else refund_store
    order = (await orders.by_number(work.db, [traction_no])).get(traction_no)
    if order is None or order.parked:
        return
    _log.error("amount_differs", traction_no=traction_no, status=order.status, told=told)
    await history.contradicted(work, [(order, told)])
    await orders.park(work.db, {traction_no: f"{OTHER_AMOUNT}{told}: not booked"})


def _reasons(conflicts: Iterable[tuple[PayOrder | RefundOrder, str]]) -> dict[str, str]:
    return {one.traction_no: f"is {one.status}, now told {word}" for one, word in conflicts}


async def _contradicted(
    work: UnitOfWork, history: History, conflicts: list[tuple[PayOrder | RefundOrder, str]]
) -> None:
    for ended, word in conflicts:
        _log.error("result_conflict", traction_no=ended.traction_no, status=ended.status, told=word)
    await history.contradicted(work, conflicts)


def _with(pay: PayOrder, refunded_micros: int, status: PayStatus) -> PayOrder:
    return msgspec.structs.replace(pay, refunded_micros=refunded_micros, status=status)
