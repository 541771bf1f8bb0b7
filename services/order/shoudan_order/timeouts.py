"""Timeouts (超时): unpaid orders fail, settled ones are closed, unknown deliveries are queried.

Source: oms-behaviour §3.6, with cases (a), (b) and (c).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.tasks.kinds import Task
from shoudan_kit.tasks.unit_of_work import UnitOfWork
from shoudan_order import events, kinds, notifies, order_totals, restoring, results, returns
from shoudan_order.context import Context
from shoudan_order.delivery_calls import answered, key, queried
from shoudan_order.delivery_client import Outcome
from shoudan_order.parking import park
from shoudan_order.states import (
    ENDED,
    OPEN_DELIVERIES,
    OPEN_RETURNS,
    AuditType,
    OrderStatus,
    ReturnStatus,
)
from shoudan_order.store import audits as audit_store
from shoudan_order.store import deliveries as delivery_store
from shoudan_order.store import orders as store
from shoudan_order.store import refunds as refund_store
from shoudan_order.store import returns as return_store
from shoudan_order.store.rows import DeliveryState, Order, OrderState, OrderUpdate

_Step = TypeVar("_Step", kinds.DeliveryStep, kinds.ReturnStep)

TIMEOUT_CODE = "900"
TIMEOUT_TEXT = "订单超时"


async def time_out(context: Context, tasks: Sequence[Task[kinds.OrderStep]]) -> None:
    """End orders after their timeout, as far as the ends of their parts are known.

    Before it the steps of a process that died with the order are made anew.
    """
    ids = sorted({t.payload.order_id for t in tasks})
    async with context.app.work("order.overtime") as work:
        orders = await store.read_orders(work.db, ids, lock=True)
        late = {i: one for i, one in orders.items() if one[1].left_s <= 0}
        await _fail_unpaid(context, work, late)
        paid = {i: o for i, o in late.items() if o[1].order_status == OrderStatus.DELIVERING}
        await _end_paid(context, work, paid)
        left = {
            i: one for i, one in orders.items() if i not in late or one[1].order_status in ENDED
        }
        await restoring.restore(context, work, left)
        work.tasks.finish(*(t for t in tasks if _over(orders.get(t.payload.order_id))))
    for task in tasks:
        if (one := orders.get(task.payload.order_id)) is not None:
            task.retry_after(one[1].left_s + 1)
    context.memory.drop(late)


def _over(one: tuple[Order, OrderState] | None) -> bool:
    """Whether the task is done: the order has ended, or its timeout was handled."""
    return one is None or one[1].order_status in ENDED or one[1].left_s <= 0


async def _fail_unpaid(
    context: Context, work: UnitOfWork, late: Mapping[int, tuple[Order, OrderState]]
) -> None:
    """10 -> 90. A debit may still arrive: the refund step voids its key, or refunds it."""
    unpaid = [
        store.FailedUnpaid(i, TIMEOUT_CODE, TIMEOUT_TEXT)
        for i, (_, was) in late.items()
        if was.order_status == OrderStatus.PAYING
    ]
    if not unpaid:
        return
    for order_id in await store.advance_failed_unpaid(work.db, unpaid):
        order = late[order_id][0]
        events.order_event(
            work, "overtime", order, OrderStatus.FAILED, events.TIMEOUT, TIMEOUT_TEXT
        )
        _enqueue_refund(context, work, order)
        notifies.enqueue_notify(
            context, work, order, OrderStatus.FAILED, TIMEOUT_CODE, TIMEOUT_TEXT
        )


def _enqueue_refund(context: Context, work: UnitOfWork, order: Order) -> None:
    context.enqueue(work, kinds.ORDER_REFUND, order.line_id, kinds.OrderStep(order.order_id))


async def _end_paid(
    context: Context, work: UnitOfWork, paid: Mapping[int, tuple[Order, OrderState]]
) -> None:
    """(a) nothing bound: failed. (b) parts open: query each. (c) some delivered: partial."""
    closed: list[OrderUpdate] = []
    asked: dict[int, Order] = {}
    for order_id, (order, was) in paid.items():
        before = order_totals.as_is(was)
        now = order_totals.closed(order, before, partial=context.settings.partial_auto)
        if now is not before and not was.parked_reason:  # what is parked ends by its audit
            closed.append(now)
            results.end(context, work, order, now)
        elif order_totals.pending(before):
            asked[order_id] = order
    if closed:
        await store.advance_orders(work.db, closed)
        await results.request_decision(work, closed)
    for part in await delivery_store.deliveries_of(work.db, list(asked)) if asked else ():
        if part.delivery_status in OPEN_DELIVERIES:
            _enqueue_query(context, work, asked[part.delivery.order_id], part)


def _enqueue_query(context: Context, work: UnitOfWork, order: Order, part: DeliveryState) -> None:
    delivery_id = part.delivery.delivery_id
    context.enqueue(
        work, kinds.DELIVERY_UNKNOWN, order.line_id, kinds.DeliveryStep(delivery_id, order.order_id)
    )
    events.order_event(
        work,
        "overtime",
        order,
        OrderStatus.DELIVERING,
        events.DELIVERY_TIMEOUT,
        f"{part.delivery.up_channel_no} #{delivery_id}",
        delivery_id=delivery_id,
    )


async def refund_time_out(context: Context, tasks: Sequence[Task[kinds.RefundStep]]) -> None:
    """Handle refunds after their timeout: returns never sent fail, those sent are queried."""
    async with context.app.db.connect() as db:
        early = await refund_store.seconds_left(db, [t.payload.refund_id for t in tasks])
    over = [t for t in tasks if t.payload.refund_id not in early]
    refund_ids = [t.payload.refund_id for t in over]
    async with context.app.db.connect() as db:
        found = await return_store.returns_of_refunds(db, refund_ids)
    waiting = [r for r in found if r.return_status == ReturnStatus.WAITING]
    if waiting:
        late = [Outcome(r.return_id, False, True, result_code=returns.NEVER_SENT) for r in waiting]
        await returns.report(context, late)
        async with context.app.db.connect() as db:
            found = await return_store.returns_of_refunds(db, refund_ids)
    for task in tasks:
        if task.payload.refund_id in early:
            task.retry_after(early[task.payload.refund_id] + 1, "a return is tried again")
    lines = await context.orders({r.order_id for r in found})
    async with context.app.work("refund.overtime") as work:
        for one in found:
            if one.return_status == ReturnStatus.SENDING:
                context.enqueue(
                    work,
                    kinds.RETURN_UNKNOWN,
                    lines[one.order_id].line_id,
                    kinds.ReturnStep(one.return_id, one.refund_id, one.order_id),
                )
        work.tasks.finish(*over)


@dataclass(frozen=True, slots=True)
class _Side:
    """What differs between the deliveries and the returns that are queried."""

    name: str
    audit: AuditType
    tag: str
    number: Callable[[Any], int]
    open: Callable[[AsyncConnection, Sequence[int]], Awaitable[Collection[int]]]
    report: Callable[[Context, Sequence[Outcome]], Awaitable[object]]


async def _open_deliveries(db: AsyncConnection, ids: Sequence[int]) -> Collection[int]:
    there = await delivery_store.deliveries_by_ids(db, ids)
    return {i for i, one in there.items() if one.delivery_status in OPEN_DELIVERIES}


async def _open_returns(db: AsyncConnection, ids: Sequence[int]) -> Collection[int]:
    there = await return_store.returns_by_ids(db, ids)
    return {i for i, one in there.items() if one.return_status in OPEN_RETURNS}


_DELIVERY: Final = _Side(
    "delivery",
    AuditType.DELIVERY,
    events.DELIVERY_TIMEOUT,
    attrgetter("delivery_id"),
    _open_deliveries,
    results.report,
)
_RETURN: Final = _Side(
    "return",
    AuditType.RETURN,
    events.RETURN_UNKNOWN,
    attrgetter("return_id"),
    _open_returns,
    returns.report,
)


async def delivery_unknown(context: Context, tasks: Sequence[Task[kinds.DeliveryStep]]) -> None:
    """Query the delivery service; orders of what stays unknown are parked."""
    await _query(context, tasks, _DELIVERY, context.app.work("order.delivery_unknown"))


async def return_unknown(context: Context, tasks: Sequence[Task[kinds.ReturnStep]]) -> None:
    """The same for returns."""
    await _query(context, tasks, _RETURN, context.app.work("refund.return_unknown"))


async def _query(
    context: Context, tasks: Sequence[Task[_Step]], side: _Side, transaction: UnitOfWork
) -> None:
    async with context.app.db.connect() as db:
        open_ = await side.open(db, [side.number(t.payload) for t in tasks])
    orders = await context.orders({t.payload.order_id for t in tasks})
    due = [t for t in tasks if side.number(t.payload) in open_]
    is_return = side is _RETURN
    keys = [
        key(context, orders[t.payload.order_id], side.number(t.payload), is_return=is_return)
        for t in due
    ]
    ended: list[Outcome] = []
    unknown: list[_Step] = []
    answers = await answered(context, due, context.delivery_client.ask(keys))
    for task, answer in answers:
        outcome = queried(side.number(task.payload), answer, is_return=is_return)
        if outcome is None:
            unknown.append(task.payload)
        else:
            ended.append(outcome)
    if ended:
        await side.report(context, ended)
    async with transaction as work:
        if unknown:
            await _park_unknown(work, unknown, side)
        work.tasks.finish(*(task for task, _ in answers))
        work.tasks.finish(*(t for t in tasks if t not in due))


async def _park_unknown(work: UnitOfWork, steps: Sequence[_Step], side: _Side) -> None:
    """Park what is still open under the locks: a result may have come since the query."""
    orders = await store.read_orders(work.db, sorted({s.order_id for s in steps}), lock=True)
    open_ = await side.open(work.db, [side.number(s) for s in steps])
    steps = [s for s in steps if side.number(s) in open_]
    audits = [
        audit_store.NewAudit(
            work.ids.next(),
            s.order_id,
            s.refund_id if isinstance(s, kinds.ReturnStep) else 0,
            side.number(s),
            side.audit,
            f"{side.name} {side.number(s)} unknown at overtime",
        )
        for s in steps
    ]
    reasons = {audit.order_id: audit.audit_msg for audit in audits}
    await park(work, orders, reasons, audits, side.tag)
