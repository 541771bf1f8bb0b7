"""Migrations: Alembic revisions of each service, the shared foundation below them, grants above them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from typing import Any, Final, TypeVar, cast

from alembic import command, context
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, Table, text

from shoudan_kit.database_url import DatabaseUrl
from shoudan_kit.db import Database
from shoudan_kit.tables import FOUNDATION, TURNABLE_CLOCK, rights_of

VERSION_TABLE: Final = "alembic_version"
T = TypeVar("T")
LOCK_KEY: Final = 7_301_130  # one migration at a time in a database
TRANSACTION_TIMEOUT: Final = "15s"
READER: Final = "shoudan_reader"  # reads every table for reports and writes none, where it exists


@dataclass(frozen=True)
class Schema:
    """What a service's database holds. `append_only` tables are never changed or deleted from."""

    package: str
    metadata: MetaData
    append_only: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """Revisions not applied yet, oldest first, as "revision: sentence"."""

    service: str
    current: str | None
    pending: list[str]


async def upgrade(
    service: str, schema: Schema, owner_url: str, role: str | None, *, turnable: bool = False
) -> Plan:
    """Bring the database to the newest revision and give `role` its rights. Repeats change nothing.

    `turnable`: sessions may turn the database's clock; never in prod.
    """

    def run(connection: Connection) -> Plan:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK_KEY})
        plan = _plan(service, schema, connection)
        _lay_foundation(schema, connection, turnable=turnable)
        command.upgrade(_config(schema, connection), "head")
        _limits(connection)
        if role is not None:
            _grant(schema, connection, role)
        return plan

    return await _as_owner(owner_url, run)


async def plan(service: str, schema: Schema, owner_url: str) -> Plan:
    """What `upgrade` would do."""
    return await _as_owner(owner_url, partial(_plan, service, schema))


async def differences(schema: Schema, owner_url: str) -> list[Any]:
    """What Alembic finds between the tables declared and the tables there; empty when migrated."""

    def run(connection: Connection) -> list[Any]:
        made = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": False}
        )
        found = cast("list[Any]", compare_metadata(made, schema.metadata))
        return [one for one in found if not _is_version_table(one)]

    return await _as_owner(owner_url, run)


async def revise(schema: Schema, owner_url: str, message: str, rev_id: str) -> None:
    """Write a new revision from the differences; for developers, who then read and edit it."""

    def run(connection: Connection) -> None:
        _lay_foundation(schema, connection, turnable=False)
        config = _config(schema, connection)
        command.upgrade(config, "head")
        command.revision(config, message=message, autogenerate=True, rev_id=rev_id)

    await _as_owner(owner_url, run)


def run_env() -> None:
    """What every service's migrations/env.py calls."""
    attributes = context.config.attributes
    context.configure(
        connection=attributes["connection"],
        target_metadata=attributes["metadata"],
        version_table=VERSION_TABLE,
        transaction_per_migration=False,
    )
    context.run_migrations()


def role_of(service_url: str, owner_url: str) -> str | None:
    """The service's role when it is not the owner itself."""
    role, owner = DatabaseUrl.parse(service_url).user, DatabaseUrl.parse(owner_url).user
    return role if role != owner else None


async def _as_owner(owner_url: str, run: Callable[[Connection], T]) -> T:
    engine = Database(
        owner_url,
        pool_size=1,
        application="shoudan-migrate",
        timeouts=False,
        plans=False,
        settings={"statement_timeout": "0"},
    ).engine
    try:
        async with engine.begin() as connection:
            major = (await connection.execute(text("SHOW server_version_num"))).scalar_one()
            if int(major) >= 170_000:
                await connection.execute(text("SET LOCAL transaction_timeout = 0"))
            return await connection.run_sync(run)
    finally:
        await engine.dispose()


def _lay_foundation(schema: Schema, connection: Connection, *, turnable: bool) -> None:
    """What every service has alike and its first process needs; not in the revisions of each."""
    for sql in (*FOUNDATION, TURNABLE_CLOCK) if turnable else FOUNDATION:
        connection.execute(text(sql))
    schema.metadata.tables["id_node"].create(connection, checkfirst=True)


def _config(schema: Schema, connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(files(schema.package) / "migrations"))
    config.attributes["connection"] = connection
    config.attributes["metadata"] = schema.metadata
    return config


def _plan(service: str, schema: Schema, connection: Connection) -> Plan:
    current = MigrationContext.configure(connection).get_current_revision()
    script = ScriptDirectory.from_config(_config(schema, connection))
    pending = [
        f"{one.revision}: {one.doc}" for one in script.iterate_revisions("head", current or "base")
    ]
    return Plan(service, current, pending[::-1])


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
