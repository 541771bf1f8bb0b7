"""Contradicted ends that a person has found to be the other one, booked with their pay and history."""

from __future__ import annotations

from typing import Final

import msgspec

from shoudan_kit.tasks.unit_of_work import UnitOfWork
from shoudan_pay.payserver import states
from shoudan_pay.payserver.history import History
from shoudan_pay.payserver.protocol import AnswerKind
from shoudan_pay.payserver.settlement import given_back
from shoudan_pay.payserver.states import Event, PayStatus, RefundStatus
from shoudan_pay.payserver.store import pays as pay_store
from shoudan_pay.payserver.store import refunds as refund_store
from shoudan_pay.payserver.store.pays import PayOrder
from shoudan_pay.payserver.store.refunds import RefundOrder
from shoudan_pay.refusals import FieldInvalid

EVENTS: Final = {
    AnswerKind.SUCCESS: Event.CORRECTED_SUCCESS,
    AnswerKind.FAILED: Event.CORRECTED_FAILED,
}


async def pay(
    work: UnitOfWork, history: History, traction_no: str, word: AnswerKind, reason: str
) -> bool:
    """Give a parked pay its other end; False when it waits no more, or cannot take it."""
    found, _ = await pay_store.lock(work.db, {traction_no})
    was = found.get(traction_no)
    if was is None or not was.parked:
        return False
    status = states.PAY.moved(PayStatus(was.status), EVENTS[word])
    if status is None:
        return False
    end = pay_store.Settled(
        traction_no,
        was.status,
        status,
        was.third_pay_no,
        reason,
        was.finish_time,
    )
    moved = await pay_store.settle(work.db, [end])
    await history.pays_changed(work, moved.values())
    return True


async def refund(
    work: UnitOfWork, history: History, traction_no: str, word: AnswerKind, reason: str
) -> bool:
    """Give a parked refund its other end, and its pay what that gives or takes back.

    False when it waits no more. Refuses FieldInvalid when its pay has no room for it.
    """
    seen = await refund_store.by_number(work.db, [traction_no])
    locked, _ = await pay_store.lock(work.db, {one.pay_traction_no for one in seen.values()})
    was = (await refund_store.by_number(work.db, [traction_no])).get(traction_no)
    if was is None or not was.parked:
        return False
    status = states.REFUND.moved(RefundStatus(was.status), EVENTS[word])
    if status is None:
        return False
    of = locked[was.pay_traction_no]
    if word is AnswerKind.SUCCESS:
        _check_room(was, of)
    end = refund_store.Settled(
        traction_no,
        was.status,
        status,
        was.third_refund_no,
        reason,
        was.finish_time,
    )
    moved = await refund_store.settle(work.db, [end])
    await history.refunds_changed(work, moved.values())
    if word is AnswerKind.SUCCESS:
        await given_back(work, history, moved.values(), locked)
    else:
        await _taken_back(work, history, was, of)
    return True


def _check_room(refund: RefundOrder, of: PayOrder) -> None:
    if (
        PayStatus(of.status) not in states.REFUNDABLE
        or of.refunded_micros + refund.amount_micros > of.amount_micros
    ):
        why = "its pay has not so much left to give back: keep, and settle it outside"
        raise FieldInvalid("decision", why)


async def _taken_back(
    work: UnitOfWork, history: History, refund: RefundOrder, of: PayOrder
) -> None:
    """Its pay has given back less by this refund."""
    left = of.refunded_micros - refund.amount_micros
    event = Event.PART_TAKEN_BACK if left else Event.ALL_TAKEN_BACK
    status = states.PAY.next(PayStatus(of.status), event)
    after = msgspec.structs.replace(of, refunded_micros=left, status=status)
    await pay_store.give_back(work.db, [(after.id, left, status)])
    await history.pays_changed(work, [after])
