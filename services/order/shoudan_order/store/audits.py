"""Statements on oms_audit_info: what waits for a person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db import columns, statement, unnest
from shoudan_order.states import AuditType

# One waiting audit of a thing is enough.
_INSERT = statement(f"""
INSERT INTO oms_audit_info (audit_id, order_id, refund_id, delivery_id, change_type, audit_msg)
SELECT audit_id, order_id, refund_id, delivery_id, change_type, audit_msg
FROM {
    unnest(
        audit_id="bigint",
        order_id="bigint",
        refund_id="bigint",
        delivery_id="bigint",
        change_type="smallint",
        audit_msg="text",
    )
}
ON CONFLICT DO NOTHING RETURNING audit_id
""")  # noqa: S608 - built from literals above


@dataclass(frozen=True, slots=True)
class NewAudit:
    """Something to decide."""

    audit_id: int
    order_id: int
    refund_id: int
    delivery_id: int
    change_type: AuditType
    audit_msg: str


async def insert_audits(db: AsyncConnection, audits: Sequence[NewAudit]) -> set[int]:
    """Ask for audits; the ids of those that were not waiting already."""
    binds = columns(
        audits, "audit_id", "order_id", "refund_id", "delivery_id", "change_type", "audit_msg"
    )
    binds["change_type"] = [int(kind) for kind in binds["change_type"]]
    return set((await db.execute(_INSERT, binds)).scalars())
