"""Plays what the stores in memory ran once more on PostgreSQL: every answer, every row must be equal."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import asyncpg
from sqlalchemy import text

from shoudan_kit.db.text_statements import _compile
from shoudan_kit.db.url import DatabaseUrl
from shoudan_kit.tasks import store as tasks
from tests.simulation.store import ORDERED, Ran, Store

# Nobody decides by what these answer; here they answer nothing.
UNLIKE: Final = frozenset({tasks._GAUGES.text})
# Transactions stay open for as long as it takes to play what the others ran meanwhile.
SESSION: Final = """SET lock_timeout = '5s'; SET timezone = 'UTC'; SET statement_timeout = 0;
    SET idle_in_transaction_session_timeout = 0; SET transaction_timeout = 0"""
CLOCK: Final = """CREATE OR REPLACE FUNCTION shoudan_now() RETURNS timestamptz LANGUAGE sql STABLE AS $$
    SELECT current_setting('sim.now')::timestamptz $$"""


def dsn(url: str) -> str:
    """The URL as the driver itself takes it."""
    return DatabaseUrl.parse(url).hosts[0]


class Replay:
    """One database that follows one store."""

    def __init__(self, url: str, store: Store) -> None:
        self._url, self._store = dsn(url), store
        self._open: dict[int, asyncpg.Connection] = {}
        self._idle: list[asyncpg.Connection] = []
        self.differences: list[str] = []
        self.played: Counter[str] = Counter()

    async def play(self) -> None:
        """Every statement, in the order in which it was run."""
        assert self._store.tape is not None, "it was recorded"
        for one in self._store.tape:
            await self._step(one)
            if self.differences:
                break  # what follows follows from it
        for connection in [*self._open.values(), *self._idle]:
            await connection.close()

    async def _step(self, one: Ran) -> None:
        if one.sql in {"COMMIT", "ROLLBACK"}:
            if (connection := self._open.pop(one.transaction, None)) is not None:
                await connection.execute(one.sql)
                self._idle.append(connection)
            return
        connection = await self._connection(one)
        if one.copied is not None:
            table, names, rows = one.copied
            await connection.copy_records_to_table(table, records=rows, columns=list(names))
            return
        self.played[one.sql] += 1
        sql, names = _compile(text(one.sql))
        binds: Mapping[str, Any] = one.binds or {}
        try:
            answered = await connection.fetch(sql, *(binds[name] for name in names))
        except asyncpg.PostgresError as error:
            self.differences.append(f"{type(error).__name__} {error}: {_short(one.sql)}")
            return
        if one.sql not in UNLIKE:
            self._compare(one, [tuple(row) for row in answered])

    async def _connection(self, one: Ran) -> asyncpg.Connection:
        connection = self._open.get(one.transaction)
        if connection is None:
            connection = self._idle.pop() if self._idle else await asyncpg.connect(self._url)
            self._open[one.transaction] = connection
            await connection.execute(SESSION)
            await connection.fetch(
                "SELECT set_config('sim.now', $1, false)", one.moment.isoformat()
            )
            await connection.execute("BEGIN")
        return connection

    def _compare(self, one: Ran, answered: Sequence[tuple[Any, ...]]) -> None:
        mine = [tuple(row) for row in one.rows or ()]
        theirs = list(answered)
        if one.sql not in ORDERED:
            mine, theirs = sorted(mine, key=repr_of), sorted(theirs, key=repr_of)
        if len(mine) != len(theirs) or not all(map(_alike, mine, theirs)):
            self.differences.append(
                f"{_short(one.sql)}\n  binds {_cut(one.binds)}\n  here {_cut(mine)}\n  there {_cut(theirs)}"
            )

    async def compare_tables(self) -> int:
        """Every row of every table; how many there were."""
        connection = await asyncpg.connect(self._url)
        count = 0
        for table in self._store.tables.values():
            there = await connection.fetchval("SELECT to_regclass($1)::text", table.name)
            if there is None:
                continue  # a unique index, which is a table here
            rows = await connection.fetch(f"SELECT * FROM {table.name}")
            columns = set(rows[0].keys()) if rows else set()
            named = {name for row in table.rows.values() for name in row} & columns
            stored = Counter(_row(row, named) for row in rows)
            mine = Counter(_row(row, named) for row in table.rows.values())
            if stored != mine:
                only = list((mine - stored).elements())[:2], list((stored - mine).elements())[:2]
                self.differences.append(f"{table.name}: here {only[0]}\n  there {only[1]}")
            count += len(rows)
        await connection.close()
        return count


def _row(row: Any, names: Any) -> str:
    return repr([(name, _plain(row[name])) for name in sorted(names)])


def _plain(value: Any) -> Any:
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, datetime):
        return value.timestamp()
    return list(value) if isinstance(value, list | tuple) else value


def repr_of(row: tuple[Any, ...]) -> str:
    """What rows of a set are sorted by."""
    return repr([_plain(one) for one in row if not isinstance(one, float)])


def _alike(mine: tuple[Any, ...], theirs: tuple[Any, ...]) -> bool:
    return len(mine) == len(theirs) and all(map(_same, mine, theirs))


def _same(mine: Any, theirs: Any) -> bool:
    if isinstance(mine, float) or isinstance(theirs, float):
        return math.isclose(mine, theirs, abs_tol=1e-3)
    return bool(_plain(mine) == _plain(theirs))


def _short(sql: str) -> str:
    return " ".join(sql.split())[:160]


def _cut(value: Any) -> str:
    return str(value)[:1500]
