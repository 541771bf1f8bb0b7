"""What only a person can decide, and the documented retries: who, when and why are recorded with each.

Source: oms-behaviour §3.8.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from shoudan_kit.task import Kind
from shoudan_kit.work import Work
from shoudan_order import results, returns, steps, sums
from shoudan_order.context import Context
from shoudan_order.refusals import AuditRefused, NotFound
from shoudan_order.states import (
    AuditStatus,
    AuditType,
    DeliveryStatus,
    MoneyBackStatus,
    OrderStatus,
    RefundStatus,
    ReturnStatus,
    UpPaymentStatus,
)
from shoudan_order.store import audits as store
from shoudan_order.store import deliveries as delivery_store
from shoudan_order.store import notifies as notify_store
from shoudan_order.store import orders as order_store
from shoudan_order.store import refunds as refund_store
from shoudan_order.store import returns as return_store
from shoudan_order.store.audits import Audit
from shoudan_order.store.catalogue import Operation, record
from shoudan_order.store.returns import Return
from shoudan_order.suppliers import Outcome

RETRY_S: Final = 900


@dataclass(frozen=True, slots=True)
class Decision:
    """Who decided what, and why."""

    status: AuditStatus
    by: str
    reason: str


async def decide(context: Context, audit_id: int, decision: Decision) -> Audit:
    """End one audit. Refuses: NotFound, AuditRefused."""
    async with context.app.db.connect() as db:
        audit = await store.lock_audit(db, audit_id)
    if audit is None:
        raise NotFound("audit", audit_id)
    if audit.audit_status != AuditStatus.WAITING:
        raise AuditRefused(audit_id, "decided before")
    await _EFFECTS[audit.change_type](context, audit, decision)
    async with context.app.work("audit.decide") as work:
        decided = await store.advance_audit(
            work.db, audit_id, decision.status, decision.by, decision.reason
        )
        if decided is None:
            raise AuditRefused(audit_id, "decided before")
        await store.unpark(work.db, audit.order_id)
        await _record(work, decision.by, "audit.decide", f"audit {audit_id}", decision.reason)
    return decided


async def _record(work: Work, by: str, what: str, subject: str, reason: str) -> None:
    await record(work.db, Operation(work.ids.next(), by, what, subject, {"reason": reason}))


async def _delivery(context: Context, audit: Audit, decision: Decision) -> None:
    """An unknown delivery has succeeded or failed; one that has ended stays as it ended."""
    succeeded = _yes_or_no(audit, decision)
    outcome = Outcome(
        audit.delivery_id, succeeded, result_code="manual", result_desc=decision.reason
    )
    async with context.app.db.connect() as db:
        there = (await delivery_store.deliveries_by_ids(db, [audit.delivery_id])).get(
            audit.delivery_id
        )
    if there is None:
        raise NotFound("delivery", audit.delivery_id)
    if there.delivery_status in {DeliveryStatus.WAITING, DeliveryStatus.SENDING}:
        await results.report(context, [outcome])
    elif succeeded != (there.delivery_status == DeliveryStatus.SUCCEEDED):
        raise AuditRefused(audit.audit_id, "the delivery has ended otherwise and stays so")


async def _return(context: Context, audit: Audit, decision: Decision) -> None:
    """The same for a return."""
    succeeded = _yes_or_no(audit, decision)
    async with context.app.db.connect() as db:
        there = (await return_store.returns_by_ids(db, [audit.delivery_id])).get(audit.delivery_id)
    if there is None:
        raise NotFound("return", audit.delivery_id)
    if there.return_status in returns.OPEN:
        outcome = Outcome(
            audit.delivery_id, succeeded, True, result_code="manual", result_desc=decision.reason
        )
        await returns.report(context, [outcome])
    elif succeeded != (there.return_status == ReturnStatus.SUCCEEDED):
        raise AuditRefused(audit.audit_id, "the return has ended otherwise and stays so")


def _yes_or_no(audit: Audit, decision: Decision) -> bool:
    if decision.status not in {AuditStatus.SUCCEEDED, AuditStatus.FAILED}:
        raise AuditRefused(audit.audit_id, "only success (0) or failure (90)")
    return decision.status == AuditStatus.SUCCEEDED


async def _order(context: Context, audit: Audit, decision: Decision) -> None:
    """Close an order delivered in part: 91, notify, the rest refunded."""
    if decision.status != AuditStatus.PARTIAL:
        raise AuditRefused(audit.audit_id, "only partial success (91)")
    async with context.app.work("audit.order") as work:
        found = await order_store.read_orders(work.db, [audit.order_id], lock=True)
        order, was = found[audit.order_id]
        now = sums.closed(order, sums.as_is(was), partial=True)
        if now.order_status != OrderStatus.PARTIAL:
            raise AuditRefused(audit.audit_id, "not delivered in part, or parts are under way")
        await order_store.advance_settled(work.db, [now])
        results.end(context, work, order, now)


async def _refund(_: Context, audit: Audit, _decision: Decision) -> None:
    """Refunds that came back in part close by themselves."""
    raise AuditRefused(audit.audit_id, "a refund closes by itself when its returns have ended")


async def _false_success(context: Context, audit: Audit, decision: Decision) -> None:
    """A delivery that succeeded only in name: the supplier's money comes back, nothing else changes."""
    if decision.status == AuditStatus.FAILED:
        return
    if decision.status != AuditStatus.SUCCEEDED:
        raise AuditRefused(audit.audit_id, "only success (0) or failure (90)")
    async with context.app.work("audit.false_success") as work:
        found = await order_store.read_orders(work.db, [audit.order_id], lock=True)
        order, was = found[audit.order_id]
        one = await _false_return(work, audit)
        await return_store.insert_returns(work.db, [one])
        now = sums.with_costs(
            sums.as_is(was),
            -one.return_cost_amount_micros,
            -one.return_commission_amount_micros,
            -one.return_service_amount_micros,
        )
        await order_store.advance_settled(work.db, [now])
        _task(context, work, steps.UP_REFUND, order.line_id, order.order_id,
              steps.ReturnStep(one.return_id, 0, order.order_id))  # fmt: skip


