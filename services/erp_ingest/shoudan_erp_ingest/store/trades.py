"""Rows of trades: locked, compared, written, a fixed number of statements for any number of trades."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import orjson
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_erp_ingest.store.bulk import Bulk
from shoudan_erp_ingest.tables.models import Payment, Trade, TradeDocument, TradeLine
from shoudan_erp_ingest.tables.schema import history
from shoudan_kit.db.columns import types
from shoudan_kit.db.text_statements import columns, statement, unnest
from shoudan_kit.secrets.sealing import KeyRing

Lines = Mapping[str, tuple[TradeLine, ...]]


@dataclass(frozen=True, slots=True)
class StoredGroup:
    """The items of one oid, as far as a decision needs them."""

    content: bytes | None
    status: str | None


@dataclass(slots=True)
class StoredTrade:
    """A trade, as far as a decision needs it; locked."""

    document_id: int
    status: str | None
    content: bytes | None
    version: int
    groups: dict[str, StoredGroup] = field(default_factory=dict[str, StoredGroup])


@dataclass(frozen=True, slots=True)
class TradeWrite:
    """What is to be written of one trade. `head` None: only lines are."""

    customerid: str
    document_id: int
    version: int
    push_id: int
    first: bool
    document: TradeDocument
    head: bool
    content: bytes
    groups: Lines
    contents: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Late:
    """A document that came too late to count: kept as history only."""

    history_id: int
    kind: int
    document_id: int
    version: int
    push_id: int
    snapshot: str


_HEADS = Bulk(
    "trade",
    Trade,
    {
        "document_id": "bigint",
        "customerid": "text",
        "msg_id": "text",
        "content": "bytea",
        "version": "integer",
        "push_id": "bigint",
    },
    stamped=("create_time", "update_time"),
    conflict="document_id",
    kept=("document_id", "customerid", "tid", "create_time"),
)
_PAYMENTS = Bulk("payment", Payment, {"document_id": "bigint", "payment_no": "integer"})
_LINES = Bulk(
    "trade_line",
    TradeLine,
    {"document_id": "bigint", "line_oid": "text", "item_no": "integer", "content": "bytea"},
)

# Locked in the order of their numbers, so that two batches never wait for each other in a circle.
_LOCK = statement(f"""
SELECT trade.document_id, trade.customerid, trade.tid, trade.status, trade.content, trade.version
FROM trade JOIN {unnest(customerid="text", tid="text")}
    ON trade.customerid = given.customerid AND trade.tid = given.tid
ORDER BY trade.document_id FOR UPDATE OF trade
""")
_GROUPS = statement("""
SELECT document_id, line_oid, content, status FROM trade_line
WHERE document_id = ANY(CAST(:ids AS bigint[])) AND item_no = 0
""")
# The version that goes is kept whole; its sealed parts stay sealed, bound to the same rows.
_KEEP = statement(f"""
INSERT INTO history (history_id, kind, document_id, version, late, push_id, snapshot, create_time)
SELECT given.history_id, 1, trade.document_id, trade.version, false, trade.push_id,
    jsonb_build_object('trade', to_jsonb(trade),
        'payments', (SELECT jsonb_agg(to_jsonb(p) ORDER BY p.payment_no)
            FROM payment AS p WHERE p.document_id = trade.document_id),
        'lines', (SELECT jsonb_agg(to_jsonb(l) ORDER BY l.line_oid, l.item_no)
            FROM trade_line AS l WHERE l.document_id = trade.document_id)),
    shoudan_now()
