"""Parts of orders: handing bound deliveries out, and binding what is open, under the orders' locks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from shoudan_kit.tasks.unit_of_work import UnitOfWork
from shoudan_order import binding, events, kinds, order_totals
from shoudan_order.context import Context
from shoudan_order.states import OrderStatus
from shoudan_order.store import deliveries as store
from shoudan_order.store.orders import OrderUpdate
from shoudan_order.store.rows import Delivery, Order


def enqueue_deliveries(
    context: Context, work: UnitOfWork, order: Order, parts: Sequence[Delivery]
) -> None:
    """Make the deliver tasks of parts just bound, and tell it."""
    if not parts:
        return
    cached = context.memory.get(order.order_id)
    number = str(order.order_id)
    queue = context.queue(order.line_id, kinds.DELIVER)
    for part in parts:
        task_id = work.tasks.add(
            kinds.DELIVER,
            kinds.DeliveryStep(part.delivery_id, order.order_id),
            order_no=number,
            queue=queue,
        )
        if cached is not None:
            cached.deliveries[part.delivery_id] = part
            cached.deliver_tasks[part.delivery_id] = task_id
    text = ", ".join(f"{part.up_channel_no} #{part.delivery_id}" for part in parts[:10])
    events.order_event(
        work,
        "bound",
        order,
        OrderStatus.DELIVERING,
        events.BIND,
        text,
        delivery_id=parts[0].delivery_id,
    )


def enqueue_bind(
    context: Context, work: UnitOfWork, order: Order, left_s: int, *, tried: bool
) -> None:
    """Make the bind task of an order; where binding was `tried` a moment ago, it waits its interval."""
    work.tasks.add(
        kinds.BIND,
        kinds.OrderStep(order.order_id),
        order_no=str(order.order_id),
        queue=context.queue(order.line_id, kinds.BIND),
        delay_s=kinds.BIND.interval_s if tried else 0,
        deadline_s=max(left_s, 0) + kinds.BIND.deadline_s,
    )


def can_run_inline(context: Context, line_id: int) -> bool:
    """Whether binding and the start of a delivery may be one step with the one before."""
    return context.serves(line_id, kinds.BIND) and context.serves(line_id, kinds.DELIVER)


def plan_deliveries(
    context: Context, order: Order, bound_micros: int, excluded: Sequence[str] | set[str] = ()
) -> list[Delivery]:
    """Parts for what is open, with their numbers."""
    found = binding.plan(context.catalogue, order, bound_micros, excluded)
    ids = context.app.ids.take(len(found))
    return [
        binding.delivery_of(order, one, delivery_id)
        for one, delivery_id in zip(found, ids, strict=True)
    ]


async def bind_open(
    context: Context, work: UnitOfWork, open_orders: Mapping[int, tuple[Order, OrderUpdate]]
) -> dict[int, OrderUpdate]:
    """Bind the unbound amount of locked orders, skipping suppliers that just failed or are in conflict."""
    excluded = await store.excluded(work.db, list(open_orders), context.settings.exclude_failed_s)
    after: dict[int, OrderUpdate] = {}
    made: list[Delivery] = []
    for order_id, (order, now) in open_orders.items():
        parts = plan_deliveries(context, order, now.bind_face_micros, excluded.get(order_id, set()))
        for part in parts:
            now = order_totals.bound(now, part.total_face_micros)
        made += parts
        after[order_id] = now
        enqueue_deliveries(context, work, order, parts)
    orders = {order_id: order for order_id, (order, _) in open_orders.items()}
    await store.insert_deliveries(work.db, made, orders, started=True)
    return after
