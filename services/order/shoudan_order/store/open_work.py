"""Statements on what waits for a person: audits by kind, parked orders without one, given-up notifies."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import TextClause
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db.text_statements import statement
from shoudan_order.states import AuditStatus


@dataclass(frozen=True, slots=True)
class Row:
    """One that waits, as it is read."""

    key: int
    order_id: int
    other_id: int
    order_status: int
    reason: str
    since: datetime
    amount_micros: int


@dataclass(frozen=True, slots=True)
class Queue:
    """The statements of one kind: `page` after a number, `find` by it, `count` to a bound."""

    page: TextClause
    find: TextClause
    count: TextClause


def _queue(row: str, key: str, count: str) -> Queue:
    """`row` selects what waits, along an index in which `key` rises."""
    return Queue(
        statement(f"{row} AND {key} > :after ORDER BY {key} LIMIT :most"),
        statement(f"{row} AND {key} = :exact"),
        statement(
            f"SELECT count(*), min(w.create_time) FROM ({count} ORDER BY {key} LIMIT :most) w"
        ),
    )


_WAITING: Final = f"{AuditStatus.WAITING:d}"

AUDITS: Final = _queue(
    f"""
SELECT a.audit_id, a.order_id, greatest(a.delivery_id, a.refund_id), o.order_status, a.audit_msg,
    a.create_time, o.sell_amount_micros
FROM oms_audit_info a JOIN oms_order_info o ON o.order_id = a.order_id
WHERE a.audit_status = {_WAITING} AND a.change_type = :kind""",
    "a.audit_id",
    f"""SELECT a.create_time FROM oms_audit_info a
    WHERE a.audit_status = {_WAITING} AND a.change_type = :kind""",
)
# OFFSET 0: looked up order by order, never joined with all that waits.
_ORDER = f"""FROM oms_order_info o WHERE o.parked_reason <> '' AND NOT EXISTS (SELECT 1
    FROM oms_audit_info a WHERE a.order_id = o.order_id AND a.audit_status = {_WAITING} OFFSET 0)"""
ORDERS: Final = _queue(
    f"""
SELECT o.order_id, o.order_id, CAST(0 AS bigint), o.order_status, o.parked_reason, o.create_time,
    o.sell_amount_micros {_ORDER} AND CAST(:kind AS smallint) = 0""",
    "o.order_id",
    f"SELECT o.create_time {_ORDER} AND CAST(:kind AS smallint) = 0",
)
NOTIFIES: Final = _queue(
    """
SELECT n.notify_id, n.order_id, n.refund_id, o.order_status,
    'given up after ' || n.notify_count || ' attempts: ' || n.notify_msg || ' of ' || n.notify_url,
    n.create_time, CAST(0 AS bigint)
FROM oms_notify_info n JOIN oms_order_info o ON o.order_id = n.order_id
WHERE n.given_up AND CAST(:kind AS smallint) = 0""",
    "n.notify_id",
    """SELECT n.create_time FROM oms_notify_info n
    WHERE n.given_up AND CAST(:kind AS smallint) = 0""",
)


async def page(db: AsyncConnection, queue: Queue, kind: int, after: int, most: int) -> list[Row]:
    """Those after this number."""
    binds: dict[str, Any] = {"kind": kind, "after": after, "most": most}
    return [Row(*row) for row in await db.execute(queue.page, binds)]


async def find(db: AsyncConnection, queue: Queue, kind: int, number: int) -> Row | None:
    """The one that waits under this number."""
    row = (await db.execute(queue.find, {"kind": kind, "exact": number})).one_or_none()
    return None if row is None else Row(*row)


async def count(
    db: AsyncConnection, queue: Queue, kind: int, most: int
) -> tuple[int, datetime | None]:
    """How many wait, up to `most`, and since when the oldest of these does."""
    row = (await db.execute(queue.count, {"kind": kind, "most": most})).one()
    return row[0], row[1]
