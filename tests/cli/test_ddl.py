"""Promises of `shoudan db ddl`: PostgreSQL's equals the migrated database, others hold every column."""

from __future__ import annotations

import re
import secrets
from typing import Any

import pytest
import sqlglot
from sqlglot import exp
from typer.testing import CliRunner

from shoudan_cli.ddl import schemas, script
from shoudan_cli.dialects import dialect_of, translated
from shoudan_cli.main import collected
from shoudan_kit.db.foundation import copied_name
from shoudan_kit.db.migrate import differences
from shoudan_kit.db.schema import Schema
from shoudan_kit.embedded import DatabaseUrls, Postgres
from tests.conftest import Databases

SCHEMAS = schemas()
# What the text of all services may hold, by dialect.
SAID = {
    "mysql": {"CREATE DATABASE", "USE", "CREATE TABLE", "CREATE INDEX"},
    "oracle": {
        "CREATE SEQUENCE",
        "CREATE TABLE",
        "CREATE INDEX",
        "COMMENT TABLE",
        "COMMENT COLUMN",
    },
}
every_service = pytest.mark.parametrize("service", sorted(SCHEMAS))
elsewhere = pytest.mark.parametrize("dialect", ["mysql", "oracle"])

# Everything a database holds but the rows, monthly parts and Alembic's own table, one line each.
CONTENTS = """
SELECT 'column ' || c.relname || '.' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod)
       || CASE WHEN a.attnotnull THEN ' not null' ELSE '' END || a.attidentity::text
       || coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), '')
       || coalesce(' -- ' || col_description(c.oid, a.attnum), '') AS line
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relnamespace = 'public'::regnamespace
  AND c.relname <> 'alembic_version'
UNION ALL
SELECT 'table ' || relname || coalesce(' ' || reloptions::text, '')
       || coalesce(' by ' || pg_get_partkeydef(oid), '')
       || coalesce(' -- ' || obj_description(oid, 'pg_class'), '')
FROM pg_class
WHERE relkind IN ('r', 'p', 'S') AND relnamespace = 'public'::regnamespace
  AND (NOT relispartition OR relname LIKE '%\\_rest')
  AND relname NOT IN ('alembic_version', 'kit_clock_shift_seq')
UNION ALL
SELECT 'rule ' || conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid)
FROM pg_constraint
WHERE connamespace = 'public'::regnamespace AND contype <> 'n'
  AND conrelid <> coalesce(to_regclass('alembic_version')::oid, 0)
  AND NOT (SELECT relispartition FROM pg_class WHERE oid = conrelid)
UNION ALL
SELECT 'index ' || indexdef FROM pg_indexes JOIN pg_class ON relname = tablename
WHERE schemaname = 'public' AND NOT relispartition AND tablename <> 'alembic_version'
UNION ALL
SELECT 'sequence ' || sequencename || ' ' || start_value FROM pg_sequences
WHERE schemaname = 'public' AND sequencename <> 'kit_clock_shift_seq'
"""  # the clock of tests, which nobody turns where a text is loaded by hand


async def contents(postgres: Postgres, database: str) -> set[str]:
    async with postgres.admin(database) as db:
        return {row["line"] for row in await db.fetch(CONTENTS)}


@every_service
async def test_the_ddl_of_postgresql_makes_what_the_migrations_make(
    service: str, postgres: Postgres, new_database: Databases
) -> None:
    migrated: DatabaseUrls = await new_database(service)
    database = f"ddl_{secrets.token_hex(4)}"
    await postgres.create_database(database)
    async with postgres.admin(database) as db:
        await db.execute(script(service, SCHEMAS[service], "postgresql"))
    theirs = re.search(rf"/({service}_\w+)\?", migrated.owner)
    assert theirs is not None
    made, there = await contents(postgres, database), await contents(postgres, theirs[1])
    assert len(there) > (20 if service == "console" else 100)
    assert sorted(made ^ there) == []
    assert await differences(Schema("", SCHEMAS[service]), postgres.url(database)) == []


@elsewhere
@every_service
def test_another_database_gets_every_table_column_and_comment(service: str, dialect: str) -> None:
    text = script(service, SCHEMAS[service], dialect)
    quote = dialect_of(dialect).identifier_preparer.quote
    for table in SCHEMAS[service].tables.values():
        start = text.index(f"CREATE TABLE {quote(copied_name(table))} (")
        body = text[start : text.index(";\n", start)]
        for column in table.columns:
            assert re.search(rf"^    {re.escape(quote(column.name))} ", body, re.MULTILINE)
            assert str(column.comment).replace("'", "''") in text
        assert str(table.comment).replace("'", "''") in text


