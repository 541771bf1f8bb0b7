"""Audits: what only a person can decide. Each decision is stored with who, when and why.

A late result closes its audit without a person (results, returns). Source: oms-behaviour §3.8.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from copy import copy
from dataclasses import dataclass
from typing import Final, TypeAlias

from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.audit_log.entries import describe
from shoudan_kit.tasks.unit_of_work import UnitOfWork, no_record
from shoudan_order import binding, events, kinds, order_totals, results, returns
from shoudan_order.context import Context
from shoudan_order.delivery_calls import key
from shoudan_order.delivery_client import CARDS_MISSING, UNKNOWN, Outcome
from shoudan_order.order_cache import OrdersInMemory
from shoudan_order.parking import park
from shoudan_order.refusals import AuditRefused, NotFound, existing
from shoudan_order.states import (
    ENDED,
    OPEN_DELIVERIES,
    OPEN_RETURNS,
    AuditStatus,
    AuditType,
    DeliveryStatus,
    MoneyBackStatus,
    OrderStatus,
    RefundStatus,
    ReturnStatus,
    UpPaymentStatus,
    YesNo,
)
from shoudan_order.store import audits as store
from shoudan_order.store import deliveries as delivery_store
from shoudan_order.store import orders as order_store
from shoudan_order.store import refunds as refund_store
from shoudan_order.store import returns as return_store
from shoudan_order.store.audits import Audit
from shoudan_order.store.catalogue import Operation, record
from shoudan_order.store.returns import Return
from shoudan_order.store.rows import DeliveryState, Order, OrderState

# The result code of what a person has decided.
MANUAL: Final = "manual"
ORDER_AUDIT: Final = {
    OrderStatus.SUCCEEDED: AuditStatus.SUCCEEDED,
    OrderStatus.FAILED: AuditStatus.FAILED,
    OrderStatus.PARTIAL: AuditStatus.PARTIAL,
}
REFUND_AUDIT: Final = {
    RefundStatus.SUCCEEDED: AuditStatus.SUCCEEDED,
    RefundStatus.REFUNDING: AuditStatus.SUCCEEDED,
    RefundStatus.FAILED: AuditStatus.FAILED,
    RefundStatus.PARTIAL: AuditStatus.PARTIAL,
}


# Called in the transaction that ends an audit, with its order as that left it.
Finish: TypeAlias = Callable[[UnitOfWork, Order, OrderState], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Decision:
    """Who decided what, and why."""

    status: AuditStatus
    by: str
    reason: str


async def decide(
    context: Context,
    audit_id: int,
    decision: Decision,
    record: Callable[[UnitOfWork], None] = no_record,
    finish: Finish | None = None,
) -> Audit:
    """End one audit, `record` and `finish` in the same transaction. Refuses: NotFound, AuditRefused.

    An audit that the system closed with the same end gets the decision: the result came in between, or
    the process died before the decision was stored.
    """
    async with context.app.db.connect() as db:
        audit = await store.lock_audit(db, audit_id)
    if audit is None:
        raise NotFound("audit", audit_id)
    before = {"status": audit.audit_status, "order_id": audit.order_id}
    describe("audit", audit_id, before, {"status": decision.status})
    if audit.audit_status == AuditStatus.WAITING:
        await _EFFECTS[audit.change_type](context, audit, decision)
    elif audit.audit_by != store.SYSTEM:
        raise AuditRefused(audit_id, "decided before")
    async with context.app.work("audit.decide") as work:
        # Under the order's lock, which a request for another audit of it takes, too.
        order, was = await _locked(work, audit)
        decided = await store.advance_audit(
            work.db, audit_id, decision.status, decision.by, decision.reason
        )
        if decided is None:
            raise AuditRefused(audit_id, "decided before")
        if await store.unpark(work.db, audit.order_id):
            _resume(context, work, order, was)
        await record_operation(
            work, decision.by, "audit.decide", f"audit {audit_id}", decision.reason
        )
        record(work)
        if finish is not None:
            await finish(work, order, was)
    return decided


async def try_out(
    context: Context, work: UnitOfWork, audit_id: int, decision: Decision
) -> tuple[Order, OrderState, OrderState]:
    """The order of an audit before and after a decision, in a transaction that is then rolled back.

    By the code that decides, on an empty memory; the supplier is not called. Refuses as `decide`.
    """
    context = copy(context)
    context.memory = OrdersInMemory(1)
    audit = await store.lock_audit(work.db, audit_id)
    if audit is None:
        raise NotFound("audit", audit_id)
    if audit.audit_status != AuditStatus.WAITING:
        raise AuditRefused(audit_id, "decided before")
    order, was = await _locked(work, audit)
    await _TRIALS[audit.change_type](context, work, audit, decision)
    return order, was, (await _locked(work, audit))[1]


async def order_of(context: Context, audit_id: int) -> OrderState | None:
    """The state of an audit's order now; None when there is no such audit."""
    async with context.app.db.connect() as db:
        audit = await store.lock_audit(db, audit_id)
        if audit is None:
            return None
        found = await order_store.read_orders(db, [audit.order_id], lock=False)
    return found[audit.order_id][1]


