"""The copy of one shard's schema on another server, kept up to date by PostgreSQL's own logical replication.

Every step looks first at what is there, so that each can be done again after a kill.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import asyncpg
from sqlalchemy import MetaData, text
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db.errors import sql_state
from shoudan_kit.db.foundation import partitioned, stored_as
from shoudan_kit.db.owner import as_owner
from shoudan_kit.db.shard_map import Home

LOOK_S: Final = 0.2
NEAR_BYTES: Final = 1_048_576  # so little is left to copy when writers are stopped
STALLED_S: Final = 300.0  # without any progress a copy is given up
CAUGHT_UP_S: Final = 30.0  # writers are stopped for the rest at most as long
ERROR_CHARS: Final = 300
# A server's own sessions: what cuts off long statements of others would cut off the copy.
_UNLIMITED: Final = (
    "statement_timeout",
    "lock_timeout",
    "idle_in_transaction_session_timeout",
    "transaction_timeout",
)
_SESSION: Final = (
    "SET LOCAL timezone = 'UTC'",
    "SET LOCAL datestyle = 'ISO'",
    "SET LOCAL intervalstyle = 'postgres'",
    "SET LOCAL extra_float_digits = 1",
    "SET LOCAL bytea_output = 'hex'",
)
_THERE: Final = text("""
SELECT EXISTS (SELECT FROM pg_publication WHERE pubname = :name) AS publication,
    EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = :name) AS slot,
    EXISTS (SELECT FROM pg_subscription WHERE subname = :name AND subdbid =
        (SELECT oid FROM pg_database WHERE datname = current_database())) AS subscription
""")
_PARTS: Final = text("""
SELECT parent.relname AS owner, part.relname AS name, pg_get_expr(part.relpartbound, part.oid) AS bound,
    coalesce(obj_description(part.oid, 'pg_class'), '') AS comment
FROM pg_inherits JOIN pg_class parent ON parent.oid = inhparent AND parent.relkind = 'p'
JOIN pg_class part ON part.oid = inhrelid
WHERE parent.relnamespace = CAST(to_regnamespace(:schema) AS oid)
ORDER BY parent.relname, part.relname
""")
_SEQUENCES: Final = text("""
SELECT quote_ident(schemaname) || '.' || quote_ident(sequencename) AS name, last_value FROM pg_sequences
WHERE schemaname = :schema AND last_value IS NOT NULL ORDER BY 1
""")
_COUNTED: Final = text("SELECT setval(CAST(CAST(:name AS text) AS regclass), :value)")
_LAG: Final = text("""
SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn) AS bytes, confirmed_flush_lsn
FROM pg_replication_slots WHERE slot_name = :name
""")
_HERE: Final = text("SELECT CAST(pg_current_wal_lsn() AS text)")
_PASSED: Final = text("""
SELECT coalesce(bool_or(confirmed_flush_lsn >= CAST(CAST(:lsn AS text) AS pg_lsn)), false)
FROM pg_replication_slots WHERE slot_name = :name
""")
_READY: Final = text("""
SELECT count(*) FILTER (WHERE srsubstate = 'r') AS ready, count(*) AS tables,
    (SELECT coalesce(sum(bytes_processed), 0) FROM pg_stat_progress_copy) AS bytes,
    (SELECT coalesce(max(apply_error_count + sync_error_count), 0) FROM pg_stat_subscription_stats
        WHERE subname = :name) AS errors
FROM pg_subscription_rel JOIN pg_subscription ON oid = srsubid WHERE subname = :name
""")
_SIZE: Final = text("""
SELECT coalesce(sum(pg_table_size(oid)), 0) FROM pg_class
WHERE relnamespace = CAST(to_regnamespace(:schema) AS oid) AND relkind = 'r'
""")


class MoveFailed(Exception):
    """A move cannot go on, and why."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a copy is: tables whose first copy is done, and what the target has not confirmed yet."""

    ready: int
    tables: int
    behind_bytes: int
    copied_bytes: int = 0


Say = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class Copy:
    """One shard's copy. `reach`: how the target's server reaches the source, as libpq's keywords."""

    source: Home
    target: Home
    metadata: MetaData
    reach: str

    @property
    def name(self) -> str:
        """Of publication, slot and subscription; a slot's name is one for all databases of a server."""
        place = hashlib.sha256(self.source.url.rpartition("@")[2].encode()).hexdigest()[:8]
        return f"shoudan_move_{self.source.schema}_{place}"

    @property
    def tables(self) -> list[str]:
        """The tables that are copied, each with its schema."""
        return [f'{self.source.schema}."{name}"' for name in sorted(self.metadata.tables)]


async def begun(copy: Copy) -> bool:
    """Whether the target follows the source."""
    async with as_owner(copy.target.owner_url) as target:
        return bool((await _there(target, copy)).subscription)


