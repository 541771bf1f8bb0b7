"""Giving money back: to channels for refunds, from suppliers for returns; then the refund closes."""

from __future__ import annotations

from collections.abc import Sequence

import grpc

from shoudan_kit.tasks.kinds import Task
from shoudan_kit.tasks.unit_of_work import UnitOfWork
from shoudan_order import events, kinds, payments, refunds
from shoudan_order.context import Context
from shoudan_order.pay_client import Posted, Transfer
from shoudan_order.states import MoneyBackStatus
from shoudan_order.store import refunds as store
from shoudan_order.store import returns as return_store
from shoudan_order.store.refunds import Refund
from shoudan_order.store.returns import Return


def to_channel(refund: Refund) -> Transfer:
    """What a channel gets back. Source: oms-behaviour §3.9 DownRefund."""
    return Transfer(
        "down",
        refund.down_channel_no,
        str(refund.refund_id),
        str(refund.order_id),
        refund.refund_sell_amount_micros,
        -refund.refund_commission_amount_micros,
        refund.refund_service_amount_micros,
        refund=True,
    )


def from_supplier(one: Return) -> Transfer:
    """What a supplier gives back. Source: oms-behaviour §3.9 UpRefund."""
    return Transfer(
        "up",
        one.up_channel_no,
        str(one.return_id),
        str(one.delivery_id),
        one.return_cost_amount_micros,
        -one.return_commission_amount_micros,
        -one.return_service_amount_micros,
        refund=True,
    )


async def refund_down(context: Context, tasks: Sequence[Task[kinds.RefundStep]]) -> None:
    """Post refunds to channels; refusals are tried again until the deadline."""
    ids = [t.payload.refund_id for t in tasks]
    async with context.app.db.connect() as db:
        there = await store.refunds_by_ids(db, ids)
    due = [
        t
        for t in tasks
        if (r := there.get(t.payload.refund_id)) and r.down_refund_status == MoneyBackStatus.WAITING
    ]
    done = [t for t in tasks if t not in due]
    try:
        answers = await context.ledger.post([to_channel(there[t.payload.refund_id]) for t in due])
    except grpc.RpcError as error:
        payments.retry_payment(context, due, error)
        due, answers = [], []
    for task, answer in zip(due, answers, strict=True):
        if isinstance(answer, Posted):
            done.append(task)
        else:
            payments.refused(context, task, answer)
    posted = sorted({t.payload.refund_id for t in done})
    async with context.app.work("refund.pay") as work:
        await store.lock_refunds(work.db, posted)
        for refund_id in await store.advance_money_back(work.db, posted):
            refunds.publish(work, "money_back", there[refund_id], events.DOWN_REFUND)
        await _close(work, posted)
        work.tasks.finish(*done)


async def refund_up(context: Context, tasks: Sequence[Task[kinds.ReturnStep]]) -> None:
    """Take suppliers' money back; refusals (not paid yet, for one) are tried again."""
    ids = [t.payload.return_id for t in tasks]
    async with context.app.db.connect() as db:
        there = await return_store.returns_by_ids(db, ids)
    due = [
        t
        for t in tasks
        if (r := there.get(t.payload.return_id)) and r.up_refund_status == MoneyBackStatus.WAITING
    ]
    done = [t for t in tasks if t not in due]
    try:
        answers = await context.ledger.post(
            [from_supplier(there[t.payload.return_id]) for t in due]
        )
    except grpc.RpcError as error:
        payments.retry_payment(context, due, error)
        due, answers = [], []
    for task, answer in zip(due, answers, strict=True):
        if isinstance(answer, Posted):
            done.append(task)
        else:
            payments.refused(context, task, answer)
    refund_ids = sorted({t.payload.refund_id for t in done if t.payload.refund_id})
    async with context.app.work("refund.up_pay") as work:
        await store.lock_refunds(work.db, refund_ids)
        await return_store.advance_up_refunded(work.db, [t.payload.return_id for t in done])
        await _close(work, refund_ids)
        work.tasks.finish(*done)


async def _close(work: UnitOfWork, refund_ids: Sequence[int]) -> None:
    """Close refunds with nothing left to do, and tell it."""
    closed = await store.advance_closed(work.db, refund_ids) if refund_ids else set[int]()
    if closed:
        for refund in (await store.refunds_by_ids(work.db, sorted(closed))).values():
            refunds.publish(work, "succeeded", refund, events.UP_REFUND)
