"""What a process that died with an order had still to do: the order's one task makes its steps anew.

While an order is young its steps are not written (decision 0058): what they have to do stands in its rows.
A step may then be there twice; each is repeatable.
"""

from __future__ import annotations

from collections.abc import Mapping

from shoudan_kit.tasks.unit_of_work import UnitOfWork
from shoudan_order import kinds, notifies
from shoudan_order.context import Context
from shoudan_order.states import (
    ENDED,
    OPEN_DELIVERIES,
    NotifyStatus,
    OrderStatus,
    UpPaymentStatus,
)
from shoudan_order.store import deliveries as delivery_store
from shoudan_order.store import notifies as notify_store
from shoudan_order.store.rows import DeliveryState, Order, OrderState

Orders = Mapping[int, tuple[Order, OrderState]]


async def restore(context: Context, work: UnitOfWork, orders: Orders) -> None:
    """Add the tasks of the steps that these orders wait for, locked by the caller."""
    for order, was in orders.values():
        if was.order_status == OrderStatus.PAYING:
            step, deadline_s = kinds.OrderStep(order.order_id), was.left_s + kinds.PAY.deadline_s
            context.enqueue(work, kinds.PAY, order.line_id, step, deadline_s=deadline_s)
    paid = [i for i, (_, was) in orders.items() if was.order_status != OrderStatus.PAYING]
    for part in await delivery_store.deliveries_of(work.db, paid) if paid else ():
        _restore_part(context, work, *orders[part.delivery.order_id], part)
    await _restore_notifies(context, work, orders)


def _restore_part(
    context: Context, work: UnitOfWork, order: Order, was: OrderState, part: DeliveryState
) -> None:
    delivery_id = part.delivery.delivery_id
    step = kinds.DeliveryStep(delivery_id, order.order_id)
    if was.order_status not in ENDED and part.delivery_status in OPEN_DELIVERIES:
        context.enqueue(work, kinds.DELIVER, order.line_id, step, task_id=delivery_id)
    if part.up_payment_status == UpPaymentStatus.PAYING:
        context.enqueue(work, kinds.UP_PAY, order.line_id, step)


async def _restore_notifies(context: Context, work: UnitOfWork, orders: Orders) -> None:
    """Those of whole orders that were not sent yet: of others the task was written with their end."""
    owed = [
        (order_id, 0)
        for order_id, (order, was) in orders.items()
        if was.notify_status == NotifyStatus.RUNNING
        and was.success_face_micros == order.total_face_micros
    ]
    for row in (await notify_store.notifies_due(work.db, owed)).values() if owed else ():
        if row.owed_status is None and not row.notify_count:
            order = orders[row.order_id][0]
            notifies.enqueue_again(context, work, order, OrderStatus.SUCCEEDED, "", "")
