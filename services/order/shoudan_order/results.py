"""Results of deliveries: totals and profit, the supplier's payment, the notify, or another supplier.

Source: oms-behaviour §3.5 "Delivery finish". A result that contradicts what is stored is recorded for
a person: the order is parked, and until the decision nothing more of it is bound, nor is it closed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from shoudan_kit import log
from shoudan_kit.db.pool import retry
from shoudan_kit.money import micros_to_yuan
from shoudan_kit.tasks.covers import Cover
from shoudan_kit.tasks.unit_of_work import UnitOfWork
from shoudan_order import binding, costs, events, kinds, notifies, order_totals
from shoudan_order.context import Context
from shoudan_order.delivery_client import Outcome
from shoudan_order.parking import park
from shoudan_order.states import (
    DELIVERY,
    ENDED,
    UP_PAYMENT,
    AuditStatus,
    AuditType,
    DeliveryEvent,
    DeliveryStatus,
    FailRefundStatus,
    OrderStatus,
    UpPaymentEvent,
)
from shoudan_order.store import audits as audit_store
from shoudan_order.store import deliveries as delivery_store
from shoudan_order.store import orders as store
from shoudan_order.store.rows import Delivery, DeliveryState, Order, OrderState, OrderUpdate

_log = log.get_logger("results")


class Ack(msgspec.Struct, frozen=True):
    """What became of one result."""

    id: int
    applied: bool
    conflict: bool


@dataclass(slots=True)
class _Batch:
    """What a batch of results does, gathered before anything is written."""

    ended: list[delivery_store.Ended] = field(default_factory=list[delivery_store.Ended])
    acks: dict[int, Ack] = field(default_factory=dict[int, Ack])
    now: dict[int, OrderUpdate] = field(default_factory=dict[int, OrderUpdate])
    succeeded: list[tuple[Delivery, Outcome]] = field(
        default_factory=list[tuple[Delivery, Outcome]]
    )
    failed: list[tuple[Delivery, Outcome]] = field(default_factory=list[tuple[Delivery, Outcome]])
    refused_costs: list[tuple[Delivery, str]] = field(default_factory=list[tuple[Delivery, str]])
    # Deliveries reported with both ends: their order, and whether the stored end is a success.
    conflicts: dict[int, tuple[int, bool]] = field(default_factory=dict[int, tuple[int, bool]])


async def report(context: Context, outcomes: Sequence[Outcome]) -> list[Ack]:
    """Store ends of deliveries; acknowledgements in order. Repeats change nothing."""
    acks = await retry(lambda: _apply(context, outcomes))
    return [acks.get(one.id) or Ack(one.id, False, one.contradicts) for one in outcomes]


async def _apply(context: Context, outcomes: Sequence[Outcome]) -> dict[int, Ack]:
    async with context.app.work("order.results") as work:
        batch = await report_in(context, work, outcomes)
    context.memory.drop(i for i, now in batch.now.items() if now.order_status == OrderStatus.FAILED)
    return batch.acks


async def report_in(context: Context, work: UnitOfWork, outcomes: Sequence[Outcome]) -> _Batch:
    """Store ends of deliveries inside a transaction of the caller's."""
    ids = [one.id for one in outcomes]
    # Lock orders first and in id order; what is read afterwards includes concurrent changes.
    locked = await store.lock_by_deliveries(work.db, ids)
    sold = await context.orders(locked, work.db)
    orders = {order_id: (sold[order_id], was) for order_id, was in locked.items()}
    there = await delivery_store.deliveries_by_ids(work.db, ids)
    batch = _decide(orders, there, outcomes, context.settings.supplier_cost_max_ppm)
    await _write(context, work, orders, batch)
    return batch


def _decide(
    orders: Mapping[int, tuple[Order, OrderState]],
    there: Mapping[int, DeliveryState],
    outcomes: Sequence[Outcome],
    cost_max_ppm: int,
) -> _Batch:
    batch = _Batch()
    ends = {i: _succeeded_or_not(one.delivery_status) for i, one in there.items()}
    for one in outcomes:
        state = there.get(one.id)
        if state is None:
            continue
        order, was = orders[state.delivery.order_id]
        ack = batch.acks.get(one.id) or Ack(one.id, False, False)
        succeeded = ends[one.id]
        if succeeded is None:
            now = batch.now.get(order.order_id) or order_totals.as_is(was)
            batch.now[order.order_id] = _fold(batch, order, now, state, one.first, cost_max_ppm)
            succeeded = ends[one.id] = one.first.succeeded
            ack = msgspec.structs.replace(ack, applied=True)
        if one.contradicts or one.succeeded != succeeded:
            batch.conflicts[one.id] = (order.order_id, succeeded)
            ack = msgspec.structs.replace(ack, conflict=True)
        batch.acks[one.id] = ack
    return batch