async def begin(copy: Copy) -> None:
    """Publish the source and subscribe the target, whose tables are there and empty. Repeats change nothing.

    Raises MoveFailed.
    """
    async with as_owner(copy.source.owner_url) as source:
        await _unlimited(source)
        there = await _there(source, copy)
        async with source.begin():
            if not there.publication:
                await source.execute(
                    text(
                        f"CREATE PUBLICATION {copy.name} FOR TABLE {', '.join(copy.tables)}"
                        " WITH (publish_via_partition_root = true)"
                    )
                )
        async with source.begin():
            if not there.slot:
                make = text("SELECT pg_create_logical_replication_slot(:name, 'pgoutput')")
                await source.execute(make, {"name": copy.name})
    async with as_owner(copy.target.owner_url) as target:
        await _unlimited(target)
        if (await _there(target, copy)).subscription:
            return
        async with target.begin():
            await target.execute(text(f"TRUNCATE {', '.join(copy.tables)}"))
        await _subscribe(target, copy)


async def _subscribe(target: AsyncConnection, copy: Copy) -> None:
    """By the driver itself: the statement holds a password, which no log line may show."""
    async with target.begin():
        driver: Any = (await target.get_raw_connection()).driver_connection
        reach = copy.reach.replace("\\", "\\\\").replace("'", "''")
        literal = f"E'{reach}'" if "\\" in reach else f"'{reach}'"
        try:
            await driver.execute(
                f"CREATE SUBSCRIPTION {copy.name} CONNECTION {literal} PUBLICATION {copy.name}"
                f" WITH (create_slot = false, slot_name = '{copy.name}')"
            )
        except asyncpg.PostgresError as error:
            why = str(error).partition("\n")[0][:ERROR_CHARS]
            raise MoveFailed(f"the target cannot subscribe: {why} ({error.sqlstate})") from None


async def followed(copy: Copy, say: Say) -> None:
    """Wait until every table is copied and the target is near. Raises MoveFailed."""
    best: tuple[int, ...] = ()
    moved_at = time.monotonic()
    async with _both(copy) as (source, target):
        while True:
            now = await _progress(copy, source, target)
            say(now)
            if now.tables and now.ready == now.tables and now.behind_bytes <= NEAR_BYTES:
                return
            state = (now.ready, now.copied_bytes, -now.behind_bytes)
            if state != best:
                best, moved_at = state, time.monotonic()
            if time.monotonic() - moved_at > STALLED_S:
                raise MoveFailed(
                    f"no progress for {STALLED_S:g} s: see the log of the target's server"
                )
            await asyncio.sleep(LOOK_S)


async def caught_up(copy: Copy, within_s: float = CAUGHT_UP_S) -> None:
    """Wait until the target has everything the fenced source wrote. Raises MoveFailed."""
    deadline = time.monotonic() + within_s
    async with as_owner(copy.source.owner_url) as source:
        lsn = await _scalar(source, _HERE, {})
        while not await _scalar(source, _PASSED, {"name": copy.name, "lsn": lsn}):
            if time.monotonic() > deadline:
                raise MoveFailed(f"the target has not caught up within {within_s:g} s")
            await asyncio.sleep(LOOK_S / 10)


async def differences(copy: Copy) -> list[str]:
    """The tables whose rows are not the same on both sides, by count and sum of their hashes."""

    async def sums(home: Home) -> list[tuple[int, Any]]:
        async with as_owner(home.owner_url) as db, db.begin():
            for one in _SESSION:
                await db.execute(text(one))
            found: list[tuple[int, Any]] = []
            for table in copy.tables:
                rows = await db.execute(
                    text(
                        "SELECT count(*), coalesce(sum(CAST(hashtextextended(CAST(CAST(t.* AS text) AS text)"
                        f' COLLATE "C", 0) AS numeric)), 0) FROM {table} AS t'
                    )
                )
                found.append(tuple(rows.one()))
            return found

    source, target = await asyncio.gather(sums(copy.source), sums(copy.target))
    return [
        f"{table}: {one[0]} rows at the source, {other[0]} at the target"
        for table, one, other in zip(copy.tables, source, target, strict=True)
        if one != other
    ]


async def unsubscribe(copy: Copy) -> None:
    """The target follows no more. Repeats change nothing."""
    async with as_owner(copy.target.owner_url) as target:
        if (await _there(target, copy)).subscription:
            async with target.begin():
                await target.execute(text(f"ALTER SUBSCRIPTION {copy.name} DISABLE"))
                await target.execute(text(f"ALTER SUBSCRIPTION {copy.name} SET (slot_name = NONE)"))
                await target.execute(text(f"DROP SUBSCRIPTION {copy.name}"))
        await _limited(target)


