"""Parking orders until a person has decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from shoudan_kit.tasks.unit_of_work import UnitOfWork
from shoudan_order import events
from shoudan_order.store import audits as audit_store
from shoudan_order.store import pauses as pause_store
from shoudan_order.store.rows import Order, OrderState


async def park(
    work: UnitOfWork,
    orders: Mapping[int, tuple[Order, OrderState]],
    reasons: Mapping[int, str],
    audits: Sequence[audit_store.NewAudit],
    tag: str,
) -> set[int]:
    """Store the audits and park their orders, each for its first reason; the orders parked now."""
    await audit_store.insert_audits(work.db, audits)
    parked = await pause_store.park_orders(work.db, reasons)
    for order_id in parked:
        order, was = orders[order_id]
        events.order_event(work, "parked", order, was.order_status, tag, reasons[order_id])
    return parked