def _succeeded_or_not(status: DeliveryStatus) -> bool | None:
    """How a delivery has ended; None while it has not."""
    if status in {DeliveryStatus.SUCCEEDED, DeliveryStatus.FAILED}:
        return status == DeliveryStatus.SUCCEEDED
    return None


def _fold(
    batch: _Batch,
    order: Order,
    now: OrderUpdate,
    state: DeliveryState,
    one: Outcome,
    cost_max_ppm: int,
) -> OrderUpdate:
    part = state.delivery
    cost, stated_micros = part.cost_amount_micros, 0
    if one.succeeded:
        found = costs.booked(part.cost_amount_micros, one, cost_max_ppm)
        cost, stated_micros = found.micros, found.micros if found.stated else 0
        if found.refused:
            batch.refused_costs.append((part, found.refused))
        event, paid, now = (
            DeliveryEvent.SUCCEEDED,
            UpPaymentEvent.DELIVERED,
            order_totals.delivered(order, now, part, cost),
        )
        real = msgspec.structs.replace(part, cost_amount_micros=cost) if found.stated else part
        batch.succeeded.append((real, one))
    else:
        event, paid = DeliveryEvent.FAILED, UpPaymentEvent.NOT_DELIVERED
        now = order_totals.unbound(now, part.total_face_micros)
        batch.failed.append((part, one))
    # A delivery may succeed whose start was never stored: it was sent all the same.
    status = state.delivery_status
    if not DELIVERY.allows(status, event):
        status = DELIVERY.next(status, DeliveryEvent.STARTED)
    batch.ended.append(
        delivery_store.Ended(
            part.delivery_id,
            DELIVERY.next(status, event),
            UP_PAYMENT.next(state.up_payment_status, paid),
            one.up_order_no,
            cost,
            stated_micros,
            one.message,
            one.params_json,
        )
    )
    return now


async def _write(
    context: Context,
    work: UnitOfWork,
    orders: Mapping[int, tuple[Order, OrderState]],
    batch: _Batch,
) -> None:
    if batch.ended:
        await delivery_store.advance_ended(work.db, batch.ended)
    await _unpark_known(work, orders, batch)
    if batch.conflicts:
        await _park(work, orders, batch)
    if batch.failed:
        await _rebind_failed(context, work, orders, batch)
    for order_id, now in batch.now.items():
        # After its timeout an order ends with its last part, delivered or not, unless it is parked.
        order, was = orders[order_id]
        if was.left_s <= 0 and not now.parked_reason:
            batch.now[order_id] = order_totals.closed(
                order, now, partial=context.settings.partial_auto
            )
    await _audit_costs(work, orders, batch)
    if batch.now:
        await store.advance_orders(work.db, list(batch.now.values()))
        await request_decision(work, list(batch.now.values()))
    # With its success an order's steps are all there, so that its cover goes with the last of them.
    covers = {
        order_id: cover
        for order_id, now in batch.now.items()
        if now.order_status == OrderStatus.SUCCEEDED
        and (cover := context.memory.cover(order_id)) is not None
    }
    for part, _ in batch.succeeded:
        order, now = orders[part.order_id][0], batch.now[part.order_id]
        _succeeded(context, work, order, now, part, covers.get(part.order_id))
    for order_id, now in batch.now.items():
        if now.order_status in ENDED:
            _ended(context, work, orders[order_id][0], now, covers.get(order_id))


