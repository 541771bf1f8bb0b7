"""Promises: revisions after a release are safe on large tables, and its processes run on their schema."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Awaitable, Callable
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

import asyncpg
import pytest

from shoudan_kit.db.ddl_locks import Lock, locks, statements
from shoudan_kit.db.foundation import FOUNDATION
from shoudan_kit.db.migrate import sql_of
from shoudan_kit.db.revisions import Phase, revisions
from shoudan_kit.embedded import DatabaseUrls, Postgres

ROOT = Path(__file__).parents[1]
SERVICES = ("order", "pay", "delivery", "erp_ingest", "identity", "finance", "console")
RELEASE: dict[str, Any] = json.loads((ROOT / "tests" / "release.json").read_text("utf-8"))[
    "services"
]


def tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


lint = tool("lint_revisions")


def declared(service: str) -> Any:
    (entry,) = entry_points(group="shoudan.services", name=service)
    return entry.load()


@pytest.mark.parametrize("service", SERVICES)
def test_revisions_are_safe_on_large_tables_released_or_not(service: str) -> None:
    assert lint.DRAFTED[service] < RELEASE[service]["revision"]
    assert lint.lint(declared(service).schema, lint.DRAFTED[service]) == []


UNSAFE = [
    ("CREATE INDEX i ON t (a);", "require-concurrent-index-creation"),
    ("ALTER TABLE t ADD CONSTRAINT c CHECK (a > 0);", "constraint-missing-not-valid"),
    ("ALTER TABLE t ADD CONSTRAINT f FOREIGN KEY (a) REFERENCES u (a);", "not-valid"),
    ("ALTER TABLE t ADD CONSTRAINT q UNIQUE (a);", "disallowed-unique-constraint"),
    ("ALTER TABLE t ADD COLUMN b int NOT NULL;", "adding-required-field"),
    ("ALTER TABLE t ALTER COLUMN a SET NOT NULL;", "adding-not-nullable-field"),
    ("ALTER TABLE t ALTER COLUMN a TYPE bigint;", "changing-column-type"),
    ("ALTER TABLE t DROP COLUMN a;", "takes away"),
    ("ALTER TABLE t RENAME COLUMN a TO b;", "takes away"),
    ("DROP TABLE t;", "takes away"),
    ("UPDATE t SET a = 1;", "rewrites rows"),
]


@pytest.mark.parametrize(("sql", "told"), UNSAFE)
def test_an_unsafe_statement_is_found(sql: str, told: str) -> None:
    found = [*lint.of_phase(Phase.EXPAND, sql), *lint.of_squawk(Phase.EXPAND, sql)]
    assert any(told in one for one in found), found


@pytest.mark.parametrize(
    ("phase", "sql"),
    [
        (Phase.EXPAND, "ALTER TABLE t ADD COLUMN b int;"),
        (Phase.EXPAND, "ALTER TABLE t ADD COLUMN b smallint DEFAULT 0 NOT NULL;"),
        (Phase.EXPAND, "ALTER TABLE t ADD CONSTRAINT c CHECK (a > 0) NOT VALID;"),
        (
            Phase.EXPAND,
            "CREATE TABLE t (a bigint NOT NULL, PRIMARY KEY (a)); CREATE INDEX i ON t (a);",
        ),
        (Phase.INDEX, "CREATE INDEX CONCURRENTLY i ON t (a); DROP INDEX CONCURRENTLY j;"),
        (Phase.VALIDATE, "ALTER TABLE t VALIDATE CONSTRAINT c;"),
        (Phase.CONTRACT, "ALTER TABLE t DROP COLUMN a; DROP TABLE u;"),
    ],
)
def test_what_is_safe_in_its_phase_is_not_found(phase: Phase, sql: str) -> None:
    assert [*lint.of_phase(phase, sql), *lint.of_squawk(phase, sql)] == []


@pytest.mark.parametrize("phase", [Phase.INDEX, Phase.VALIDATE])
def test_a_phase_holds_nothing_of_another(phase: Phase) -> None:
    assert list(lint.of_phase(phase, "ALTER TABLE t ADD COLUMN b int;"))


MODES = {
    "RowExclusiveLock": Lock.ROW_EXCLUSIVE,
    "ShareUpdateExclusiveLock": Lock.SHARE_UPDATE_EXCLUSIVE,
    "ShareLock": Lock.SHARE,
    "ShareRowExclusiveLock": Lock.SHARE_ROW_EXCLUSIVE,
    "ExclusiveLock": Lock.ACCESS_EXCLUSIVE,
    "AccessExclusiveLock": Lock.ACCESS_EXCLUSIVE,
}
THERE = """SELECT oid, relname FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind = ANY($1)"""
PARTS = """SELECT part.relname, whole.relname FROM pg_inherits
    JOIN pg_class AS part ON part.oid = inhrelid JOIN pg_class AS whole ON whole.oid = inhparent"""
HELD = (
    "SELECT relation, mode FROM pg_locks WHERE pid = pg_backend_pid() AND granted AND relation > 0"
)
MORE = """
ALTER TABLE t VALIDATE CONSTRAINT c;
ALTER TABLE t SET (fillfactor = 80);
ALTER TABLE t ADD CONSTRAINT d CHECK (a > 1) NOT VALID;
ALTER TABLE t ADD CONSTRAINT f FOREIGN KEY (a) REFERENCES t (a);
ALTER INDEX i SET (fillfactor = 80);
COMMENT ON COLUMN t.a IS 'x; y';
CREATE INDEX j ON t (b);
CREATE TRIGGER g BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger();
DROP TRIGGER g ON t;
DROP INDEX j;
UPDATE t SET b = 1; DELETE FROM t; INSERT INTO t VALUES (3, 3);
DROP TABLE t;
"""


async def strongest(db: asyncpg.Connection[Any], sql: str, kinds: str = "rp") -> dict[str, Lock]:
    """What running this locks of the relations of these kinds that were there, as PostgreSQL says."""
    rows = await db.fetch(THERE, [one.encode() for one in kinds])
    there: dict[int, str] = {row["oid"]: row["relname"] for row in rows}
    found: dict[str, Lock] = {}
    async with db.transaction():
        for one in statements(sql):
            if one.startswith("INSERT") and len(kinds) == 2:
                continue  # seeds of tables that are new; their values are no part of a script
            await db.execute(one)
            for oid, mode in await db.fetch(HELD):
                lock = MODES.get(mode)
                if oid in there and lock is not None:
                    name = there[oid]
                    found[name] = max(lock, found.get(name, lock))
    return found


@pytest.mark.parametrize("service", SERVICES)
async def test_the_locks_a_plan_says_are_those_postgresql_takes(
    service: str, postgres: Postgres
) -> None:
    name = f"{service}_locks"
    await postgres.create_database(name, service=service)
    urls = postgres.urls(service, name)
    schema = declared(service).schema
    db = await asyncpg.connect(urls.owner.replace("+asyncpg", ""))
    try:
        for foundation in FOUNDATION:
            await db.execute(foundation)
        before = "base"
        for one in revisions(schema.package):
            sql = sql_of(schema, before, one.number)
            if one.phase is not Phase.INDEX:
                tables = dict(await db.fetch("SELECT indexname, tablename FROM pg_indexes"))
                parts = dict(await db.fetch(PARTS))  # a table's lock is that of its parts
                taken = await strongest(db, sql)
                said: dict[str, Lock] = {}
                for name, lock in locks(sql).items():  # an index that goes stands for its table
                    at = tables.get(name, name)
                    said[at] = max(lock, said.get(at, lock))
                of_tables = {(parts.get(at, at), lock) for at, lock in taken.items()}
                assert all(lock <= said.get(at, 0) for at, lock in of_tables), one
            before = one.number
    finally:
        await db.close()


async def test_the_lock_of_each_kind_of_statement_is_the_one_postgresql_takes(
    postgres: Postgres,
) -> None:
    await postgres.create_database("each_lock", service="pay")
    db = await asyncpg.connect(postgres.urls("pay", "each_lock").owner.replace("+asyncpg", ""))
    try:
        for one in statements(MORE):
            await db.execute(
                "DROP TABLE IF EXISTS t; CREATE TABLE t (a int PRIMARY KEY, b int);"
                "ALTER TABLE t ADD CONSTRAINT c CHECK (a > 0) NOT VALID; CREATE INDEX i ON t (b)"
            )
            if "DROP TRIGGER" in one:
                await db.execute(next(sql for sql in statements(MORE) if "CREATE TRIGGER" in sql))
            if "DROP INDEX" in one:
                await db.execute("CREATE INDEX j ON t (b)")
            taken = await strongest(db, one, "rpi")
            said = locks(one)
            assert max(taken.values()) == max(said.values()), one
    finally:
        await db.close()


@pytest.mark.parametrize("service", SERVICES)
async def test_every_statement_of_the_release_before_runs_on_this_schema_in_its_role(
    service: str, database: Callable[[str], Awaitable[DatabaseUrls]]
) -> None:
    urls = await database(service)
    db = await asyncpg.connect(urls.service.replace("+asyncpg", ""))
    refused: list[str] = []
    try:
        await db.execute("SET plan_cache_mode = force_generic_plan")
        for number, sql in enumerate(RELEASE[service]["statements"]):
            count = max(map(int, re.findall(r"\$(\d+)", sql)), default=0)
            nulls = f"({', '.join(['NULL'] * count)})" if count else ""
            try:
                await db.execute(f"PREPARE s{number} AS {sql}")
                await db.execute(f"EXPLAIN EXECUTE s{number}{nulls}")  # asks for its rights, too
            except asyncpg.PostgresError as error:
                refused.append(f"{error}: {sql[:200]}")
    finally:
        await db.close()
    assert refused == []


@pytest.mark.parametrize("service", SERVICES)
async def test_a_row_of_the_release_before_needs_no_column_that_came_since(
    service: str, database: Callable[[str], Awaitable[DatabaseUrls]]
) -> None:
    urls = await database(service)
    db = await asyncpg.connect(urls.owner.replace("+asyncpg", ""))
    missing: list[str] = []
    try:
        for table, known in RELEASE[service]["columns"].items():
            rows = await db.fetch(
                "SELECT column_name FROM information_schema.columns WHERE table_name = $1"
                " AND is_nullable = 'NO' AND column_default IS NULL AND is_identity = 'NO'"
                " AND is_generated = 'NEVER'",
                table,
            )
            missing += [f"{table}.{name}" for (name,) in rows if name not in known]
    finally:
        await db.close()
    assert missing == []
