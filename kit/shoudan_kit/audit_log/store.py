"""Writing rows of the audit log: one statement for all rows of a transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.audit_log.entries import AuditRow, Entry, Origin, row_of
from shoudan_kit.db.text_statements import columns, statement, unnest
from shoudan_kit.ids import IdMaker

_TYPES: Final = {
    "id": "bigint",
    "service": "text",
    "action": "text",
    "caller_kind": "text",
    "caller_ref": "text",
    "address": "text",
    "subject_kind": "text",
    "subject_key": "text",
    "before": "text",
    "after": "text",
    "reason": "text",
    "request_id": "text",
    "proposal_id": "bigint",
    "outcome": "text",
}
_NAMES: Final = ", ".join(_TYPES)
# The sealing process finds the row by its second one: both are committed together, so none is passed by that
# was committed late or has a smaller number. A row whose first commit was in doubt is there already.
_INSERT = statement(f"""
WITH made AS (
    INSERT INTO audit_log ({_NAMES}, create_time) SELECT {_NAMES}, shoudan_now() FROM {unnest(**_TYPES)}
    ON CONFLICT (id) DO NOTHING
    RETURNING id, create_time
)
INSERT INTO audit_log_unsealed (id, create_time) SELECT id, create_time FROM made
""")


async def insert(db: AsyncConnection, ids: IdMaker, rows: Sequence[AuditRow]) -> None:
    """Write rows in the transaction of `db`."""
    for row in rows:
        row.id = row.id or ids.next()
    await db.execute(_INSERT, columns(rows, *_TYPES))


async def write(
    db: AsyncConnection, ids: IdMaker, origin: Origin, entries: Sequence[Entry]
) -> None:
    """The same of entries, where a transaction is no UnitOfWork."""
    await insert(db, ids, [row_of(origin, one) for one in entries])
