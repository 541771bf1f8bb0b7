"""Charging channels for orders: the ledger first, then the order, each repeatable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc

from shoudan_kit import log
from shoudan_kit.money import micros_to_yuan
from shoudan_kit.rpc.refusal import Refused
from shoudan_kit.tasks.kinds import Task
from shoudan_kit.tasks.unit_of_work import UnitOfWork
from shoudan_order import binding, events, kinds, notifies, transfers
from shoudan_order.context import Context
from shoudan_order.pay_client import DIFFERS, TOO_LOW, Posted
from shoudan_order.states import (
    BIND,
    PAYMENT,
    BindEvent,
    BindStatus,
    LossRule,
    OrderStatus,
    PaymentEvent,
    PaymentStatus,
)
from shoudan_order.store import orders as store
from shoudan_order.store.rows import Delivery, Order

_log = log.get_logger("payments")

LAST_TRY_S = 2  # before the timeout
BALANCE_CODE = "904"
BALANCE_WORDS = "帐户余额不足"


@dataclass(slots=True)
class _Binding:
    """What a batch of orders is bound to."""

    paid: list[store.Paid] = field(default_factory=list[store.Paid])
    parts: list[Delivery] = field(default_factory=list[Delivery])
    parts_of: dict[int, list[Delivery]] = field(default_factory=dict[int, list[Delivery]])


async def pay(context: Context, tasks: Sequence[Task[kinds.OrderStep]]) -> None:
    """Charge the channels, then bind at once what this process also binds.

    Too low a balance is retried until the order's timeout, or fails the order at once with
    pay_fail_fast of its shelf. Other refusals (a locked or missing account) are retried as long: an operator
    can still repair them; at the timeout the order fails uncharged, and its task ends.
    """
    tasks, left_s = await _still_unpaid(context, tasks)
    if not tasks:
        return
    orders = await context.orders(t.payload.order_id for t in tasks)
    known = [t for t in tasks if t.payload.order_id in orders]
    try:
        answers = await context.pay_client.post(
            [transfers.sale(orders[t.payload.order_id]) for t in known]
        )
    except grpc.RpcError as error:
        transfers.retry_payment(context, known, error)
        return
    paid: list[Task[kinds.OrderStep]] = []
    failed: list[Task[kinds.OrderStep]] = []
    for task, answer in zip(known, answers, strict=True):
        order = orders[task.payload.order_id]
        if isinstance(answer, Posted) or answer.reason == DIFFERS:
            paid.append(task)  # a voided key means the order has timed out: it no longer moves
        elif answer.reason == TOO_LOW and _fails_fast(context, order):
            failed.append(task)
        else:
            transfers.refused(context, task, answer)
            _retry_before_timeout(task, left_s.get(order.order_id))
    voided = {
        task.payload.order_id
        for task, answer in zip(known, answers, strict=True)
        if isinstance(answer, Refused) and answer.reason == DIFFERS
    }
    if paid:
        await _paid(context, paid, orders, voided)
    if failed:
        await _fail_fast(context, failed, orders)


async def _still_unpaid(
    context: Context, tasks: Sequence[Task[kinds.OrderStep]]
) -> tuple[list[Task[kinds.OrderStep]], dict[int, int]]:
    """Tasks whose order waits for its payment, and the seconds left to orders tried before.

    An order may have ended since the try before; a debit of that try is voided or refunded by the
    step that ended it. First tries are not looked up: their order has just been taken.
    """
    again = [t.payload.order_id for t in tasks if t.count > 1]
    if not again:
        return list(tasks), {}
    async with context.app.db.connect() as db:
        found = await store.read_orders(db, again, lock=False)
    left_s = {
        order_id: was.left_s
        for order_id, (_, was) in found.items()
        if was.order_status == OrderStatus.PAYING
    }
    open_ = [t for t in tasks if t.count <= 1 or t.payload.order_id in left_s]
    over = [t for t in tasks if t.count > 1 and t.payload.order_id not in left_s]
    if over:
        async with context.app.work("order.pay_over") as work:
            work.tasks.finish(*over)
    return open_, left_s


def _retry_before_timeout(task: Task[Any], left_s: int | None) -> None:
    """Make the last retry just before the timeout, so that a late top-up still pays the order."""
    if left_s is not None and task.retry_after_s is not None and left_s > LAST_TRY_S:
        task.retry_after_s = min(task.retry_after_s, left_s - LAST_TRY_S)


def _fails_fast(context: Context, order: Order) -> bool:
    shelf = context.catalogue.down_shelves.get(order.down_shelf_id)
    return shelf is not None and shelf.pay_fail_fast


async def _paid(
    context: Context,
    tasks: Sequence[Task[kinds.OrderStep]],
    orders: Mapping[int, Order],
    voided: set[int],
) -> None:
    """10 -> 20, with the deliveries of what is bound here. Tasks of orders that do not move end, too."""
    # An order's step may be there twice, made anew after a death: it is bound once.
    ids = dict.fromkeys(t.payload.order_id for t in tasks)
    paid = [orders[order_id] for order_id in ids if order_id not in voided]
    bound = _bind_now(context, paid)
    async with context.app.work("order.pay") as work:
        moved = await store.advance_paid(work.db, bound.paid, orders, bound.parts)
        for order in paid:
            if order.order_id in moved:
                paused = moved[order.order_id]
                made = [] if paused else bound.parts_of.get(order.order_id, [])
                _follow_up(context, work, order, made)
        work.tasks.finish(*tasks)
        stuck = {o.order_id: o for o in paid if o.order_id not in moved}
        if stuck:
            await _refund_late_debits(context, work, stuck)


async def _refund_late_debits(
    context: Context, work: UnitOfWork, orders: Mapping[int, Order]
) -> None:
    """A debit that found its order already failed is refunded; one repeated after a payment is not."""
    for order_id in await store.advance_late_debit(work.db, list(orders)):
        context.enqueue(
            work, kinds.ORDER_REFUND, orders[order_id].line_id, kinds.OrderStep(order_id)
        )


def _bind_now(context: Context, orders: Sequence[Order]) -> _Binding:
    """Bind in memory where bind and delivery are served here; the rest waits for its task."""
    made = _Binding()
    paid = PAYMENT.next(PaymentStatus.PAYING, PaymentEvent.PAID)
    free = PAYMENT.next(PaymentStatus.PAYING, PaymentEvent.FREE)
    waiting = BIND.next(BindStatus.NOT_STARTED, BindEvent.PAID)
    delivering = BIND.next(waiting, BindEvent.BOUND)
    for order in orders:
        here = binding.can_run_inline(context, order.line_id)
        bound = binding.plan_deliveries(context, order, 0) if here else []
        made.parts += bound
        made.parts_of[order.order_id] = bound
        made.paid.append(
            store.Paid(
                order.order_id,
                free if transfers.sale(order).empty else paid,
                delivering if bound else waiting,
                sum(part.total_face_micros for part in bound),
            )
        )
    return made


def _follow_up(context: Context, work: UnitOfWork, order: Order, bound: Sequence[Delivery]) -> None:
    delivering = OrderStatus.DELIVERING
    text = f"{micros_to_yuan(order.sell_amount_micros)} 元"
    events.order_event(work, "paid", order, delivering, events.DOWN_PAY, text)
    binding.enqueue_deliveries(context, work, order, bound)
    if sum(part.total_face_micros for part in bound) < order.total_face_micros:
        parks = binding.loss_rule(context.catalogue, order) == LossRule.PARK
        tried = binding.can_run_inline(context, order.line_id) and not parks
        binding.enqueue_bind(context, work, order, order.timeout_s, tried=tried)


async def _fail_fast(
    context: Context, tasks: Sequence[Task[kinds.OrderStep]], orders: Mapping[int, Order]
) -> None:
    """Fail orders whose shelf has pay_fail_fast with 904.

    This try charged nothing; one before it, which was not answered, may still: the refund step voids its
    key, or gives it back, as after a timeout.
    """
    failed = [store.FailedUnpaid(t.payload.order_id, BALANCE_CODE, BALANCE_WORDS) for t in tasks]
    async with context.app.work("order.pay_refused") as work:
        moved = await store.advance_failed_unpaid(work.db, failed)
        for order_id in moved:
            order = orders[order_id]
            context.enqueue(work, kinds.ORDER_REFUND, order.line_id, kinds.OrderStep(order_id))
            events.order_event(
                work, "failed", order, OrderStatus.FAILED, events.DOWN_PAY, BALANCE_WORDS
            )
            notifies.enqueue_notify(
                context, work, order, OrderStatus.FAILED, BALANCE_CODE, BALANCE_WORDS
            )
            work.tasks.finish_id(kinds.TIMEOUT, order_id)
        work.tasks.finish(*tasks)
    context.memory.drop(moved)