async def _rebind_failed(
    context: Context,
    work: UnitOfWork,
    orders: Mapping[int, tuple[Order, OrderState]],
    batch: _Batch,
) -> None:
    """Bind failed parts again while there is time."""
    for part, one in batch.failed:
        order, now = orders[part.order_id][0], batch.now[part.order_id]
        work.tasks.finish_id(kinds.DELIVER, part.delivery_id)
        events.order_event(
            work,
            "delivery_failed",
            order,
            now.order_status,
            events.FINISH,
            f"{part.up_channel_no} {one.message}",
            delivery_id=part.delivery_id,
        )
    again: dict[int, tuple[Order, OrderUpdate]] = {}
    for order_id in {part.order_id for part, _ in batch.failed}:
        (order, was), now = orders[order_id], batch.now[order_id]
        # A parked order is left as it is: what its audit decides binds the rest, or ends it.
        if was.left_s > 0 and not now.parked_reason:
            again[order_id] = (order, now)
    here = {i: one for i, one in again.items() if _rebinds(context, *one)}
    if here:
        batch.now |= await binding.bind_open(context, work, here)
    for order_id, (order, _) in again.items():
        now = batch.now[order_id]
        if now.bind_face_micros < order.total_face_micros and not now.parked_reason:
            left_s = orders[order_id][1].left_s
            binding.enqueue_bind(context, work, order, left_s, tried=order_id in here)


def _rebinds(context: Context, order: Order, now: OrderUpdate) -> bool:
    enough = now.was.left_s > binding.delivery_margin_s(order.timeout_s)
    return enough and now.was.delivery_pause != 0 and binding.can_run_inline(context, order.line_id)


async def _unpark_known(
    work: UnitOfWork, orders: Mapping[int, tuple[Order, OrderState]], batch: _Batch
) -> None:
    """Unpark orders whose unknown delivery has ended."""
    ends = [(part, AuditStatus.SUCCEEDED) for part, _ in batch.succeeded]
    ends += [(part, AuditStatus.FAILED) for part, _ in batch.failed]
    known = [
        audit_store.KnownEnd(part.order_id, part.delivery_id, status)
        for part, status in ends
        if orders[part.order_id][1].parked_reason
    ]
    if not known:
        return
    for order_id in await audit_store.close_audits(work.db, AuditType.DELIVERY, known):
        now = batch.now[order_id]
        if now.parked_reason == now.was.parked_reason:
            batch.now[order_id] = msgspec.structs.replace(now, parked_reason="")


async def request_decision(work: UnitOfWork, changed: Sequence[OrderUpdate]) -> None:
    """Add audits for orders that have just become partly delivered (partial_auto off)."""
    left = [
        now
        for now in changed
        if now.parked_reason == order_totals.HALF and now.was.parked_reason != order_totals.HALF
    ]
    if left:
        asked = [
            audit_store.NewAudit(
                work.ids.next(), now.was.order_id, 0, 0, AuditType.ORDER, now.parked_reason
            )
            for now in left
        ]
        await audit_store.insert_audits(work.db, asked)


async def _audit_costs(
    work: UnitOfWork, orders: Mapping[int, tuple[Order, OrderState]], batch: _Batch
) -> None:
    """Add audits for refused costs; the deliveries have succeeded and their orders go on."""
    if not batch.refused_costs:
        return
    asked = [
        audit_store.NewAudit(
            work.ids.next(), part.order_id, 0, part.delivery_id, AuditType.DELIVERY, reason
        )
        for part, reason in batch.refused_costs
    ]
    await audit_store.insert_audits(work.db, asked)
    for part, reason in batch.refused_costs:
        order, status = orders[part.order_id][0], batch.now[part.order_id].order_status
        events.order_event(
            work, "cost_refused", order, status, events.AUDIT, reason, delivery_id=part.delivery_id
        )
    _log.warning("cost_refused", delivery_ids=[part.delivery_id for part, _ in batch.refused_costs])


async def _park(
    work: UnitOfWork, orders: Mapping[int, tuple[Order, OrderState]], batch: _Batch
) -> None:
    """Store each contradiction once: an audit, the order parked, the first end kept."""
    reasons: dict[int, str] = {}
    asked: list[audit_store.NewAudit] = []
    for delivery_id in sorted(
        await delivery_store.mark_conflicts(work.db, sorted(batch.conflicts))
    ):
        order_id, succeeded = batch.conflicts[delivery_id]
        stands, contradicted = ("succeeded", "failed") if succeeded else ("failed", "succeeded")
        reason = f"delivery {delivery_id} is {stands}, now reported as {contradicted}"
        reasons.setdefault(order_id, reason)
        kind = AuditType.FALSE_SUCCESS if succeeded else AuditType.DELIVERY
        audit_id = work.ids.next()
        asked.append(audit_store.NewAudit(audit_id, order_id, 0, delivery_id, kind, reason))
    if not asked:
        return
    await park(work, orders, reasons, asked, events.AUDIT)
    for order_id, reason in reasons.items():
        if (now := batch.now.get(order_id)) is not None and not now.parked_reason:
            batch.now[order_id] = msgspec.structs.replace(now, parked_reason=reason)


