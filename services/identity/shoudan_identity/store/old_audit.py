"""Rows of `operator_audit`, which the audit log replaces, move there in batches; names become references."""

from __future__ import annotations

from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db.text_statements import statement

BATCH: Final = 500

# Repeats change nothing. `operator eve` becomes her number, and who was refused is said by the outcome.
_MOVE = statement("""
WITH old AS MATERIALIZED (
    SELECT audit_id, action, outcome, actor_id, actor, address, facts, request_id, create_time,
        split_part(subject, ' ', 1) AS kind, substr(subject, strpos(subject, ' ') + 1) AS key
    FROM operator_audit WHERE audit_id > :after ORDER BY audit_id LIMIT :most
), moved AS (
    INSERT INTO audit_log (id, create_time, service, action, caller_kind, caller_ref, address,
        subject_kind, subject_key, before, after, reason, request_id, proposal_id, outcome)
    SELECT audit_id, create_time, 'identity', action,
        CASE WHEN actor_id > 0 THEN 'operator'
            WHEN actor IN ('bootstrap', 'identity') THEN 'service' ELSE 'none' END,
        CASE WHEN actor_id > 0 THEN CAST(actor_id AS text)
            WHEN actor IN ('bootstrap', 'identity') THEN actor ELSE '' END,
        address, kind,
        CASE kind WHEN 'operator' THEN coalesce((SELECT CAST(operator_id AS text) FROM operator
            WHERE name = old.key), '') ELSE key END,
        '', CAST(facts - 'operator' || CASE outcome WHEN 'done' THEN CAST('{}' AS jsonb)
            ELSE jsonb_build_object('why', outcome) END AS text),
        '', request_id, 0, CASE outcome WHEN 'done' THEN 'done' ELSE 'refused' END
    FROM old ON CONFLICT (id) DO NOTHING
    RETURNING id, create_time
), waiting AS (
    INSERT INTO audit_log_unsealed (id, create_time) SELECT id, create_time FROM moved
)
SELECT max(audit_id) FROM old
""")


async def move(db: AsyncConnection, after: int) -> int | None:
    """Move the rows behind number `after`, up to BATCH; the last number, None when there is none."""
    binds = {"after": after, "most": BATCH}
    last: int | None = (await db.execute(_MOVE, binds)).scalar_one()
    return last
