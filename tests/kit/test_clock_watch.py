"""A test system's clock goes forward under running processes, and no lease that lives is taken."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from sqlalchemy import text

from shoudan_kit.clock import ShiftedClock, SystemClock
from shoudan_kit.clock_watch import ClockWatch
from shoudan_kit.db import clock_shift
from shoudan_kit.db.foundation import TURNABLE_CLOCK
from shoudan_kit.db.node_lease import NodeLease
from shoudan_kit.db.pool import Database
from shoudan_kit.ids import time_of
from shoudan_kit.tasks.kinds import Kind, handles_each
from shoudan_kit.tasks.unit_of_work import UnitOfWork
from shoudan_kit.tasks.worker import Worker
from tests.poll import eventually

DAY_S = 86_400


class Step(msgspec.Struct):
    """A payload."""

    n: int


LONG = Kind("test.long", Step, "test:long", interval_s=1, each=True, parallel=8)


class Side:
    """One process: its sessions, its clock, its leases and its work."""

    def __init__(self, url: str, pool_size: int = 4) -> None:
        self.database = Database(url, application="shoudan-side", pool_size=pool_size)
        self.clock = ShiftedClock()
        self.lease = NodeLease(self.database, self.clock)
        self.watch = ClockWatch(self.database, self.clock, self.lease)
        self.began: list[int] = []
        self.go = asyncio.Event()
        self.worker: Worker[Side] = Worker(
            self.database, self, [run_long], scan_s=0.05, lease_s=60.0
        )

    async def start(self) -> None:
        await self.watch.begin()
        await self.lease.claim()
        self.watch.serve(self.worker)
        self.worker.start()

    def work(self) -> UnitOfWork:
        return UnitOfWork(self.database, self.lease.ids, self.worker, None)

    async def add(self, n: int, **options: Any) -> None:
        async with self.work() as work:
            work.tasks.add(LONG, Step(n), **options)

    async def now(self) -> datetime:
        async with self.database.connect() as db:
            return (await db.execute(text("SELECT shoudan_now()"))).scalar_one()

    async def stop(self) -> None:
        self.go.set()
        await self.worker.stop(5)
        await self.lease.release()
        await self.database.dispose()


@handles_each(LONG)
async def run_long(side: Side, task: Any) -> None:
    side.began.append(task.payload.n)
    await side.go.wait()
    async with side.work() as work:
        work.tasks.finish(task)


@pytest.fixture
async def turnable_url(bare_url: str) -> str:
    database = Database(bare_url)
    async with database.begin() as db:
        for sql in TURNABLE_CLOCK:
            await db.execute(text(sql))
    await database.dispose()
    return bare_url


@pytest.fixture
async def sides(turnable_url: str) -> AsyncIterator[Callable[..., Awaitable[Side]]]:
    made: list[Side] = []

    async def make(**options: Any) -> Side:
        side = Side(turnable_url, **options)
        made.append(side)
        await side.start()
        return side

    yield make
    for one in made:
        await one.stop()


async def advance(side: Side, to_s: int) -> int:
    async with side.database.begin() as db:
        return await clock_shift.advance(db, to_s)


async def level(side: Side) -> None:
    """Until no session is behind: a server takes a moment to see that one has gone."""

    async def reached() -> bool:
        return not await side.watch.follow()

    await eventually(reached, 30)


def ahead(moment: datetime) -> timedelta:
    return moment - datetime.now(UTC)


async def test_sessions_clock_and_ids_of_a_process_go_to_the_new_time_together(sides) -> None:
    side = await sides()
    before = side.lease.ids.next()
    assert await advance(side, DAY_S) == DAY_S
    await side.watch.follow()
    assert ahead(await side.now()) > timedelta(hours=23)
    assert ahead(side.clock.now()) > timedelta(hours=23)
    after = side.lease.ids.next()
    assert after > before
    assert ahead(time_of(after)) > timedelta(hours=23)
    await level(side)
    assert (await clock_shift.look(side.database)).shift_s == DAY_S


async def test_a_task_of_tomorrow_runs_when_tomorrow_comes(sides) -> None:
    side = await sides()
    side.go.set()
    await side.add(1, delay_s=DAY_S - 60)
    await advance(side, DAY_S)
    await level(side)
    await eventually(lambda: side.began == [1], 30)


async def test_what_runs_is_run_by_no_other_process_however_far_the_clock_jumps(sides) -> None:
    one, two = await sides(), await sides()
    await one.add(1)
    await eventually(lambda: one.began == [1], 30)
    await advance(one, DAY_S)
    await (
        two.watch.follow()
    )  # the first to follow sees the lease long past, and waits for the other
    assert not two.worker.claims
    assert await two.watch.follow()
    await one.add(2)  # made by a session of the old time, while the other has the new one
    await eventually(lambda: one.began == [1, 2], 30)
    await one.watch.follow()
    await level(two)
    assert two.worker.claims
    await two.add(3)
    await eventually(lambda: two.began == [3], 30)  # it has looked at the table since
    assert one.began == [1, 2]
    one.go.set()
    await eventually(lambda: one.worker.leased == 0, 30)


async def test_a_process_that_starts_in_between_claims_nothing_of_those_behind(sides) -> None:
    one = await sides()
    await one.add(1)
    await eventually(lambda: one.began == [1], 30)
    await advance(one, DAY_S)
    two = await sides()
    assert two.clock.shift_s == DAY_S
    assert not two.worker.claims
    await one.watch.follow()
    await level(two)
    assert two.worker.claims
    assert two.began == []


async def test_a_pool_of_one_connection_follows_too(sides) -> None:
    side = await sides(pool_size=1)
    await advance(side, DAY_S)
    await side.watch.follow()
    assert ahead(await side.now()) > timedelta(hours=23)


async def test_a_transaction_that_is_open_is_waited_for_and_ends_by_its_own_time(sides) -> None:
    side = await sides()
    async with side.database.begin() as db:
        await db.execute(text("SELECT 1"))
        await advance(side, DAY_S)
        following = asyncio.ensure_future(side.watch.follow())
        await eventually(lambda: "+" in side.database.session_name, 30)
        assert not following.done()
        old = (await db.execute(text("SELECT shoudan_now()"))).scalar_one()
        assert ahead(old) < timedelta(hours=1)
    await following
    assert side.clock.shift_s == DAY_S


async def test_time_does_not_go_back(sides) -> None:
    side = await sides()
    assert await advance(side, DAY_S) == DAY_S
    assert await advance(side, 60) == DAY_S
    await side.watch.follow()
    assert side.clock.shift_s == DAY_S


async def test_the_time_outlives_every_process(sides) -> None:
    one = await sides()
    await advance(one, DAY_S)
    two = await sides()
    assert two.clock.shift_s == DAY_S
    assert ahead(await two.now()) > timedelta(hours=23)


async def test_a_number_of_ids_stays_its_owners(sides) -> None:
    one = await sides()
    await advance(one, 10 * DAY_S)
    two = await sides()
    assert two.lease.node != one.lease.node


async def test_a_database_of_production_has_no_clock_to_advance(database: Database) -> None:
    assert not await clock_shift.turnable(database)
    watch = ClockWatch(database, ShiftedClock(), NodeLease(database, SystemClock()))
    await watch.begin()
    assert not watch.turnable
