"""Migrations: Alembic revisions of each service, the shared foundation below them, grants above them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from io import StringIO
from typing import Any, Final, TypeVar, cast

from alembic import command, context
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, Table, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit import moves
from shoudan_kit.database_url import DatabaseUrl
from shoudan_kit.db import Database, sql_state, statement
from shoudan_kit.ddl_locks import Lock, locks
from shoudan_kit.log import get_logger
from shoudan_kit.revisions import VERSION_TABLE, Phase, revisions
from shoudan_kit.tables import FOUNDATION, TURNABLE_CLOCK, rights_of

_log = get_logger("migrate")

T = TypeVar("T")
LOCK_KEY: Final = 7_301_130  # one migration at a time in a database
TRANSACTION_TIMEOUT: Final = "15s"
ALONE_EVERY_S: Final = 0.2
GIVE_WAY: Final = frozenset({"55P03", "40P01"})  # no lock in time, a deadlock
# Left by CREATE INDEX CONCURRENTLY that was cut off.
_INVALID: Final = statement("""
SELECT CAST(CAST(indexrelid AS regclass) AS text) FROM pg_index
JOIN pg_class ON pg_class.oid = indrelid
WHERE NOT indisvalid AND relnamespace = CAST('public' AS regnamespace)
""")
READER: Final = "shoudan_reader"  # reads every table for reports and writes none, where it exists


@dataclass(frozen=True)
class Schema:
    """What a service's database holds. `append_only` tables are never changed or deleted from."""

    package: str
    metadata: MetaData
    append_only: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pending:
    """A revision that is not applied yet, and the locks it takes on tables that are there."""

    number: str
    sentence: str
    phase: Phase
    locks: tuple[tuple[str, Lock], ...]

    def __str__(self) -> str:
        return f"{self.number}: {self.sentence}"


@dataclass(frozen=True)
class Plan:
    """Revisions not applied yet, oldest first; `waiting` are those behind one that only `contract` runs."""

    service: str
    current: str | None
    pending: list[Pending]
    waiting: list[Pending]


@dataclass(frozen=True)
class Patience:
    """How a lock is waited for: everybody who comes later waits behind us, so shortly and often."""

    lock_timeout_s: float = 1.0
    tries_max: int = 60
    wait_s_max: float = 5.0


class Locked(Exception):
    """A table stayed locked by others through all tries; what was done before stays done."""


async def upgrade(
    service: str,
    schema: Schema,
    owner_url: str,
    role: str | None,
    *,
    turnable: bool = False,
    contract: bool = False,
    patience: Patience = Patience(),
) -> Plan:
    """Bring the database to the newest revision and give `role` its rights. Repeats change nothing.

    Each revision is a transaction of its own, begun again when it does not get a lock in time; one that
    is cut off is found undone by the next run. `contract`: take away, too, what no running release
    needs. `turnable`: sessions may turn the database's clock; never in prod. Raises Locked.
    """

    def begin(connection: Connection) -> str | None:
        _lay_foundation(schema, connection, turnable=turnable)
        return _current(connection)

    def end(connection: Connection) -> None:
        _limits(connection)
        for table in schema.metadata.tables.values():
            moves.lay(connection, table)
        if role is not None:
            _grant(schema, connection, role)

    async with _as_owner(owner_url) as connection:
        await _alone(connection)
        current = await _in_time(connection, "foundation", patience, begin)
        plan = _plan(service, schema, current, contract=contract)
        for one in plan.pending:
            if one.phase is Phase.INDEX:
                await _index(connection, schema, one.number)
            else:
                to = partial(_to, schema, one.number)
                await _in_time(connection, f"revision {one.number}", patience, to)
        await _in_time(connection, "rights", patience, end)
        return plan


async def plan(service: str, schema: Schema, owner_url: str, *, contract: bool = False) -> Plan:
    """What `upgrade` would do."""
    async with _as_owner(owner_url) as connection, connection.begin():
        current = await connection.run_sync(_current)
    return _plan(service, schema, current, contract=contract)


def sql_of(schema: Schema, before: str, number: str) -> str:
    """The statements of one revision as a script, without a database; `before` is the one below or base."""
    out = StringIO()
    config = _config(schema, None)
    config.output_buffer = out
    command.upgrade(config, f"{before}:{number}", sql=True)
    ours = (one for one in out.getvalue().split(";\n") if VERSION_TABLE not in one)
    return ";\n".join(ours)


async def differences(schema: Schema, owner_url: str) -> list[Any]:
    """What Alembic finds between the tables declared and the tables there; empty when migrated."""

    def run(connection: Connection) -> list[Any]:
        made = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": False}
        )
        found = cast("list[Any]", compare_metadata(made, schema.metadata))
        return [one for one in found if not _is_version_table(one)]

    async with _as_owner(owner_url) as connection:
        return await connection.run_sync(run)


