"""`shoudan db ddl`: the tables of the services as SQL with comments, for database administrators."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from importlib.metadata import entry_points
from typing import Annotated, Any, Final

import typer
from sqlalchemy import MetaData, Table
from sqlalchemy.engine import Dialect
from sqlalchemy.schema import (
    CreateIndex,
    CreateSequence,
    CreateTable,
    SetColumnComment,
    SetTableComment,
)

from shoudan_cli import archive, ended, parts
from shoudan_cli.dialects import dialect_of, translated
from shoudan_cli.process import GROUP
from shoudan_kit.db.foundation import FOUNDATION, partition_key, rest_part

app = typer.Typer(no_args_is_help=True)
app.command("parts")(parts.parts)
app.command("drop-parts")(parts.drop_parts)
app.command("hold")(parts.hold)
app.command("release")(parts.release)
app.command("archive")(archive.archive)
app.command("archived")(archive.archived)
app.command("find")(archive.find)
app.command("ended")(ended.ended)
app.command("archive-ended")(ended.archive_ended)

HEAD: Final = {
    "postgresql": "Made by the migrations: `shoudan migrate` does this and keeps it up to date.",
    "mysql": "MySQL 8.0.16, MariaDB 10.11 or later. For reading and for copies of the data: "
    "the system runs on PostgreSQL. Times are UTC.",
    "oracle": "Oracle 12.2 or later, a schema of its own. For reading and for copies of the data: "
    "the system runs on PostgreSQL. Times are UTC; the empty text is NULL, so texts may be NULL.",
}


class Dialects(StrEnum):
    """The databases whose words are known."""

    POSTGRESQL = "postgresql"
    MYSQL = "mysql"
    ORACLE = "oracle"


@app.command()
def ddl(
    dialect: Annotated[Dialects, typer.Option(help="Whose SQL.")] = Dialects.POSTGRESQL,
    service: Annotated[str, typer.Option(help="Only this one's database; all without it.")] = "",
) -> None:
    """Print CREATE TABLE of every table, with the comments of tables and columns."""
    found = schemas()
    if service and service not in found:
        raise typer.BadParameter(f"one of {', '.join(found)}", param_hint="--service")
    for name, metadata in found.items():
        if service in {"", name}:
            typer.echo(script(name, metadata, dialect.value))


def schemas() -> dict[str, MetaData]:
    """The tables of every service that has a database, by name."""
    entries = sorted(entry_points(group=GROUP), key=lambda one: one.name)
    services: dict[str, Any] = {entry.name: entry.load() for entry in entries}
    return {name: one.schema.metadata for name, one in services.items() if one.schema is not None}


def script(service: str, metadata: MetaData, dialect: str) -> str:
    """One database whole; what the dialect cannot say stands above its table as a comment."""
    translation = translated(metadata, dialect)
    compiler = dialect_of(dialect)
    lines = [f"-- {service}: {HEAD[dialect]}", ""]
    if dialect == "mysql":
        lines += [f"{statement};\n" for statement in _own_database(service)]
    lines += [f"{statement};\n" for statement in _before(metadata, dialect, compiler)]
    for table in translation.metadata.sorted_tables:
        lines += [f"-- left out: {what}" for what in translation.missing.get(table.name, ())]
        lines += [f"{statement};\n" for statement in statements(table, compiler)]
    return "\n".join(lines)


def database_of(service: str) -> str:
    """The database of a service's copy: tables such as `event` occur in each service."""
    return f"shoudan_{service}"


def _own_database(service: str) -> Iterator[str]:
    name = database_of(service)
    yield f"CREATE DATABASE IF NOT EXISTS {name} CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
    yield f"USE {name}"


def statements(table: Table, dialect: Dialect) -> Iterator[str]:
    """CREATE TABLE, its indexes by name, its comments where they are statements of their own."""
    yield _sql(CreateTable(table), dialect)
    for index in sorted(table.indexes, key=lambda one: str(one.name)):
        yield _sql(CreateIndex(index), dialect)
    if dialect.name == "postgresql" and partition_key(table):
        yield rest_part(table)
    if not dialect.inline_comments:
        yield _sql(SetTableComment(table), dialect)
        for column in table.columns:
            yield _sql(SetColumnComment(column), dialect)


def _before(metadata: MetaData, name: str, dialect: Dialect) -> Iterator[str]:
    """What tables need: the database's clock, sequences."""
    if name == "postgresql":
        yield from FOUNDATION
    if name != "mysql":
        for sequence in sorted(metadata._sequences.values(), key=lambda one: one.name):  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - no public list
            yield _sql(CreateSequence(sequence), dialect)


def _sql(element: Any, dialect: Dialect) -> str:
    lines = str(element.compile(dialect=dialect)).replace("\t", "    ").splitlines()
    return "\n".join(line.rstrip() for line in lines if line.strip())
