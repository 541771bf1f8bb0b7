"""Text statements that go straight to the driver behave as SQLAlchemy's: values, transactions, errors."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError, IntegrityError, NoResultFound
from sqlalchemy.exc import TimeoutError as PoolTimeout

from shoudan_kit.db import columns
from shoudan_kit.db.errors import connection_lost, sql_state
from shoudan_kit.db.pool import Database
from shoudan_kit.db.text_statements import FastConnection, Rows, _known_types, watched
from shoudan_kit.tasks.tables import metadata

PAUSE = text(
    "INSERT INTO task_pause (queue_name, paused_by, reason, create_time)"
    " SELECT name, 'me', :why, :at FROM unnest(CAST(:names AS text[])) AS given(name)"
)
COUNT = text("SELECT count(*) FROM task_pause")


def binds(*names: str) -> dict[str, object]:
    return {"names": list(names), "why": "x:y", "at": datetime(2026, 1, 1, tzinfo=UTC)}


async def test_rows_answer_like_sqlalchemys(database: Database) -> None:
    async with database.begin() as db:
        assert isinstance(db, FastConnection)
        done = await db.execute(PAUSE, binds("a", "b", "c"))
        assert isinstance(done, Rows)
        assert done.rowcount == 3
        found = await db.execute(text("SELECT queue_name, reason FROM task_pause ORDER BY 1"))
        assert [(row.queue_name, row[1]) for row in found] == [
            ("a", "x:y"),
            ("b", "x:y"),
            ("c", "x:y"),
        ]
        assert list(
            (await db.execute(text("SELECT queue_name FROM task_pause ORDER BY 1"))).scalars()
        ) == [
            "a",
            "b",
            "c",
        ]
        with pytest.raises(AttributeError):
            _ = (await db.execute(COUNT)).one().no_such_column
        with pytest.raises(NoResultFound):
            (await db.execute(text("SELECT 1 WHERE false"))).one()


async def test_both_ways_share_one_transaction(database: Database) -> None:
    pause = metadata().tables["task_pause"]

    async def fail_after_both() -> None:
        async with database.begin() as db:
            await db.execute(PAUSE, binds("a"))
            assert (await db.execute(select(pause.c.queue_name))).scalars().all() == ["a"]
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail_after_both()
    async with database.connect() as db:
        assert (await db.execute(COUNT)).scalar_one() == 0


async def test_without_a_transaction_each_statement_stands(database: Database) -> None:
    async with database.connect() as db:
        await db.execute(PAUSE, binds("a"))
        async with database.connect() as other:
            assert (await other.execute(COUNT)).scalar_one() == 1


async def test_errors_are_sqlalchemys_and_leave_the_connection_good(database: Database) -> None:
    async with database.begin() as db:
        await db.execute(PAUSE, binds("secret-queue"))
    with pytest.raises(IntegrityError) as raised:
        async with database.begin() as db:
            await db.execute(PAUSE, binds("secret-queue"))
    assert sql_state(raised.value) == "23505"
    assert not connection_lost(raised.value)
    async with database.begin() as db:  # the connection is still good
        assert (await db.execute(COUNT)).scalar_one() == 1


async def test_a_connection_the_server_closed_is_lost_and_replaced(database: Database) -> None:
    async def terminate_itself() -> None:
        async with database.begin() as db:
            await db.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
            await db.execute(COUNT)

    with pytest.raises(DBAPIError) as raised:
        await terminate_itself()
    assert connection_lost(raised.value)
    async with database.begin() as db:
        assert (await db.execute(COUNT)).scalar_one() == 0


async def test_what_a_query_gives_becomes_a_file(database: Database, tmp_path: Path) -> None:
    """Texts with commas, quotes and ends of lines, empty ones and NULL are told apart."""
    query = text(
        "SELECT n, CASE n WHEN 1 THEN :what WHEN 2 THEN '' END AS words"
        " FROM generate_series(1, CAST(:most AS integer)) n"
    )
    file = tmp_path / "rows.csv"
    async with database.begin() as db:
        assert isinstance(db, FastConnection)
        values = {"what": 'a,"b"\nc', "most": 3}
        assert await db.copy_out(query, values, file) == 3
        assert file.read_text("utf-8") == '1,"a,""b""\nc"\n2,""\n3,\n'
        assert await db.copy_out(query, values | {"most": 0}, file) == 0
        assert not file.read_bytes()
    async with database.connect() as db:
        assert isinstance(db, FastConnection)
        with pytest.raises(DBAPIError) as wrong:
            await db.copy_out(text("SELECT no_such_column"), {}, file)
        assert sql_state(wrong.value) == "42703"
        naive = datetime.fromisoformat("2026-01-01")
        with pytest.raises(ValueError, match="without a time zone"):
            await db.copy_out(query, {"what": naive, "most": 1}, file)


async def test_what_a_query_gives_comes_by_pages(database: Database) -> None:
    query = text("SELECT n FROM generate_series(1, CAST(:most AS integer)) n")
    async with database.begin() as db:
        assert isinstance(db, FastConnection)
        found = [[row.n for row in page] async for page in db.pages(query, {"most": 5}, 2)]
        assert found == [[1, 2], [3, 4], [5]]
        assert [page async for page in db.pages(query, {"most": 0}, 2)] == []
        assert (await db.execute(COUNT)).scalar_one() == 0
    with pytest.raises(DBAPIError) as wrong:
        await _divided(database)
    assert sql_state(wrong.value) == "22012"


async def _divided(database: Database) -> None:
    async with database.begin() as db:
        assert isinstance(db, FastConnection)
        async for page in db.pages(text("SELECT 1 / (n - 3) FROM generate_series(1, 5) n"), {}, 2):
            assert len(page) == 2


async def test_statements_can_be_watched(database: Database) -> None:
    seen: list[str] = []
    async with database.connect() as db:
        with watched(seen.append):
            await db.execute(COUNT)
        await db.execute(COUNT)
    assert seen == ["SELECT count(*) FROM task_pause"]


async def test_the_server_is_asked_about_an_array_type_once_per_process(database: Database) -> None:
    given = text("SELECT unnest(CAST(:given AS uuid[]))")
    async with database.connect() as first, database.connect() as second:
        await first.execute(given, {"given": []})
        before = len(_known_types)
        assert (await second.execute(given, {"given": []})).all() == []
        assert len(_known_types) == before
    assert any(2951 in types for types in _known_types)  # uuid[]


async def test_a_time_without_a_zone_reaches_no_statement(database: Database) -> None:
    naive = datetime.fromisoformat("2026-01-01")
    usual = metadata().tables["task_pause"].insert()
    row = {"queue_name": "q", "paused_by": "me", "reason": "", "create_time": naive}
    many = text("SELECT unnest(CAST(:times AS timestamptz[]))")
    async with database.connect() as db:
        for statement, values in (
            (PAUSE, binds("a") | {"at": naive}),
            (many, {"times": [None, datetime(2026, 1, 1, tzinfo=UTC), naive]}),
            (usual, row),
            (usual, [row | {"create_time": datetime(2026, 1, 1, tzinfo=UTC)}, row]),
        ):
            with pytest.raises(ValueError, match="without a time zone"):
                await db.execute(statement, values)
        assert (await db.execute(COUNT)).scalar_one() == 0


async def test_a_transaction_the_server_gave_up_is_not_said_to_be_committed(
    database: Database,
) -> None:
    async def go_on_after_an_error() -> None:
        async with database.begin() as db:
            await db.execute(PAUSE, binds("a"))
            with pytest.raises(DBAPIError):
                await db.execute(text("SELECT 1 / 0"))

    with pytest.raises(DBAPIError) as raised:
        await go_on_after_an_error()
    assert sql_state(raised.value) == "25P02"
    async with database.connect() as db:
        assert (await db.execute(COUNT)).scalar_one() == 0


async def test_a_block_that_fails_says_why_even_when_its_session_has_gone(
    database: Database,
) -> None:
    async def fail_without_a_session() -> None:
        async with database.begin() as db:
            await db.execute(COUNT)
            driver: Any = (await db.get_raw_connection()).driver_connection
            driver.terminate()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail_without_a_session()
    async with database.begin() as db:
        assert (await db.execute(COUNT)).scalar_one() == 0


async def test_no_more_connections_are_lent_than_the_pool_has(bare_url: str) -> None:
    one = Database(bare_url, pool_size=1)
    async with one.connect():
        waits = asyncio.create_task(_asked(one))
        with pytest.raises(PoolTimeout):
            await _asked(one)
        with pytest.raises(PoolTimeout):
            await waits
    assert await _asked(one) == 1
    assert one.in_use == 0
    await one.dispose()


async def _asked(database: Database) -> int:
    async with database.connect() as db:
        return (await db.execute(text("SELECT 1"))).scalar_one()


@dataclass(frozen=True, slots=True)
class Pause:
    queue_name: str
    reason: str


@pytest.mark.parametrize("listed", ["queue_name, reason, create_time", "reason, queue_name"])
async def test_rows_are_read_by_name_in_whatever_order_they_come(
    database: Database, listed: str
) -> None:
    async with database.begin() as db:
        await db.execute(PAUSE, binds("a", "b"))
        found = await db.execute(text(f"SELECT {listed} FROM task_pause ORDER BY queue_name"))
        assert columns.Rows(Pause).all(found) == [Pause("a", "x:y"), Pause("b", "x:y")]
        one = await db.execute(text(f"SELECT {listed} FROM task_pause WHERE queue_name = 'b'"))
        assert columns.Rows(Pause).one(one) == Pause("b", "x:y")
        assert columns.Rows(Pause).all(await db.execute(text("SELECT 1 WHERE false"))) == []