async def revise(schema: Schema, owner_url: str, message: str, rev_id: str) -> None:
    """Write a new revision from the differences; for developers, who then read and edit it."""

    def run(connection: Connection) -> None:
        _lay_foundation(schema, connection, turnable=False)
        config = _config(schema, connection)
        command.upgrade(config, "head")
        command.revision(config, message=message, autogenerate=True, rev_id=rev_id)

    async with _as_owner(owner_url) as connection, connection.begin():
        await connection.run_sync(run)


def run_env() -> None:
    """What every service's migrations/env.py calls."""
    attributes = context.config.attributes
    offline = {
        "dialect_name": "postgresql",
        "literal_binds": True,
        "dialect_opts": {"paramstyle": "named"},
    }
    connected = {"connection": attributes["connection"]}
    context.configure(
        **cast("Any", offline if context.is_offline_mode() else connected),
        target_metadata=attributes["metadata"],
        version_table=VERSION_TABLE,
        transaction_per_migration=False,
    )
    context.run_migrations()


def role_of(service_url: str, owner_url: str) -> str | None:
    """The service's role when it is not the owner itself."""
    role, owner = DatabaseUrl.parse(service_url).user, DatabaseUrl.parse(owner_url).user
    return role if role != owner else None


@asynccontextmanager
async def _as_owner(owner_url: str) -> AsyncGenerator[AsyncConnection]:
    """A session of the owner's, whose statements take as long as they take."""
    engine = Database(
        owner_url,
        pool_size=1,
        application="shoudan-migrate",
        timeouts=False,
        plans=False,
        settings={
            "statement_timeout": "0",
            "lock_timeout": "0",
            # Between two statements a revision's scripts are loaded and its next one is built.
            "idle_in_transaction_session_timeout": "60s",
        },
    ).engine
    try:
        async with engine.connect() as connection:
            async with connection.begin():
                major = (await connection.execute(text("SHOW server_version_num"))).scalar_one()
                if int(major) >= 170_000:
                    await connection.execute(text("SET transaction_timeout = 0"))
            yield connection
    finally:
        await engine.dispose()


async def _alone(connection: AsyncConnection) -> None:
    """One migration at a time in a database: the lock is the session's and ends with it at the latest.

    Asked for again and again, because whoever waits for it in a statement has a snapshot, for whose end
    CREATE INDEX CONCURRENTLY of the one before would wait in turn.
    """
    while True:
        async with connection.begin():
            ours = await connection.execute(
                text("SELECT pg_try_advisory_lock(:key)"), {"key": LOCK_KEY}
            )
        if ours.scalar_one():
            return
        await asyncio.sleep(ALONE_EVERY_S)


async def _in_time(
    connection: AsyncConnection, what: str, patience: Patience, run: Callable[[Connection], T]
) -> T:
    """Run in a transaction that gives way when a lock does not come at once, again and again."""
    for attempt in range(1, patience.tries_max + 1):
        try:
            async with connection.begin():
                timeout_ms = int(patience.lock_timeout_s * 1000)
                await connection.execute(text(f"SET LOCAL lock_timeout = {timeout_ms}"))
                return await connection.run_sync(run)
        except DBAPIError as error:
            if sql_state(error) not in GIVE_WAY:
                raise
            _log.warning("migration_waits_for_a_lock", what=what, attempt=attempt)
        await asyncio.sleep(random.uniform(0.1, min(patience.wait_s_max, 0.1 * 2**attempt)))
    raise Locked(f"{what}: others held a lock through {patience.tries_max} tries; run it again")


async def _index(connection: AsyncConnection, schema: Schema, number: str) -> None:
    """Outside of a transaction, waiting for locks as long as it takes: it stops no reads and no writes.

    What an index that was cut off left behind is dropped first.
    """
    await connection.execution_options(isolation_level="AUTOCOMMIT")
    try:
        for name in (await connection.execute(_INVALID)).scalars().all():
            await connection.execute(text(f"DROP INDEX CONCURRENTLY {name}"))
        await connection.run_sync(partial(_to, schema, number))
    finally:
        await connection.rollback()
        await connection.execution_options(isolation_level="READ COMMITTED")


def _to(schema: Schema, number: str, connection: Connection) -> None:
    command.upgrade(_config(schema, connection), number)


def _lay_foundation(schema: Schema, connection: Connection, *, turnable: bool) -> None:
    """What every service has alike and its first process needs; not in the revisions of each."""
    for sql in (*FOUNDATION, TURNABLE_CLOCK) if turnable else FOUNDATION:
        connection.execute(text(sql))
    schema.metadata.tables["id_node"].create(connection, checkfirst=True)


