"""Promises of the lifecycles in the databases: refused is what no path of moves leads to, nothing else."""

from __future__ import annotations

import importlib
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import asyncpg
import pytest

from shoudan_kit.db.migrate import upgrade
from shoudan_kit.db.moves import Moves, lifecycles_of
from shoudan_kit.embedded import DatabaseUrls

TABLES = {"order": 9, "pay": 7, "delivery": 3, "erp_ingest": 1, "identity": 1, "finance": 9}
LAID = """SELECT c.relname, t.oid, obj_description(t.oid, 'pg_trigger') AS rule FROM pg_trigger t
    JOIN pg_class c ON c.oid = t.tgrelid WHERE t.tgname = c.relname || '_lifecycle' ORDER BY 1"""

every_service = pytest.mark.parametrize("service", TABLES)


def schema(service: str) -> Any:
    return importlib.import_module(f"shoudan_{service}.app").SERVICE.schema


def declared(service: str) -> dict[str, Any]:
    tables = schema(service).metadata.tables
    return {name: lifecycles_of(one) for name, one in tables.items() if lifecycles_of(one)}


def leads(moves: Moves, start: Any, end: Any) -> bool:
    """Whether some path of moves goes from one state to the other."""
    seen, open_ = {start}, [start]
    while open_:
        near = open_.pop()
        for (state, _), later in moves.items():
            if state == near and later not in seen:
                seen.add(later)
                open_.append(later)
    return end in seen


def pairs(columns: dict[str, Moves]) -> Iterator[tuple[str, Any, Any, bool]]:
    """Each column with each two of its states, and whether the one may become the other."""
    for column, moves in columns.items():
        states = {state for (state, _), later in moves.items() for state in (state, later)}
        for start in states:
            for end in states:
                yield column, start, end, leads(moves, start, end)


def literal(state: Any) -> str:
    return (
        f"CAST('{state}' AS text)" if isinstance(state, str) else f"CAST({int(state)} AS smallint)"
    )


@every_service
async def test_a_state_left_for_good_is_not_taken_again(
    database: Callable[[str], Awaitable[DatabaseUrls]], service: str
) -> None:
    db = await asyncpg.connect((await database(service)).owner.replace("+asyncpg", ""))
    wrong: list[str] = []
    try:
        laid = {row["relname"]: row["rule"] for row in await db.fetch(LAID)}
        assert set(laid) == set(declared(service))
        assert len(laid) == TABLES[service]
        for table, columns in declared(service).items():
            for column, start, end, allowed in pairs(columns):
                old, new = row(columns, column, start), row(columns, column, end)
                sql = f"SELECT {laid[table]} FROM (SELECT {old}) AS old, (SELECT {new}) AS new"
                if await db.fetchval(sql) is allowed:
                    wrong.append(f"{table}.{column}: {start} to {end}")
    finally:
        await db.close()
    assert wrong == []


def row(columns: dict[str, Moves], column: str, state: Any) -> str:
    """A row with a state in one column, and in the others always the same ones."""
    states = {name: next(iter(moves.values())) for name, moves in columns.items()} | {column: state}
    return ", ".join(f"{literal(one)} AS {name}" for name, one in states.items())


async def test_lifecycles_are_laid_again_only_when_they_change(
    new_database: Callable[[str], Awaitable[DatabaseUrls]],
) -> None:
    urls = await new_database("pay")
    db = await asyncpg.connect(urls.owner.replace("+asyncpg", ""))
    try:
        before = await db.fetch(LAID)
        await upgrade("pay", schema("pay"), urls.owner, "shoudan_pay")
        assert await db.fetch(LAID) == before
        await db.execute(
            "COMMENT ON TRIGGER pay_order_lifecycle ON pay_order IS 'of another release'"
        )
        await upgrade("pay", schema("pay"), urls.owner, "shoudan_pay")
        assert [row["rule"] for row in await db.fetch(LAID)] == [row["rule"] for row in before]
    finally:
        await db.close()
