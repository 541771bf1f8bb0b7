"""Tasks under a cover are not written while its row stands for them, and no death of a process loses them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from shoudan_kit.db.pool import Database
from shoudan_kit.tasks.covers import Cover
from shoudan_kit.tasks.kinds import Kind, handles
from shoudan_kit.tasks.unit_of_work import UnitOfWork
from shoudan_kit.tasks.worker import Worker
from tests.poll import eventually
from tests.unanswered import Unanswered


class Step(msgspec.Struct):
    """A payload."""

    n: int


STEP = Kind("test.step", Step, "test:step", interval_s=60)
WHOLE = Kind("test.whole", Step, "test:whole", interval_s=60)


class House:
    """One process: its steps end when a test says so."""

    def __init__(self, database: Database, ids) -> None:
        self.database, self.ids = database, ids
        self.worker: Worker[House] | None = None
        self.steps, self.wholes, self.late = [], [], False

    def work(self) -> UnitOfWork:
        return UnitOfWork(self.database, self.ids, self.worker, None)

    async def begin(self, *ns: int, delay_s: float = 600) -> Cover:
        """A whole with its first steps."""
        cover = Cover(self.ids.next(), delay_s)
        async with self.work() as work:
            work.tasks.add(WHOLE, Step(0), delay_s=delay_s, task_id=cover.task_id)
            for n in ns:
                work.tasks.add(STEP, Step(n), cover=cover)
        return cover

    async def end(self, *steps, over: Cover | None = None) -> None:
        async with self.work() as work:
            work.tasks.finish(*steps)
            if over is not None:
                work.tasks.finish_cover(over)

    async def rows(self) -> list[tuple[str, int]]:
        """What is written: its kind, and in how many seconds it is due."""
        due = "extract(epoch FROM next_execute_time - shoudan_now())"
        async with self.database.connect() as db:
            found = await db.execute(text(f"SELECT name, {due} FROM task ORDER BY name, task_id"))
            return [(name, round(float(s) / 5) * 5) for name, s in found]


@handles(STEP)
async def step(house: House, tasks) -> None:
    house.steps += tasks
    for task in tasks:
        if house.late:
            task.retry_after(100)
        else:
            task.detach()


@handles(WHOLE)
async def whole(house: House, tasks) -> None:
    house.wholes += tasks
    async with house.work() as work:
        work.tasks.finish(*tasks)


@pytest.fixture
async def house(database, ids) -> AsyncIterator[House]:
    made = House(database, ids)
    yield made
    if made.worker is not None:
        await made.worker.stop(1)


def start(house: House, lease_s: float, **options) -> None:
    house.worker = Worker(
        house.database, house, [step, whole], scan_s=0.05, lease_s=lease_s, **options
    )
    house.worker.start()


async def test_steps_that_run_here_are_not_written_and_the_cover_goes_with_the_last(house):
    start(house, 60)
    cover = await house.begin(1, 2)
    await eventually(lambda: len(house.steps) == 2)
    assert await house.rows() == [("test.whole", 60)]
    await house.end(house.steps[0], over=cover)
    assert await house.rows() == [("test.whole", 60)], "one step is left"
    await house.end(house.steps[1])
    assert await house.rows() == []


async def test_the_last_step_may_end_before_the_whole(house):
    start(house, 60)
    cover = await house.begin(1)
    await eventually(lambda: len(house.steps) == 1)
    async with house.work() as work:
        work.tasks.finish(*house.steps)
        work.tasks.add(STEP, Step(2), cover=cover)
    await eventually(lambda: len(house.steps) == 2)
    assert await house.rows() == [("test.whole", 60)]
    await house.end(house.steps[1])
    assert await house.rows() == [("test.whole", 60)]
    await house.end(over=cover)
    assert await house.rows() == []


async def test_a_death_leaves_the_cover_due_with_the_lease(house):
    dead = Worker(house.database, house, [step, whole], lease_s=1.0)
    house.worker = dead  # accepts, but was never started: as good as killed
    await house.begin(1)
    dead._stopping = True
    start(house, 1.0)
    await eventually(lambda: len(house.wholes) == 1, within_s=15)
    assert await house.rows() == []


async def test_a_step_left_undone_is_written_and_the_cover_is_due_by_itself(house):
    start(house, 60)
    house.late = True
    cover = await house.begin(1)

    async def written() -> bool:
        return await house.rows() == [("test.step", 100), ("test.whole", 600)]

    await eventually(written)
    house.late = False
    async with house.work() as work:
        work.tasks.add(STEP, Step(2), cover=cover)
    assert len(await house.rows()) == 3, "a lifted cover holds nothing"


async def test_a_step_of_a_queue_served_elsewhere_is_written(house):
    start(house, 60, queues=frozenset({"test:whole"}))
    await house.begin(1)
    assert await house.rows() == [("test.step", 0), ("test.whole", 600)]


async def test_a_later_step_served_elsewhere_lifts_the_cover(house):
    start(house, 60, queues=frozenset({"test:step", "test:whole"}))
    cover = await house.begin(1)
    await eventually(lambda: len(house.steps) == 1)
    await house.end(house.steps[0])
    async with house.work() as work:
        work.tasks.add(STEP, Step(2), queue="elsewhere", cover=cover)
    async with house.work() as work:
        work.tasks.add(STEP, Step(3), queue="elsewhere", cover=cover)
    assert await house.rows() == [("test.step", 0), ("test.step", 0), ("test.whole", 600)]


async def test_what_is_held_for_long_is_written_before_the_cover_is_due(house):
    start(house, 4.0)
    await house.begin(1)

    async def written() -> bool:
        return [name for name, _ in await house.rows()] == ["test.step", "test.whole"]

    await eventually(written, within_s=15)
    assert house.wholes == []
    await house.end(*house.steps)
    assert await house.rows() == [("test.whole", 600)]


async def test_a_cover_is_due_no_later_than_it_would_be_by_itself(house):
    start(house, 60)
    await house.begin(1, delay_s=10)
    assert await house.rows() == [("test.whole", 10)]


async def test_what_could_not_be_written_is_not_held(house):
    start(house, 60)
    cover = await house.begin(1)
    await eventually(lambda: len(house.steps) == 1)

    async def unwritable() -> None:
        async with house.work() as work:
            work.tasks.add(STEP, Step(2), cover=cover)
            work.tasks.add(STEP, Step(3), queue="no\0text")

    with pytest.raises(DBAPIError):
        await unwritable()
    await house.end(house.steps[0], over=cover)
    assert await house.rows() == []


async def test_a_commit_that_is_not_answered_leaves_the_cover_due_with_the_lease(house):
    """What it held is in no memory, so a step that is written afterwards may not put the row off."""
    start(house, 2)
    cover = await house.begin(0)
    await eventually(lambda: len(house.steps) == 1)

    async def unanswered() -> None:
        async with house.work() as work:
            work.tasks.add(STEP, Step(1), cover=cover)
            work._transaction = Unanswered(work._transaction)

    with pytest.raises(ConnectionResetError):
        await unanswered()
    house.steps[0].retry_after(100)
    house.worker.nack(house.steps[0])
    await eventually(lambda: house.wholes, 30)
    assert [task.payload.n for task in house.steps] == [0]
    assert await house.rows() == [("test.step", 100)]
