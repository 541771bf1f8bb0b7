"""The documented retries: one step of an order or refund made due again, and dead notifies sent again.

Source: oms-behaviour §3.8. Who, when and why are recorded with each.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import msgspec

from shoudan_kit.tasks.store import finish_tasks_for
from shoudan_kit.tasks.unit_of_work import UnitOfWork, no_record
from shoudan_order import kinds
from shoudan_order.audits import record_operation
from shoudan_order.context import Context
from shoudan_order.refusals import existing
from shoudan_order.states import MoneyBackStatus, OrderStatus, ReturnStatus, UpPaymentStatus
from shoudan_order.store import deliveries as delivery_store
from shoudan_order.store import goods as goods_store
from shoudan_order.store import notifies as notify_store
from shoudan_order.store import orders as order_store
from shoudan_order.store import refunds as refund_store
from shoudan_order.store import returns as return_store
from shoudan_order.store import shelves as shelf_store
from shoudan_order.store.refunds import Refund
from shoudan_order.store.returns import Return

RETRY_S: Final = 900


RESEND_MAX: Final = 1_000  # notifies of a channel in one transaction


async def resend(
    context: Context,
    ids: list[int],
    channel_no: str,
    by: str,
    record: Callable[[UnitOfWork], None] = no_record,
) -> int:
    """Give dead notifies three more attempts; how many were dead. A channel's are taken in steps.

    `record` is written in the transaction of those named by `ids`.
    """
    count = await _resend(context, ids, "", by, record) if ids else 0
    some = RESEND_MAX
    while channel_no and some == RESEND_MAX:
        some = await _resend(context, [], channel_no, by)
        count += some
    # What a system has once is the first shard's.
    if channel_no and context.app.first is context.app:
        count += await _resend_shelf(context, channel_no, by)
    return count


async def _resend_shelf(context: Context, channel_no: str, by: str) -> int:
    """Make due what a channel has not acknowledged of its shelves and goods; how many there are."""
    async with context.app.work("shelf.resend") as work:
        found = await shelf_store.failing(work.db, channel_no, ("", 0, ""), RESEND_MAX)
        shelves = [one for one in found if not one.product_id]
        if shelves:
            await finish_tasks_for(work.db, kinds.SHELF.name, [channel_no])  # which waits its turn
            step = kinds.ShelfStep(channel_no, shelves[0].version + 1)
            work.tasks.add(kinds.SHELF, step, order_no=channel_no)
        if len(found) > len(shelves):
            await goods_store.begin_again(work.db, channel_no)
            await finish_tasks_for(work.db, kinds.GOODS.name, [channel_no])
            work.tasks.add(kinds.GOODS, kinds.GoodsStep(channel_no, 0), order_no=channel_no)
        if found:
            await record_operation(work, by, "shelf.resend", channel_no, f"{len(found)} notifies")
    return len(found)


async def _resend(
    context: Context,
    ids: list[int],
    channel_no: str,
    by: str,
    record: Callable[[UnitOfWork], None] = no_record,
) -> int:
    async with context.app.work("notify.resend") as work:
        keys = await notify_store.revive_notifies(work.db, ids, channel_no, RESEND_MAX)
        orders = await context.orders({key[0] for key in keys}, work.db)
        for order_id, refund_id in keys:
            kind = kinds.REFUND_NOTIFY if refund_id else kinds.NOTIFY
            step = kinds.NotifyStep(order_id, refund_id)
            context.enqueue(work, kind, orders[order_id].line_id, step)
        if keys:
            subject = channel_no or ", ".join(map(str, ids[:20]))
            await record_operation(work, by, "notify.resend", subject, f"{len(keys)} notifies")
            record(work)
    return len(keys)


async def retry(context: Context, name: str, number: int, by: str, reason: str) -> int:
    """Make one step due again; the task made, 0 when there was nothing to do. Refuses: NotFound."""
    async with context.app.work("audit.retry") as work:
        task_id = await _RETRIES[name](context, work, number)
        await record_operation(work, by, f"retry.{name}", str(number), reason)
    return task_id


async def _retry_bind(context: Context, work: UnitOfWork, number: int) -> int:
    orders = await order_store.read_orders(work.db, [number], lock=True)
    order, was = existing(orders, "order", number)
    open_ = was.bind_face_micros < order.total_face_micros
    if was.order_status != OrderStatus.DELIVERING or not open_ or was.parked_reason:
        return 0
    return context.enqueue(
        work, kinds.BIND, order.line_id, kinds.OrderStep(number), deadline_s=RETRY_S
    )


async def _retry_up_pay(context: Context, work: UnitOfWork, number: int) -> int:
    there = existing(await delivery_store.deliveries_by_ids(work.db, [number]), "delivery", number)
    if there.up_payment_status != UpPaymentStatus.PAYING:
        return 0
    order_id = there.delivery.order_id
    order = (await context.orders([order_id], work.db))[order_id]
    step = kinds.DeliveryStep(number, order_id)
    return context.enqueue(work, kinds.UP_PAY, order.line_id, step, deadline_s=RETRY_S)


async def _retry_notify(context: Context, work: UnitOfWork, number: int) -> int:
    keys = await notify_store.revive_notifies(work.db, [number], "", 1)
    if not keys:
        return 0
    order_id, refund_id = keys[0]
    order = (await context.orders([order_id], work.db))[order_id]
    kind = kinds.REFUND_NOTIFY if refund_id else kinds.NOTIFY
    step = kinds.NotifyStep(order_id, refund_id)
    return context.enqueue(work, kind, order.line_id, step)


async def _retry_return(context: Context, work: UnitOfWork, number: int) -> int:
    """A new return in the place of one that failed: to the supplier a number that failed stays failed."""
    there = existing(await return_store.returns_by_ids(work.db, [number]), "return", number)
    order = (await order_store.read_orders(work.db, [there.order_id], lock=True))[there.order_id][0]
    refund = (await refund_store.refunds_by_ids(work.db, [there.refund_id])).get(there.refund_id)
    failed = there.return_status == ReturnStatus.FAILED
    if not failed or refund is None or not await _room(work, refund, there):
        return 0
    # The last thing that can refuse it: a refund that has ended takes no more returns.
    if not await refund_store.prolong(work.db, refund.refund_id, RETRY_S):
        return 0
    again = msgspec.structs.replace(
        there,
        return_id=work.ids.next(),
        return_status=ReturnStatus.WAITING,
        up_refund_status=MoneyBackStatus.NOT_STARTED,
    )
    await return_store.insert_returns(work.db, [again])
    refund_step = kinds.RefundStep(refund.refund_id, order.order_id)
    context.enqueue(work, kinds.REFUND_TIMEOUT, order.line_id, refund_step, delay_s=RETRY_S + 1)
    step = kinds.ReturnStep(again.return_id, refund.refund_id, order.order_id)
    return context.enqueue(work, kinds.RETURN, order.line_id, step, deadline_s=RETRY_S)


async def _room(work: UnitOfWork, refund: Refund, failed: Return) -> bool:
    """Whether nothing has taken the place of the failed return, in its refund and of its delivery."""
    live = await return_store.returns_of_deliveries(work.db, [failed.delivery_id])
    part = await delivery_store.deliveries_by_ids(work.db, [failed.delivery_id])
    units = part[failed.delivery_id].delivery.num - sum(r.return_num for r in live)
    mine = await return_store.returns_of_refunds(work.db, [refund.refund_id])
    face = refund.refund_face_micros - sum(
        r.return_total_face_micros for r in mine if r.return_status != ReturnStatus.FAILED
    )
    return units >= failed.return_num and face >= failed.return_total_face_micros


async def _retry_up_refund(context: Context, work: UnitOfWork, number: int) -> int:
    there = existing(await return_store.returns_by_ids(work.db, [number]), "return", number)
    if there.up_refund_status != MoneyBackStatus.WAITING:
        return 0
    order = (await context.orders([there.order_id], work.db))[there.order_id]
    step = kinds.ReturnStep(number, there.refund_id, there.order_id)
    return context.enqueue(work, kinds.UP_REFUND, order.line_id, step, deadline_s=RETRY_S)


async def _retry_down_refund(context: Context, work: UnitOfWork, number: int) -> int:
    refund = existing(await refund_store.refunds_by_ids(work.db, [number]), "refund", number)
    if refund.down_refund_status != MoneyBackStatus.WAITING:
        return 0
    order = (await context.orders([refund.order_id], work.db))[refund.order_id]
    step = kinds.RefundStep(number, refund.order_id)
    return context.enqueue(work, kinds.DOWN_REFUND, order.line_id, step, deadline_s=RETRY_S)


_RETRIES: Final[Mapping[str, Callable[[Context, UnitOfWork, int], Awaitable[int]]]] = {
    "bind": _retry_bind,
    "up_pay": _retry_up_pay,
    "order_notify": _retry_notify,
    "return": _retry_return,
    "up_refund": _retry_up_refund,
    "down_refund": _retry_down_refund,
    "refund_notify": _retry_notify,
}