async def _locked(work: UnitOfWork, audit: Audit) -> tuple[Order, OrderState]:
    """The order of an audit, locked to the end of the transaction."""
    return (await order_store.read_orders(work.db, [audit.order_id], lock=True))[audit.order_id]


def _resume(context: Context, work: UnitOfWork, order: Order, was: OrderState) -> None:
    """Bind the rest of an order that is no longer parked, or end it after its timeout."""
    if was.order_status != OrderStatus.DELIVERING:
        return
    if was.left_s <= 0:
        context.enqueue(work, kinds.TIMEOUT, order.line_id, kinds.OrderStep(order.order_id))
    elif was.bind_face_micros < order.total_face_micros:
        binding.enqueue_bind(context, work, order, was.left_s, tried=False)


async def record_operation(work: UnitOfWork, by: str, what: str, subject: str, reason: str) -> None:
    """Record who did what to what, and why."""
    await record(work.db, Operation(work.ids.next(), by, what, subject, {"reason": reason}))


async def _delivery(context: Context, audit: Audit, decision: Decision) -> None:
    """An unknown delivery has succeeded or failed; one that failed may be confirmed as delivered."""
    _decided_success(audit, decision)
    async with context.app.db.connect() as db:
        there = await _audited_delivery(db, audit)
    if there.delivery_status in OPEN_DELIVERIES:
        order = (await context.orders([audit.order_id]))[audit.order_id]
        await _resolve_at_delivery(context, audit, decision, key(context, order, audit.delivery_id))
        await results.report(context, [_outcome(audit, decision)])
    else:
        async with context.app.work("audit.confirm") as work:
            await _confirm(context, work, audit, decision, there.delivery_status)


async def _try_delivery(
    context: Context, work: UnitOfWork, audit: Audit, decision: Decision
) -> None:
    _decided_success(audit, decision)
    there = await _audited_delivery(work.db, audit)
    if there.delivery_status in OPEN_DELIVERIES:
        await results.report_in(context, work, [_outcome(audit, decision)])
    else:
        await _confirm(context, work, audit, decision, there.delivery_status)


async def _audited_delivery(db: AsyncConnection, audit: Audit) -> DeliveryState:
    found = await delivery_store.deliveries_by_ids(db, [audit.delivery_id])
    return existing(found, "delivery", audit.delivery_id)


async def _confirm(
    context: Context, work: UnitOfWork, audit: Audit, decision: Decision, status: DeliveryStatus
) -> None:
    """A failed delivery was delivered all the same; any other end stays."""
    succeeded = decision.status == AuditStatus.SUCCEEDED
    if succeeded and status == DeliveryStatus.FAILED:
        why = await results.confirm(context, work, audit.delivery_id, decision.reason)
        if why:
            raise AuditRefused(audit.audit_id, why)
    elif succeeded != (status == DeliveryStatus.SUCCEEDED):
        raise AuditRefused(audit.audit_id, "the delivery has ended otherwise and stays so")


def _outcome(audit: Audit, decision: Decision, *, is_return: bool = False) -> Outcome:
    """The decision as a supplier's result."""
    succeeded, why = decision.status == AuditStatus.SUCCEEDED, decision.reason
    return Outcome(audit.delivery_id, succeeded, is_return, result_code=MANUAL, result_desc=why)


async def _return(context: Context, audit: Audit, decision: Decision) -> None:
    """The same for a return."""
    _decided_success(audit, decision)
    async with context.app.db.connect() as db:
        there = await _audited_return(db, audit)
    if there.return_status in OPEN_RETURNS:
        order = (await context.orders([audit.order_id]))[audit.order_id]
        await _resolve_at_delivery(
            context, audit, decision, key(context, order, there.return_id, is_return=True)
        )
        await returns.report(context, [_outcome(audit, decision, is_return=True)])
    else:
        _same_return(audit, decision, there)


async def _try_return(context: Context, work: UnitOfWork, audit: Audit, decision: Decision) -> None:
    _decided_success(audit, decision)
    there = await _audited_return(work.db, audit)
    if there.return_status in OPEN_RETURNS:
        await returns.report_in(context, work, [_outcome(audit, decision, is_return=True)])
    else:
        _same_return(audit, decision, there)


