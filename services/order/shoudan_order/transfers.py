"""What orders move on the accounts of channels and suppliers: posted once under its key, then recorded.

Source: oms-behaviour §3.9. Sums of zero post nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import grpc
import msgspec

from shoudan_kit import log
from shoudan_kit.rpc.refusal import Refused
from shoudan_kit.tasks.kinds import Task
from shoudan_kit.tasks.unit_of_work import UnitOfWork
from shoudan_order import events, kinds, order_totals
from shoudan_order.context import Context, Purchase
from shoudan_order.pay_client import DIFFERS, DOMAIN, Posted, Transfer
from shoudan_order.states import (
    FAIL_REFUND,
    FailRefundEvent,
    FailRefundStatus,
    MoneyBackStatus,
    PaymentStatus,
    UpPaymentStatus,
)
from shoudan_order.store import deliveries as delivery_store
from shoudan_order.store import orders as order_store
from shoudan_order.store import refunds as store
from shoudan_order.store import returns as return_store
from shoudan_order.store.refunds import Refund
from shoudan_order.store.returns import Return
from shoudan_order.store.rows import Delivery, Order, OrderState

_log = log.get_logger("transfers")

S = TypeVar("S", bound=msgspec.Struct)


def sale(order: Order) -> Transfer:
    """What the channel pays for an order. Source: oms-behaviour §3.9 DownPay."""
    return Transfer(
        "down",
        order.down_channel_no,
        str(order.order_id),
        "",
        -order.sell_amount_micros,
        order.commission_amount_micros,
        -order.service_amount_micros,
    )


def purchase(order: Order, delivery: Delivery) -> Transfer:
    """What a supplier is paid for a delivery, and what is lost by it. Source: oms-behaviour §3.9 UpPay."""
    return Transfer(
        "up",
        delivery.up_channel_no,
        str(delivery.delivery_id),
        "",
        -delivery.cost_amount_micros,
        delivery.up_commission_amount_micros,
        delivery.service_amount_micros,
        loss_micros=order_totals.loss(order, delivery),
    )


def void_sale(order: Order) -> Transfer:
    """Close the keys of an order's debit."""
    return msgspec.structs.replace(sale(order), void=True)


def back_sale(order: Order, was: OrderState) -> Transfer:
    """What a failed (or partly delivered) order gets back: all but what was delivered."""
    return Transfer(
        "down",
        order.down_channel_no,
        f"r{order.order_id}",
        str(order.order_id),
        order.sell_amount_micros - was.success_sell_amount_micros,
        was.success_commission_micros - order.commission_amount_micros,
        order.service_amount_micros - was.success_service_micros,
        refund=True,
    )


def to_channel(refund: Refund) -> Transfer:
    """What a channel gets back. Source: oms-behaviour §3.9 DownRefund."""
    return Transfer(
        "down",
        refund.down_channel_no,
        str(refund.refund_id),
        str(refund.order_id),
        refund.refund_sell_amount_micros,
        -refund.refund_commission_amount_micros,
        refund.refund_service_amount_micros,
        refund=True,
    )


def from_supplier(one: Return) -> Transfer:
    """What a supplier gives back. Source: oms-behaviour §3.9 UpRefund."""
    return Transfer(
        "up",
        one.up_channel_no,
        str(one.return_id),
        str(one.delivery_id),
        one.return_cost_amount_micros,
        -one.return_commission_amount_micros,
        -one.return_service_amount_micros,
        refund=True,
    )


async def post(context: Context, due: Mapping[Task[S], Transfer]) -> list[tuple[Task[S], Posted]]:
    """Post the transfer of each task; those posted. The others come again with the same key."""
    try:
        answers = await context.pay_client.post(list(due.values()))
    except grpc.RpcError as error:
        retry_payment(context, list(due), error)
        return []
    posted: list[tuple[Task[S], Posted]] = []
    for task, answer in zip(due, answers, strict=True):
        if isinstance(answer, Posted):
            posted.append((task, answer))
        else:
            refused(context, task, answer)
    return posted


async def _post_due(
    context: Context, tasks: Sequence[Task[S]], due: Mapping[Task[S], Transfer]
) -> list[Task[S]]:
    """Tasks that are done: without a transfer, or posted now."""
    return [t for t in tasks if t not in due] + [t for t, _ in await post(context, due)]


def retry_payment(context: Context, tasks: Sequence[Task[Any]], error: grpc.RpcError) -> None:
    """Pay did not answer, so it may have posted: the same key is posted again."""
    code = getattr(error, "code", lambda: None)()
    _log.warning("pay_unanswered", code=str(code), count=len(tasks))
    for task in tasks:
        task.retry_after(context.settings.call_again_s, f"pay did not answer: {code}")


def refused(context: Context, task: Task[Any], answer: Refused) -> None:
    """Retry a posting that pay refused: balances and locked accounts can still change."""
    if answer.reason == DIFFERS:
        _log.error("posting_differs", kind=task.kind.name, order_no=task.order_no)
    _log.info("pay_refused", task_id=task.id, order_no=task.order_no, reason=answer.reason)
    short = context.settings.pay_short_again_s if answer.domain == DOMAIN else 1.0
    task.retry_after(short, f"{answer.reason}")


async def pay_up(context: Context, tasks: Sequence[Task[kinds.DeliveryStep]]) -> None:
    """Pay the suppliers of deliveries that succeeded, refunded by the user or not.

    The task was made with the success, so it is due as long as it exists; the ledger knows repeats.
    """
    orders = await context.orders({t.payload.order_id for t in tasks})
    bought = await _purchases(context, tasks)
    due = {
        t: purchase(orders[part.order_id], part)
        for t in tasks
        if (part := bought.get(t.payload.delivery_id))
    }
    done = await _post_due(context, tasks, due)
    made = [
        Purchase(t, part, orders[part.order_id])
        for t in done
        if (part := bought.get(t.payload.delivery_id)) is not None
    ]
    if done:
        await context.endings.bought(made, [t for t in done if t not in due])


