"""What `shoudan db archive-ended` does, as if everything were old."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path

from shoudan_kit.archive.chains import WantedDays, archive_days
from shoudan_kit.archive.ended import Done, Wanted, archive_ended
from shoudan_kit.archive.place import Place
from shoudan_kit.db.chains import Chains, counted_days
from shoudan_kit.db.ended import GOES, Ended, Hold, before_of, counted
from shoudan_kit.db.owner import as_owner
from shoudan_kit.db.shard_map import FIRST_SCHEMA, parse
from shoudan_kit.embedded import DatabaseUrls

LATER_S = 200 * 86_400
FUTURE = date(2100, 1, 1)
Holds = Callable[[], Awaitable[Sequence[Hold]]]


async def no_holds() -> Sequence[Hold]:
    """Nothing is held."""
    return ()


async def stay(
    owner_url: str, ended: Ended, *holds: Hold, schema: str = FIRST_SCHEMA
) -> Mapping[str, int]:
    """How many rows stay, by reason, when so much time has passed since the last change."""
    async with as_owner(owner_url, schema) as db, db.begin():
        return await counted(db, ended, await before_of(db, timedelta(seconds=-LATER_S)), holds)


async def archived(
    owner_url: str,
    service: str,
    ended: Ended,
    place: Path,
    *,
    holds: Holds = no_holds,
    lot_rows: int = 100,
    batch_rows: int = 2,
    schema: str = FIRST_SCHEMA,
) -> list[Done]:
    """One run in one shard; its lots."""
    seen: list[Done] = []
    async with as_owner(owner_url, schema) as db:
        async with db.begin():
            before = await before_of(db, timedelta(seconds=-LATER_S))
        wanted = Wanted(before, holds, lot_rows, batch_rows)
        await archive_ended(db, service, ended, Place(str(place)), wanted, seen.append)
    return seen


async def may_go_everywhere(own: DatabaseUrls, shard_map: Path, ended: Ended) -> int:
    """How many rows of all shards may go."""
    written = await asyncio.to_thread(shard_map.read_text)
    homes = parse(written, *own, owner=True).homes
    found = [await stay(one.owner_url, ended, schema=one.schema) for one in homes]
    return sum(one.get(GOES, 0) for one in found)


async def archived_everywhere(
    own: DatabaseUrls, shard_map: Path, service: str, ended: Ended, place: Path
) -> list[int]:
    """A run in every shard of a map, one place for all; how many rows left each."""
    written, gone = await asyncio.to_thread(shard_map.read_text), list[int]()
    for home in parse(written, *own, owner=True).homes:
        done = await archived(home.owner_url, service, ended, place, schema=home.schema)
        gone.append(sum(one.gone for one in done))
    return gone


async def archived_days(
    owner_url: str,
    service: str,
    chains: Chains,
    place: Path,
    copied: Sequence[date],
    *,
    holds: Holds = no_holds,
    batch_rows: int = 3,
    schema: str = FIRST_SCHEMA,
) -> list[Done]:
    """One run in one shard of what leaves by days; its lots."""
    seen: list[Done] = []
    wanted = WantedDays(FUTURE, copied, holds, batch_rows)
    async with as_owner(owner_url, schema) as db:
        await archive_days(db, service, chains, Place(str(place)), wanted, seen.append)
    return seen


async def days_stay(
    owner_url: str, chains: Chains, copied: Sequence[date], *holds: Hold
) -> Mapping[str, int]:
    """How many rows of closed days stay, by reason."""
    async with as_owner(owner_url) as db, db.begin():
        return await counted_days(db, chains, FUTURE, copied, holds)