async def _audited_return(db: AsyncConnection, audit: Audit) -> Return:
    found = await return_store.returns_by_ids(db, [audit.delivery_id])
    return existing(found, "return", audit.delivery_id)


def _same_return(audit: Audit, decision: Decision, there: Return) -> None:
    succeeded = decision.status == AuditStatus.SUCCEEDED
    if succeeded != (there.return_status == ReturnStatus.SUCCEEDED):
        raise AuditRefused(audit.audit_id, "the return has ended otherwise and stays so")


async def _resolve_at_delivery(
    context: Context, audit: Audit, decision: Decision, key: tuple[int, str, int]
) -> None:
    """End it at the delivery service first, which then stops its queries.

    A later contradiction of the supplier is recorded there as a conflict. Refuses when the supplier has
    reported the other end meanwhile, and success of what was never handed over.
    """
    succeeded = decision.status == AuditStatus.SUCCEEDED
    refused = await context.delivery_client.resolve(
        key, succeeded=succeeded, by=decision.by, reason=decision.reason
    )
    if refused is None:
        return
    if refused.reason == CARDS_MISSING:
        raise AuditRefused(audit.audit_id, "its codes are entered first: shoudan cards enter")
    if refused.reason != UNKNOWN:
        raise AuditRefused(audit.audit_id, "the supplier has reported another end meanwhile")
    if succeeded:
        raise AuditRefused(audit.audit_id, "it was never handed to the supplier")


def _decided_success(audit: Audit, decision: Decision) -> bool:
    if decision.status not in {AuditStatus.SUCCEEDED, AuditStatus.FAILED}:
        raise AuditRefused(audit.audit_id, "only success (0) or failure (90)")
    return decision.status == AuditStatus.SUCCEEDED


async def _order(context: Context, audit: Audit, decision: Decision) -> None:
    """Close an order delivered in part (91) or not at all (90): notify, the rest refunded.

    One that has ended stays so; one that can only be bound at a loss may be bound (0).
    """
    async with context.app.work("audit.order") as work:
        await _try_order(context, work, audit, decision)


async def _try_order(context: Context, work: UnitOfWork, audit: Audit, decision: Decision) -> None:
    order, was = await _locked(work, audit)
    if was.order_status in ENDED:
        _same(audit, decision, ORDER_AUDIT[was.order_status])
        return
    if decision.status == AuditStatus.SUCCEEDED:
        await _bind_at_loss(context, work, audit, order, was)
        return
    now = order_totals.closed(order, order_totals.as_is(was), partial=True)
    if now.order_status not in ENDED:
        raise AuditRefused(audit.audit_id, "it is not paid, or parts are under way")
    if ORDER_AUDIT[now.order_status] != decision.status:
        raise AuditRefused(audit.audit_id, "something (91) or nothing (90) was delivered")
    await order_store.advance_orders(work.db, [now])
    results.end(context, work, order, now)


async def _bind_at_loss(
    context: Context, work: UnitOfWork, audit: Audit, order: Order, was: OrderState
) -> None:
    """Bind the rest of an order though it costs more than it sells for. Refuses what is no such question."""
    if not audit.audit_msg.startswith(binding.AT_LOSS):
        raise AuditRefused(audit.audit_id, "only partial success (91) or failure (90)")
    enough = was.left_s > binding.delivery_margin_s(order.timeout_s)
    if enough and was.delivery_pause != YesNo.YES:
        open_ = {order.order_id: (order, order_totals.as_is(was))}
        bound = await binding.bind_open(context, work, open_, at_loss=True)
        await order_store.advance_orders(work.db, list(bound.values()))


async def _refund(context: Context, audit: Audit, decision: Decision) -> None:
    """Close a refund returned in part: 91, what came back is refunded. One that has ended stays so."""
    async with context.app.work("audit.refund") as work:
        await _try_refund(context, work, audit, decision)


async def _try_refund(context: Context, work: UnitOfWork, audit: Audit, decision: Decision) -> None:
    order, was = await _locked(work, audit)
    refund = (await refund_store.refunds_by_ids(work.db, [audit.refund_id]))[audit.refund_id]
    if refund.refund_status != RefundStatus.RETURNING:
        _same(audit, decision, REFUND_AUDIT[refund.refund_status])
        return
    if decision.status != AuditStatus.PARTIAL:
        raise AuditRefused(audit.audit_id, "only partial success (91)")
    goods = await return_store.returns_of_refunds(work.db, [audit.refund_id])
    ended = returns.ended_refund(order, order_totals.as_is(was), refund, goods)
    if ended is None or ended[0].refund_status != RefundStatus.PARTIAL:
        raise AuditRefused(audit.audit_id, "not returned in part, or returns are under way")
    await order_store.advance_orders(work.db, [ended[1]])
    await returns.close(context, work, order, ended[0])