def _succeeded(
    context: Context,
    work: UnitOfWork,
    order: Order,
    now: OrderUpdate,
    part: Delivery,
    cover: Cover | None = None,
) -> None:
    """Enqueue the supplier's payment of a delivered part, and publish the delivery."""
    step = kinds.DeliveryStep(part.delivery_id, order.order_id)
    context.enqueue(work, kinds.UP_PAY, order.line_id, step, cover=cover)
    cached = context.memory.get(order.order_id)
    if cached is not None:
        cached.deliveries[part.delivery_id] = part
        cached.costed.add(part.delivery_id)
    work.tasks.finish_id(kinds.DELIVER, part.delivery_id)
    if now.order_status != OrderStatus.SUCCEEDED:
        events.order_event(
            work,
            "delivered",
            order,
            now.order_status,
            events.FINISH,
            f"{part.up_channel_no} {micros_to_yuan(part.total_face_micros)} 元",
            success_face_micros=now.success_face_micros,
            delivery_id=part.delivery_id,
        )


END_EVENT = {
    OrderStatus.SUCCEEDED: "succeeded",
    OrderStatus.FAILED: "failed",
    OrderStatus.PARTIAL: "partial",
}


def _ended(
    context: Context,
    work: UnitOfWork,
    order: Order,
    now: OrderUpdate,
    cover: Cover | None = None,
) -> None:
    """Enqueue what an order's end entails, once: notify, refund of what failed; finish its timeout task."""
    if now.was.order_status in ENDED:
        return
    events.order_event(
        work,
        END_EVENT[now.order_status],
        order,
        now.order_status,
        events.FINISH,
        now.fail_msg,
        success_face_micros=now.success_face_micros,
    )
    code, message = now.fail_code, now.fail_msg
    notifies.enqueue_notify(context, work, order, now.order_status, code, message, cover)
    if now.refund_status == FailRefundStatus.WAITING:
        context.enqueue(work, kinds.ORDER_REFUND, order.line_id, kinds.OrderStep(order.order_id))
    if cover is not None:
        work.tasks.finish_cover(cover)
    else:
        work.tasks.finish_id(kinds.TIMEOUT, order.order_id)


async def confirm(context: Context, work: UnitOfWork, delivery_id: int, reason: str) -> str:
    """A person decided that a delivery stored as failed was delivered; why that cannot be, or "".

    Under the order's lock: its face counts as delivered, its supplier is paid, the order may end by it.
    Only while the order runs and as much of it is unbound: what has its money back, or went elsewhere, is
    settled by postings.
    """
    order_ids = list(await store.lock_by_deliveries(work.db, [delivery_id]))
    found = await store.read_orders(work.db, order_ids, lock=True)
    there = (await delivery_store.deliveries_by_ids(work.db, [delivery_id]))[delivery_id]
    part = there.delivery
    order, was = found[part.order_id]
    if was.order_status != OrderStatus.DELIVERING:
        return "the order has ended; settle the supplier's delivery by a posting"
    if was.bind_face_micros + part.total_face_micros > order.total_face_micros:
        return "the order is bound elsewhere; settle this delivery by a posting"
    if not await delivery_store.advance_confirmed(work.db, delivery_id, reason):
        return "the delivery is not failed any more"
    now = order_totals.bound(order_totals.as_is(was), part.total_face_micros)
    now = order_totals.delivered(order, now, part, part.cost_amount_micros)
    await store.advance_orders(work.db, [now])
    _succeeded(context, work, order, now, part)
    end(context, work, order, now)
    return ""


def end(context: Context, work: UnitOfWork, order: Order, now: OrderUpdate) -> None:
    """The same for an order that ended by its timeout or an audit."""
    if now.order_status in ENDED:
        _ended(context, work, order, now)