async def _false_return(work: Work, audit: Audit) -> Return:
    """All of a delivery as returned, refund 0. Refuses what is not paid or was returned."""
    there = (await delivery_store.deliveries_by_ids(work.db, [audit.delivery_id])).get(
        audit.delivery_id
    )
    if there is None or there.up_payment_status != UpPaymentStatus.PAID:
        raise AuditRefused(audit.audit_id, "the delivery is not paid")
    if await return_store.returns_of_deliveries(work.db, [audit.delivery_id]):
        raise AuditRefused(audit.audit_id, "goods of the delivery were returned")
    part = there.delivery
    return Return(
        return_id=work.ids.next(),
        up_channel_no=part.up_channel_no,
        up_product_id=part.up_product_id,
        up_ext_product_no=part.up_ext_product_no,
        order_id=part.order_id,
        refund_id=0,
        delivery_id=part.delivery_id,
        return_face_micros=part.face_micros,
        return_num=part.num,
        return_total_face_micros=part.total_face_micros,
        return_cost_amount_micros=part.cost_amount_micros,
        return_commission_amount_micros=part.up_commission_amount_micros,
        return_service_amount_micros=part.service_amount_micros,
        return_status=ReturnStatus.SUCCEEDED,
        up_refund_status=MoneyBackStatus.WAITING,
    )


_EFFECTS: Final[Mapping[AuditType, Callable[[Context, Audit, Decision], Awaitable[None]]]] = {
    AuditType.DELIVERY: _delivery,
    AuditType.RETURN: _return,
    AuditType.ORDER: _order,
    AuditType.REFUND: _refund,
    AuditType.FALSE_SUCCESS: _false_success,
}


async def request(context: Context, kind: AuditType, number: int, by: str, reason: str) -> Audit:
    """Ask for an audit: of an order's partial success or a delivery's false success."""
    async with context.app.work("audit.request") as work:
        if kind == AuditType.ORDER:
            order_id, delivery_id = number, 0
            if not await order_store.order_facts(work.db, [number]):
                raise NotFound("order", number)
        elif kind == AuditType.FALSE_SUCCESS:
            there = (await delivery_store.deliveries_by_ids(work.db, [number])).get(number)
            if there is None:
                raise NotFound("delivery", number)
            order_id, delivery_id = there.delivery.order_id, number
        else:
            raise AuditRefused(0, "the system asks for audits of this kind by itself")
        audit_id = work.ids.next()
        new = store.NewAudit(audit_id, order_id, 0, delivery_id, kind, reason)
        if not await store.insert_audits(work.db, [new]):
            raise AuditRefused(0, "it waits for a decision already")
        await _record(work, by, "audit.request", f"order {order_id}", reason)
        made = await store.lock_audit(work.db, audit_id)
    assert made is not None, "it was just written"
    return made


async def resend(context: Context, ids: list[int], channel_no: str, by: str) -> int:
    """Give dead notifies three more attempts; how many were dead."""
    async with context.app.work("notify.resend") as work:
        keys = await notify_store.revive_notifies(work.db, ids, channel_no)
        orders = await context.orders({key[0] for key in keys}, work.db)
        for order_id, refund_id in keys:
            kind = steps.REFUND_NOTIFY if refund_id else steps.NOTIFY
            step = steps.NotifyStep(order_id, refund_id)
            _task(context, work, kind, orders[order_id].line_id, order_id, step, limited=False)
        if keys:
            subject = channel_no or ", ".join(map(str, ids[:20]))
            await _record(work, by, "notify.resend", subject, f"{len(keys)} notifies")
    return len(keys)


