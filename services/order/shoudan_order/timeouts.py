"""Overtime: unpaid orders fail, what is settled is closed, what is unknown is asked about.

Source: oms-behaviour §3.6, with cases (a), (b) and (c).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import grpc

from shoudan_kit import log
from shoudan_kit.rpc.refusal import Refused
from shoudan_kit.tasks.kinds import Task
from shoudan_kit.tasks.unit_of_work import UnitOfWork
from shoudan_order import events, kinds, notifies, order_totals, results
from shoudan_order.context import Context
from shoudan_order.delivery_client import UNKNOWN, Outcome, Pending
from shoudan_order.states import (
    ENDED,
    FAIL_REFUND,
    AuditType,
    DeliveryStatus,
    FailRefundEvent,
    FailRefundStatus,
    OrderStatus,
)
from shoudan_order.store import audits as audit_store
from shoudan_order.store import deliveries as delivery_store
from shoudan_order.store import orders as store
from shoudan_order.store import pauses as pause_store
from shoudan_order.store.rows import DeliveryState, Order, OrderState, OrderUpdate

_log = log.get_logger("overtime")

TIMEOUT_CODE = "900"
TIMEOUT_TEXT = "订单超时"


async def time_out(context: Context, tasks: Sequence[Task[kinds.OrderStep]]) -> None:
    """End orders whose time is over, as far as it is known how they stand."""
    ids = sorted({t.payload.order_id for t in tasks})
    async with context.app.work("order.overtime") as work:
        orders = await store.read_orders(work.db, ids, lock=True)
        late = {i: one for i, one in orders.items() if one[1].left_s <= 0}
        await _fail_unpaid(context, work, late)
        paid = {i: o for i, o in late.items() if o[1].order_status == OrderStatus.DELIVERING}
        await _end_paid(context, work, paid)
        work.tasks.finish(*(t for t in tasks if _over(orders.get(t.payload.order_id))))
    context.memory.drop(late)


def _over(one: tuple[Order, OrderState] | None) -> bool:
    """Whether the task has nothing more to wait for: an order ended, or its time has come."""
    return one is None or one[1].order_status in ENDED or one[1].left_s <= 0


async def _fail_unpaid(
    context: Context, work: UnitOfWork, late: Mapping[int, tuple[Order, OrderState]]
) -> None:
    """10 -> 90. A debit may be on its way: the refund step voids its key, or gives it back."""
    unpaid = [
        store.FailedUnpaid(i, TIMEOUT_CODE, TIMEOUT_TEXT)
        for i, (_, was) in late.items()
        if was.order_status == OrderStatus.PAYING
    ]
    if not unpaid:
        return
    waiting = FAIL_REFUND.next(FailRefundStatus.NOT_STARTED, FailRefundEvent.ORDER_FAILED)
    for order_id in await store.advance_failed_unpaid(work.db, unpaid, waiting):
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
    """(a) nothing bound: failed. (b) parts under way: ask about each. (c) some delivered: partial."""
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
        if part.delivery_status in {DeliveryStatus.WAITING, DeliveryStatus.SENDING}:
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


async def delivery_unknown(context: Context, tasks: Sequence[Task[kinds.DeliveryStep]]) -> None:
    """Ask the delivery service; what nobody knows is left to a person, the order stays as it is."""
    async with context.app.db.connect() as db:
        there = await delivery_store.deliveries_by_ids(db, [t.payload.delivery_id for t in tasks])
    orders = await context.orders({t.payload.order_id for t in tasks})
    open_ = [t for t in tasks if _open(there.get(t.payload.delivery_id))]
    try:
        answers = await context.suppliers.ask(
            [key(context, t.payload.delivery_id, orders[t.payload.order_id]) for t in open_]
        )
    except grpc.RpcError as error:
        _log.warning("delivery_unanswered", code=str(error.code()), count=len(open_))
        for task in open_:
            task.retry_after(
                context.settings.call_again_s, f"delivery did not answer: {error.code()}"
            )
        answers, open_ = [], []
    ended: list[Outcome] = []
    unknown: list[Task[kinds.DeliveryStep]] = []
    for task, answer in zip(open_, answers, strict=True):
        outcome = _known(task, answer)
        if outcome is None:
            unknown.append(task)
        else:
            ended.append(outcome)
    if ended:
        await results.report(context, ended)
    async with context.app.work("order.delivery_unknown") as work:
        await _park_unknown(work, unknown, orders)
        done = {t.id for t in open_}
        work.tasks.finish(
            *(t for t in tasks if t.id in done or not _open(there.get(t.payload.delivery_id)))
        )


def _open(part: DeliveryState | None) -> bool:
    return part is not None and part.delivery_status in {
        DeliveryStatus.WAITING,
        DeliveryStatus.SENDING,
    }


def key(context: Context, delivery_id: int, order: Order) -> tuple[int, str, int]:
    """What the delivery service knows a delivery by."""
    line = context.catalogue.lines.get(order.line_id)
    return delivery_id, order.down_channel_no, line.service_class if line else 10


def _known(task: Task[kinds.DeliveryStep], answer: Outcome | Pending | Refused) -> Outcome | None:
    """The end of a delivery; one that was never handed over has failed for certain."""
    if isinstance(answer, Outcome):
        return answer
    if isinstance(answer, Refused) and answer.reason == UNKNOWN:
        return Outcome(task.payload.delivery_id, succeeded=False, result_code="not_sent")
    return None


async def _park_unknown(
    work: UnitOfWork,
    tasks: Sequence[Task[kinds.DeliveryStep]],
    orders: Mapping[int, Order],
) -> None:
    """Park what is still open: a result may have come since it was asked about."""
    if not tasks:
        return
    await store.read_orders(work.db, sorted({t.payload.order_id for t in tasks}), lock=True)
    ids = [t.payload.delivery_id for t in tasks]
    there = await delivery_store.deliveries_by_ids(work.db, ids)
    tasks = [t for t in tasks if _open(there.get(t.payload.delivery_id))]
    audits = [
        audit_store.NewAudit(
            work.ids.next(),
            t.payload.order_id,
            0,
            t.payload.delivery_id,
            AuditType.DELIVERY,
            "unknown at overtime",
        )
        for t in tasks
    ]
    await audit_store.insert_audits(work.db, audits)
    reasons = {
        t.payload.order_id: f"delivery {t.payload.delivery_id} unknown at overtime" for t in tasks
    }
    for order_id in await pause_store.park_orders(work.db, reasons):
        events.order_event(
            work,
            "parked",
            orders[order_id],
            OrderStatus.DELIVERING,
            events.DELIVERY_TIMEOUT,
            reasons[order_id],
        )
