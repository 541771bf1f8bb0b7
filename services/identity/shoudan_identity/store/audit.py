"""The audit: one row for each login, refusal and change, never changed."""

from __future__ import annotations

import orjson
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_identity.rows import AuditRow
from shoudan_kit.db.text_statements import statement

_INSERT = statement("""
INSERT INTO operator_audit (audit_id, action, outcome, actor_id, actor, subject, address, facts,
    request_id, create_time)
VALUES (:audit_id, :action, :outcome, :actor_id, :actor, :subject, :address,
    CAST(:facts AS jsonb), :request_id, shoudan_now())
""")


async def insert(db: AsyncConnection, audit_id: int, row: AuditRow, request_id: str) -> None:
    """Add one row."""
    binds = {
        "audit_id": audit_id,
        "action": row.action,
        "outcome": row.outcome,
        "actor_id": row.actor_id,
        "actor": row.actor,
        "subject": row.subject,
        "address": row.address,
        "facts": orjson.dumps(row.facts).decode(),
        "request_id": request_id,
    }
    await db.execute(_INSERT, binds)
