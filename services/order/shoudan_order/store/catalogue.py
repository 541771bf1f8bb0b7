"""Statements on the catalogue's tables: read whole or by key, written row by key."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ARRAY, Table, any_, literal, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db.columns import names_of, types
from shoudan_kit.db.text_statements import columns, statement, unnest
from shoudan_kit.proposals.alone import counting
from shoudan_order.tables import CHANGE, METADATA

KINDS: Final = {
    "lines": "oms_product_line",
    "down_channels": "oms_down_channel",
    "down_shelves": "oms_down_shelf",
    "down_products": "oms_down_product",
    "up_channels": "oms_up_channel",
    "up_shelves": "oms_up_shelf",
    "up_products": "oms_up_product",
    "cantons": "oms_canton_info",
    "notify_endpoints": "oms_notify_endpoint",
}

# Kinds that a process of the release before cannot read by key: a version that changes one notes nothing,
# and every process reads it whole.
YOUNG: Final = frozenset({"notify_endpoints"})

_VERSION = statement("SELECT version FROM oms_catalogue_version WHERE one")
# One writer at a time: the row is the lock and the number.
_RAISE = statement("""
INSERT INTO oms_catalogue_version (one, version) VALUES (true, 1)
ON CONFLICT (one) DO UPDATE SET version = oms_catalogue_version.version + 1 RETURNING version
""")
# The writers' lock without a new version: what is read under it stays true.
_HOLD = statement("SELECT version FROM oms_catalogue_version WHERE one FOR UPDATE")
# What a whole reading takes several statements for, at one moment; before any other statement.
_ONE_STATE = statement("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
CHANGES_MAX: Final = 10_000  # rows of one reading, and of one version; more are read whole
VERSIONS_KEPT: Final = 100
_NOTE = statement("""
INSERT INTO oms_catalogue_change (version, kind, row_key)
SELECT :version, g.kind, g.row_key
FROM unnest(CAST(:kinds AS text[]), CAST(:row_keys AS text[])) AS g(kind, row_key)
""")
_FORGET = statement("DELETE FROM oms_catalogue_change WHERE version <= :version")
_SINCE = statement(f"""
SELECT c.version, c.kind, c.row_key,
    (SELECT v.version FROM oms_catalogue_version v WHERE v.one) AS newest
FROM oms_catalogue_change c WHERE c.version > :known ORDER BY c.version LIMIT {CHANGES_MAX + 1}
""")
# Price changes that one operator makes alone in a day.
CHANGED_ALONE: Final = counting("alone_price", "change_ppm")


@dataclass(frozen=True, slots=True)
class Operation:
    """Who changed what, when and why."""

    operation_id: int
    operator: str
    operation: str
    subject: str
    detail: Mapping[str, Any] | Sequence[str]
    version: int = 0


_OPERATION: Final = names_of(Operation)
_PLAIN: Final = types(CHANGE, *(name for name in _OPERATION if name != "detail"))
_RECORD = statement(f"""
INSERT INTO oms_operation ({", ".join(_OPERATION)})
SELECT {", ".join("CAST(detail AS jsonb)" if name == "detail" else name for name in _OPERATION)}
FROM {unnest(**_PLAIN, detail="text")}
""")


def _table(kind: str) -> Table:
    return METADATA.tables[KINDS[kind]]


async def catalogue_version(db: AsyncConnection) -> int:
    """The newest version; 0 before the first."""
    return (await db.execute(_VERSION)).scalar() or 0


async def raise_version(db: AsyncConnection) -> int:
    """Take the writers' lock; the version after this change."""
    return int((await db.execute(_RAISE)).scalar_one())


async def hold(db: AsyncConnection) -> None:
    """Let no other change of the catalogue in before this transaction ends."""
    await db.execute(_HOLD)


async def one_state(db: AsyncConnection) -> None:
    """Let all that this transaction reads be of one moment. Its first statement."""
    await db.execute(_ONE_STATE)


async def note_changes(
    db: AsyncConnection, version: int, keys: Mapping[str, Sequence[Any]]
) -> None:
    """Note which rows a version changed, and forget that of versions long ago.

    Of more than CHANGES_MAX nothing is noted: who has the version before reads all of it.
    """
    pairs = [(kind, str(key)) for kind, ones in keys.items() for key in ones]
    if any(keys.get(kind) for kind in YOUNG):
        pairs = []
    if 0 < len(pairs) <= CHANGES_MAX:
        kinds, row_keys = zip(*pairs, strict=True)
        await db.execute(
            _NOTE, {"version": version, "kinds": list(kinds), "row_keys": list(row_keys)}
        )
    await db.execute(_FORGET, {"version": version - VERSIONS_KEPT})


async def changed_since(db: AsyncConnection, known: int) -> dict[str, list[Any]] | None:
    """The keys of the rows that versions after `known` changed, by kind, up to the newest version.

    None when that is not known: a version noted nothing (a process of a release before wrote it, or it
    changed very much), or it is too long ago.
    """
    rows = (await db.execute(_SINCE, {"known": known})).all()
    if not rows or len(rows) > CHANGES_MAX:
        return None
    if len({row.version for row in rows}) != rows[0].newest - known:
        return None
    found: dict[str, set[Any]] = {}
    for row in rows:
        found.setdefault(row.kind, set()).add(_key_type(row.kind)(row.row_key))
    return {kind: sorted(keys) for kind, keys in found.items()}


def _key_type(kind: str) -> Callable[[str], Any]:
    (key,) = _table(kind).primary_key.columns
    return key.type.python_type


async def read_kind(
    db: AsyncConnection, kind: str, keys: Sequence[Any] | None = None
) -> list[Mapping[str, Any]]:
    """All rows of a kind, or those with these keys, by column name."""
    table = _table(kind)
    (key,) = table.primary_key.columns
    wanted = select(*table.columns).order_by(key)
    if keys is not None:
        wanted = wanted.where(key == any_(literal(list(keys), ARRAY(key.type))))
    return [dict(row) for row in (await db.execute(wanted)).mappings()]


async def write_kind(db: AsyncConnection, kind: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Make rows exactly so, by key; others stay. Rows have the same columns."""
    if not rows:
        return
    table = _table(kind)
    keys = [column.name for column in table.primary_key.columns]
    made = upsert(table)
    changed = {name: made.excluded[name] for name in rows[0] if name not in keys}
    await db.execute(
        made.on_conflict_do_update(index_elements=keys, set_=changed), [dict(row) for row in rows]
    )


async def record(db: AsyncConnection, *operations: Operation) -> None:
    """Write down who did what."""
    if not operations:
        return
    details = [json.dumps(one.detail, ensure_ascii=False) for one in operations]
    await db.execute(_RECORD, {**columns(operations, *_OPERATION), "detail": details})