FROM trade JOIN {unnest(history_id="bigint", document_id="bigint")} USING (document_id)
""")
_LATE = types(history, "history_id", "kind", "document_id", "version", "push_id")
_LATE["snapshot"] = "text"
_KEEP_LATE = statement(f"""
INSERT INTO history (history_id, kind, document_id, version, late, push_id, snapshot, create_time)
SELECT history_id, kind, document_id, version, true, push_id, CAST(snapshot AS jsonb), shoudan_now()
FROM {unnest(**_LATE)}
""")
_DROP_PAYMENTS = statement("DELETE FROM payment WHERE document_id = ANY(CAST(:ids AS bigint[]))")
_DROP_GROUPS = statement(f"""
DELETE FROM trade_line USING {unnest(document_id="bigint", line_oid="text")}
WHERE trade_line.document_id = given.document_id AND trade_line.line_oid = given.line_oid
""")
# Lines were added to a trade whose head stays as it is.
_TOUCH = statement(f"""
UPDATE trade SET version = given.version, push_id = given.push_id, update_time = shoudan_now()
FROM {unnest(document_id="bigint", version="integer", push_id="bigint")}
WHERE trade.document_id = given.document_id
""")


async def lock(
    db: AsyncConnection, keys: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], StoredTrade]:
    """The trades that are there already, by (customerid, tid), locked to the end of the transaction."""
    binds = {"customerid": [k[0] for k in keys], "tid": [k[1] for k in keys]}
    rows = (await db.execute(_LOCK, binds)).all()
    if not rows:
        return {}
    found = {
        (r.customerid, r.tid): StoredTrade(r.document_id, r.status, r.content, r.version)
        for r in rows
    }
    by_id = {trade.document_id: trade for trade in found.values()}
    for row in await db.execute(_GROUPS, {"ids": list(by_id)}):
        by_id[row.document_id].groups[row.line_oid] = StoredGroup(row.content, row.status)
    return found


async def keep(db: AsyncConnection, ids: Sequence[tuple[int, int]]) -> None:
    """Copy trades to history before they change: (history_id, document_id) each."""
    if ids:
        binds = {"history_id": [i[0] for i in ids], "document_id": [i[1] for i in ids]}
        await db.execute(_KEEP, binds)


async def keep_late(db: AsyncConnection, late: Sequence[Late]) -> None:
    """Write documents that never counted to history."""
    if late:
        await db.execute(_KEEP_LATE, columns(late, *_LATE))


async def write(db: AsyncConnection, ring: KeyRing, writes: Sequence[TradeWrite]) -> None:
    """Write trades with payments and lines; what was there of them is replaced."""
    old = [w for w in writes if not w.first]
    if ids := [w.document_id for w in old if w.head]:
        await db.execute(_DROP_PAYMENTS, {"ids": ids})
    if pairs := [(w.document_id, oid) for w in old for oid in w.groups]:
        binds = {"document_id": [p[0] for p in pairs], "line_oid": [p[1] for p in pairs]}
        await db.execute(_DROP_GROUPS, binds)
    await _HEADS.insert(db, [_head_row(ring, w) for w in writes if w.head])
    if touched := [w for w in writes if not w.head]:
        await db.execute(_TOUCH, columns(touched, "document_id", "version", "push_id"))
    await _PAYMENTS.insert(db, [row for w in writes if w.head for row in _payment_rows(ring, w)])
    await _LINES.insert(db, [row for w in writes for row in _line_rows(ring, w)])


def late_snapshot(ring: KeyRing, document_id: int, document: TradeDocument) -> str:
    """A document that never becomes rows, in the shape history has, its personal data sealed."""
    head = document.head
    return orjson.dumps(
        {
            "trade": {
                "msg_id": document.msg_id,
                **snapshot_row(_HEADS, head, _HEADS.sealed(ring, str(document_id), head)),
            },
            "payments": [
                snapshot_row(_PAYMENTS, p, _PAYMENTS.sealed(ring, f"{document_id}.{n}", p))
                for n, p in enumerate(document.payments)
            ],
            "lines": [
                snapshot_row(_LINES, x, _LINES.sealed(ring, line_key(document_id, "", n), x))
                for n, x in enumerate(document.lines)
            ],
        }
    ).decode()


def snapshot_row(bulk: Bulk, row: object, sealed: bytes | None) -> dict[str, object]:
    """A row as to_jsonb would write it."""
    values = bulk.values(row, None)
    made = dict(zip(bulk.names[len(bulk.names) - len(values) :], values, strict=True))
    return {**made, "sealed": None if sealed is None else f"\\x{sealed.hex()}"}


def line_key(document_id: int, oid: str, item_no: int) -> str:
    """What a trade line's sealed part is bound to."""
    return f"{document_id}.{oid}.{item_no}"


def _head_row(ring: KeyRing, write: TradeWrite) -> tuple[object, ...]:
    head = write.document.head
    return (
        write.document_id,
        write.customerid,
        write.document.msg_id,
        write.content,
        write.version,
        write.push_id,
        *_HEADS.values(head, _HEADS.sealed(ring, str(write.document_id), head)),
    )


def _payment_rows(ring: KeyRing, write: TradeWrite) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for number, payment in enumerate(write.document.payments):
        sealed = _PAYMENTS.sealed(ring, f"{write.document_id}.{number}", payment)
        rows.append((write.document_id, number, *_PAYMENTS.values(payment, sealed)))
    return rows


def _line_rows(ring: KeyRing, write: TradeWrite) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for oid, items in write.groups.items():
        for number, line in enumerate(items):
            sealed = _LINES.sealed(ring, line_key(write.document_id, oid, number), line)
            content = write.contents[oid]
            values = _LINES.values(line, sealed)
            rows.append((write.document_id, oid, number, content, *values))
    return rows
