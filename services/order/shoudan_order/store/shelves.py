"""Statements on oms_shelf_version: when what a channel sees of a product last changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db.columns import Rows
from shoudan_kit.db.text_statements import statement
from shoudan_order.kinds import GOODS_FAILS_MAX


class Unacknowledged(msgspec.Struct, frozen=True):
    """What one channel has not acknowledged, of its shelves (product 0) or of one subscription."""

    channel_no: str
    product_id: int
    token: str
    notify_url: str
    version: int
    fails: int
    answer: str
    notify_time: datetime | None
    given_up: bool

    @property
    def place(self) -> tuple[str, int, str]:
        """Its place in the list."""
        return self.channel_no, self.product_id, self.token


_UNACKNOWLEDGED: Final = Rows(Unacknowledged)
_VERSIONS = statement("SELECT version, shelved_version FROM oms_catalogue_version WHERE one")
# The row is locked already: it is the lock of the catalogue's writers.
_COVERED = statement("UPDATE oms_catalogue_version SET shelved_version = :version WHERE one")
_MARK = statement("""
INSERT INTO oms_shelf_version (channel_no, product_id, version, change_time)
SELECT g.channel_no, g.product_id, :version, shoudan_now()
FROM unnest(CAST(:channel_nos AS text[]), CAST(:product_ids AS bigint[])) AS g(channel_no, product_id)
ON CONFLICT (channel_no, product_id) DO UPDATE
    SET version = EXCLUDED.version, change_time = EXCLUDED.change_time
""")
# By oms_shelf_version_since, from where the page before ended.
_CHANGED = statement("""
SELECT version, product_id FROM oms_shelf_version
WHERE channel_no = :channel_no AND (version, product_id) > (:version, :product_id)
    AND version <= :newest
ORDER BY version, product_id LIMIT :most
""")


_BEGIN = statement("""
INSERT INTO oms_shelf_cursor (channel_no, version, product_id)
VALUES (:channel_no, :version, :product_id) ON CONFLICT (channel_no) DO NOTHING
""")
_CURSOR = statement("""
SELECT version, product_id, fails FROM oms_shelf_cursor WHERE channel_no = :channel_no
""")
# Never back: an answer that comes late changes nothing.
_ADVANCE = statement("""
UPDATE oms_shelf_cursor SET version = :version, product_id = :product_id, fails = 0, answer = '',
    notify_time = shoudan_now()
WHERE channel_no = :channel_no
    AND (version, product_id) < (CAST(:version AS bigint), CAST(:product_id AS bigint))
""")
_REFUSED = statement("""
UPDATE oms_shelf_cursor SET fails = fails + 1, answer = :answer, notify_time = shoudan_now()
WHERE channel_no = :channel_no
""")
_FAILING_SHELF: Final = """
SELECT c.channel_no, CAST(0 AS bigint) AS product_id, '' AS token, d.shelf_url AS notify_url, c.version,
    c.fails, c.answer, c.notify_time, false AS given_up
FROM oms_shelf_cursor c JOIN oms_down_channel d ON d.channel_no = c.channel_no
WHERE c.fails > 0 AND {which} ORDER BY c.channel_no LIMIT :most
"""
_FAILING_GOODS: Final = """
SELECT s.channel_no, s.product_id, s.token, s.notify_url, s.version, s.fails, s.answer, s.notify_time,
    s.fails >= {given_up} AS given_up
FROM oms_goods_subscription s
WHERE s.fails > 0 AND {which} ORDER BY s.channel_no, s.product_id, s.token LIMIT :most
"""
# Behind a place of all channels' list, or of one channel's.
_FAILING: Final = (
    statement(_FAILING_SHELF.format(which="c.channel_no > :after")),
    statement(
        _FAILING_GOODS.format(
            given_up=GOODS_FAILS_MAX,
            which="(s.channel_no, s.product_id, s.token)"
            " > (:after, CAST(:product_id AS bigint), :token)",
        )
    ),
)
_FAILING_OF: Final = (
    statement(_FAILING_SHELF.format(which="c.channel_no = :channel_no")),
    statement(
        _FAILING_GOODS.format(
            given_up=GOODS_FAILS_MAX,
            which="s.channel_no = :channel_no"
            " AND (s.product_id, s.token) > (CAST(:product_id AS bigint), :token)",
        )
    ),
)
_BEHIND = statement("""
SELECT EXISTS (SELECT FROM oms_shelf_version v WHERE v.channel_no = c.channel_no
    AND (v.version, v.product_id) > (c.version, c.product_id))
FROM oms_shelf_cursor c WHERE c.channel_no = :channel_no
""")
ID_MAX: Final = 2**63 - 1


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A place in the changes of one channel."""

    version: int
    product_id: int


@dataclass(frozen=True, slots=True)
class Cursor:
    """What a channel has acknowledged of its changes, and how often in a row it did not."""

    place: Place
    fails: int


async def versions(db: AsyncConnection) -> tuple[int, int]:
    """The catalogue's newest version, and that up to which changes of shelves are known; 0 before any."""
    row = (await db.execute(_VERSIONS)).one_or_none()
    return (0, 0) if row is None else (row.version, row.shelved_version)


async def cursor(db: AsyncConnection, channel_no: str, version: int) -> Cursor:
    """The channel's cursor; a new one stands before this version."""
    binds = {"channel_no": channel_no, "version": version - 1, "product_id": ID_MAX}
    await db.execute(_BEGIN, binds)
    row = (await db.execute(_CURSOR, {"channel_no": channel_no})).one()
    return Cursor(Place(row.version, row.product_id), row.fails)


async def advance(db: AsyncConnection, channel_no: str, place: Place) -> None:
    """The channel has acknowledged everything up to this place."""
    binds = {"channel_no": channel_no, "version": place.version, "product_id": place.product_id}
    await db.execute(_ADVANCE, binds)


async def note_refused(db: AsyncConnection, channel_no: str, answer: str) -> None:
    """Count an attempt that was not acknowledged."""
    await db.execute(_REFUSED, {"channel_no": channel_no, "answer": answer})


async def failing(
    db: AsyncConnection, channel_no: str, after: tuple[str, int, str], most: int
) -> list[Unacknowledged]:
    """What channels have not acknowledged, behind a place of this list; all channels when empty."""
    place = {"product_id": after[1], "token": after[2], "most": most}
    if channel_no:
        binds = {"channel_no": channel_no, **place}
        shelf = {"channel_no": channel_no, "most": most}
        of_shelf, of_goods = _FAILING_OF
        found = [] if after[0] else _UNACKNOWLEDGED.all(await db.execute(of_shelf, shelf))
    else:
        binds = {"after": after[0], **place}
        of_shelf, of_goods = _FAILING
        shelf = {"after": after[0], "most": most}
        found = _UNACKNOWLEDGED.all(await db.execute(of_shelf, shelf))
    found += _UNACKNOWLEDGED.all(await db.execute(of_goods, binds))
    return sorted(found, key=lambda one: one.place)[:most]


async def is_behind(db: AsyncConnection, channel_no: str) -> bool:
    """Whether something changed after the cursor."""
    return bool((await db.execute(_BEHIND, {"channel_no": channel_no})).scalar_one())


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