async def unpublish(copy: Copy) -> None:
    """The source keeps nothing for the target any more. Repeats change nothing. Raises MoveFailed."""
    async with as_owner(copy.source.owner_url) as source:
        there = await _there(source, copy)
        if there.slot:
            await _drop_slot(source, copy)
        async with source.begin():
            await source.execute(text(f"DROP PUBLICATION IF EXISTS {copy.name}"))
        await _limited(source)


async def _drop_slot(source: AsyncConnection, copy: Copy) -> None:
    """Its last reader may need a moment to leave."""
    deadline = time.monotonic() + CAUGHT_UP_S
    while True:
        try:
            async with source.begin():
                await source.execute(
                    text("SELECT pg_drop_replication_slot(:name)"), {"name": copy.name}
                )
            return
        except Exception as error:
            if sql_state(error) != "55006" or time.monotonic() > deadline:  # it is in use
                raise
        await asyncio.sleep(LOOK_S)


async def lay_parts(copy: Copy) -> None:
    """Give the target's tables the monthly parts of the source, with their holds. Before there are rows."""
    names = {one.name for one in partitioned(copy.metadata)}
    schema = copy.source.schema
    async with as_owner(copy.source.owner_url) as source, source.begin():
        wanted = (await source.execute(_PARTS, {"schema": schema})).all()
    async with as_owner(copy.target.owner_url) as target, target.begin():
        there = (await target.execute(_PARTS, {"schema": schema})).all()
        if [tuple(one) for one in there] == [tuple(one) for one in wanted]:
            return
        for one in there:
            await target.execute(text(f'DROP TABLE {schema}."{one.name}"'))
        for one in wanted:
            assert one.owner in names, "only a table by_month has parts"
            part = f'{schema}."{one.name}"'
            await target.exec_driver_sql(
                f'CREATE TABLE {part} PARTITION OF {schema}."{one.owner}" {one.bound} WITH ({stored_as()})'
            )
            if one.comment:
                words = one.comment.replace("'", "''")
                await target.exec_driver_sql(f"COMMENT ON TABLE {part} IS '{words}'")


async def copy_sequences(copy: Copy) -> None:
    """Go on counting where the fenced source stopped: replication leaves sequences out."""
    async with _both(copy) as (source, target), source.begin(), target.begin():
        for one in await source.execute(_SEQUENCES, {"schema": copy.source.schema}):
            await target.execute(_COUNTED, {"name": one.name, "value": one.last_value})


async def size(home: Home) -> int:
    """Bytes of the tables of a shard."""
    async with as_owner(home.owner_url) as db:
        return int(await _scalar(db, _SIZE, {"schema": home.schema}))


@asynccontextmanager
async def _both(copy: Copy) -> AsyncGenerator[tuple[AsyncConnection, AsyncConnection]]:
    async with as_owner(copy.source.owner_url) as source, as_owner(copy.target.owner_url) as target:
        yield source, target


async def _scalar(db: AsyncConnection, sql: Any, binds: dict[str, Any]) -> Any:
    async with db.begin():
        return (await db.execute(sql, binds)).scalar_one()


async def _there(db: AsyncConnection, copy: Copy) -> Any:
    async with db.begin():
        return (await db.execute(_THERE, {"name": copy.name})).one()


async def _progress(copy: Copy, source: AsyncConnection, target: AsyncConnection) -> Progress:
    binds = {"name": copy.name}
    async with source.begin():
        lag = (await source.execute(_LAG, binds)).one_or_none()
    async with target.begin():
        state = (await target.execute(_READY, binds)).one()
    if lag is None:
        raise MoveFailed("the source has no slot for this copy: undo the move and begin again")
    return Progress(int(state.ready), int(state.tables), int(lag.bytes or 0), int(state.bytes))


async def _unlimited(db: AsyncConnection) -> None:
    """Let the owner's sessions in this database, of which the servers make some, take their time."""
    await _alter(db, (f"SET {name} = 0" for name in await _known(db)))


async def _limited(db: AsyncConnection) -> None:
    await _alter(db, (f"RESET {name}" for name in await _known(db)))


async def _alter(db: AsyncConnection, settings: Iterable[str]) -> None:
    async with db.begin():
        found = await db.execute(text("SELECT quote_ident(current_database())"))
        place = found.scalar_one()
        for one in settings:
            await db.execute(text(f"ALTER ROLE CURRENT_USER IN DATABASE {place} {one}"))


async def _known(db: AsyncConnection) -> Sequence[str]:
    """Those this version of PostgreSQL has."""
    async with db.begin():
        names = text("SELECT name FROM pg_settings WHERE name = ANY(CAST(:names AS text[]))")
        return (await db.execute(names, {"names": list(_UNLIMITED)})).scalars().all()
