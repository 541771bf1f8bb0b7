"""Binding tasks and handing deliveries to the delivery service: intent first, then the call."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from shoudan_kit import log
from shoudan_kit.tasks.kinds import Task
from shoudan_order import binding, kinds, order_totals, results
from shoudan_order.context import Context
from shoudan_order.delivery_calls import answered, handed_over
from shoudan_order.delivery_client import REQUIRE_SERIAL, Outcome, Sending
from shoudan_order.states import (
    BIND,
    OPEN_DELIVERIES,
    BindEvent,
    DeliveryStatus,
    OrderStatus,
    YesNo,
)
from shoudan_order.store import deliveries as store
from shoudan_order.store import orders as order_store
from shoudan_order.store.rows import Delivery, Order, OrderState, OrderUpdate

REMIND_AFTER_S: Final = 3.0

_log = log.get_logger("deliveries")


async def bind(context: Context, tasks: Sequence[Task[kinds.OrderStep]]) -> None:
    """Bind the unbound amount of paid orders; what no supplier can take is retried until the deadline."""
    ids = sorted({t.payload.order_id for t in tasks})
    async with context.app.work("order.bind") as work:
        orders = await order_store.read_orders(work.db, ids, lock=True)
        open_orders = {
            order_id: (order, order_totals.as_is(was))
            for order_id, (order, was) in orders.items()
            if _bindable(order, was) and was.delivery_pause != YesNo.YES
        }
        after = await binding.bind_open(context, work, open_orders)
        changed = [now for now in after.values() if _changed(now)]
        if changed:
            await order_store.advance_orders(work.db, changed)
        waiting = {i for i in orders if _still_open(orders[i], after.get(i))}
        work.tasks.finish(*(t for t in tasks if t.payload.order_id not in waiting))


def _bindable(order: Order, was: OrderState) -> bool:
    """The vector of oms-behaviour §3.5: paid, not wholly bound, with time for a delivery, not parked."""
    return (
        was.order_status == OrderStatus.DELIVERING
        and BIND.allows(was.delivery_bind_status, BindEvent.BOUND)
        and was.bind_face_micros < order.total_face_micros
        and was.left_s > binding.delivery_margin_s(order.timeout_s)
        and not was.parked_reason
    )


def _changed(now: OrderUpdate) -> bool:
    """Whether something was bound, or the order parked for what binding it would lose."""
    bound = now.bind_face_micros > now.was.bind_face_micros
    return bound or now.parked_reason != now.was.parked_reason


def _still_open(one: tuple[Order, OrderState], now: OrderUpdate | None) -> bool:
    order, was = one
    if now is None:
        return _bindable(order, was)
    open_ = now.bind_face_micros < order.total_face_micros and not now.parked_reason
    return _bindable(order, was) and open_


async def deliver(context: Context, tasks: Sequence[Task[kinds.DeliveryStep]]) -> None:
    """Hand deliveries over. A task ends with its delivery's result; until then it is a reminder.

    Refused deliveries were never sent: they fail, and their orders go elsewhere.
    """
    orders = await context.orders({t.payload.order_id for t in tasks})
    sending, over = await _to_send(context, tasks)
    due = [t for t in tasks if t.payload.delivery_id in sending]
    if over:
        async with context.app.work("order.deliver_over") as work:
            work.tasks.finish(*over)
    if not due:
        return
    wanted = [
        send(context, orders[t.payload.order_id], sending[t.payload.delivery_id]) for t in due
    ]
    ended: list[Outcome] = []
    reminders: list[Task[kinds.DeliveryStep]] = []
    for task, answer in await answered(context, due, context.delivery_client.send(wanted)):
        outcome = handed_over(context, task, task.payload.delivery_id, answer)
        if outcome is not None:
            ended.append(outcome)
        elif task.retry_after_s is None:
            reminders.append(task)
    _defer_reminders(context, reminders)
    if ended:
        await results.report(context, ended)
        gone = {one.id for one in ended}
        async with context.app.work("order.deliver_over") as work:
            work.tasks.finish(*(t for t in due if t.payload.delivery_id in gone))


def _defer_reminders(context: Context, tasks: Sequence[Task[kinds.DeliveryStep]]) -> None:
    """Keep the tasks leased for REMIND_AFTER_S: most results arrive sooner and finish them unwritten."""
    worker = context.app.worker
    if worker is None:
        return
    for task in tasks:
        task.detach()

    def remind() -> None:
        for task in tasks:
            worker.nack(task)

    asyncio.get_running_loop().call_later(REMIND_AFTER_S, remind)


async def _to_send(
    context: Context, tasks: Sequence[Task[kinds.DeliveryStep]]
) -> tuple[dict[int, Delivery], list[Task[kinds.DeliveryStep]]]:
    """Started deliveries by id, and tasks whose delivery has ended."""
    sending: dict[int, Delivery] = {}
    missing: list[Task[kinds.DeliveryStep]] = []
    for task in tasks:
        cached = context.memory.get(task.payload.order_id)
        part = (
            cached.deliveries.get(task.payload.delivery_id) if cached and task.count == 1 else None
        )
        if part is not None:
            sending[part.delivery_id] = part
        else:
            missing.append(task)
    if not missing:
        return sending, []
    async with context.app.db.connect() as db:
        there = await store.deliveries_by_ids(db, [t.payload.delivery_id for t in missing])
        waiting = [i for i, one in there.items() if one.delivery_status == DeliveryStatus.WAITING]
        if waiting:
            await store.advance_started(db, waiting)
    live = {i: one for i, one in there.items() if one.delivery_status in OPEN_DELIVERIES}
    over = [t for t in missing if t.payload.delivery_id not in live]
    return sending | {i: one.delivery for i, one in live.items()}, over


def send(context: Context, order: Order, part: Delivery) -> Sending:
    """The request that hands a part over to the delivery service."""
    line = context.catalogue.lines.get(order.line_id)
    channel = context.catalogue.up_channels.get(part.up_channel_no)
    facts: Mapping[str, str] = {
        "ext_product_no": part.up_ext_product_no,
        "ext_channel_no": channel.ext_channel_no if channel else "",
        "province_no": order.province_no,
        "city_no": order.city_no,
        REQUIRE_SERIAL: "1" if line and line.require_carrier_serial else "",
    }
    return Sending(
        id=part.delivery_id,
        order_id=order.order_id,
        coop_id=order.down_channel_no,
        service_class=line.service_class if line else 10,
        up_channel_no=part.up_channel_no,
        carrier_no=order.carrier_no,
        face_micros=part.face_micros,
        num=part.num,
        account=context.accounts.open(order.order_id, order.rechage_account),
        timeout_s=part.timeout_s or order.timeout_s,
        params={name: value for name, value in facts.items() if value},
    )
