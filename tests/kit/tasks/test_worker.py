"""The worker runs every task to its end: from memory, from the table, after crashes, alone if need be."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from sqlalchemy import text
from sqlalchemy.exc import TimeoutError as PoolTimeout

from shoudan_kit.db.errors import Unavailable
from shoudan_kit.db.pool import Database
from shoudan_kit.tasks import store
from shoudan_kit.tasks.kinds import Kind, handles, handles_each
from shoudan_kit.tasks.unit_of_work import UnitOfWork
from shoudan_kit.tasks.worker import Worker
from tests.poll import eventually


class Step(msgspec.Struct):
    """A payload."""

    n: int


BATCH = Kind("test.batch", Step, "test:batch", interval_s=1)
EACH = Kind("test.each", Step, "test:each", interval_s=1, each=True, parallel=8)
SLOW = Kind("test.slow", Step, "test:slow", interval_s=600)


class Harness:
    """What the handlers of these tests work with."""

    def __init__(self, database: Database, ids) -> None:
        self.database, self.ids, self.worker = database, ids, None
        self.seen: list[int] = []
        self.refuse: Callable[[int, int], bool] = lambda n, count: False

    def work(self) -> UnitOfWork:
        return UnitOfWork(self.database, self.ids, self.worker, None)

    async def add(self, kind, ns, **options) -> None:
        async with self.work() as work:
            for n in ns:
                work.tasks.add(kind, Step(n), **options)

    async def pending(self) -> int:
        async with self.database.connect() as db:
            return (
                await db.execute(text("SELECT count(*) FROM task WHERE status <> 90"))
            ).scalar_one()


@handles(BATCH)
async def run_batch(harness: Harness, tasks) -> None:
    if any(harness.refuse(t.payload.n, t.count) for t in tasks):
        raise ValueError("cannot")
    async with harness.work() as work:
        work.tasks.finish(*tasks)
    harness.seen += [t.payload.n for t in tasks]


@handles_each(EACH)
async def run_each(harness: Harness, task) -> None:
    if harness.refuse(task.payload.n, task.count):
        task.retry_after(0.1, "later")
        return
    async with harness.work() as work:
        work.tasks.finish(task)
    harness.seen.append(task.payload.n)


@pytest.fixture
async def harness(database, ids) -> AsyncIterator[Harness]:
    made = Harness(database, ids)
    yield made
    if made.worker is not None:
        await made.worker.stop(1)


def start(harness: Harness, **options) -> Worker:
    harness.worker = Worker(
        harness.database, harness, [run_batch, run_each], scan_s=0.05, **{"lease_s": 1.0, **options}
    )
    harness.worker.start()
    return harness.worker


@pytest.mark.parametrize("kind", [BATCH, EACH])
async def test_tasks_made_here_run_from_memory_once(harness, kind):
    start(harness, lease_s=30.0)
    await harness.add(kind, range(300))
    await eventually(lambda: len(harness.seen) == 300)
    assert sorted(harness.seen) == list(range(300))
    assert await harness.pending() == 0


async def test_tasks_of_a_dead_process_run_after_their_lease(harness):
    dead = Worker(harness.database, harness, [run_batch], lease_s=1.0)
    harness.worker = dead  # accepts, but was never started: as good as killed
    await harness.add(BATCH, range(5))
    dead._stopping = True
    harness.seen.clear()
    start(harness)
    await eventually(lambda: set(harness.seen) == set(range(5)), within_s=15)


async def test_delayed_tasks_wait(harness):
    start(harness)
    await harness.add(BATCH, [1], delay_s=0.5)
    await harness.add(BATCH, [2])
    await eventually(lambda: len(harness.seen) == 2)
    assert harness.seen == [2, 1]


async def test_one_poisoned_task_does_not_hold_up_its_batch(harness):
    harness.refuse = lambda n, count: n == 7 and count < 2
    start(harness)
    await harness.add(BATCH, range(20))
    await eventually(lambda: len(harness.seen) == 20, within_s=15)
    assert harness.seen[-1] == 7


async def test_a_task_left_undone_comes_again_after_its_own_delay(harness):
    harness.refuse = lambda n, count: count < 3
    start(harness)
    await harness.add(EACH, [1])
    await eventually(lambda: harness.seen == [1], within_s=15)


async def test_a_task_past_its_count_fails_visibly(harness):
    harness.refuse = lambda n, count: True
    start(harness)
    await harness.add(EACH, [1], count_max=2)

    async def failed():
        async with harness.database.connect() as db:
            found = await db.execute(text("SELECT status, last_error FROM task"))
            return found.one() == (90, "later")

    await eventually(failed, within_s=15)


async def test_a_paused_queue_waits_and_goes_on(harness):
    async with harness.database.begin() as db:
        await db.execute(text("INSERT INTO task_pause VALUES ('test:batch', 'me', 'why', now())"))
    start(harness)
    await eventually(lambda: "test:batch" in harness.worker._paused)
    await harness.add(BATCH, [1])
    await harness.add(EACH, [2])
    await eventually(lambda: harness.seen == [2])
    async with harness.database.begin() as db:
        await db.execute(text("DELETE FROM task_pause"))
    await eventually(lambda: harness.seen == [2, 1])


async def test_two_workers_share_a_queue_without_repeats(harness):
    first = start(harness, lease_s=30.0)
    async with UnitOfWork(harness.database, harness.ids, None, None) as work:
        for n in range(400):
            work.tasks.add(BATCH, Step(n))
    second = Worker(harness.database, harness, [run_batch], scan_s=0.05, lease_s=30.0)
    second.start()
    await eventually(lambda: len(harness.seen) >= 400)
    await second.stop(1)
    assert sorted(harness.seen) == list(range(400))
    assert first.leased == 0


async def test_stopping_gives_tasks_back_at_once(harness):
    worker = start(harness, lease_s=60.0)
    harness.refuse = lambda n, count: True
    await harness.add(EACH, [1])
    await worker.stop(1)
    harness.worker = None
    async with harness.database.connect() as db:
        due = text(
            "SELECT count(*) FROM task WHERE next_execute_time <= shoudan_now() + interval '2 s'"
        )
        assert (await db.execute(due)).scalar_one() == 1


async def test_a_kept_task_stays_leased_until_it_is_finished_or_given_back(harness):
    kept = []

    @handles(BATCH)
    async def keep(harness: Harness, tasks) -> None:
        for task in tasks:
            task.detach()
            kept.append(task)

    harness.worker = Worker(harness.database, harness, [keep], scan_s=0.05, lease_s=0.6)
    harness.worker.start()
    await harness.add(BATCH, [1, 2])
    await eventually(lambda: len(kept) == 2)
    seen_until = time.monotonic() + 1.5  # longer than two leases
    await eventually(lambda: time.monotonic() > seen_until)
    assert len(kept) == 2
    async with harness.work() as work:
        work.tasks.finish(kept[0])
    kept[1].retry_after(0.05)
    harness.worker.nack(kept[1])
    await eventually(lambda: len(kept) == 3)
    assert kept[2].payload.n == kept[1].payload.n


async def test_an_idle_table_is_looked_at_ever_more_rarely_but_in_time_for_what_is_known(
    harness, monkeypatch
):
    looks: list[float] = []
    claim = store.claim_tasks

    async def counted(*given: Any, **more: Any) -> Any:
        looks.append(time.monotonic())
        return await claim(*given, **more)

    monkeypatch.setattr(store, "claim_tasks", counted)
    start(harness, idle_s=60.0)
    await eventually(lambda: len(looks) > 4)
    gaps = [later - one for one, later in pairwise(looks)]
    assert gaps[-1] > 3 * gaps[0]
    await harness.add(BATCH, [1], delay_s=0.05)
    await eventually(lambda: harness.seen, 0.5)  # the next look would be later
    before = len(looks)
    harness.worker.wake()  # a hint: another process has put something there
    await eventually(lambda: len(looks) > before, 0.5)


HELD = Kind("test.held", Step, "test:held", interval_s=30, parallel=1)


async def test_what_waits_for_a_slot_of_another_shard_is_gathered_into_one_batch(
    database, ids
) -> None:
    open_, sizes = asyncio.Event(), list[int]()

    @handles(HELD)
    async def run_held(harness: Harness, tasks) -> None:
        sizes.append(len(tasks))
        await open_.wait()
        async with harness.work() as work:
            work.tasks.finish(*tasks)
        harness.seen += [t.payload.n for t in tasks]

    # Two of a process, as the shards of one server have.
    first, second = Harness(database, ids), Harness(database, ids)
    for one in (first, second):
        one.worker = Worker(database, one, [run_held], scan_s=30)
        one.worker.start()
    try:
        await first.add(HELD, [1])
        await eventually(lambda: sizes == [1])
        for n in range(2, 7):  # each in a transaction of its own
            await second.add(HELD, [n])
        assert sizes == [1]
        open_.set()
        await eventually(lambda: len(second.seen) == 5)
        assert sizes == [1, 5]
        assert (first.seen, second.seen) == ([1], [2, 3, 4, 5, 6])
    finally:
        for one in (first, second):
            await one.worker.stop(1)


@pytest.mark.parametrize("error", [Unavailable("gone"), PoolTimeout("none is free")], ids=repr)
async def test_a_database_that_was_away_is_tried_again_soon_not_at_the_interval(harness, error):
    tried: list[int] = []

    @handles(SLOW)
    async def fails_once(harness: Harness, tasks) -> None:
        tried.append(len(tasks))
        if len(tried) == 1:
            raise error
        async with harness.work() as work:
            work.tasks.finish(*tasks)

    harness.worker = Worker(harness.database, harness, [fails_once], scan_s=0.05)
    harness.worker.start()
    await harness.add(SLOW, [1, 2])
    await eventually(lambda: len(tried) == 2, 30)
    assert tried == [2, 2], "halved, as if one of them could not be done"
