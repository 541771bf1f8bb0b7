"""Migrations: Alembic revisions of each service, the shared foundation below them, grants above them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from io import StringIO
from pathlib import Path
from typing import Any, Final, cast

from alembic import command, context
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext, RevisionStep
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Table, text
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db import moves, partitions, shard_marks
from shoudan_kit.db.ddl_locks import Lock, locks
from shoudan_kit.db.foundation import FOUNDATION, TURNABLE_CLOCK, partitioned, rights_of
from shoudan_kit.db.owner import PATIENT, Patience, alone, as_owner, in_time
from shoudan_kit.db.revisions import VERSION_TABLE, Phase, revisions
from shoudan_kit.db.schema import Schema
from shoudan_kit.db.server_version import LIMITS_TRANSACTIONS
from shoudan_kit.db.shard_map import FIRST_SCHEMA, Home, single
from shoudan_kit.db.text_statements import statement
from shoudan_kit.db.url import DatabaseUrl

TRANSACTION_TIMEOUT: Final = "15s"
# Left by CREATE INDEX CONCURRENTLY that was cut off.
_INVALID: Final = statement("""
SELECT CAST(CAST(indexrelid AS regclass) AS text) FROM pg_index
JOIN pg_class ON pg_class.oid = indrelid
WHERE NOT indisvalid AND relnamespace = CAST(CAST(current_schema() AS text) AS regnamespace)
""")
# Parts of partitioned tables: made by the calendar, declared nowhere.
_PART_NAMES: Final = text("SELECT relname FROM pg_class WHERE relispartition AND relkind = 'r'")
READER: Final = "shoudan_reader"  # reads every table for reports and writes none, where it exists


class NeedsDatabase(Exception):
    """A revision reads the database, so that its statements are not known without one."""


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
    """Revisions not applied yet, oldest first; `waiting` are those behind one that only `contract` runs.

    `parts` says which monthly parts are to be made.
    """

    service: str
    current: str | None
    pending: list[Pending]
    waiting: list[Pending]
    parts: list[str]


class _Scripts:
    """The revisions of a service, read once: each of Alembic's own commands reads all of them again."""

    def __init__(self, schema: Schema) -> None:
        self.config = Config()
        versions = files(schema.package) / "migrations" / "versions"
        here = Path(__file__).with_name("migrations")
        self.config.set_main_option("script_location", str(here))
        self.config.set_main_option("version_locations", str(versions))
        self.config.set_main_option("path_separator", "newline")
        self.config.attributes["metadata"] = schema.metadata
        self.directory = ScriptDirectory.from_config(self.config)
        self.phases = {one.number: one.phase for one in revisions(schema.package)}

    def run(self, to: str, connection: Connection) -> None:
        """Bring the database at the other end to `to`."""
        self._run(to, connection)

    def sql(self, before: str, number: str) -> str:
        """The statements of one revision; `before` is the one below or base. Raises NeedsDatabase."""
        self.config.output_buffer = out = StringIO()
        try:
            self._run(number, None, before)
        except Exception as error:
            raise NeedsDatabase(f"cannot be written without a database: {error!r:.80}") from error
        ours = (one for one in out.getvalue().split(";\n") if VERSION_TABLE not in one)
        return ";\n".join(ours)

    def _run(self, to: str, connection: Connection | None, start: str | None = None) -> None:
        self.config.attributes["connection"] = connection

        def steps(current: tuple[str, ...], _: MigrationContext) -> list[RevisionStep]:
            below = current[0] if current else "base"
            ahead = reversed(list(self.directory.iterate_revisions(to, below)))
            return [
                RevisionStep(self.directory.revision_map, one, is_upgrade=True) for one in ahead
            ]

        with EnvironmentContext(
            self.config,
            self.directory,
            fn=steps,
            as_sql=connection is None,
            starting_rev=start,
            destination_rev=to,
        ):
            self.directory.run_env()


async def upgrade(
    service: str,
    schema: Schema,
    owner_url: str,
    role: str | None,
    *,
    turnable: bool = False,
    contract: bool = False,
    patience: Patience = PATIENT,
    home: Home | None = None,
    state: str = "",
) -> Plan:
    """Bring the database to the newest revision, make its monthly parts and give `role` its rights.

    Repeats change nothing.
    Each revision is a transaction of its own, begun again when it does not get a lock in time; one that
    is cut off is found undone by the next run. `contract`: take away, too, what no running release
    needs. `turnable`: sessions may turn the database's clock; never in prod. `home`: the shard that it is, of
    a map; none without a map. `state`: what its mark says of a move. Raises Locked, WrongShard.
    """

    def begin(connection: Connection) -> tuple[str | None, list[str]]:
        _lay_foundation(schema, connection, turnable=turnable)
        return _there(schema, connection)

    def end(connection: Connection) -> None:
        _limits(connection)
        for table in schema.metadata.tables.values():
            moves.lay(connection, table)
        if role is not None:
            give_rights(schema, connection, role)

    home = home or single(owner_url).homes[0]
    async with as_owner(owner_url) as first, first.begin():
        await shard_marks.make(first, schema.metadata, home, state)
    async with as_owner(owner_url, home.schema) as connection:
        await alone(connection)
        current, parts = await in_time(connection, "foundation", patience, begin)
        scripts = _Scripts(schema)
        plan = _plan(service, scripts, current, parts, contract=contract)
        for one in plan.pending:
            to = partial(scripts.run, one.number)
            if one.phase is Phase.INDEX:
                await _index(connection, to)
            else:
                await in_time(connection, f"revision {one.number}", patience, to)
        for table in partitioned(schema.metadata):
            grant = partial(_grant_table, schema, table, role)
            await partitions.lay(connection, table, grant, patience)
        await in_time(connection, "rights", patience, end)
        return plan


