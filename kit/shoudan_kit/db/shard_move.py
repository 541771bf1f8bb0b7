"""A shard moves to another server: copied, fenced, proved, switched; each step can be repeated after a kill.

What was done is what the marks of both schemas say, and what the servers say of the copy. The old place
refuses writes and reads before the new one takes any: there are never two. Decision 0035.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from sqlalchemy import Connection, text

from shoudan_kit import faults
from shoudan_kit.db import shard_copy, shard_marks
from shoudan_kit.db.migrate import give_rights, role_of, upgrade
from shoudan_kit.db.owner import LOCK_KEY, Patience, as_owner, in_time
from shoudan_kit.db.revisions import VERSION_TABLE
from shoudan_kit.db.schema import Schema
from shoudan_kit.db.shard_copy import Copy, MoveFailed, Say
from shoudan_kit.db.shard_map import Home, ShardMap
from shoudan_kit.db.shard_marks import ARRIVING, FENCED, LEAVING, LEFT, WHOLE, Mark
from shoudan_kit.db.url import DatabaseUrl
from shoudan_kit.log import get_logger

FENCING: Final = Patience(lock_timeout_s=2.0, tries_max=15, wait_s_max=1.0)
QUIET_S: Final = 20.0  # longer than a transaction of a service may take
QUIET_EVERY_S: Final = 0.02
FIRST_STAYS: Final = (
    "shard 0 is where the settings' database is: that moves as a whole, by a standby"
)

_ABLE: Final = text("""
SELECT current_setting('wal_level') AS wal_level, current_user AS owner,
    (SELECT rolreplication OR rolsuper FROM pg_roles WHERE rolname = current_user) AS replicates,
    pg_has_role(current_user, 'pg_create_subscription', 'MEMBER') AS subscribes,
    has_database_privilege(current_database(), 'CREATE') AS creates,
    EXISTS (SELECT FROM pg_roles WHERE rolname = :role) AS role,
    (SELECT count(*) FROM pg_replication_slots) < CAST(current_setting('max_replication_slots') AS integer)
        AS slots
""")
_WRITERS: Final = text("""
SELECT count(*) FROM pg_locks JOIN pg_class ON pg_class.oid = relation
WHERE locktype = 'relation' AND mode IN ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock')
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND relnamespace = CAST(to_regnamespace(:schema) AS oid) AND relkind IN ('r', 'p')
""")
_VERSION: Final = "SELECT version_num FROM {schema}." + VERSION_TABLE

_log = get_logger("shard_move")


@dataclass(frozen=True, slots=True)
class Move:
    """One shard's way from the map of before to the next one. `reach`: how the target's server reaches the
    source, as libpq's keywords; `turnable`: sessions may turn the clock, as in `migrate`."""

    service: str
    schema: Schema
    shard: int
    before: ShardMap
    after: ShardMap
    turnable: bool
    reach: str = ""

    @property
    def source(self) -> Home:
        """Where it is."""
        return self.before.homes[self.shard]

    @property
    def target(self) -> Home:
        """Where it will be."""
        return self.after.homes[self.shard]

    @property
    def role(self) -> str:
        """The service's role. Raises MoveFailed when it is the owner, who cannot be fenced."""
        found = role_of(self.target.url, self.target.owner_url)
        if found is None or role_of(self.source.url, self.source.owner_url) != found:
            raise MoveFailed("the service must connect as one role, and not as the tables' owner")
        return found

    @property
    def copy(self) -> Copy:
        """Its copy."""
        reach = self.reach or DatabaseUrl.parse(self.source.owner_url).conninfo
        return Copy(self.source, self.target, self.schema.metadata, reach)


@dataclass(frozen=True, slots=True)
class Marks:
    """What both places say, None where no shard is; and whether the shard is at its new place."""

    source: Mark | None
    target: Mark | None
    arrived: bool


async def marks_of(move: Move) -> Marks:
    """How far a move is. Raises what a database raises that is away."""
    source, target = await _mark(move.source), await _mark(move.target)
    closed = source is not None and source.state in {FENCED, LEFT}
    return Marks(source, target, closed and target == Mark.of(move.target))


async def problems(move: Move) -> list[str]:
    """Why the move cannot be made; nothing is changed."""
    marks, found = await marks_of(move), list[str]()
    if move.shard == 0:
        return [FIRST_STAYS]
    if marks.arrived:
        return []
    mark, before = marks.source, Mark.of(move.source)
    if mark is not None and not mark.state and mark.epoch < before.epoch:
        return [
            f"{move.source.schema} is at epoch {mark.epoch}, the map at {before.epoch}: shoudan migrate"
        ]
    if mark is None or (mark.shard, mark.shards, mark.epoch) != (
        before.shard,
        before.shards,
        before.epoch,
    ):
        return [
            f"{move.source.schema} on {move.source.server} is not what the map says: shoudan shard ls"
        ]
    if mark.state == LEFT or (marks.target is not None and marks.target.state == LEFT):
        return [f"an old copy is on {move.target.server}: shoudan shard drop it first"]
    if marks.target is not None and not marks.target.state:
        return [f"{move.target.schema} on {move.target.server} is a shard already"]
    found += [one async for one in _unable(move)]
    if any(not table.primary_key for table in move.schema.metadata.tables.values()):
        found.append("a table has no primary key, so that its changes cannot be copied")
    return found


