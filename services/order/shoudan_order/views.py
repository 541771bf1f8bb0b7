"""What people are shown: orders, audits, notifies given up, reports."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from datetime import datetime
from typing import Any

from shoudan_kit import log
from shoudan_order.context import Context
from shoudan_order.refusals import NotFound, OrderArchived, OrderNotFound
from shoudan_order.store import audits as audit_store
from shoudan_order.store import notifies as notify_store
from shoudan_order.store import reports as report_store
from shoudan_order.store import retention
from shoudan_order.store import shelves as shelf_store
from shoudan_order.store import surveys as survey_store
from shoudan_order.store import views as store

_PARTS = ("oms_order_delivery", "oms_refund_info", "oms_notify_info")

_log = log.get_logger("views")


async def order(context: Context, order_id: int, key: tuple[str, str]) -> store.OrderView:
    """One order whole, from the archive when it has left. Refuses: OrderNotFound, NotFound, OrderArchived."""
    async with context.app.db.connect() as db:
        found = await store.view_order(db, order_id, key)
        if found is not None:
            return found
        number = order_id or (await retention.archived_numbers(db, [key])).get(key, 0)
        gone = await retention.archived_order(db, number)
    if gone is None:
        raise NotFound("order", order_id) if order_id else OrderNotFound(*key)
    return await _archived(context, gone)


async def _archived(context: Context, gone: retention.ArchivedOrder) -> store.OrderView:
    """An order as the files of its lot have it. Refuses: OrderArchived, where they cannot be read."""
    from shoudan_kit.archive.place import ArchiveFailed, Place
    from shoudan_kit.archive.read import of_lot

    address, lot_no = context.settings.archive, gone.lot_no

    def read(table: str) -> list[dict[str, Any]]:
        return of_lot(Place(address), "order", table, lot_no, "order_id", gone.order_id)

    if not address:
        raise OrderArchived(gone.order_id, lot_no)
    try:
        (values,) = await asyncio.to_thread(read, "oms_order_info")
        parts = [await asyncio.to_thread(read, table) for table in _PARTS]
    except (ArchiveFailed, ValueError) as error:
        _log.warning("archive_unreadable", order_id=gone.order_id, lot=lot_no, why=str(error))
        raise OrderArchived(gone.order_id, lot_no) from None
    return store.OrderView(values, *parts, archived=lot_no)


async def orders(context: Context, wanted: store.OrderFilter) -> tuple[list[store.OrderView], str]:
    """Orders without their parts, newest first, and the token of the next page."""
    async with context.app.db.connect() as db:
        return await store.view_orders(db, wanted)


async def survey(
    context: Context, channel_no: str, start: datetime, end: datetime, parts: int
) -> list[survey_store.Part]:
    """The orders of a period, in so many equal parts; those without orders are left out."""
    async with context.app.db.connect() as db:
        return await survey_store.survey(db, channel_no, start, end, parts)


async def refunds(context: Context, wanted: store.RefundFilter) -> tuple[list[store.Values], str]:
    """Refunds, newest first, and the token of the next page."""
    async with context.app.db.connect() as db:
        return await store.view_refunds(db, wanted)


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


async def shelf_notifies(
    context: Context, channel_no: str, after: tuple[str, int, str], size: int
) -> list[shelf_store.Unacknowledged]:
    """What channels have not acknowledged of their shelves and goods, by channel."""
    async with context.app.db.connect() as db:
        return await shelf_store.failing(db, channel_no, after, size)


async def report(
    context: Context, kind: int, start: datetime, end: datetime
) -> AsyncGenerator[report_store.ReportLine]:
    """The lines of a report as the database streams them; its connection is in use until the last line."""
    async with context.app.db.connect() as db:
        async for line in report_store.report_lines(db, kind, start, end):
            yield line
