"""Statements on the catalogue's tables: read whole, written row by key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Table, insert, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db.columns import names_of
from shoudan_kit.db.text_statements import statement
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
}

_VERSION = statement("SELECT version FROM oms_catalogue_version WHERE one")
# One writer at a time: the row is the lock and the number.
_RAISE = statement("""
INSERT INTO oms_catalogue_version (one, version) VALUES (true, 1)
ON CONFLICT (one) DO UPDATE SET version = oms_catalogue_version.version + 1 RETURNING version
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


def _table(kind: str) -> Table:
    return METADATA.tables[KINDS[kind]]


async def catalogue_version(db: AsyncConnection) -> int:
    """The newest version; 0 before the first."""
    return (await db.execute(_VERSION)).scalar() or 0


async def raise_version(db: AsyncConnection) -> int:
    """Take the writers' lock; the version after this change."""
    return int((await db.execute(_RAISE)).scalar_one())


async def read_kind(db: AsyncConnection, kind: str) -> list[Mapping[str, Any]]:
    """All rows of a kind, by column name."""
    table = _table(kind)
    rows = await db.execute(select(*table.columns).order_by(*table.primary_key.columns))
    return [dict(row) for row in rows.mappings()]


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
    await db.execute(
        insert(CHANGE),
        [{name: getattr(one, name) for name in names_of(Operation)} for one in operations],
    )
