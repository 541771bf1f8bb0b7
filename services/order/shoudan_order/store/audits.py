"""Statements on oms_audit_info: decisions that wait for a person, and those made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db import pages
from shoudan_kit.db.columns import Rows, names_of, returned, types
from shoudan_kit.db.text_statements import columns, statement, unnest
from shoudan_order.states import AUDIT, AuditEvent, AuditStatus, AuditType, DeliveryStatus
from shoudan_order.tables import AUDIT as AUDITS


@dataclass(frozen=True, slots=True)
class Audit:
    """Something to decide, or decided."""

    audit_id: int
    order_id: int
    refund_id: int
    delivery_id: int
    change_type: AuditType
    audit_status: AuditStatus
    audit_by: str
    audit_time: datetime | None
    audit_msg: str
    create_time: datetime


@dataclass(frozen=True, slots=True)
class NewAudit:
    """Something to decide."""

    audit_id: int
    order_id: int
    refund_id: int
    delivery_id: int
    change_type: AuditType
    audit_msg: str


@dataclass(frozen=True, slots=True)
class KnownEnd:
    """A delivery or return whose end has become known."""

    order_id: int
    number: int
    status: AuditStatus


_NEW: Final = names_of(NewAudit)
_WAITING_STATUS: Final = f"{AuditStatus.WAITING:d}"

# One waiting audit of a thing is enough.
_INSERT = statement(f"""
INSERT INTO oms_audit_info ({", ".join(_NEW)}) SELECT {", ".join(_NEW)}
FROM {unnest(**types(AUDITS, *_NEW))}
ON CONFLICT DO NOTHING RETURNING audit_id
""")


# audit_by of audits closed by a late result.
SYSTEM: Final = "system"

_AUDITS: Final = Rows(Audit)
_COLUMNS: Final = _AUDITS.of()

# What waits is in an index of its own; of the others, a bounded range of numbers; of one order, by the order.
_WAITING = statement(f"""
SELECT {_COLUMNS} FROM oms_audit_info WHERE audit_status = {_WAITING_STATUS} AND audit_id > :after_id
ORDER BY audit_id LIMIT :most
""")
_EDGE = pages.rising_edge("oms_audit_info", "audit_id")
_LIST = statement(f"""
SELECT {_COLUMNS} FROM oms_audit_info
WHERE audit_status = ANY(CAST(:statuses AS smallint[])) AND audit_id > :after_id
    AND audit_id <= :reached
ORDER BY audit_id LIMIT :most
""")
_LIST_OF_ORDER = statement(f"""
SELECT {_COLUMNS} FROM oms_audit_info
WHERE order_id = :order_id AND audit_status = ANY(CAST(:statuses AS smallint[]))
    AND audit_id > :after_id
ORDER BY audit_id + 0 LIMIT :most
""")

_LOCK = statement(f"""
SELECT {_COLUMNS} FROM oms_audit_info WHERE audit_id = :id FOR UPDATE
""")

# The system may have closed it since because the very same came to be known; a person's word stands.
_DECIDE = statement(f"""
UPDATE oms_audit_info SET audit_status = :status, audit_by = :by, audit_msg = :reason,
    audit_time = shoudan_now()
WHERE audit_id = :id AND (audit_status = {_WAITING_STATUS}
    OR audit_status = :status AND audit_by = :system)
