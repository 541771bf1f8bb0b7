"""Which shard a schema is: a mark that the owner writes and every process compares with its map.

It is the comment of the schema, as a hold is that of a part: a table would be a revision in five services.
A process with an older map, or with none, would give a key to a shard that it is not in.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from sqlalchemy import MetaData, text
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db.foundation import FOUNDATION_TABLES
from shoudan_kit.db.shard_map import Home
from shoudan_kit.db.text_statements import statement

_MARK: Final = re.compile(r"shoudan shard (\d+) of (\d+), epoch (\d+)")
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


@dataclass(frozen=True, slots=True)
class Mark:
    """What a schema says of itself."""

    shard: int
    shards: int
    epoch: int

    def __str__(self) -> str:
        return f"shoudan shard {self.shard} of {self.shards}, epoch {self.epoch}"


async def read(db: AsyncConnection, schema: str) -> tuple[bool, Mark | None]:
    """Whether the schema is there, and its mark; none where a service has one shard."""
    row = (await db.execute(_READ, {"schema": schema})).one()
    found = _MARK.fullmatch(row.comment)
    return row.there, None if found is None else Mark(*map(int, found.groups()))


async def check(db: AsyncConnection, home: Home) -> None:
    """For a process: the schema is the one its map means. Raises WrongShard."""
    _, mark = await read(db, home.schema)
    if mark is None and home.shards > 1:
        raise WrongShard(f"{home.schema} on {home.server} is not marked: shoudan migrate")
    _compare(home, mark)
    if mark is not None and mark.epoch < home.epoch:
        raise WrongShard(f"{home.schema} is at epoch {mark.epoch}: shoudan migrate")


async def foresee(db: AsyncConnection, metadata: MetaData, home: Home) -> bool:
    """For the owner: whether the schema of a home is there; it can be migrated. Raises WrongShard."""
    there, mark = await read(db, home.schema)
    _compare(home, mark)
    if (
        there
        and mark is None
        and home.shards > 1
        and (table := await _filled(db, metadata, home.schema))
    ):
        raise WrongShard(
            f"{home.schema}.{table} holds rows of a service with one shard; they cannot be spread yet"
        )
    return there


async def make(db: AsyncConnection, metadata: MetaData, home: Home) -> None:
    """For the owner: the schema of a home, with its mark. Repeats change nothing. Raises WrongShard."""
    if not await foresee(db, metadata, home):
        await db.execute(text(f"CREATE SCHEMA IF NOT EXISTS {home.schema}"))
    wanted = Mark(home.shard, home.shards, home.epoch)
    if home.epoch and (await read(db, home.schema))[1] != wanted:
        await db.execute(text(f"COMMENT ON SCHEMA {home.schema} IS '{wanted}'"))


def _compare(home: Home, mark: Mark | None) -> None:
    """What no migration mends."""
    if mark is None:
        return
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


async def _filled(db: AsyncConnection, metadata: MetaData, schema: str) -> str | None:
    """A table with rows; what every service has from its start does not count."""
    names = [one for one in metadata.tables if one not in FOUNDATION_TABLES]
    found = await db.execute(_TABLES, {"schema": schema, "names": names})
    for table in found.scalars().all():
        rows = await db.execute(text(f"SELECT EXISTS (SELECT FROM {schema}.{table})"))
        if rows.scalar_one():
            return str(table)
    return None
