"""Returns: handed over to suppliers, ended by their results; the last one ends the refund.

Source: oms-behaviour §3.7. Mixed ends close the refund as partial (91) with what came back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from shoudan_kit.db.pool import retry
from shoudan_kit.tasks.kinds import Task
from shoudan_kit.tasks.unit_of_work import UnitOfWork
from shoudan_order import events, kinds, order_totals, refunds
from shoudan_order.context import Context
from shoudan_order.delivery_calls import answered, handed_over
from shoudan_order.delivery_client import Outcome, Sending
from shoudan_order.parking import park
from shoudan_order.results import Ack
from shoudan_order.states import (
    MONEY_BACK,
    NOTIFY,
    OPEN_RETURNS,
    REFUND,
    RETURN,
    UP_RETURN,
    AuditStatus,
    AuditType,
    MoneyBackEvent,
    NotifyEvent,
    RefundEvent,
    RefundStatus,
    ReturnEvent,
    ReturnStatus,
    UpReturnEvent,
)
from shoudan_order.store import audits as audit_store
from shoudan_order.store import orders as order_store
from shoudan_order.store import pauses as pause_store
from shoudan_order.store import refunds as refund_store
from shoudan_order.store import returns as store
from shoudan_order.store.refunds import Refund
from shoudan_order.store.returns import Return
from shoudan_order.store.rows import Order, OrderState, OrderUpdate

# Result code of a return never sent before its refund's timeout; it ends none that was handed over.
NEVER_SENT = "overtime"
HALF = "returned in part"
END_EVENT = {
    RefundStatus.REFUNDING: "returned",
    RefundStatus.FAILED: "failed",
    RefundStatus.PARTIAL: "partial",
}


@dataclass(slots=True)
class _Batch:
    """What a batch of ends of returns does."""

    acks: dict[int, Ack] = field(default_factory=dict[int, Ack])
    ended: list[store.EndedReturn] = field(default_factory=list[store.EndedReturn])
    returned: list[Return] = field(default_factory=list[Return])
    conflicts: dict[int, Return] = field(default_factory=dict[int, Return])
    now: dict[int, Return] = field(default_factory=dict[int, Return])


async def send(context: Context, tasks: Sequence[Task[kinds.ReturnStep]]) -> None:
    """Hand returns over: intent first, then the call. A task ends with its return's result."""
    ids = [t.payload.return_id for t in tasks]
    orders = await context.orders({t.payload.order_id for t in tasks})
    async with context.app.work("refund.return") as work:
        started = await store.advance_return_sending(work.db, ids)
        # Read after the start, so that a concurrent end is seen.
        there = await store.returns_by_ids(work.db, ids)
        if started:
            await refund_store.advance_return_started(
                work.db, sorted({there[i].refund_id for i in started})
            )
        due = [
            t
            for t in tasks
            if (r := there.get(t.payload.return_id)) and r.return_status in OPEN_RETURNS
        ]
        work.tasks.finish(*(t for t in tasks if t not in due))
    wanted = [
        _sending(context, orders[t.payload.order_id], there[t.payload.return_id]) for t in due
    ]
    ended: list[Outcome] = []
    for task, answer in await answered(context, due, context.delivery_client.send(wanted)):
        outcome = handed_over(context, task, task.payload.return_id, answer, is_return=True)
        if outcome is not None:
            ended.append(outcome)
    if ended:
        await report(context, ended)
        gone = {one.id for one in ended}
        async with context.app.work("refund.return_over") as work:
            work.tasks.finish(*(t for t in due if t.payload.return_id in gone))


def _sending(context: Context, order: Order, one: Return) -> Sending:
    line = context.catalogue.lines.get(order.line_id)
    product = context.catalogue.up_products.get(one.up_product_id)
    shelf = context.catalogue.up_shelves.get(product.shelf_id) if product else None
    params = {
        "ext_product_no": one.up_ext_product_no,
        "delivery_id": str(one.delivery_id),
        "province_no": order.province_no,
        "city_no": order.city_no,
    }
    return Sending(
        id=one.return_id,
        order_id=order.order_id,
        coop_id=order.down_channel_no,
        service_class=line.return_service_class if line else 21,
        up_channel_no=one.up_channel_no,
        carrier_no=order.carrier_no,
        face_micros=one.return_face_micros,
        num=one.return_num,
        account=context.accounts.open(order.order_id, order.rechage_account),
        timeout_s=shelf.return_overtime_s if shelf else 300,
        params={name: value for name, value in params.items() if value},
    )


async def report(context: Context, outcomes: Sequence[Outcome]) -> list[Ack]:
    """Store ends of returns; acknowledgements in order. Repeats change nothing."""
    acks = await retry(lambda: _report(context, outcomes))
    return [acks.get(one.id) or Ack(one.id, False, one.contradicts) for one in outcomes]