async def _unable(move: Move) -> AsyncIterator[str]:
    """What the servers lack, with the words that mend it."""
    source, target = [await _able(one, move.role) for one in (move.source, move.target)]
    if source.wal_level != "logical":
        yield f"{move.source.server}: wal_level is {source.wal_level}; set it to logical and restart"
    if not source.replicates:
        yield f'{move.source.server}: ALTER ROLE "{source.owner}" REPLICATION'
    if not source.slots and not await shard_copy.begun(move.copy):
        yield f"{move.source.server}: no slot is free; raise max_replication_slots"
    if not target.subscribes:
        yield f'{move.target.server}: GRANT pg_create_subscription TO "{target.owner}"'
    if not target.creates:
        yield f'{move.target.server}: "{target.owner}" does not own the database'
    if not target.role:
        yield f'{move.target.server}: there is no role "{move.role}"'


async def run(move: Move, say: Say, *, copy_only: bool = False, prove: bool = True) -> float:
    """Move the shard, or go on where a move of before was stopped; gives the seconds in which it was at
    neither place. `copy_only`: stop before writers are. Raises MoveFailed, Locked, WrongShard."""
    async with _alone(move):
        if mistakes := await problems(move):
            raise MoveFailed("; ".join(mistakes))
        marks, began = await marks_of(move), time.monotonic()
        if not marks.arrived:
            if marks.source is None or marks.source.state != FENCED:
                await _copied(move, say)
                if copy_only:
                    return 0.0
                began = time.monotonic()
                await _fence(move)
                faults.hit("shard.move.fenced")
            await _arrive(move, prove=prove)
            faults.hit("shard.move.arrived")
        away_s = time.monotonic() - began
        await _leave(move)
        faults.hit("shard.move.left")
        return away_s


async def undo(move: Move) -> None:
    """Stay at the old place: writers go on, the copy goes. Raises MoveFailed once the shard has arrived."""
    async with _alone(move):
        marks = await marks_of(move)
        if marks.arrived or (marks.source is not None and marks.source.state == LEFT):
            raise MoveFailed(f"it is on {move.target.server} already; move it back instead")
        if marks.target is not None and marks.target.state == WHOLE:
            await _write(move.target, Mark.of(move.target, ARRIVING))
        if marks.source is not None and marks.source.state == FENCED:
            await _unfence(move)
        await shard_copy.unsubscribe(move.copy)
        await shard_copy.unpublish(move.copy)
        if marks.target is not None and marks.target.state in {ARRIVING, WHOLE}:
            await _drop(move.target)
        await _write(move.source, Mark.of(move.source))


async def drop(known: ShardMap, shard: int, server: str) -> None:
    """Drop the copy that a shard left on a server, once it is where the map says. Raises MoveFailed."""
    old = replace(known.homes[shard], server=server).at(*known.urls[server])
    here, there = await _mark(old), await _mark(known.homes[shard])
    if here is None or here.state != LEFT:
        raise MoveFailed(f"{old.schema} on {server} is not a copy that was left behind")
    if there is None or there.state or there.epoch < here.epoch:
        raise MoveFailed(f"the shard is not on {known.homes[shard].server}, where the map says")
    await _drop(old)


async def _copied(move: Move, say: Say) -> None:
    """The target has everything but what was written a moment ago."""
    there = await _mark(move.target)
    if there is not None and there.state == WHOLE:  # it was, until writers went on
        await _write(move.target, Mark.of(move.target, ARRIVING))
    if not await shard_copy.begun(move.copy):
        home, schema = move.target, move.schema
        await upgrade(
            move.service,
            schema,
            home.owner_url,
            None,  # the service gets its rights when the shard arrives
            turnable=move.turnable,
            home=home,
            state=ARRIVING,
        )
        if await _version(move.source) != await _version(home):
            raise MoveFailed(f"{move.source.schema} is not at this release: shoudan migrate")
        await shard_copy.lay_parts(move.copy)
        await _write(move.source, Mark.of(move.source, LEAVING))
        faults.hit("shard.move.prepared")
        await shard_copy.begin(move.copy)
    faults.hit("shard.move.copying")
    await shard_copy.followed(move.copy, say)
    faults.hit("shard.move.copied")