async def _purchases(
    context: Context, tasks: Sequence[Task[kinds.DeliveryStep]]
) -> dict[int, Delivery]:
    """Deliveries that are to be paid, with the real costs: from memory if heard here, else as stored."""
    found: dict[int, Delivery] = {}
    missing: list[int] = []
    for task in tasks:
        cached = context.memory.get(task.payload.order_id)
        known_here = cached is not None and task.payload.delivery_id in cached.costed
        part = cached.deliveries.get(task.payload.delivery_id) if cached and known_here else None
        if part is not None:
            found[part.delivery_id] = part
        else:
            missing.append(task.payload.delivery_id)
    if missing:
        async with context.app.db.connect() as db:
            stored = await delivery_store.deliveries_by_ids(db, missing)
        found |= {
            delivery_id: one.delivery
            for delivery_id, one in stored.items()
            if one.up_payment_status == UpPaymentStatus.PAYING
        }
    return found


async def refund_order(context: Context, tasks: Sequence[Task[kinds.OrderStep]]) -> None:
    """Refund what a failed order has paid and did not get. Source: oms-behaviour §3.9.

    An order that failed before its payment was known: its debit's key is voided, so that a late debit
    is refused; a debit that was made is refunded.
    """
    async with context.app.db.connect() as db:
        found = await order_store.read_orders(db, [t.payload.order_id for t in tasks], lock=False)
    due: dict[Task[kinds.OrderStep], tuple[Order, OrderState]] = {}
    for task in tasks:
        one = found.get(task.payload.order_id)
        if one is not None and one[1].refund_status == FailRefundStatus.WAITING:
            due[task] = one
    unsure = {
        t: void_sale(order)
        for t, (order, was) in due.items()
        if was.payment_status != PaymentStatus.PAID
    }
    voided = await post(context, unsure)
    paid = [t for t in due if t not in unsure] + [t for t, answer in voided if answer.moved]
    nothing = [t for t, answer in voided if not answer.moved]
    refunded = [t for t, _ in await post(context, {t: back_sale(*due[t]) for t in paid})]
    async with context.app.work("order.refund") as work:
        await _refunded(work, refunded, found, FailRefundEvent.REFUNDED)
        await _refunded(work, nothing, found, FailRefundEvent.NOTHING_PAID)
        work.tasks.finish(*(t for t in tasks if t not in due), *refunded, *nothing)


async def _refunded(
    work: UnitOfWork,
    tasks: Sequence[Task[kinds.OrderStep]],
    found: Mapping[int, tuple[Order, OrderState]],
    event: FailRefundEvent,
) -> None:
    if not tasks:
        return
    after = FAIL_REFUND.next(FailRefundStatus.WAITING, event)
    ids = [t.payload.order_id for t in tasks]
    for order_id in await order_store.advance_fail_refund(work.db, ids, after):
        order, was = found[order_id]
        what = "refunded" if event == FailRefundEvent.REFUNDED else "unpaid"
        events.order_event(work, what, order, was.order_status, events.FAIL_REFUND)


async def refund_down(context: Context, tasks: Sequence[Task[kinds.RefundStep]]) -> None:
    """Post refunds to channels; refusals are retried until the deadline."""
    async with context.app.db.connect() as db:
        there = await store.refunds_by_ids(db, [t.payload.refund_id for t in tasks])
    due = {
        t: to_channel(one)
        for t in tasks
        if (one := there.get(t.payload.refund_id))
        and one.down_refund_status == MoneyBackStatus.WAITING
    }
    done = await _post_due(context, tasks, due)
    refund_ids = sorted({t.payload.refund_id for t in done})
    async with context.app.work("refund.pay") as work:
        await store.lock_refunds(work.db, refund_ids)
        for refund_id in await store.advance_money_back(work.db, refund_ids):
            one = there[refund_id]
            events.refund_event(work, "money_back", one, one.refund_status, events.DOWN_REFUND)
        await _close(work, refund_ids)
        work.tasks.finish(*done)


async def refund_up(context: Context, tasks: Sequence[Task[kinds.ReturnStep]]) -> None:
    """Take suppliers' money back; refusals (not paid yet, for one) are retried."""
    async with context.app.db.connect() as db:
        there = await return_store.returns_by_ids(db, [t.payload.return_id for t in tasks])
    due = {
        t: from_supplier(one)
        for t in tasks
        if (one := there.get(t.payload.return_id))
        and one.up_refund_status == MoneyBackStatus.WAITING
    }
    done = await _post_due(context, tasks, due)
    refund_ids = sorted({t.payload.refund_id for t in done if t.payload.refund_id})
    async with context.app.work("refund.up_pay") as work:
        await store.lock_refunds(work.db, refund_ids)
        await return_store.advance_up_refunded(work.db, [t.payload.return_id for t in done])
        await _close(work, refund_ids)
        work.tasks.finish(*done)


async def _close(work: UnitOfWork, refund_ids: Sequence[int]) -> None:
    """Close refunds with nothing left to do, and publish it."""
    closed = await store.advance_closed(work.db, refund_ids) if refund_ids else set[int]()
    if closed:
        for refund in (await store.refunds_by_ids(work.db, sorted(closed))).values():
            events.refund_event(work, "succeeded", refund, refund.refund_status, events.UP_REFUND)