def _task(
    context: Context,
    work: Work,
    kind: Kind[Any],
    line_id: int,
    order_id: int,
    step: Any,
    *,
    limited: bool = True,
) -> int:
    return work.tasks.add(
        kind,
        step,
        order_no=str(order_id),
        queue=context.queue(line_id, kind),
        deadline_s=RETRY_S if limited else None,
    )


async def retry(context: Context, name: str, number: int, by: str, reason: str) -> int:
    """Make one step due again; the task made, 0 when there was nothing to do. Refuses: NotFound."""
    async with context.app.work("audit.retry") as work:
        task_id = await _RETRIES[name](context, work, number)
        await _record(work, by, f"retry.{name}", str(number), reason)
    return task_id


async def _retry_bind(context: Context, work: Work, number: int) -> int:
    found = await order_store.read_orders(work.db, [number], lock=True)
    if number not in found:
        raise NotFound("order", number)
    order, was = found[number]
    open_ = was.bind_face_micros < order.total_face_micros
    if was.order_status != OrderStatus.DELIVERING or not open_:
        return 0
    return _task(context, work, steps.BIND, order.line_id, number, steps.OrderStep(number))


async def _retry_up_pay(context: Context, work: Work, number: int) -> int:
    there = (await delivery_store.deliveries_by_ids(work.db, [number])).get(number)
    if there is None:
        raise NotFound("delivery", number)
    if there.up_payment_status != UpPaymentStatus.PAYING:
        return 0
    order_id = there.delivery.order_id
    order = (await context.orders([order_id], work.db))[order_id]
    step = steps.DeliveryStep(number, order_id)
    return _task(context, work, steps.UP_PAY, order.line_id, order_id, step)


async def _retry_notify(context: Context, work: Work, number: int) -> int:
    keys = await notify_store.revive_notifies(work.db, [number], "")
    if not keys:
        return 0
    order_id, refund_id = keys[0]
    order = (await context.orders([order_id], work.db))[order_id]
    kind = steps.REFUND_NOTIFY if refund_id else steps.NOTIFY
    step = steps.NotifyStep(order_id, refund_id)
    return _task(context, work, kind, order.line_id, order_id, step, limited=False)


async def _retry_return(context: Context, work: Work, number: int) -> int:
    there = (await return_store.returns_by_ids(work.db, [number])).get(number)
    if there is None:
        raise NotFound("return", number)
    order = (await order_store.read_orders(work.db, [there.order_id], lock=True))[there.order_id][0]
    refund = (await refund_store.refunds_by_ids(work.db, [there.refund_id])).get(there.refund_id)
    if refund is None or refund.refund_status != RefundStatus.RETURNING:
        return 0
    if not await return_store.advance_retried(work.db, number):
        return 0
    step = steps.ReturnStep(number, there.refund_id, there.order_id)
    return _task(context, work, steps.RETURN, order.line_id, order.order_id, step)


async def _retry_up_refund(context: Context, work: Work, number: int) -> int:
    there = (await return_store.returns_by_ids(work.db, [number])).get(number)
    if there is None:
        raise NotFound("return", number)
    if there.up_refund_status != MoneyBackStatus.WAITING:
        return 0
    order = (await context.orders([there.order_id], work.db))[there.order_id]
    step = steps.ReturnStep(number, there.refund_id, there.order_id)
    return _task(context, work, steps.UP_REFUND, order.line_id, there.order_id, step)


async def _retry_down_refund(context: Context, work: Work, number: int) -> int:
    refund = (await refund_store.refunds_by_ids(work.db, [number])).get(number)
    if refund is None:
        raise NotFound("refund", number)
    if refund.down_refund_status != MoneyBackStatus.WAITING:
        return 0
    order = (await context.orders([refund.order_id], work.db))[refund.order_id]
    step = steps.RefundStep(number, refund.order_id)
    return _task(context, work, steps.DOWN_REFUND, order.line_id, refund.order_id, step)


_RETRIES: Final[Mapping[str, Callable[[Context, Work, int], Awaitable[int]]]] = {
    "bind": _retry_bind,
    "up_pay": _retry_up_pay,
    "order_notify": _retry_notify,
    "return": _retry_return,
    "up_refund": _retry_up_refund,
    "down_refund": _retry_down_refund,
    "refund_notify": _retry_notify,
}