RETURNING {_COLUMNS}
""")

# A waiting audit keeps its order parked, unless it is about the cost of what was delivered.
_PARKS: Final = f"""(w.change_type <> {AuditType.DELIVERY:d}
        OR {DeliveryStatus.SUCCEEDED:d} IS DISTINCT FROM (SELECT d.delivery_status
            FROM oms_order_delivery d WHERE d.delivery_id = w.delivery_id))"""

# Close waiting audits whose end is known now; gives the orders with no other audit that parks them.
_CLOSE = statement(f"""
WITH closed AS (
    UPDATE oms_audit_info a SET audit_status = g.status, audit_by = :system,
        audit_msg = left(a.audit_msg || '; known since', 256), audit_time = shoudan_now()
    FROM unnest(CAST(:order_ids AS bigint[]), CAST(:numbers AS bigint[]),
        CAST(:statuses AS smallint[])) AS g(order_id, number, status)
    WHERE a.order_id = g.order_id AND a.delivery_id = g.number AND a.change_type = :kind
        AND a.audit_status = ANY(CAST(:sources AS smallint[]))
    RETURNING a.audit_id, a.order_id
)
SELECT DISTINCT c.order_id FROM closed c
WHERE NOT EXISTS (SELECT 1 FROM oms_audit_info w WHERE w.order_id = c.order_id
    AND w.audit_status = {_WAITING_STATUS} AND w.audit_id NOT IN (SELECT audit_id FROM closed) AND {_PARKS})
""")

# Unpark an order without a waiting audit that parks it.
_UNPARK = statement(f"""
UPDATE oms_order_info o SET modify_time = greatest(o.modify_time, shoudan_now()),
        parked_reason = ''
WHERE o.order_id = :order_id AND NOT EXISTS (SELECT 1 FROM oms_audit_info w
    WHERE w.order_id = o.order_id AND w.audit_status = {_WAITING_STATUS} AND {_PARKS})
RETURNING o.order_id
""")


async def close_audits(db: AsyncConnection, kind: AuditType, known: Sequence[KnownEnd]) -> set[int]:
    """Close the waiting audits of deliveries or returns that have ended; the orders to unpark."""
    binds = {
        "order_ids": [one.order_id for one in known],
        "numbers": [one.number for one in known],
        "statuses": [one.status for one in known],
        "sources": AUDIT.sources(AuditEvent.SUCCEEDED),
    }
    return await returned(db, _CLOSE, kind=kind, system=SYSTEM, **binds)


async def insert_audits(db: AsyncConnection, audits: Sequence[NewAudit]) -> set[int]:
    """Ask for audits; the ids of those that were not waiting already."""
    return await returned(db, _INSERT, **columns(audits, *_NEW))


async def list_audits(
    db: AsyncConnection, statuses: Sequence[int], order_id: int, after_id: int, most: int
) -> tuple[list[Audit], str]:
    """One page by id, and the token of the next; order 0 for all."""
    reached = pages.ID_MAX
    binds: dict[str, Any] = {"after_id": after_id, "most": most}
    if order_id:
        more = {"order_id": order_id, "statuses": statuses}
        rows = await db.execute(_LIST_OF_ORDER, binds | more)
    elif set(statuses) == {AuditStatus.WAITING}:
        rows = await db.execute(_WAITING, binds)
    else:
        reached = await pages.rising_end(db, _EDGE, after_id)
        rows = await db.execute(_LIST, {**binds, "statuses": statuses, "reached": reached})
    found = _AUDITS.all(rows)
    return found, pages.rising_token([one.audit_id for one in found], most, reached)


async def lock_audit(db: AsyncConnection, audit_id: int) -> Audit | None:
    """One audit, locked to the end of the transaction."""
    row = (await db.execute(_LOCK, {"id": audit_id})).first()
    return None if row is None else _AUDITS.read(row)


async def advance_audit(
    db: AsyncConnection, audit_id: int, status: AuditStatus, by: str, reason: str
) -> Audit | None:
    """20 -> decided; None when it was decided meanwhile."""
    binds = {"id": audit_id, "status": status, "by": by, "reason": reason, "system": SYSTEM}
    row = (await db.execute(_DECIDE, binds)).first()
    return None if row is None else _AUDITS.read(row)


async def unpark(db: AsyncConnection, order_id: int) -> bool:
    """Unpark an order unless an audit that parks it still waits; whether it was unparked."""
    return bool(await returned(db, _UNPARK, order_id=order_id))
