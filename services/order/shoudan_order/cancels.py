"""撤单: a channel ends an order of which nothing is with a supplier yet.

The order's lock decides who was first, the cancelling or the binding; the answer says which.
"""

from __future__ import annotations

from enum import IntEnum

import msgspec

from shoudan_kit.tasks.unit_of_work import UnitOfWork
from shoudan_order import events, kinds, notifies, order_totals, results
from shoudan_order.context import Context
from shoudan_order.order_totals import CANCELLED_TEXT, FAILED_CODE
from shoudan_order.refusals import NonceUsed, OrderNotFound
from shoudan_order.states import (
    ENDED,
    ORDER,
    FailRefundStatus,
    OrderEvent,
    OrderStatus,
)
from shoudan_order.store import nonces
from shoudan_order.store import orders as store
from shoudan_order.store.nonces import CallNonce
from shoudan_order.store.rows import Order, OrderState, OrderSummary


class CancelResult(IntEnum):
    """Who was first."""

    CANCELLED = 1
    TOO_LATE = 2  # some of it is with a supplier, or delivered
    ENDED = 3
    IN_REVIEW = 4  # a person is to decide


class Cancelled(msgspec.Struct, frozen=True):
    """An order after its cancelling, and whether that was in time."""

    order: OrderSummary
    result: CancelResult
    refund_status: int
    existed: bool = False


async def cancel(
    context: Context, key: tuple[str, str], nonce: CallNonce | None = None
) -> Cancelled:
    """End the order of this (channel_no, request_no) unless something of it is bound. Repeats give the same.

    The nonce is used up whatever follows. Refuses OrderNotFound, NonceUsed.
    """
    async with context.app.work("order.cancel") as work:
        if nonce and await nonces.use_nonces(work.db, [nonce]):
            raise NonceUsed(key[0])
        found = (await store.orders_by_keys(work.db, [key])).get(key)
        done = await _cancel(context, work, found) if found is not None else None
    if done is None:
        raise OrderNotFound(*key)
    if done.result is CancelResult.CANCELLED:
        context.memory.drop([done.order.order_id])
    return done


async def _cancel(context: Context, work: UnitOfWork, found: OrderSummary) -> Cancelled:
    there = await store.read_orders(work.db, [found.order_id], lock=True)
    if found.order_id not in there:  # it has left the database, so it ended long ago
        result = _ended_as(found)
        again = result is CancelResult.CANCELLED
        return Cancelled(found, result, int(FailRefundStatus.DONE), existed=again)
    order, was = there[found.order_id]
    result = _judge(was)
    refund_status = was.refund_status
    in_time = result is CancelResult.CANCELLED and was.order_status not in ENDED
    if in_time:
        refund_status = await _end(context, work, order, was)
        was = msgspec.structs.replace(
            was,
            order_status=ORDER.next(was.order_status, OrderEvent.CANCELLED),
            fail_code=FAILED_CODE,
            fail_msg=CANCELLED_TEXT,
        )
    shown = msgspec.structs.replace(
        found, order_status=was.order_status, fail_code=was.fail_code, fail_msg=was.fail_msg
    )
    again = result is CancelResult.CANCELLED and not in_time
    return Cancelled(shown, result, int(refund_status), existed=again)


def _ended_as(one: OrderSummary | OrderState) -> CancelResult:
    """What a repeat is answered of an order that has ended."""
    cancelled = one.order_status == OrderStatus.FAILED and one.fail_msg == CANCELLED_TEXT
    return CancelResult.CANCELLED if cancelled else CancelResult.ENDED


def _judge(was: OrderState) -> CancelResult:
    """Whether a locked order may be cancelled, or was."""
    if was.order_status in ENDED:
        return _ended_as(was)
    if was.parked_reason:
        return CancelResult.IN_REVIEW
    if was.bind_face_micros or was.success_face_micros:
        return CancelResult.TOO_LATE
    return CancelResult.CANCELLED


async def _end(
    context: Context, work: UnitOfWork, order: Order, was: OrderState
) -> FailRefundStatus:
    """Fail the order under its lock; where its money stands after it.

    A debit may be on its way: the refund step voids its key, or gives it back, as after a timeout.
    """
    if was.order_status == OrderStatus.DELIVERING:
        now = order_totals.cancelled(order, order_totals.as_is(was))
        await store.advance_orders(work.db, [now])
        results.end(context, work, order, now)
        return now.refund_status
    failed = store.FailedUnpaid(order.order_id, FAILED_CODE, CANCELLED_TEXT)
    await store.advance_failed_unpaid(work.db, [failed])
    status = OrderStatus.FAILED
    events.order_event(work, "failed", order, status, events.FINISH, CANCELLED_TEXT)
    context.enqueue(work, kinds.ORDER_REFUND, order.line_id, kinds.OrderStep(order.order_id))
    notifies.enqueue_notify(context, work, order, status, FAILED_CODE, CANCELLED_TEXT)
    work.tasks.finish_id(kinds.TIMEOUT, order.order_id)
    return FailRefundStatus.WAITING
