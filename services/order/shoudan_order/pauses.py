"""Pausing orders: nothing more of them is bound to suppliers; what was handed over goes on."""

from __future__ import annotations

from collections.abc import Sequence

from shoudan_kit.audit_log.entries import describe
from shoudan_order import binding, events
from shoudan_order.context import Context
from shoudan_order.refusals import NotFound
from shoudan_order.states import OrderStatus
from shoudan_order.store import orders as store
from shoudan_order.store import pauses as pause_store
from shoudan_order.store.catalogue import Operation, record


async def pause(
    context: Context, order_ids: Sequence[int], *, paused: bool, by: str, reason: str
) -> list[int]:
    """Pause or resume; the orders that changed. Orders that have ended stay as they are.

    A resumed order is bound at once if it has time left. Refuses: NotFound (then nothing changes).
    """
    async with context.app.work("order.pause") as work:
        orders = await store.read_orders(work.db, sorted(set(order_ids)), lock=True)
        for order_id in order_ids:
            if order_id not in orders:
                raise NotFound("order", order_id)
        changed = sorted(await pause_store.set_paused(work.db, list(orders), paused=paused))
        for order_id in changed:
            order, was = orders[order_id]
            what = "paused" if paused else "resumed"
            events.order_event(work, what, order, was.order_status, events.AUDIT, f"{by}: {reason}")
            if not paused and was.order_status == OrderStatus.DELIVERING:
                binding.enqueue_bind(context, work, order, was.left_s, tried=False)
        describe(before={"paused": not paused}, after={"paused": paused, "orders": changed})
        what = "order.pause" if paused else "order.resume"
        await record(
            work.db,
            *(
                Operation(work.ids.next(), by, what, f"order {order_id}", {"reason": reason})
                for order_id in changed
            ),
        )
    return changed
