"""A service with one shard and rows gets a map: keys that exist are pinned to the first shard, new ones are
spread.

No row moves. Its processes are stopped meanwhile: a key that came in between would be looked for elsewhere.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db import pinned_keys, shard_marks
from shoudan_kit.db.owner import alone, as_owner
from shoudan_kit.db.schema import Schema
from shoudan_kit.db.shard_keys import hash_of_key
from shoudan_kit.db.shard_map import Home, ShardMap, contents_of
from shoudan_kit.db.shard_map_text import replace_file
from shoudan_kit.db.shard_marks import Mark

# No process begins while this is held, and those that work have a lease.
_LOCK: Final = text("LOCK TABLE id_node IN EXCLUSIVE MODE")
_WORKING: Final = text("SELECT count(*) FROM id_node WHERE expire_time > now()")
_PINNED: Final = re.compile(r"(?m)^\s*pinned\s*=.*\n")
_SHARDS: Final = re.compile(r"(?m)^(\s*shards\s*=\s*\d+.*)$")


class NotGrown(Exception):
    """Why a service cannot get this map; nothing was changed."""


@dataclass(frozen=True, slots=True)
class Grown:
    """How many keys stay in the first shard; `existed`: the service had the map before."""

    keys: int
    existed: bool


async def grow(schema: Schema, found: ShardMap, map_file: Path) -> Grown:
    """Pin the keys that exist, write them and the map that names them, mark the schema. Repeats change
    nothing. Raises NotGrown, WrongShard, OSError, and what a database raises that is away."""
    if found.shards < 2:
        raise NotGrown("the map has one shard")
    home = found.homes[0]
    async with as_owner(home.owner_url) as db:
        await alone(db)
        async with db.begin():
            there, mark = await shard_marks.read(db, home.schema)
            if mark is not None:
                await shard_marks.foresee(db, schema.metadata, home)
                return Grown(len(found.pinned), existed=True)
            if not there or not await _migrated(db):
                raise NotGrown("there is nothing to grow from: shoudan migrate makes the shards")
            await db.execute(_LOCK)
            if working := (await db.execute(_WORKING)).scalar_one():
                raise NotGrown(f"{working} of its processes work, or did 15 s ago: stop them all")
            data = pinned_keys.encoded(await _hashes(db, schema))
            try:
                _write(map_file, data)
            except OSError as error:
                raise NotGrown(f"{map_file} cannot be written ({error.strerror})") from None
            await shard_marks.write(db, home.schema, Mark.of(_named(home, found, data)))
    return Grown(len(data) // pinned_keys.BYTES, existed=False)


async def _migrated(db: AsyncConnection) -> bool:
    there = await db.execute(text("SELECT to_regclass('id_node') IS NOT NULL"))
    return bool(there.scalar_one())


async def _hashes(db: AsyncConnection, schema: Schema) -> set[int]:
    """Of every key that has rows."""
    hashes: set[int] = set()
    for sql in schema.keys:
        async with db.stream(text(sql)) as rows:
            async for row in rows:
                hashes.add(hash_of_key(row))
    return hashes


def _named(home: Home, found: ShardMap, data: bytes) -> Home:
    servers = [one.server for one in found.homes]
    return replace(home, contents=contents_of(servers, pinned_keys.digest(data)))


def _write(map_file: Path, data: bytes) -> None:
    """The keys first: a map without its keys is refused, keys without a map are nothing."""
    written = _PINNED.sub("", map_file.read_text("utf-8"))
    line = f'pinned = "{pinned_keys.digest(data)}"'
    named, count = _SHARDS.subn(rf"\1\n{line}", written, count=1)
    if count != 1:
        raise NotGrown(
            "the map cannot be edited by the command: its form is not the documented one"
        )
    replace_file(pinned_keys.beside(map_file), data)
    replace_file(map_file, named)