async def _report(context: Context, outcomes: Sequence[Outcome]) -> dict[int, Ack]:
    async with context.app.work("refund.results") as work:
        return (await report_in(context, work, outcomes)).acks


async def report_in(context: Context, work: UnitOfWork, outcomes: Sequence[Outcome]) -> _Batch:
    """Store ends of returns inside a transaction of the caller's."""
    ids = [one.id for one in outcomes]
    known = await store.returns_by_ids(work.db, ids)
    order_ids = sorted({r.order_id for r in known.values()})
    orders = await order_store.read_orders(work.db, order_ids, lock=True)
    # Read again under the locks: a concurrent report may have ended them; none is sent meanwhile.
    there = await store.returns_by_ids(work.db, ids, lock=True)
    batch = _decide(there, outcomes)
    if batch.ended:
        await store.advance_returned(work.db, batch.ended)
    await _unpark_known(work, orders, batch)
    await _settle(context, work, orders, batch)
    if batch.conflicts:
        await _park(work, orders, batch)
    return batch


def _decide(there: Mapping[int, Return], outcomes: Sequence[Outcome]) -> _Batch:
    batch = _Batch()
    for one in outcomes:
        was = batch.now.get(one.id) or there.get(one.id)
        if was is None:
            continue
        ack = batch.acks.get(one.id) or Ack(one.id, False, False)
        if was.return_status in OPEN_RETURNS:
            if one.result_code == NEVER_SENT and was.return_status != ReturnStatus.WAITING:
                continue
            was = _end(batch, was, one.first)
            ack = msgspec.structs.replace(ack, applied=True)
        differs = one.succeeded != (was.return_status == ReturnStatus.SUCCEEDED)
        if one.contradicts or (differs and one.result_code != NEVER_SENT):
            batch.conflicts[one.id] = was
            ack = msgspec.structs.replace(ack, conflict=True)
        batch.acks[one.id] = ack
    return batch


def _end(batch: _Batch, was: Return, one: Outcome) -> Return:
    """The return after its end."""
    event = ReturnEvent.SUCCEEDED if one.succeeded else ReturnEvent.FAILED
    money = MoneyBackEvent.RETURNED if one.succeeded else MoneyBackEvent.NOT_RETURNED
    status = was.return_status
    if not RETURN.allows(status, event):
        status = RETURN.next(status, ReturnEvent.STARTED)
    now = msgspec.structs.replace(
        was,
        return_status=RETURN.next(status, event),
        up_refund_status=MONEY_BACK.next(was.up_refund_status, money),
    )
    batch.now[one.id] = now
    batch.ended.append(
        store.EndedReturn(
            one.id, now.return_status, now.up_refund_status, one.up_order_no, one.message
        )
    )
    if one.succeeded:
        batch.returned.append(now)
    return now


async def _settle(
    context: Context,
    work: UnitOfWork,
    orders: Mapping[int, tuple[Order, OrderState]],
    batch: _Batch,
) -> None:
    """Costs go down with each return; the refund ends with its last one."""
    changed: dict[int, OrderUpdate] = {}
    for one in batch.returned:
        order, was = orders[one.order_id]
        now = changed.get(one.order_id) or order_totals.as_is(was)
        changed[one.order_id] = order_totals.returned(now, one)
        context.enqueue(
            work,
            kinds.UP_REFUND,
            order.line_id,
            kinds.ReturnStep(one.return_id, one.refund_id, one.order_id),
        )
    await _end_refunds(context, work, orders, batch, changed)
    if changed:
        await order_store.advance_orders(work.db, list(changed.values()))


async def _end_refunds(
    context: Context,
    work: UnitOfWork,
    orders: Mapping[int, tuple[Order, OrderState]],
    batch: _Batch,
    changed: dict[int, OrderUpdate],
) -> None:
    """End the refunds whose last return has ended; half returned ones perhaps by a person only."""
    refund_ids = sorted({r.refund_id for r in batch.now.values() if r.refund_id})
    if not refund_ids:
        return
    there = await refund_store.refunds_by_ids(work.db, refund_ids)
    returns = await store.returns_of_refunds(work.db, refund_ids)
    halves: list[Refund] = []
    for refund in there.values():
        mine = [r for r in returns if r.refund_id == refund.refund_id]
        order, was = orders[refund.order_id]
        now = changed.get(refund.order_id) or order_totals.as_is(was)
        ended = ended_refund(order, now, refund, mine)
        if ended is None:
            continue
        if ended[0].refund_status == RefundStatus.PARTIAL and not context.settings.partial_auto:
            halves.append(refund)
            continue
        changed[refund.order_id] = ended[1]
        await close(context, work, order, ended[0])
    if halves:
        reasons = {r.order_id: f"refund {r.refund_id} {HALF}" for r in halves}
        audits = [
            audit_store.NewAudit(
                work.ids.next(), r.order_id, r.refund_id, 0, AuditType.REFUND, reasons[r.order_id]
            )
            for r in halves
        ]
        for order_id in await park(work, orders, reasons, audits, events.RETURN_UNKNOWN):
            now = changed.get(order_id) or order_totals.as_is(orders[order_id][1])
            changed[order_id] = msgspec.structs.replace(now, parked_reason=reasons[order_id])


