"""Contradicted results that a person has found to be the other one, stored with their pay and history."""

from __future__ import annotations

from typing import Final, TypeVar

from shoudan_kit.tasks.unit_of_work import UnitOfWork
from shoudan_pay.payserver import states
from shoudan_pay.payserver.history import History
from shoudan_pay.payserver.protocol import AnswerKind, ComponentAnswer
from shoudan_pay.payserver.settlement import (
    PAYS,
    REFUNDS,
    OrderKind,
    given_back,
    refunded_order,
    store_refunded,
)
from shoudan_pay.payserver.states import Event
from shoudan_pay.payserver.store import pays as pay_store
from shoudan_pay.payserver.store import refunds as refund_store
from shoudan_pay.payserver.store.orders import Order, Settled
from shoudan_pay.payserver.store.pays import PayOrder
from shoudan_pay.payserver.store.refunds import RefundOrder
from shoudan_pay.refusals import FieldInvalid

EVENTS: Final = {
    AnswerKind.SUCCESS: Event.CORRECTED_SUCCESS,
    AnswerKind.FAILED: Event.CORRECTED_FAILED,
}

T = TypeVar("T", bound=Order)


async def pay(
    work: UnitOfWork, history: History, traction_no: str, answer: ComponentAnswer
) -> bool:
    """Give a parked pay the other result; False when it is not parked, or cannot have it."""
    found, _ = await pay_store.lock(work.db, {traction_no})
    was = found.get(traction_no)
    result = _correction(PAYS, was, answer)
    if result is None:
        return False
    moved = await pay_store.settle(work.db, [result])
    await history.changed(work, moved.values())
    return True


async def refund(
    work: UnitOfWork, history: History, traction_no: str, answer: ComponentAnswer
) -> bool:
    """Give a parked refund the other result, and correct refunded_micros of its pay.

    False when it is not parked. Refuses FieldInvalid when its pay has too little left to give back.
    """
    seen = await refund_store.by_number(work.db, [traction_no])
    locked, _ = await pay_store.lock(work.db, {one.pay_traction_no for one in seen.values()})
    was = (await refund_store.by_number(work.db, [traction_no])).get(traction_no)
    result = _correction(REFUNDS, was, answer)
    if was is None or result is None:
        return False
    of = locked[was.pay_traction_no]
    if answer.word is AnswerKind.SUCCESS:
        _check_room(was, of)
    moved = await refund_store.settle(work.db, [result])
    await history.changed(work, moved.values())
    if answer.word is AnswerKind.SUCCESS:
        await given_back(work, history, moved.values(), locked)
    else:
        left = of.refunded_micros - was.amount_micros
        event = Event.PART_TAKEN_BACK if left else Event.ALL_TAKEN_BACK
        await store_refunded(work, history, [refunded_order(of, left, event)])
    return True


def _correction(own: OrderKind[T], was: T | None, answer: ComponentAnswer) -> Settled | None:
    """The other result of a parked order; None when there is none."""
    if was is None or not was.parked:
        return None
    status = own.machine.moved(was.status, EVENTS[answer.word])
    if status is None:
        return None
    return Settled(
        was.traction_no, was.status, status, was.third_no, answer.reason, was.finish_time
    )


def _check_room(refund: RefundOrder, of: PayOrder) -> None:
    if (
        of.status not in states.REFUNDABLE
        or of.refunded_micros + refund.amount_micros > of.amount_micros
    ):
        why = "its pay has not so much left to give back: keep, and settle it outside"
        raise FieldInvalid("decision", why)
