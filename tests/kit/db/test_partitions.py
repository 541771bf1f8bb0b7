"""Promises: tables that only grow lie in monthly parts, whatever they held before, and lose them whole."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from typer.testing import CliRunner

from shoudan_cli.main import collected
from shoudan_delivery.app import SERVICE
from shoudan_kit import metrics
from shoudan_kit.db.ddl_locks import statements
from shoudan_kit.db.foundation import FOUNDATION, partitioned
from shoudan_kit.db.migrate import differences, plan, sql_of, upgrade
from shoudan_kit.db.partitions import (
    KEPT,
    MONTHS_AHEAD,
    MONTHS_MIN,
    Kept,
    drop,
    month_after,
    parts_of,
    watch,
)
from shoudan_kit.db.pool import PLANS, Database
from shoudan_kit.db.revisions import revisions
from shoudan_kit.db.schema import Schema
from shoudan_kit.embedded import DatabaseUrls, Postgres
from shoudan_kit.ids import first_of
from shoudan_kit.tasks import store
from tests.conftest import Databases

ROLE = "shoudan_delivery"
assert SERVICE.schema is not None
SCHEMA: Schema = SERVICE.schema
INSERT = """INSERT INTO event (event_id, subject, key, tag, text, body, create_time)
    VALUES ($1, 'shoudan.events.test', 'k', '', '', '', now())"""
PLACE = "SELECT CAST(CAST(tableoid AS regclass) AS text) FROM event WHERE event_id = $1"


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Connection[Any]]:
    db = await asyncpg.connect(url.replace("+asyncpg", ""))
    try:
        yield db
    finally:
        await db.close()


async def migrated(urls: DatabaseUrls) -> Any:
    return await upgrade("delivery", SCHEMA, urls.owner, ROLE, turnable=True)


async def turn(postgres: Postgres, urls: DatabaseUrls, days: int) -> datetime:
    """Turn the database's clock for new sessions; gives its time then."""
    async with postgres.admin() as db:
        name = urls.owner.partition("@/")[2].partition("?")[0]
        await db.execute(f"ALTER DATABASE {name} SET shoudan.clock_shift = '{days} d'")
    return datetime.now(UTC) + timedelta(days=days)


async def place(db: asyncpg.Connection[Any], number: int) -> str:
    """Add an event of this number; gives the part it is in."""
    await db.execute(INSERT, number)
    return await db.fetchval(PLACE, number)


@pytest.fixture
async def urls(new_database: Databases) -> DatabaseUrls:
    return await new_database("delivery")


@pytest.fixture
async def before(postgres: Postgres) -> DatabaseUrls:
    """A database of all revisions, whose tables have no parts."""
    name = f"delivery_{secrets.token_hex(4)}"
    await postgres.create_database(name, service="delivery")
    urls = postgres.urls("delivery", name)
    below = "base"
    async with connected(urls.owner) as db:
        for sql in FOUNDATION:
            await db.execute(sql)
        for one in revisions(SCHEMA.package):
            for sql in statements(sql_of(SCHEMA, below, one.number)):
                await db.execute(sql)
            below = one.number
        await db.execute("CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)")
        await db.execute("INSERT INTO alembic_version VALUES ($1)", below)
        await db.execute(f"GRANT SELECT, INSERT, UPDATE ON event TO {ROLE}")
    return urls


async def test_a_table_with_rows_becomes_the_first_part_and_the_next_months_have_theirs(
    before: DatabaseUrls,
) -> None:
    now = datetime.now(UTC)
    async with connected(before.owner) as db:
        await db.executemany(INSERT, [(1,), (first_of(now),)])
    planned = (await plan("delivery", SCHEMA, before.owner)).parts
    assert "event: its rows become the first of monthly parts" in planned
    await migrated(before)
    async with connected(before.service) as db:
        assert [row[0] for row in await db.fetch("SELECT event_id FROM event ORDER BY 1")] == [
            1,
            first_of(now),
        ]
        assert await db.fetchval(PLACE, 1) == "event_first"
        for months in range(2, MONTHS_AHEAD + 1):
            month = month_after(now, months)
            assert await place(db, first_of(month)) == f"event_{month:%Y%m}"
            last = first_of(month_after(month)) - 1
            assert await place(db, last) == f"event_{month:%Y%m}"
        assert await place(db, first_of(month_after(now, MONTHS_AHEAD + 1))) == "event_rest"
    assert await differences(SCHEMA, before.owner) == []


