"""Which shard a schema is: a mark that the owner writes and every process compares with its map.

It is the comment of the schema, as a hold is that of a part: a table would be a revision in five services.
A process with an older map, or with none, would give a key to a shard that it is not in.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import MetaData, text
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db.errors import Unavailable
from shoudan_kit.db.foundation import FOUNDATION_TABLES
from shoudan_kit.db.owner import as_owner
from shoudan_kit.db.shard_map import Home
from shoudan_kit.db.text_statements import statement

ARRIVING: Final = "arriving"  # a copy that is being made; no process works on it
WHOLE: Final = "whole"  # a copy that was proved; no process works on it yet
LEAVING: Final = "leaving"  # it is being copied elsewhere; processes work on it, no migration does
FENCED: Final = "fenced"  # it takes no writes any more, and is not elsewhere yet
LEFT: Final = "left"  # it is elsewhere
_MARK: Final = re.compile(
    r"shoudan shard (\d+) of (\d+), epoch (\d+)(?:, map ([0-9a-f]+))?"
    f"(?:, ({ARRIVING}|{WHOLE}|{LEAVING}|{FENCED}|{LEFT}))?"
)
_READ: Final = statement("""
SELECT to_regnamespace(:schema) IS NOT NULL AS there,
    coalesce(obj_description(CAST(to_regnamespace(:schema) AS oid), 'pg_namespace'), '') AS comment
""")
_TABLES: Final = text("""
SELECT quote_ident(relname) FROM pg_class
WHERE relnamespace = CAST(to_regnamespace(:schema) AS oid) AND relname = ANY(CAST(:names AS text[]))
""")


class WrongShard(Exception):
    """What the schema holds is not what the map says of it."""


class ShardMoves(Unavailable):
    """The shard is on its way: it is at neither place for a moment."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What a schema says of itself. `contents`: of the map of this epoch; empty in a mark of before. `state`:
    where it is on a move; empty for one that stays."""

    shard: int
    shards: int
    epoch: int
    contents: str = field(default="", compare=False)
    state: str = ""

    def __str__(self) -> str:
        contents = f", map {self.contents}" if self.contents else ""
        state = f", {self.state}" if self.state else ""
        return f"shoudan shard {self.shard} of {self.shards}, epoch {self.epoch}{contents}{state}"

    @classmethod
    def parse(cls, comment: str) -> Mark | None:
        """The mark in the comment of a schema."""
        found = _MARK.fullmatch(comment)
        if found is None:
            return None
        shard, shards, epoch, contents, state = found.groups()
        return cls(int(shard), int(shards), int(epoch), contents or "", state or "")

    @classmethod
    def of(cls, home: Home, state: str = "") -> Mark:
        """What the schema of a home says."""
        return cls(home.shard, home.shards, home.epoch, home.contents, state)


async def read(db: AsyncConnection, schema: str) -> tuple[bool, Mark | None]:
    """Whether the schema is there, and its mark; none where a service has one shard."""
    row = (await db.execute(_READ, {"schema": schema})).one()
    return row.there, Mark.parse(row.comment)


async def check(db: AsyncConnection, home: Home) -> None:
    """For a process: the schema is the one its map means. Raises WrongShard, ShardMoves."""
    _, mark = await read(db, home.schema)
    if mark is not None and mark.state in {ARRIVING, WHOLE, FENCED}:
        raise ShardMoves(f"{home.schema} on {home.server} is {mark.state}")
    if mark is None and home.shards > 1:
        raise WrongShard(f"{home.schema} on {home.server} is not marked: shoudan migrate")
    _compare(home, mark)
    if mark is not None and mark.epoch < home.epoch:
        raise WrongShard(f"{home.schema} is at epoch {mark.epoch}: shoudan migrate")


async def foresee(db: AsyncConnection, metadata: MetaData, home: Home, state: str = "") -> bool:
    """For the owner: whether the schema of a home is there; it can be migrated. Raises WrongShard."""
    there, mark = await read(db, home.schema)
    if mark is not None and mark.state not in {state, LEFT}:
        raise WrongShard(f"{home.schema} is {mark.state}: end its move first (shoudan shard move)")
    _compare(home, mark)
    if (
        there
        and mark is None
        and home.shards > 1
        and (table := await _filled(db, metadata, home.schema))
    ):
        raise WrongShard(
            f"{home.schema}.{table} holds rows of a service with one shard: shoudan shard grow first"
        )
    return there


async def make(db: AsyncConnection, metadata: MetaData, home: Home, state: str = "") -> None:
    """For the owner: the schema of a home, with its mark. Repeats change nothing. Raises WrongShard."""
    if not await foresee(db, metadata, home, state):
        await db.execute(text(f"CREATE SCHEMA IF NOT EXISTS {home.schema}"))
    wanted = Mark.of(home, state)
    if home.epoch and str((await read(db, home.schema))[1]) != str(wanted):
        await write(db, home.schema, wanted)


async def write(db: AsyncConnection, schema: str, mark: Mark) -> None:
    """For the owner: what the schema says of itself from now on."""
    await db.execute(text(f"COMMENT ON SCHEMA {schema} IS '{mark}'"))


async def refuse_strays(homes: Sequence[Home]) -> None:
    """For the owner: in a system that is marked with a map of before, no shard is anywhere but where this map
    says. A migration would make it anew, without its rows. Raises WrongShard, and what a database raises."""
    async with as_owner(homes[0].owner_url) as db, db.begin():
        _, first = await read(db, homes[0].schema)
    if first is None or first.epoch >= homes[0].epoch:
        return
    for home in homes[1:]:
        async with as_owner(home.owner_url) as db, db.begin():
            if (await read(db, home.schema))[1] is None:
                raise WrongShard(
                    f"shard {home.shard} is not on {home.server}; a map alone does not move it"
                )


def _compare(home: Home, mark: Mark | None) -> None:
    """What no migration mends."""
    if mark is None:
        return
    if mark.state == LEFT:
        raise WrongShard(f"{home.schema} has left {home.server}: the map is not the newest")
    if home.epoch == 0:
        raise WrongShard(f"{home.schema} is shard {mark.shard} of {mark.shards}, and no map is set")
    if (mark.shard, mark.shards) != (home.shard, home.shards):
        raise WrongShard(
            f"{home.schema} is shard {mark.shard} of {mark.shards}, the map says {home.shard} of"
            f" {home.shards}"
        )
    if mark.epoch > home.epoch:
        raise WrongShard(
            f"{home.schema} is at epoch {mark.epoch}, the map is of epoch {home.epoch}"
        )
    same = not (mark.contents and home.contents) or mark.contents == home.contents
    if mark.epoch == home.epoch and not same:
        raise WrongShard(
            f"{home.schema} is at epoch {mark.epoch} of another map: two maps have the same epoch"
        )


async def _filled(db: AsyncConnection, metadata: MetaData, schema: str) -> str | None:
    """A table with rows; what every service has from its start does not count."""
    names = [one for one in metadata.tables if one not in FOUNDATION_TABLES]
    found = await db.execute(_TABLES, {"schema": schema, "names": names})
    for table in found.scalars().all():
        rows = await db.execute(text(f"SELECT EXISTS (SELECT FROM {schema}.{table})"))
        if rows.scalar_one():
            return str(table)
    return None