def _config(schema: Schema, connection: Connection | None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(files(schema.package) / "migrations"))
    config.attributes["connection"] = connection
    config.attributes["metadata"] = schema.metadata
    return config


def _current(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _plan(service: str, schema: Schema, current: str | None, *, contract: bool) -> Plan:
    """What is to do from `current` on. It reads every revision, in no transaction: that takes time in
    which locks would be kept, and PostgreSQL ends a transaction that is idle for long."""
    script = ScriptDirectory.from_config(_config(schema, None))
    phases = {one.number: one.phase for one in revisions(schema.package)}
    found: list[Pending] = []
    for one in reversed(list(script.iterate_revisions("head", current or "base"))):
        before = str(one.down_revision or "base")
        number = one.revision
        taken = _locks(schema, before, number)
        found.append(Pending(number, str(one.doc), phases[number], tuple(sorted(taken.items()))))
    contracts = (n for n, one in enumerate(found) if one.phase is Phase.CONTRACT)
    end = len(found) if contract else next(contracts, len(found))
    return Plan(service, current, found[:end], found[end:])


def _locks(schema: Schema, before: str, number: str) -> dict[str, Lock]:
    """What a revision locks; of the first one nothing, because nothing is there."""
    if before == "base":
        return {}
    try:
        return locks(sql_of(schema, before, number))
    except Exception:  # noqa: BLE001 - it reads the database: its statements are not known before
        return {"unknown": Lock.ACCESS_EXCLUSIVE}


def _limits(connection: Connection) -> None:
    """PostgreSQL 17 and later end a transaction that takes too long; a hot row must not stay locked."""
    major = int(connection.execute(text("SHOW server_version_num")).scalar_one())
    if major >= 170_000:
        name = connection.execute(text("SELECT quote_ident(current_database())")).scalar_one()
        connection.execute(
            text(f"ALTER DATABASE {name} SET transaction_timeout = '{TRANSACTION_TIMEOUT}'")
        )


def _grant(schema: Schema, connection: Connection, role: str) -> None:
    """The service adds rows and changes what is declared beside its tables, and never a table itself."""
    _admit(connection, role)
    to = _quoted(connection, role)
    connection.execute(text(f"GRANT SELECT ON {VERSION_TABLE} TO {to}"))
    connection.execute(text(f"GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO {to}"))
    for name, table in schema.metadata.tables.items():
        on = _quoted(connection, name)
        connection.execute(text(f"REVOKE ALL ON {on} FROM {to}"))
        connection.execute(text(f"GRANT {_rights(schema, connection, table)} ON {on} TO {to}"))
    known = connection.execute(
        text("SELECT 1 FROM pg_roles WHERE rolname = :name"), {"name": READER}
    )
    if known.scalar() is not None:
        _grant_reader(schema, connection)


def _rights(schema: Schema, connection: Connection, table: Table) -> str:
    """The words of GRANT. Changing a row is granted by column: what is not declared stays as it was."""
    may = rights_of(table)
    granted = ["SELECT", "INSERT"]
    if table.name not in schema.append_only:
        update = may.update
        if update is None:
            granted.append("UPDATE")
        elif update:
            names = (_quoted(connection, table.c[name].name) for name in update)
            granted.append(f"UPDATE ({', '.join(names)})")
        if may.delete:
            granted.append("DELETE")
    return ", ".join(granted)


def _grant_reader(schema: Schema, connection: Connection) -> None:
    """Reports: every table of the service to read, nothing to write."""
    _admit(connection, READER)
    for name in schema.metadata.tables:
        on = _quoted(connection, name)
        connection.execute(text(f"REVOKE ALL ON {on} FROM {READER}"))
        connection.execute(text(f"GRANT SELECT ON {on} TO {READER}"))


def _admit(connection: Connection, role: str) -> None:
    """Only who is named may connect: PostgreSQL itself lets everybody in."""
    database = _quoted(
        connection, connection.execute(text("SELECT current_database()")).scalar_one()
    )
    to = _quoted(connection, role)
    connection.execute(text(f"REVOKE ALL ON DATABASE {database} FROM PUBLIC"))
    connection.execute(text(f"GRANT CONNECT ON DATABASE {database} TO {to}"))
    connection.execute(text(f"GRANT USAGE ON SCHEMA public TO {to}"))


def _quoted(connection: Connection, name: str) -> str:
    return connection.dialect.identifier_preparer.quote(name)


def _is_version_table(one: Any) -> bool:
    """Alembic reports its own table as one too many."""
    return one[0] == "remove_table" and one[1].name == VERSION_TABLE