async def rows_read(url: str, table: str) -> int:
    """Rows that were read by going through the whole table, for whatever reason."""
    async with connected(url) as db:
        return await db.fetchval(
            "SELECT seq_tup_read FROM pg_stat_user_tables WHERE relname = $1", table
        )


async def test_a_table_is_looked_through_once_and_not_while_it_is_attached(
    before: DatabaseUrls,
) -> None:
    """The rule is proved beside readers and writers; attaching by it, under the lock, reads no row."""
    first, rows = first_of(datetime.now(UTC)), 1_000
    async with connected(before.owner) as db:
        await db.executemany(INSERT, [(first + n,) for n in range(rows)])
    earlier = await rows_read(before.owner, "event")
    await migrated(before)
    async with connected(before.owner) as db:
        kind = "SELECT relkind = 'p' FROM pg_class WHERE oid = 'event'::regclass"
        assert await db.fetchval(kind)
    assert await rows_read(before.owner, "event_first") - earlier == rows


async def test_writers_go_on_while_their_table_becomes_partitioned(before: DatabaseUrls) -> None:
    first = first_of(datetime.now(UTC))
    written = 0
    async with connected(before.service) as db:
        insert = await db.prepare(INSERT)
        migrating = asyncio.create_task(migrated(before))
        while not migrating.done():
            await insert.fetch(first + written)
            written += 1
        await migrating
        await insert.fetch(first + written)
        assert await db.fetchval("SELECT count(*) FROM event") == written + 1
        assert await place(db, first + written + 1) == "event_first"


async def test_a_migration_that_was_cut_off_before_the_table_was_a_part_ends_at_the_next_run(
    before: DatabaseUrls,
) -> None:
    async with connected(before.owner) as db:
        await db.execute(
            "ALTER TABLE event ADD CONSTRAINT event_part CHECK (event_id < 5) NOT VALID"
        )
        await migrated(before)
        assert await place(db, first_of(datetime.now(UTC))) == "event_first"
        rules = "SELECT count(*) FROM pg_constraint WHERE conname = 'event_part'"
        assert await db.fetchval(rules) == 0


async def test_a_second_migration_makes_no_part_and_one_a_month_later_makes_one(
    postgres: Postgres,
    urls: DatabaseUrls,
) -> None:
    made = await parts_of(urls.owner)
    assert (await migrated(urls)).parts == []
    assert await parts_of(urls.owner) == made
    now = datetime.now(UTC)
    await turn(postgres, urls, (month_after(now) - now).days + 1)
    month = month_after(now, MONTHS_AHEAD + 1)
    assert f"event: parts up to {month:%Y-%m}" in (await migrated(urls)).parts
    names = {one.name for one in await parts_of(urls.owner)}
    tables = [one.name for one in partitioned(SCHEMA.metadata)]
    assert names == {one.name for one in made} | {f"{table}_{month:%Y%m}" for table in tables}


async def test_parts_that_ran_out_are_told_and_what_came_meanwhile_stays_where_it_is(
    postgres: Postgres,
    urls: DatabaseUrls,
) -> None:
    database = Database(urls.service)
    try:
        await watch(database)
        assert told("event") == (0, 0)
    finally:
        await database.dispose()
    late = await turn(postgres, urls, 400)
    number = first_of(late)
    async with connected(urls.service) as db:
        assert await place(db, number) == "event_rest"
    database = Database(urls.service)
    try:
        await watch(database)
        months, rest_bytes = told("event")
        assert months == MONTHS_MIN
        assert rest_bytes > 0
        await migrated(urls)
        await watch(database)
        assert told("event") == (0, 0)
    finally:
        await database.dispose()
    async with connected(urls.service) as db:
        first_without = month_after(datetime.now(UTC), MONTHS_AHEAD + 1)
        assert await db.fetchval(PLACE, number) == f"event_{first_without:%Y%m}"
        month = month_after(late, 3)
        assert await place(db, first_of(month)) == f"event_{month:%Y%m}"
        assert await place(db, number + 1) == f"event_{first_without:%Y%m}"


def told(table: str) -> tuple[float, float]:
    """Months without a part, and bytes of what fits none, as the metrics say."""
    named = ("shoudan_parts_missing", "shoudan_parts_rest_bytes")
    months, rest_bytes = (metrics.REGISTRY.get_sample_value(one, {"table": table}) for one in named)
    assert months is not None
    assert rest_bytes is not None
    return months, rest_bytes