async def plan(
    service: str,
    schema: Schema,
    owner_url: str,
    *,
    contract: bool = False,
    home: Home | None = None,
) -> Plan:
    """What `upgrade` would do. Raises WrongShard."""
    home = home or single(owner_url).homes[0]
    async with as_owner(owner_url) as first, first.begin():
        there = await shard_marks.foresee(first, schema.metadata, home)
    current, parts = None, list[str]()
    if there:
        async with as_owner(owner_url, home.schema) as connection, connection.begin():
            current, parts = await connection.run_sync(partial(_there, schema))
    return _plan(service, _Scripts(schema), current, parts, contract=contract)


def sql_of(schema: Schema, before: str, number: str) -> str:
    """The statements of one revision as a script, without a database; `before` is the one below or base.

    Raises NeedsDatabase.
    """
    return _Scripts(schema).sql(before, number)


async def differences(schema: Schema, owner_url: str, in_schema: str = FIRST_SCHEMA) -> list[Any]:
    """What Alembic finds between the tables declared and the tables there; empty when migrated."""

    def run(connection: Connection) -> list[Any]:
        made = MigrationContext.configure(
            connection,
            opts={
                "compare_type": True,
                "compare_server_default": False,
                "include_name": _not_a_part(connection),
            },
        )
        found = cast("list[Any]", compare_metadata(made, schema.metadata))
        return [one for one in found if not _is_version_table(one)]

    async with as_owner(owner_url, in_schema) as connection:
        return await connection.run_sync(run)


async def revise(schema: Schema, owner_url: str, message: str, rev_id: str) -> None:
    """Write a new revision from the differences; for developers, who then read and edit it."""

    def run(connection: Connection) -> None:
        _lay_foundation(schema, connection, turnable=False)
        scripts = _Scripts(schema)
        scripts.run("head", connection)
        command.revision(scripts.config, message=message, autogenerate=True, rev_id=rev_id)

    async with as_owner(owner_url) as connection, connection.begin():
        await connection.run_sync(run)


def run_env() -> None:
    """What Alembic's env.py calls."""
    attributes = context.config.attributes
    connection: Connection | None = attributes["connection"]
    given: dict[str, Any] = {"connection": connection}
    if context.is_offline_mode():
        given = {"dialect_name": "postgresql", "dialect_opts": {"paramstyle": "named"}}
        given["literal_binds"] = True
    elif connection is not None:
        given["include_name"] = _not_a_part(connection)
    context.configure(
        **given,
        target_metadata=attributes["metadata"],
        version_table=VERSION_TABLE,
        transaction_per_migration=False,
    )
    context.run_migrations()


def role_of(service_url: str, owner_url: str) -> str | None:
    """The service's role when it is not the owner itself."""
    role, owner = DatabaseUrl.parse(service_url).user, DatabaseUrl.parse(owner_url).user
    return role if role != owner else None


async def _index(connection: AsyncConnection, to: Callable[[Connection], None]) -> None:
    """Outside of a transaction, waiting for locks as long as it takes: it stops no reads and no writes.

    What an index that was cut off left behind is dropped first.
    """
    await connection.execution_options(isolation_level="AUTOCOMMIT")
    try:
        for name in (await connection.execute(_INVALID)).scalars().all():
            await connection.execute(text(f"DROP INDEX CONCURRENTLY {name}"))
        await connection.run_sync(to)
    finally:
        await connection.rollback()
        await connection.execution_options(isolation_level="READ COMMITTED")


def _lay_foundation(schema: Schema, connection: Connection, *, turnable: bool) -> None:
    """What every service has alike and its first process needs; not in the revisions of each."""
    for sql in (*FOUNDATION, *TURNABLE_CLOCK) if turnable else FOUNDATION:
        connection.execute(text(sql))
    if (nodes := schema.metadata.tables.get("id_node")) is not None:  # of who makes numbers
        nodes.create(connection, checkfirst=True)


def _there(schema: Schema, connection: Connection) -> tuple[str | None, list[str]]:
    """The database's revision, and which monthly parts are to be made."""
    current = MigrationContext.configure(connection).get_current_revision()
    return current, partitions.planned(connection, schema.metadata)