@elsewhere
def test_the_text_of_all_services_is_sql_of_its_dialect(dialect: str) -> None:
    """Read by a parser of that dialect; what it does not know it calls a command."""
    text = "\n".join(script(name, one, dialect) for name, one in SCHEMAS.items())
    said: set[str] = set()
    made: set[tuple[str, str]] = set()
    database = ""
    for statement in sqlglot.parse(text, dialect=dialect, error_level=sqlglot.ErrorLevel.RAISE):
        assert isinstance(statement, exp.Create | exp.Comment | exp.Use), statement
        kind = str(statement.args.get("kind") or "")
        said.add(f"{statement.key.upper()} {kind}".strip())
        if isinstance(statement, exp.Use):
            database = statement.this.name
        elif isinstance(statement, exp.Create) and kind == "TABLE" and dialect == "mysql":
            table = (database, statement.this.this.name)
            assert table not in made, "a table twice in one database"
            made.add(table)
    assert said == SAID[dialect]
    if dialect == "mysql":
        assert made == {
            (f"shoudan_{service}", copied_name(table))
            for service, metadata in SCHEMAS.items()
            for table in metadata.tables.values()
        }


@pytest.mark.parametrize("dialect", ["postgresql", "mysql", "oracle"])
def test_copies_have_the_documented_names_of_beanpay(dialect: str) -> None:
    text = script("pay", SCHEMAS["pay"], dialect)
    made = set(re.findall(r"^CREATE TABLE (\w+) \(", text, re.MULTILINE))
    ours = {"account_info", "account_record", "package_info", "package_record"}
    theirs = {f"beanpay_{name}" for name in ours}
    kept, gone = (ours, theirs) if dialect == "postgresql" else (theirs, ours)
    assert kept <= made
    assert not gone & made


@elsewhere
@every_service
def test_another_database_gets_no_word_of_postgresql(service: str, dialect: str) -> None:
    lines = script(service, SCHEMAS[service], dialect).splitlines()
    kept = "\n".join(one for one in lines if not one.startswith("--"))
    kept = re.sub(r"'(?:[^']|'')*'", "''", kept)
    assert not re.search(
        r"\b(BYTEA|JSONB|TIMESTAMPTZ|SERIAL|USING|WHERE|shoudan_now|fillfactor)\b|\[\]|::", kept
    )


@elsewhere
def test_what_a_database_cannot_say_is_said(dialect: str) -> None:
    told = translated(SCHEMAS["order"], dialect)
    assert any("oms_refund_info_one_open" in one for one in told.missing["oms_refund_info"])
    text = script("order", SCHEMAS["order"], dialect)
    assert "-- left out: UNIQUE INDEX oms_refund_info_one_open" in text
    assert "CREATE UNIQUE INDEX oms_refund_info_one_open" not in text


@elsewhere
@every_service
def test_keys_elsewhere_are_of_bounded_length(service: str, dialect: str) -> None:
    """InnoDB allows 3072 bytes in a key, four for each character."""
    for table in translated(SCHEMAS[service], dialect).metadata.tables.values():
        for key in (*table.indexes, *table.constraints):
            if key.__visit_name__ in {"check_constraint", "table_or_column_check_constraint"}:
                continue
            lengths = [length_of(column) for column in key.columns]
            assert sum(lengths) * 4 <= 3072, f"{table.name} {key.name}"


def test_words_oracle_reserves_are_quoted() -> None:
    text = script("pay", SCHEMAS["pay"], "oracle")
    assert '"online" NUMBER(1)' in text
    assert '"exclusive" NUMBER(1)' in text
    assert 'COMMENT ON COLUMN pay_mode."online" IS' in text


def length_of(column: Any) -> int:
    """Characters of a key column; 8 for a number. A text without a length is no key."""
    name = type(column.type).__name__
    assert name not in {"LONGTEXT", "LONGBLOB", "CLOB", "BLOB", "JSON"}, column
    return getattr(column.type, "length", None) or 8


def test_the_command_prints_one_service_and_refuses_an_unknown_one() -> None:
    runner = CliRunner()
    shown = runner.invoke(collected(), ["db", "ddl", "--service", "pay", "--dialect", "mysql"])
    assert shown.exit_code == 0
    assert "CREATE TABLE beanpay_account_info" in shown.output
    assert "oms_order_info" not in shown.output
    assert runner.invoke(collected(), ["db", "ddl", "--service", "nobody"]).exit_code == 2
    assert runner.invoke(collected(), ["db", "ddl", "--dialect", "dbase"]).exit_code == 2