async def close(context: Context, work: UnitOfWork, order: Order, refund: Refund) -> None:
    """Write a refund that has just ended, with what follows from it."""
    await refund_store.advance_refunds(work.db, [refund])
    _after_end(context, work, order, refund)


def ended_refund(
    order: Order, now: OrderUpdate, refund: Refund, returns: Sequence[Return]
) -> tuple[Refund, OrderUpdate] | None:
    """The refund and its order once every return has ended; None before."""
    if refund.refund_status != RefundStatus.RETURNING:
        return None
    if any(r.return_status in OPEN_RETURNS for r in returns):
        return None
    back = sum(
        r.return_total_face_micros for r in returns if r.return_status == ReturnStatus.SUCCEEDED
    )
    if back == refund.refund_face_micros:
        event, up_event = RefundEvent.RETURNED, UpReturnEvent.RETURNED
    elif back:
        event, up_event = RefundEvent.PART_RETURNED, UpReturnEvent.PART_RETURNED
    else:
        event, up_event = RefundEvent.NOT_RETURNED, UpReturnEvent.NOT_RETURNED
    started = refund.up_return_status
    if not UP_RETURN.allows(started, up_event):
        started = UP_RETURN.next(started, UpReturnEvent.STARTED)
    money = MoneyBackEvent.RETURNED if back else MoneyBackEvent.NOT_RETURNED
    notify_status = refund.refund_notify_status
    after = order_totals.refunded(order, now, back) if back else now
    return (
        msgspec.structs.replace(
            refund,
            refund_status=REFUND.next(refund.refund_status, event),
            up_return_status=UP_RETURN.next(started, up_event),
            down_refund_status=MONEY_BACK.next(refund.down_refund_status, money),
            refund_notify_status=NOTIFY.next(notify_status, NotifyEvent.ENDED)
            if refund.has_notify
            else notify_status,
            **refunds.amounts(now, after) if back else {},
        ),
        after,
    )


def _after_end(context: Context, work: UnitOfWork, order: Order, refund: Refund) -> None:
    status = refund.refund_status
    events.refund_event(work, END_EVENT[status], refund, status, events.RETURNED)
    if refund.refund_status == RefundStatus.FAILED:
        refunds.enqueue_notify(context, work, order.line_id, refund)
    else:
        refunds.enqueue_refund(context, work, order.line_id, refund)


async def _park(
    work: UnitOfWork, orders: Mapping[int, tuple[Order, OrderState]], batch: _Batch
) -> None:
    """Record contradictions once: an audit each, the order parked, the first end stands."""
    reasons: dict[int, str] = {}
    audits: list[audit_store.NewAudit] = []
    for return_id in sorted(await store.mark_conflicts(work.db, sorted(batch.conflicts))):
        was = batch.conflicts[return_id]
        succeeded = was.return_status == ReturnStatus.SUCCEEDED
        stands, notify_status = ("succeeded", "failed") if succeeded else ("failed", "succeeded")
        reason = f"return {return_id} is {stands}, now reported as {notify_status}"
        reasons.setdefault(was.order_id, reason)
        audits.append(_audit(work, was, reason))
    if audits:
        await park(work, orders, reasons, audits, events.RETURN_UNKNOWN)


def _audit(work: UnitOfWork, one: Return, reason: str) -> audit_store.NewAudit:
    return audit_store.NewAudit(
        work.ids.next(), one.order_id, one.refund_id, one.return_id, AuditType.RETURN, reason
    )


async def _unpark_known(
    work: UnitOfWork, orders: dict[int, tuple[Order, OrderState]], batch: _Batch
) -> None:
    """Unpark orders whose unknown return has ended."""
    known = [
        audit_store.KnownEnd(
            one.order_id,
            one.return_id,
            AuditStatus.SUCCEEDED
            if one.return_status == ReturnStatus.SUCCEEDED
            else AuditStatus.FAILED,
        )
        for one in batch.now.values()
        if orders[one.order_id][1].parked_reason
    ]
    if not known:
        return
    free = await audit_store.close_audits(work.db, AuditType.RETURN, known)
    await pause_store.unpark_orders(work.db, sorted(free))
    for order_id in free:
        order, was = orders[order_id]
        orders[order_id] = (order, msgspec.structs.replace(was, parked_reason=""))
