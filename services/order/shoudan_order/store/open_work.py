"""Statements on what waits for a person: audits by kind, parked orders without one, given-up notifies."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import TextClause
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db import statement


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
    """The statements of one kind: `page` after a number, which finds one by `exact`, `count` to a bound."""

    page: TextClause
    count: TextClause


_AUDIT = """FROM oms_audit_info a JOIN oms_order_info o ON o.order_id = a.order_id
WHERE a.audit_status = 20 AND a.change_type = :kind"""
AUDITS: Final = Queue(
    statement(f"""
SELECT a.audit_id, a.order_id, greatest(a.delivery_id, a.refund_id), o.order_status, a.audit_msg,
    a.create_time, o.sell_amount_micros {_AUDIT}
    AND a.audit_id > :after
    AND (CAST(:exact AS bigint) = 0 OR a.audit_id = :exact) ORDER BY a.audit_id LIMIT :most
"""),
    statement("""
SELECT count(*), min(w.create_time) FROM (SELECT create_time FROM oms_audit_info
    WHERE audit_status = 20 AND change_type = :kind ORDER BY audit_id LIMIT :most) w
"""),
)
_ORDER = """FROM oms_order_info o WHERE o.parked_reason <> '' AND NOT EXISTS (SELECT 1
    FROM oms_audit_info a WHERE a.order_id = o.order_id AND a.audit_status = 20)"""
ORDERS: Final = Queue(
    statement(f"""
SELECT o.order_id, o.order_id, CAST(0 AS bigint), o.order_status, o.parked_reason, o.create_time,
    o.sell_amount_micros {_ORDER}
    AND CAST(:kind AS smallint) = 0 AND o.order_id > :after
    AND (CAST(:exact AS bigint) = 0 OR o.order_id = :exact)
ORDER BY o.order_id LIMIT :most
"""),
    statement(f"""
SELECT count(*), min(w.create_time) FROM (SELECT o.create_time {_ORDER}
    AND CAST(:kind AS smallint) = 0 ORDER BY o.order_id LIMIT :most) w
"""),  # noqa: S608 - built from literals
)
_NOTIFY = "FROM oms_notify_info n JOIN oms_order_info o ON o.order_id = n.order_id WHERE n.given_up"
NOTIFIES: Final = Queue(
    statement(f"""
SELECT n.notify_id, n.order_id, n.refund_id, o.order_status,
    'given up after ' || n.notify_count || ' attempts: ' || n.notify_msg || ' of ' || n.notify_url,
    n.create_time, CAST(0 AS bigint) {_NOTIFY}
    AND CAST(:kind AS smallint) = 0 AND n.notify_id > :after
    AND (CAST(:exact AS bigint) = 0 OR n.notify_id = :exact)
ORDER BY n.notify_id LIMIT :most
"""),
    statement("""
SELECT count(*), min(w.create_time) FROM (SELECT create_time FROM oms_notify_info
    WHERE given_up AND CAST(:kind AS smallint) = 0 ORDER BY notify_id LIMIT :most) w
"""),
)


async def page(
    db: AsyncConnection, queue: Queue, kind: int, after: int, most: int, exact: int = 0
) -> list[Row]:
    """Those after this number, or the one of it."""
    binds: dict[str, Any] = {"kind": kind, "after": after, "most": most, "exact": exact}
    return [Row(*row) for row in await db.execute(queue.page, binds)]


async def count(
    db: AsyncConnection, queue: Queue, kind: int, most: int
) -> tuple[int, datetime | None]:
    """How many wait, up to `most`, and since when the oldest of these does."""
    row = (await db.execute(queue.count, {"kind": kind, "most": most})).one()
    return row[0], row[1]
