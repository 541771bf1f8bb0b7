"""Statements on oms_shelf_version: when what a channel sees of a product last changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db.text_statements import statement

_VERSIONS = statement("SELECT version, shelved_version FROM oms_catalogue_version WHERE one")
# The row is locked already: it is the lock of the catalogue's writers.
_COVERED = statement("UPDATE oms_catalogue_version SET shelved_version = :version WHERE one")
_MARK = statement("""
INSERT INTO oms_shelf_version (channel_no, product_id, version)
SELECT g.channel_no, g.product_id, :version
FROM unnest(CAST(:channel_nos AS text[]), CAST(:product_ids AS bigint[])) AS g(channel_no, product_id)
ON CONFLICT (channel_no, product_id) DO UPDATE SET version = EXCLUDED.version
""")
# By oms_shelf_version_since, from where the page before ended.
_CHANGED = statement("""
SELECT version, product_id FROM oms_shelf_version
WHERE channel_no = :channel_no AND (version, product_id) > (:version, :product_id)
    AND version <= :newest
ORDER BY version, product_id LIMIT :most
""")


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A place in the changes of one channel."""

    version: int
    product_id: int


async def versions(db: AsyncConnection) -> tuple[int, int]:
    """The catalogue's newest version, and that up to which changes of shelves are known; 0 before any."""
    row = (await db.execute(_VERSIONS)).one_or_none()
    return (0, 0) if row is None else (row.version, row.shelved_version)


async def mark(db: AsyncConnection, version: int, changed: Mapping[str, Sequence[int]]) -> None:
    """Note that a version changed these products of each channel, and that it noted all it changed."""
    pairs = [(channel_no, one) for channel_no, ones in changed.items() for one in ones]
    if pairs:
        channel_nos, product_ids = zip(*pairs, strict=True)
        await db.execute(
            _MARK,
            {
                "version": version,
                "channel_nos": list(channel_nos),
                "product_ids": list(product_ids),
            },
        )
    await db.execute(_COVERED, {"version": version})


async def changed(
    db: AsyncConnection, channel_no: str, after: Place, newest: int, most: int
) -> list[Place]:
    """The channel's products changed after a place up to a version, at most `most`, in order."""
    rows = await db.execute(
        _CHANGED,
        {
            "channel_no": channel_no,
            "version": after.version,
            "product_id": after.product_id,
            "newest": newest,
            "most": most,
        },
    )
    return [Place(row.version, row.product_id) for row in rows]
