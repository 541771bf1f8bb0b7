"""A UnitOfWork commits rows, tasks, ends of tasks and events together, and hands them on only then."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from sqlalchemy import text

from shoudan_kit.db.pool import Database
from shoudan_kit.rpc.shielded import finish_shielded
from shoudan_kit.tasks.kinds import Kind
from shoudan_kit.tasks.unit_of_work import UnitOfWork
from tests.poll import eventually


class Step(msgspec.Struct):
    """A payload."""

    n: int


NOW = Kind("test.now", Step, "test:now", interval_s=5)
KEPT = Kind("test.kept", Step, "test:kept", interval_s=5, retention_s=60)
ONCE = Kind("test.once", Step, "test:once", interval_s=5, exclusive=True)


class Recorder:
    """Plays worker and relay: remembers what it was handed."""

    lease_s = 7.0

    def __init__(self, *served: str) -> None:
        self.served, self.tasks, self.batches, self.woken, self.gone = served, [], [], [], []
        self.expected: list[float] = []

    def accepts(self, kind, queue):
        return queue in self.served

    def enqueue_local(self, given):
        self.tasks.append(given)

    def enqueue(self, given):
        self.batches.append(given)

    def forget(self, task_ids):
        self.gone += task_ids

    def expect(self, after_s):
        self.expected.append(after_s)

    def wake(self, queues):
        self.woken += queues


async def rows(database, sql):
    async with database.connect() as db:
        return (await db.execute(text(sql))).all()


async def test_what_is_committed_is_handed_on(database, ids):
    recorder = Recorder("test:now")
    async with UnitOfWork(database, ids, recorder, recorder) as work:
        mine = work.tasks.add(NOW, Step(1), order_no="o1")
        work.tasks.add(NOW, Step(2), delay_s=100)
        work.tasks.add(NOW, Step(3), queue="elsewhere")
        work.events.add(
            "shoudan.events.t.x.made", key="o1", body=StringValue(value="v"), tag="下单"
        )
        assert not recorder.tasks
    assert [[t.id for t in tasks] for tasks in recorder.tasks] == [[mine]]
    assert recorder.woken == ["elsewhere"]
    assert [e.key for e in recorder.batches[0].events] == ["o1"]
    found = await rows(database, "SELECT status, count, queue_name FROM task ORDER BY task_id")
    assert [tuple(row) for row in found] == [
        (30, 1, "test:now"),
        (20, 0, "test:now"),
        (20, 0, "elsewhere"),
    ]


async def test_a_caller_that_hangs_up_at_the_commit_leaves_no_step_behind(database, ids):
    """What is committed is leased to this process: it must run it, whoever asked for it is gone."""
    recorder, committing = Recorder("test:now"), asyncio.Event()
    async with database.begin() as db:
        await db.execute(text("CREATE TABLE slow (n int UNIQUE DEFERRABLE INITIALLY DEFERRED)"))
        await db.execute(
            text(
                "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS"
                " $$ BEGIN PERFORM pg_sleep(0.3); RETURN NULL; END $$"
            )
        )
        await db.execute(
            text(
                "CREATE CONSTRAINT TRIGGER slowly AFTER INSERT ON slow DEFERRABLE INITIALLY DEFERRED"
                " FOR EACH ROW EXECUTE FUNCTION wait()"
            )
        )

    async def call() -> None:
        async with UnitOfWork(database, ids, recorder, recorder) as work:
            await work.db.execute(text("INSERT INTO slow VALUES (1)"))
            work.tasks.add(NOW, Step(1))
            committing.set()

    caller = asyncio.create_task(call())
    await committing.wait()

    async def at_commit() -> bool:
        sql = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND query ~ 'COMMIT'"
        return bool(await rows(database, sql))

    await eventually(at_commit)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    await eventually(lambda: recorder.tasks)
    assert await finish_shielded(1) == 0
    assert len(await rows(database, "SELECT 1 FROM task")) == 1


async def test_a_caller_cancelled_in_its_begin_takes_no_later_transaction_with_it(bare_url):
    """Else everything committed on that connection is lost with it, and was answered as done."""
    one, other = Database(bare_url, pool_size=1), Database(bare_url)
    async with other.begin() as db:
        await db.execute(text("CREATE TABLE kept (n int)"))
    async with one.connect() as db:
        connection = db  # the only one, and so the one that is begun with
    caller = asyncio.create_task(_touch(one))
    await eventually(lambda: connection._open, every_s=0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    async with one.begin() as db:
        await db.execute(text("INSERT INTO kept VALUES (1)"))
    assert len(await rows(other, "SELECT 1 FROM kept")) == 1
    await one.dispose()
    await other.dispose()


async def _touch(database):
    async with database.begin() as db:
        await db.execute(text("SELECT 1"))


async def test_an_exception_leaves_nothing_and_hands_nothing_on(database, ids):
    recorder = Recorder("test:now")

    async def fail_at_the_end():
        async with UnitOfWork(database, ids, recorder, recorder) as work:
            work.tasks.add(NOW, Step(1))
            work.events.add("shoudan.events.t.x.made", key="o", body=StringValue())
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail_at_the_end()
    assert (recorder.tasks, recorder.batches, recorder.woken) == ([], [], [])
    assert await rows(database, "SELECT 1 FROM task UNION ALL SELECT 1 FROM event") == []


async def test_a_task_in_memory_is_leased_not_due(database, ids):
    recorder = Recorder("test:now")
    async with UnitOfWork(database, ids, recorder, None) as work:
        work.tasks.add(NOW, Step(1))
        work.tasks.add(NOW, Step(2), queue="elsewhere")
    due = await rows(
        database, "SELECT queue_name FROM task WHERE next_execute_time <= shoudan_now()"
    )
    assert [row.queue_name for row in due] == ["elsewhere"]


async def test_a_second_pending_task_of_an_exclusive_kind_is_not_made(database, ids):
    for n in range(3):
        async with UnitOfWork(database, ids, None, None) as work:
            work.tasks.add(ONCE, Step(n), order_no="o1")
            work.tasks.add(ONCE, Step(n), order_no=f"o2-{n}")
    assert len(await rows(database, "SELECT 1 FROM task")) == 4
    async with UnitOfWork(database, ids, None, None) as work:
        work.tasks.finish_for(ONCE, ["o1", "o2-0"])
    assert len(await rows(database, "SELECT 1 FROM task")) == 2


async def test_a_task_that_was_not_made_because_one_waits_does_not_run_either(database, ids):
    recorder = Recorder("test:once")
    made = []
    for n in range(3):
        async with UnitOfWork(database, ids, recorder, None) as work:
            made.append(work.tasks.add(ONCE, Step(n), order_no="o1"))
            made.append(work.tasks.add(ONCE, Step(n)))  # about no order: any number of them
    ran = [task.id for tasks in recorder.tasks for task in tasks]
    assert ran == [made[0], made[1], made[3], made[5]]


async def test_done_tasks_go_and_kept_ones_stay_for_their_time(database, ids):
    async with UnitOfWork(database, ids, None, None) as work:
        gone, kept = work.tasks.add(NOW, Step(1)), work.tasks.add(KEPT, Step(2))
    for _ in range(2):  # ending twice changes nothing
        async with UnitOfWork(database, ids, None, None) as work:
            work.tasks.finish_id(NOW, gone)
            work.tasks.finish_id(KEPT, kept)
    found = await rows(
        database, "SELECT task_id, status, delete_time > shoudan_now() AS later FROM task"
    )
    assert [tuple(row) for row in found] == [(kept, 0, True)]


async def test_a_connection_in_use_while_its_pool_is_disposed_of_is_closed_when_it_comes_back(
    database: Database,
) -> None:
    async with database.connect() as db:
        driver: Any = (await db.get_raw_connection()).driver_connection
        await database.dispose()
        assert not driver.is_closed()
    assert driver.is_closed()
