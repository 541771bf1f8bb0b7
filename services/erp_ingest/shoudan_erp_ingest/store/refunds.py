"""Rows of refunds: locked, compared, written, a fixed number of statements for any number of refunds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import orjson
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_erp_ingest.store.bulk import Bulk
from shoudan_erp_ingest.store.trades import snapshot_row
from shoudan_erp_ingest.tables.models import Refund, RefundDocument, RefundLine, SwapLine
from shoudan_kit.db.text_statements import statement, unnest
from shoudan_kit.secrets.sealing import KeyRing


@dataclass(slots=True)
class StoredRefund:
    """A refund, as far as a decision needs it; locked."""

    document_id: int
    modified: datetime | None
    content: bytes | None
    version: int


@dataclass(frozen=True, slots=True)
class RefundWrite:
    """What is to be written of one refund: all of it."""

    app_key: str
    document_id: int
    version: int
    push_id: int
    first: bool
    document: RefundDocument
    content: bytes


_HEADS = Bulk(
    "refund",
    Refund,
    {
        "document_id": "bigint",
        "app_key": "text",
        "content": "bytea",
        "version": "integer",
        "push_id": "bigint",
    },
    stamped=("create_time", "update_time"),
    conflict="document_id",
    kept=("document_id", "app_key", "refund_no", "create_time"),
)
_LINES = Bulk("refund_line", RefundLine, {"document_id": "bigint", "line_no": "integer"})
_SWAPS = Bulk("swap_line", SwapLine, {"document_id": "bigint", "line_no": "integer"})

# Locked in the order of their numbers, so that two batches never wait for each other in a circle.
_LOCK = statement(f"""
SELECT refund.document_id, refund.app_key, refund.refund_no, refund.modified, refund.content,
    refund.version
FROM refund JOIN {unnest(app_key="text", refund_no="text")}
    ON refund.app_key = given.app_key AND refund.refund_no = given.refund_no
ORDER BY refund.document_id FOR UPDATE OF refund
""")
_KEEP = statement(f"""
INSERT INTO history (history_id, kind, document_id, version, late, push_id, snapshot, create_time)
SELECT given.history_id, 2, refund.document_id, refund.version, false, refund.push_id,
    jsonb_build_object('refund', to_jsonb(refund),
        'lines', (SELECT jsonb_agg(to_jsonb(l) ORDER BY l.line_no)
            FROM refund_line AS l WHERE l.document_id = refund.document_id),
        'swaps', (SELECT jsonb_agg(to_jsonb(s) ORDER BY s.line_no)
            FROM swap_line AS s WHERE s.document_id = refund.document_id)),
    shoudan_now()
FROM refund JOIN {unnest(history_id="bigint", document_id="bigint")} USING (document_id)
""")
_DROP_LINES = statement("""
WITH swaps AS (DELETE FROM swap_line WHERE document_id = ANY(CAST(:ids AS bigint[])))
DELETE FROM refund_line WHERE document_id = ANY(CAST(:ids AS bigint[]))
""")


async def lock(
    db: AsyncConnection, keys: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], StoredRefund]:
    """The refunds that are there already, by (app_key, refund_no), locked to the end of the transaction."""
    binds = {"app_key": [k[0] for k in keys], "refund_no": [k[1] for k in keys]}
    return {
        (r.app_key, r.refund_no): StoredRefund(r.document_id, r.modified, r.content, r.version)
        for r in await db.execute(_LOCK, binds)
    }


async def keep(db: AsyncConnection, ids: Sequence[tuple[int, int]]) -> None:
    """Copy refunds to history before they change: (history_id, document_id) each."""
    if ids:
        binds = {"history_id": [i[0] for i in ids], "document_id": [i[1] for i in ids]}
        await db.execute(_KEEP, binds)


async def write(db: AsyncConnection, ring: KeyRing, writes: Sequence[RefundWrite]) -> None:
    """Write refunds with all lines; what was there of them is replaced."""
    if old := [w.document_id for w in writes if not w.first]:
        await db.execute(_DROP_LINES, {"ids": old})
    await _HEADS.insert(db, [_head_row(ring, w) for w in writes])
    lines = [(w.document_id, n, x) for w in writes for n, x in enumerate(w.document.lines)]
    swaps = [(w.document_id, n, x) for w in writes for n, x in enumerate(w.document.swaps)]
    await _LINES.insert(db, [_line_row(_LINES, ring, *line) for line in lines])
    await _SWAPS.insert(db, [_line_row(_SWAPS, ring, *swap) for swap in swaps])


def late_snapshot(ring: KeyRing, document_id: int, document: RefundDocument) -> str:
    """A document that never becomes rows, in the shape history has, its personal data sealed."""
    head = document.head
    parts = (("lines", _LINES, document.lines), ("swaps", _SWAPS, document.swaps))
    made: dict[str, object] = {
        "refund": snapshot_row(_HEADS, head, _HEADS.sealed(ring, str(document_id), head))
    }
    for name, bulk, lines in parts:
        made[name] = [
            snapshot_row(bulk, line, bulk.sealed(ring, f"{document_id}.{number}", line))
            for number, line in enumerate(lines)
        ]
    return orjson.dumps(made).decode()


def _head_row(ring: KeyRing, write: RefundWrite) -> tuple[object, ...]:
    head = write.document.head
    return (
        write.document_id,
        write.app_key,
        write.content,
        write.version,
        write.push_id,
        *_HEADS.values(head, _HEADS.sealed(ring, str(write.document_id), head)),
    )


def _line_row(
    bulk: Bulk, ring: KeyRing, document_id: int, number: int, line: RefundLine | SwapLine
) -> tuple[object, ...]:
    sealed = bulk.sealed(ring, f"{document_id}.{number}", line)
    return (document_id, number, *bulk.values(line, sealed))
