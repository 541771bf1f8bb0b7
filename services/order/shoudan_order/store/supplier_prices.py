"""Statements on oms_supplier_price: what suppliers stated of their products, and what was made of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db.columns import Rows, assigned, types
from shoudan_kit.db.text_statements import columns, statement, unnest
from shoudan_order.tables import METADATA


class Supplied(msgspec.Struct, frozen=True):
    """What is kept of a product's supplier: the newest it stated, and what was made of it."""

    product_id: int
    price_version: int = 0
    supply_version: int = 0
    as_of: datetime | None = None
    stated_ppm: int = 0
    reference_ppm: int = 0
    taken_ppm: int = 0
    due_time: datetime | None = None
    asked_id: int | None = None
    asked_time: datetime | None = None
    refused_ppm: int = 0
    suspended: bool = False


class Asked(msgspec.Struct, frozen=True):
    """A price that waits for a person."""

    asked_id: int
    product_id: int
    stated_ppm: int
    cost_discount_ppm: int
    face_micros: int
    channel_no: str
    asked_time: datetime


_TABLE: Final = METADATA.tables["oms_supplier_price"]
_KEPT: Final = Rows(Supplied)
_ASKED: Final = Rows(Asked)
_VALUES: Final = tuple(name for name in _KEPT.names if name != "product_id")

# Written anew to lock it, in the order of the numbers.
_LOCK = statement(f"""
INSERT INTO oms_supplier_price AS p (product_id)
SELECT g.product_id FROM unnest(CAST(:ids AS bigint[])) AS g(product_id) ORDER BY g.product_id
ON CONFLICT (product_id) DO UPDATE SET suspended = p.suspended
RETURNING {_KEPT.of("p")}
""")
_WRITE = statement(f"""
UPDATE oms_supplier_price p SET {assigned(_VALUES)}
FROM {unnest(**types(_TABLE, "product_id", *_VALUES))} WHERE p.product_id = given.product_id
""")
_NOW = statement("SELECT shoudan_now()")
_ROW: Final = """
FROM oms_supplier_price p JOIN oms_up_product u ON u.product_id = p.product_id
JOIN oms_up_shelf s ON s.shelf_id = u.shelf_id WHERE p.asked_id IS NOT NULL"""
_SELECT: Final = f"""SELECT p.asked_id, p.product_id, p.stated_ppm, u.cost_discount_ppm, u.face_micros,
    s.channel_no, p.asked_time {_ROW}"""
_PAGE = statement(f"{_SELECT} AND p.asked_id > :after ORDER BY p.asked_id LIMIT :most")
_FIND = statement(f"{_SELECT} AND p.asked_id = :exact")
_COUNT = statement("""
SELECT count(*), min(w.asked_time) FROM (
    SELECT asked_time FROM oms_supplier_price WHERE asked_id IS NOT NULL ORDER BY asked_id LIMIT :most) w
""")


async def lock(db: AsyncConnection, product_ids: Sequence[int]) -> dict[int, Supplied]:
    """What is kept of these products, locked to the end of the transaction."""
    rows = await db.execute(_LOCK, {"ids": list(product_ids)})
    return {one.product_id: one for one in _KEPT.all(rows)}


async def now(db: AsyncConnection) -> datetime:
    """The database's clock."""
    found: datetime = (await db.execute(_NOW)).scalar_one()
    return found


async def write(db: AsyncConnection, kept: Sequence[Supplied]) -> None:
    """Keep these, locked before."""
    if kept:
        await db.execute(_WRITE, columns(kept, "product_id", *_VALUES))


async def asked(db: AsyncConnection, after: int, most: int) -> list[Asked]:
    """Prices that wait for a person after this number."""
    return _ASKED.all(await db.execute(_PAGE, {"after": after, "most": most}))


async def find(db: AsyncConnection, asked_id: int) -> Asked | None:
    """The one that waits under this number."""
    found = _ASKED.all(await db.execute(_FIND, {"exact": asked_id}))
    return found[0] if found else None


async def count(db: AsyncConnection, most: int) -> tuple[int, datetime | None]:
    """How many wait, up to `most`, and since when the oldest of these does."""
    row = (await db.execute(_COUNT, {"most": most})).one()
    return row[0], row[1]
