"""Promises of the pair: what was answered is there after a failover, and again after the next one."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from tests.chaos.pair import Pair

CONNECTIONS = 20
WRITERS = 4
ROWS_MIN = 50
# The driver's own error: the connection ended between two of its states.
GONE = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


@pytest.mark.timeout(180)
async def test_what_was_answered_outlives_its_primary() -> None:
    async with await Pair.start(profile="test", connections=CONNECTIONS) as pair:
        async with pair.admin() as db:
            await db.execute("CREATE TABLE kept (n bigint PRIMARY KEY)")
        answered: set[int] = set()
        for first in (0, 1_000_000):
            await pair.pair(CONNECTIONS)
            writing = [
                asyncio.create_task(write(pair, answered, first + part * 100_000))
                for part in range(WRITERS)
            ]
            enough = len(answered) + ROWS_MIN
            while len(answered) < enough:
                await asyncio.wait(writing, timeout=0.05)
            port, folder = pair.port, pair.home.path
            await pair.fail_over()
            await asyncio.gather(*writing)
            await pair.launch()
            assert (pair.port, pair.home.path, pair.copy) == (port, folder, None)
            async with pair.admin() as db:
                there = {row["n"] for row in await db.fetch("SELECT n FROM kept")}
                timeline = await db.fetchval("SELECT timeline_id FROM pg_control_checkpoint()")
            assert answered <= there
            assert timeline == 2 + (first > 0), "it is the standby that was started"


async def write(pair: Pair, answered: set[int], number: int) -> None:
    """Rows one after the other, until the server is gone."""
    try:
        async with pair.admin() as db:
            while True:
                number += 1
                await db.execute("INSERT INTO kept VALUES ($1)", number)
                answered.add(number)
    except GONE:
        return