def _same(audit: Audit, decision: Decision, expected: AuditStatus) -> None:
    """Refuses any decision but the end that is stored."""
    if decision.status != expected:
        raise AuditRefused(audit.audit_id, "it has ended otherwise and stays so")


async def _false_success(context: Context, audit: Audit, decision: Decision) -> None:
    """Take the supplier's money back for a delivery that only seemed to succeed; nothing else changes."""
    async with context.app.work("audit.false_success") as work:
        await _try_false_success(context, work, audit, decision)


async def _try_false_success(
    context: Context, work: UnitOfWork, audit: Audit, decision: Decision
) -> None:
    if decision.status == AuditStatus.FAILED:
        return
    if decision.status != AuditStatus.SUCCEEDED:
        raise AuditRefused(audit.audit_id, "only success (0) or failure (90)")
    order, was = await _locked(work, audit)
    one = await _false_return(work, audit)
    if one is None:
        return
    await return_store.insert_returns(work.db, [one])
    now = order_totals.returned(order_totals.as_is(was), one)
    await order_store.advance_orders(work.db, [now])
    context.enqueue(
        work, kinds.UP_REFUND, order.line_id, kinds.ReturnStep(one.return_id, 0, order.order_id)
    )


async def _false_return(work: UnitOfWork, audit: Audit) -> Return | None:
    """All of a delivery as returned, refund 0; None when it is there. Refuses what is not paid or
    was returned by a user."""
    there = (await delivery_store.deliveries_by_ids(work.db, [audit.delivery_id])).get(
        audit.delivery_id
    )
    if there is None or there.up_payment_status != UpPaymentStatus.PAID:
        raise AuditRefused(audit.audit_id, "the delivery is not paid")
    given = await return_store.returns_of_deliveries(work.db, [audit.delivery_id])
    if any(not one.refund_id for one in given):
        return None
    if given:
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


_TRIALS: Final[
    Mapping[AuditType, Callable[[Context, UnitOfWork, Audit, Decision], Awaitable[None]]]
] = {
    AuditType.DELIVERY: _try_delivery,
    AuditType.RETURN: _try_return,
    AuditType.ORDER: _try_order,
    AuditType.REFUND: _try_refund,
    AuditType.FALSE_SUCCESS: _try_false_success,
}


async def request(
    context: Context,
    kind: AuditType,
    number: int,
    by: str,
    reason: str,
    record: Callable[[UnitOfWork], None] = no_record,
) -> Audit:
    """Ask for an audit: partial success of an order or refund, or a delivery's false success.

    An unknown delivery is decided at its order's overtime, or before when a person asks for it.
    """
    async with context.app.work("audit.request") as work:
        audit_id = work.ids.next()
        new = await _new_audit(work, audit_id, kind, number, reason)
        if not await store.insert_audits(work.db, [new]):
            raise AuditRefused(0, "it waits for a decision already")
        if kind == AuditType.DELIVERY:  # nothing of the order moves until it is decided
            there = await order_store.read_orders(work.db, [new.order_id], lock=True)
            reasons = {new.order_id: reason}
            await park(work, there, reasons, [], events.DELIVERY_TIMEOUT)
        await record_operation(work, by, "audit.request", f"order {new.order_id}", reason)
        record(work)
        made = await store.lock_audit(work.db, audit_id)
    assert made is not None, "it was just written"
    return made


async def _new_audit(
    work: UnitOfWork, audit_id: int, kind: AuditType, number: int, reason: str
) -> store.NewAudit:
    """The audit of what the number names. Refuses: NotFound, AuditRefused."""
    if kind == AuditType.ORDER:
        existing(await order_store.order_facts(work.db, [number]), "order", number)
        return store.NewAudit(audit_id, number, 0, 0, kind, reason)
    if kind == AuditType.REFUND:
        refund = existing(await refund_store.refunds_by_ids(work.db, [number]), "refund", number)
        return store.NewAudit(audit_id, refund.order_id, number, 0, kind, reason)
    if kind in {AuditType.FALSE_SUCCESS, AuditType.DELIVERY}:
        there = existing(
            await delivery_store.deliveries_by_ids(work.db, [number]), "delivery", number
        )
        if kind == AuditType.DELIVERY and there.delivery_status not in OPEN_DELIVERIES:
            raise AuditRefused(0, "the delivery has ended")
        return store.NewAudit(audit_id, there.delivery.order_id, 0, number, kind, reason)
    raise AuditRefused(0, "the system asks for audits of this kind by itself")
