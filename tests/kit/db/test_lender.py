"""Connections of several shards to one server: few are opened, none is lost, who has none gets one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import cast

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import TimeoutError as PoolTimeout

from shoudan_kit.db import lender
from shoudan_kit.db.lender import Lender, Places
from shoudan_kit.db.pool import Database
from tests.poll import eventually

ONE = text("SELECT 1")
SIZE = 2


class Two:
    """The pools of two shards on one server, with two connections between them."""

    def __init__(self, url: str) -> None:
        places = Places(SIZE)
        self.opened = 0
        self.fails: list[OSError] = []  # of the next connections
        self.shards = [Database(url, pool_size=SIZE, places=places) for _ in range(2)]
        for one in self.shards:
            event.listen(one.engine.sync_engine, "connect", self._count)

    def waiting(self, shard: int) -> int:
        """Who waits for a connection of a shard to come back."""
        return len(vars(vars(self.shards[shard])["_lender"])["_waiting"])

    def idle(self) -> list[int]:
        """Connections that wait to be lent, of each shard."""
        return [cast("Lender", vars(one)["_lender"]).idle for one in self.shards]

    def _count(self, *_: object) -> None:
        if self.fails:
            raise self.fails.pop()
        self.opened += 1

    async def ask(self, shard: int) -> None:
        async with self.shards[shard].begin() as db:
            assert (await db.execute(ONE)).scalar_one() == 1


@pytest.fixture
async def two(bare_url: str) -> AsyncIterator[Two]:
    made = Two(bare_url)
    yield made
    for one in made.shards:
        await one.dispose()


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits for a connection gives up at once."""
    monkeypatch.setattr(lender, "OWN_S", 0.05)
    monkeypatch.setattr(lender, "ACQUIRE_S", 0.05)


async def test_shards_that_are_both_busy_do_not_close_each_others_connections(two: Two) -> None:
    await asyncio.gather(*(two.ask(number % 2) for number in range(100)))
    assert two.opened == SIZE


async def test_a_shard_without_a_connection_gets_one_that_another_lets_idle(two: Two) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(SIZE):
            await stack.enter_async_context(two.shards[0].connect())
    await two.ask(1)
    assert two.opened == SIZE + 1
    assert two.idle() == [1, 1]


async def test_a_busy_shard_takes_what_another_has_not_used_for_long(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    await two.ask(0)
    async with two.shards[1].connect():
        monkeypatch.setattr(lender, "IDLE_S", -1.0)
        await two.ask(1)
    assert two.idle() == [0, 2]


async def test_who_waits_for_a_connection_that_comes_back_spent_opens_another(two: Two) -> None:
    await two.ask(0)
    async with two.shards[1].connect():
        waiting = asyncio.create_task(two.ask(1))
        await eventually(lambda: two.waiting(1) == 1)
        cast("Lender", vars(two.shards[1])["_lender"]).retire()
    await waiting
    assert two.opened == SIZE + 1
    await asyncio.gather(two.ask(0), two.ask(1))
    assert two.opened == SIZE + 1


async def test_work_with_two_connections_of_its_shard_gets_both(two: Two) -> None:
    await two.ask(0)
    async with two.shards[1].connect():
        await two.ask(1)  # would wait for itself
    assert two.idle() == [0, 2]


async def test_who_gives_up_waiting_leaves_all_places_to_others(two: Two, soon: None) -> None:
    async with two.shards[0].connect(), two.shards[1].connect():
        with pytest.raises(PoolTimeout):
            await two.ask(1)
    await asyncio.gather(*(two.ask(number % 2) for number in range(20)))
    assert two.opened == SIZE


async def test_a_connection_handed_to_who_was_cancelled_goes_to_the_next(two: Two) -> None:
    await two.ask(0)
    async with two.shards[1].connect():
        gone, next_one = asyncio.create_task(two.ask(1)), asyncio.create_task(two.ask(1))
        await eventually(lambda: two.waiting(1) == 2)
    gone.cancel()  # handed over already
    await next_one
    with pytest.raises(asyncio.CancelledError):
        await gone
    await asyncio.gather(*(two.ask(number % 2) for number in range(20)))
    assert two.opened == SIZE


async def test_who_waits_for_one_that_could_not_be_opened_tries_itself(two: Two) -> None:
    await two.ask(0)
    two.fails.append(OSError("no route"))
    async with two.shards[0].connect():
        first, second = asyncio.create_task(two.ask(1)), asyncio.create_task(two.ask(1))
        await second
    with pytest.raises(OSError, match="no route"):
        await first