def _plan(
    service: str, scripts: _Scripts, current: str | None, parts: list[str], *, contract: bool
) -> Plan:
    """What is to do from `current` on. It reads every revision, in no transaction: that takes time in
    which locks would be kept, and PostgreSQL ends a transaction that is idle for long."""
    found: list[Pending] = []
    for one in reversed(list(scripts.directory.iterate_revisions("head", current or "base"))):
        number = one.revision
        taken = _locks(scripts, str(one.down_revision), number) if current else {}
        phase = scripts.phases[number]
        found.append(Pending(number, str(one.doc), phase, tuple(sorted(taken.items()))))
    contracts = (n for n, one in enumerate(found) if one.phase is Phase.CONTRACT)
    end = len(found) if contract else next(contracts, len(found))
    return Plan(service, current, found[:end], found[end:], parts)


def _locks(scripts: _Scripts, before: str, number: str) -> dict[str, Lock]:
    """What a revision locks of a database in use; in an empty one there is nothing to lock."""
    try:
        return locks(scripts.sql(before, number))
    except NeedsDatabase:  # its statements are not known before
        return {"unknown": Lock.ACCESS_EXCLUSIVE}


def _limits(connection: Connection) -> None:
    """PostgreSQL 17 and later end a transaction that takes too long; a hot row must not stay locked."""
    number = int(connection.execute(text("SHOW server_version_num")).scalar_one())
    if number // 10_000 >= LIMITS_TRANSACTIONS:
        name = connection.execute(text("SELECT quote_ident(current_database())")).scalar_one()
        connection.execute(
            text(f"ALTER DATABASE {name} SET transaction_timeout = '{TRANSACTION_TIMEOUT}'")
        )


def give_rights(schema: Schema, connection: Connection, role: str) -> None:
    """The service adds rows and changes what is declared beside its tables, and never a table itself."""
    _admit(connection, role)
    to = _quoted(connection, role)
    connection.execute(text(f"GRANT SELECT ON {VERSION_TABLE} TO {to}"))
    connection.execute(
        text(f"GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA {_schema(connection)} TO {to}")
    )
    if _has_reader(connection):
        _admit(connection, READER)
    for table in schema.metadata.tables.values():
        _grant_table(schema, table, role, connection)


def _grant_table(schema: Schema, table: Table, role: str | None, connection: Connection) -> None:
    """To the service what is declared; to reports every row to read, and nothing to write."""
    on = _quoted(connection, table.name)
    if role is None:
        return
    to = _quoted(connection, role)
    connection.execute(text(f"REVOKE ALL ON {on} FROM {to}"))
    connection.execute(text(f"GRANT {_rights(schema, connection, table)} ON {on} TO {to}"))
    if _has_reader(connection):
        connection.execute(text(f"REVOKE ALL ON {on} FROM {READER}"))
        connection.execute(text(f"GRANT SELECT ON {on} TO {READER}"))


def _has_reader(connection: Connection) -> bool:
    known = text("SELECT 1 FROM pg_roles WHERE rolname = :name")
    return connection.execute(known, {"name": READER}).scalar() is not None


def _rights(schema: Schema, connection: Connection, table: Table) -> str:
    """The words of GRANT. Changing a row is granted by column: what is not declared stays as it was."""
    may = rights_of(table)
    granted = ["SELECT", *(["INSERT"] if may.insert else [])]
    if table.name not in schema.append_only:
        if may.update:
            names = (_quoted(connection, table.c[name].name) for name in may.update)
            granted.append(f"UPDATE ({', '.join(names)})")
        if may.delete:
            granted.append("DELETE")
    return ", ".join(granted)


def _schema(connection: Connection) -> str:
    return _quoted(connection, connection.execute(text("SELECT current_schema()")).scalar_one())


def _admit(connection: Connection, role: str) -> None:
    """Only the named roles may connect: PostgreSQL's default lets every role in."""
    database = _quoted(
        connection, connection.execute(text("SELECT current_database()")).scalar_one()
    )
    to = _quoted(connection, role)
    connection.execute(text(f"REVOKE ALL ON DATABASE {database} FROM PUBLIC"))
    connection.execute(text(f"GRANT CONNECT ON DATABASE {database} TO {to}"))
    connection.execute(text(f"GRANT USAGE ON SCHEMA {_schema(connection)} TO {to}"))


def _quoted(connection: Connection, name: str) -> str:
    return connection.dialect.identifier_preparer.quote(name)


def _is_version_table(one: Any) -> bool:
    """Alembic reports its own table as one too many."""
    return one[0] == "remove_table" and one[1].name == VERSION_TABLE


def _not_a_part(connection: Connection) -> Callable[[str | None, str, Any], bool]:
    """Alembic's filter of names: parts are compared by the table they belong to."""
    parts = set(connection.execute(_PART_NAMES).scalars())

    def wanted(name: str | None, kind: str, parents: Any) -> bool:
        del parents
        return kind != "table" or name not in parts

    return wanted
