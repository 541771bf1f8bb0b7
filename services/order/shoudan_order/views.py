"""What people are shown: orders, audits, notifies given up, reports."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from datetime import datetime

from shoudan_order.context import Context
from shoudan_order.refusals import NotFound, OrderNotFound
from shoudan_order.store import audits as audit_store
from shoudan_order.store import notifies as notify_store
from shoudan_order.store import reports as report_store
from shoudan_order.store import views as store


async def order(context: Context, order_id: int, key: tuple[str, str]) -> store.OrderView:
    """One order whole. Refuses: OrderNotFound, NotFound."""
    async with context.app.db.connect() as db:
        found = await store.view_order(db, order_id, key)
    if found is None:
        raise NotFound("order", order_id) if order_id else OrderNotFound(*key)
    return found


async def orders(context: Context, wanted: store.OrderFilter) -> tuple[list[store.OrderView], str]:
    """Orders without their parts, newest first, and the token of the next page."""
    async with context.app.db.connect() as db:
        return await store.view_orders(db, wanted)


async def audits(
    context: Context, statuses: Sequence[int], order_id: int, after: int, size: int
) -> tuple[list[audit_store.Audit], str]:
    """Audits of these statuses, oldest first, and the token of the next page."""
    async with context.app.db.connect() as db:
        return await audit_store.list_audits(db, statuses, order_id, after, size)


async def dead_notifies(
    context: Context, channel_no: str, after: int, size: int
) -> list[notify_store.DeadNotify]:
    """Notifies that were given up, oldest first."""
    async with context.app.db.connect() as db:
        return await notify_store.dead_notifies(db, channel_no, after, size)


async def report(
    context: Context, kind: int, start: datetime, end: datetime
) -> AsyncGenerator[report_store.ReportLine]:
    """The lines of a report as the database streams them; its connection is in use until the last line."""
    async with context.app.db.connect() as db:
        async for line in report_store.report_lines(db, kind, start, end):
            yield line