async def _fence(move: Move) -> None:
    """From here on the service begins neither a write nor a read at the old place."""
    schema, role = move.source.schema, move.role

    def fence(connection: Connection) -> None:
        to = connection.dialect.identifier_preparer.quote(role)
        connection.execute(text(f"REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM {to}"))
        connection.execute(text(f"REVOKE ALL ON ALL SEQUENCES IN SCHEMA {schema} FROM {to}"))
        connection.execute(text(f"COMMENT ON SCHEMA {schema} IS '{Mark.of(move.source, FENCED)}'"))

    async with as_owner(move.source.owner_url, schema) as db:
        await in_time(db, f"fence of {schema}", FENCING, fence)
    _log.info("shard_fenced", shard=move.shard, server=move.source.server)


async def _quiet(move: Move) -> None:
    """Wait for the writers that began before the fence. Rights are looked at under the lock of a table, so
    that who does not hold one now finds them gone. Raises MoveFailed."""
    deadline = time.monotonic() + QUIET_S
    async with as_owner(move.source.owner_url) as db:
        while True:
            async with db.begin():
                writers = await db.execute(_WRITERS, {"schema": move.source.schema})
                if not writers.scalar_one():
                    return
            if time.monotonic() > deadline:
                raise MoveFailed(f"a transaction of before has not ended within {QUIET_S:g} s")
            await asyncio.sleep(QUIET_EVERY_S)


async def _unfence(move: Move) -> None:
    home = move.source

    def unfence(connection: Connection) -> None:
        give_rights(move.schema, connection, move.role)
        connection.execute(text(f"COMMENT ON SCHEMA {home.schema} IS '{Mark.of(home, LEAVING)}'"))

    async with as_owner(home.owner_url, home.schema) as db:
        await in_time(db, f"fence of {home.schema}", FENCING, unfence)
    _log.info("shard_unfenced", shard=move.shard, server=home.server)


async def _arrive(move: Move, *, prove: bool) -> None:
    """Everything is at the new place, which serves. When it is not, the old one serves again: MoveFailed."""
    try:
        mark = await _mark(move.target)
        if mark is None or mark.state != WHOLE:
            await _quiet(move)
            await shard_copy.caught_up(move.copy)
            faults.hit("shard.move.caught_up")
            if prove and (found := await shard_copy.differences(move.copy)):
                raise MoveFailed(f"the copy differs: {'; '.join(found)}")
            await _write(move.target, Mark.of(move.target, WHOLE))
    except BaseException:
        await _unfence(move)
        raise
    faults.hit("shard.move.whole")
    await shard_copy.unsubscribe(move.copy)
    await shard_copy.copy_sequences(move.copy)
    home = move.target

    def arrive(connection: Connection) -> None:
        give_rights(move.schema, connection, move.role)
        connection.execute(text(f"COMMENT ON SCHEMA {home.schema} IS '{Mark.of(home)}'"))

    async with as_owner(home.owner_url, home.schema) as db:
        await in_time(db, f"rights in {home.schema}", FENCING, arrive)
    _log.info("shard_arrived", shard=move.shard, server=home.server, epoch=home.epoch)


async def _leave(move: Move) -> None:
    """The old place is an old copy, and every shard is marked with the next map."""
    target = move.target
    left = replace(move.source, epoch=target.epoch, contents=target.contents)
    await _write(move.source, Mark.of(left, LEFT))
    await shard_copy.unpublish(move.copy)
    for home in move.after.homes:
        mark = await _mark(home)
        if mark is not None and mark.epoch < home.epoch:
            await _write(home, Mark.of(home, mark.state))


@asynccontextmanager
async def _alone(move: Move) -> AsyncGenerator[None]:
    """One command at a time moves a shard of a service, as each makes the next map. The lock is the
    session's, which ends with the command."""
    async with as_owner(move.before.homes[0].owner_url) as db:
        async with db.begin():
            lock = text("SELECT pg_try_advisory_lock(:key)")
            ours = (await db.execute(lock, {"key": LOCK_KEY + 1})).scalar_one()
        if not ours:
            raise MoveFailed(f"another command moves a shard of {move.service} now")
        yield


async def _mark(home: Home) -> Mark | None:
    async with as_owner(home.owner_url) as db, db.begin():
        return (await shard_marks.read(db, home.schema))[1]


async def _write(home: Home, mark: Mark) -> None:
    async with as_owner(home.owner_url) as db, db.begin():
        await shard_marks.write(db, home.schema, mark)


async def _drop(home: Home) -> None:
    async with as_owner(home.owner_url) as db:
        drop = partial(_execute, f"DROP SCHEMA {home.schema} CASCADE")
        await in_time(db, f"drop of {home.schema}", FENCING, drop)


def _execute(sql: str, connection: Connection) -> None:
    connection.execute(text(sql))


async def _version(home: Home) -> str:
    async with as_owner(home.owner_url) as db, db.begin():
        sql = text(_VERSION.format(schema=home.schema))
        return str((await db.execute(sql)).scalar_one())


async def _able(home: Home, role: str) -> Any:
    async with as_owner(home.owner_url) as db, db.begin():
        return (await db.execute(_ABLE, {"role": role})).one()