async def test_a_service_has_no_rights_on_parts_old_or_new(
    postgres: Postgres, before: DatabaseUrls
) -> None:
    await migrated(before)
    await turn(postgres, before, 100)
    await migrated(before)
    let_through: list[str] = []
    async with connected(before.service) as db:
        for one in await parts_of(before.owner):
            for sql in (
                f"SELECT 1 FROM {one.name}",
                f"INSERT INTO {one.name} DEFAULT VALUES",
                f"UPDATE {one.name} SET create_time = now()",
                f"DELETE FROM {one.name}",
                f"TRUNCATE {one.name}",
                f"ALTER TABLE {one.table} DETACH PARTITION {one.name}",
            ):
                try:
                    await db.execute(sql)
                    let_through.append(sql)
                except asyncpg.InsufficientPrivilegeError:
                    pass
        for sql in ("UPDATE event SET text = ''", "DELETE FROM event"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await db.execute(sql)
        await db.execute(INSERT, first_of(datetime.now(UTC)))
    assert let_through == []


async def test_events_are_found_by_number_in_their_months_alone(urls: DatabaseUrls) -> None:
    month = month_after(datetime.now(UTC), 3)
    ids = [first_of(month) + 5, first_of(month) + 7]
    compiled: Any = store._EVENTS.compile(dialect=PGDialect_asyncpg())
    values = {"ids": f"ARRAY{ids}", "first": str(ids[0]), "last": str(ids[1])}
    given = ", ".join(values[name] for name in compiled.positiontup)
    async with connected(urls.service) as db:
        await db.execute(PLANS)
        await db.execute(f"PREPARE asked AS {compiled.string}")
        shown = json.loads(await db.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE asked({given})"))
    text = json.dumps(shown)
    assert f'"Index Name": "event_{month:%Y%m}_pkey"' in text
    assert text.count('"Relation Name"') == 1
    assert '"Subplans Removed"' in text


async def test_old_parts_are_dropped_whole_and_young_or_unpublished_ones_are_kept(
    postgres: Postgres,
    urls: DatabaseUrls,
) -> None:
    now = datetime.now(UTC)
    kept = month_after(now, 4)
    async with connected(urls.service) as db:
        await place(db, first_of(now))
        await place(db, first_of(kept))
        await db.execute("INSERT INTO outbox VALUES ($1, '{1}', false, now())", first_of(now))
    later = await turn(postgres, urls, 300)
    with pytest.raises(Kept, match="90 days"):
        await drop(urls.owner, later - KEPT + timedelta(days=1))
    with pytest.raises(Kept, match="not published"):
        await drop(urls.owner, kept)
    async with connected(urls.service) as db:
        await db.execute("UPDATE outbox SET published = true")
        assert await drop(urls.owner, kept, ask=True)
        assert await db.fetchval("SELECT count(*) FROM event") == 2
        dropped = {one.name for one in await drop(urls.owner, kept)}
        assert {"event_first", "vds_order_exp_first"} <= dropped
        assert f"event_{kept:%Y%m}" not in dropped
        assert await db.fetchval("SELECT array_agg(event_id) FROM event") == [first_of(kept)]
    assert not dropped & {one.name for one in await parts_of(urls.owner)}
    assert await drop(urls.owner, kept) == []


async def test_the_commands_show_and_drop_parts(
    postgres: Postgres, urls: DatabaseUrls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOUDAN_DELIVERY_DATABASE_URL", urls.service)
    monkeypatch.setenv("SHOUDAN_DELIVERY_OWNER_DATABASE_URL", urls.owner)

    async def run(*words: str) -> Any:
        return await asyncio.to_thread(CliRunner().invoke, collected(), ["db", *words])

    shown = await run("parts", "delivery")
    assert shown.exit_code == 0, shown.output
    assert "event_first" in shown.output
    assert "event_rest" in shown.output
    later = month_after(await turn(postgres, urls, 300), -4).strftime("%Y-%m-%d")
    young = await run("drop-parts", "delivery", "--before", "2099-01-01", "--unarchived", "--yes")
    assert (young.exit_code, "90 days" in young.stderr) == (1, True)
    dropped = await run("drop-parts", "delivery", "--before", later, "--unarchived", "--yes")
    assert dropped.exit_code == 0, dropped.output
    assert "event_first" in dropped.output
    assert "event_first" not in {one.name for one in await parts_of(urls.owner)}
    none = await run("drop-parts", "delivery", "--before", later, "--unarchived", "--yes")
    assert "no part ends by" in none.output
