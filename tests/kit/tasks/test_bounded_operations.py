"""Among a hundred thousand tasks or events every operation is a bounded step that says where to go on."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import asyncpg
import grpc
import pytest
from sqlalchemy import TextClause, text
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg

from shoudan.core.v1 import operations_service_pb2 as pb
from shoudan.core.v1 import operations_service_pb2_grpc as pb_grpc
from shoudan_kit.config import ProcessSettings
from shoudan_kit.db import pages
from shoudan_kit.db.pool import PLANS, Database
from shoudan_kit.ids import first_of
from shoudan_kit.rpc.client import connect
from shoudan_kit.rpc.server import RpcServer
from shoudan_kit.tasks import operations, store
from shoudan_kit.tasks.operations import Operations
from tests.kit.tasks.test_worker import BATCH, Harness, start
from tests.poll import eventually
from tests.test_plans import nodes

MANY = 100_000
PAUSED = 50_000
NOW = datetime.now(UTC)
FILL_TASKS = """
INSERT INTO task (task_id, name, queue_name, order_no, exclusive, msg_content, status, count, max_count,
    next_interval, delete_interval, create_time, next_execute_time, max_execute_time, delete_time)
SELECT n, name, 'test:batch', 'o' || n, false, '{{"n": 1}}', status, 0, 100, 1, 0, now() - interval '1 h',
    now() - interval '1 h', now() + interval '1 d', CASE WHEN status = 90 THEN now() + interval '1 d' END
FROM (SELECT n, {name} AS name, {status} AS status FROM generate_series(1, {many}) n) AS given
"""
FILL_OUTBOX = """
INSERT INTO outbox (batch_id, event_ids, published, create_time)
SELECT CAST(:first AS bigint) + n, ARRAY[CAST(:first AS bigint) + n], true, :now
FROM generate_series(1, :many) n
"""
FILL_EVENTS = """
INSERT INTO event (event_id, subject, key, tag, text, body, create_time)
SELECT CAST(:first AS bigint) + n, CASE WHEN n % 10000 = 0 THEN 'a.b' ELSE 'c.d' END, 'k', '', '', '', :now
FROM generate_series(1, :many) n
"""


@pytest.fixture
async def stub(database: Database) -> AsyncIterator[Any]:
    add = partial(pb_grpc.add_OperationsServiceServicer_to_server, Operations(database))
    server = RpcServer(ProcessSettings(), [add], [])
    port = await server.start()
    async with connect(f"127.0.0.1:{port}") as channel:
        yield pb_grpc.OperationsServiceStub(channel)
    await server.stop()


async def fill(database: Database, sql: str, **binds: Any) -> None:
    async with database.begin() as db:
        await db.execute(text("SET LOCAL statement_timeout = 0"))
        await db.execute(text(sql), binds)


async def tasks(database: Database, many: int, status: str, name: str = "'test.batch'") -> None:
    await fill(database, FILL_TASKS.format(name=name, status=status, many=many))


async def rows_read(url: str, sql: TextClause, **binds: Any) -> int:
    """How many rows the greediest scan of a statement reads; what it writes is taken back."""
    compiled: Any = sql.compile(dialect=PGDialect_asyncpg())
    db = await asyncpg.connect(url.replace("+asyncpg", ""))
    try:
        await db.execute(f"ANALYZE; {PLANS}")
        transaction = db.transaction()
        await transaction.start()
        told = await db.fetchval(
            f"EXPLAIN (ANALYZE, FORMAT JSON) {compiled.string}",
            *(binds[name] for name in compiled.positiontup or ()),
        )
        await transaction.rollback()
    finally:
        await db.close()
    found = list(nodes(json.loads(told)[0]["Plan"]))
    print(told)  # shown when a test fails
    return max(
        int((one["Actual Rows"] + one.get("Rows Removed by Filter", 0)) * one["Actual Loops"])
        for one in found
    )


async def test_a_list_of_few_tasks_among_many_ends_each_page_after_a_bounded_walk(
    database: Database, stub: Any
) -> None:
    await tasks(database, MANY, f"CASE WHEN n = {MANY} THEN 90 ELSE 20 END")
    request, seen, calls = pb.ListTasksRequest(statuses=[90]), [], 0
    while not calls or request.page_token:
        page = await stub.ListTasks(request)
        assert request.page_token != page.next_page_token
        seen += [task.task_id for task in page.tasks]
        request.page_token, calls = page.next_page_token, calls + 1
    assert seen == [MANY]
    assert MANY // pages.WALK_MAX <= calls <= MANY // pages.WALK_MAX + 1
    whole = await stub.ListTasks(pb.ListTasksRequest(page_size=2**31 - 1))
    assert len(whole.tasks) == operations.PAGE_MAX


async def test_failed_tasks_of_a_kind_start_again_a_bounded_batch_a_transaction(
    database: Database, stub: Any, bare_url: str
) -> None:
    kinds = "CASE WHEN n % 50 = 0 THEN 'test.batch' ELSE 'test.other' END"
    await tasks(database, MANY, "90", kinds)
    for dry_run in (True, False):
        request, counts = pb.RetryTasksRequest(failed_name="test.batch", dry_run=dry_run), []
        while not counts or request.page_token:
            answer = await stub.RetryTasks(request)
            counts.append(answer.count)
            request.page_token = answer.next_page_token
        assert sum(counts) == MANY // 50
        assert max(counts) == operations.RETRY_MAX
    async with database.connect() as db:
        states = "SELECT name, status, count(*) FROM task GROUP BY 1, 2 ORDER BY 1"
        found = [tuple(row) for row in await db.execute(text(states))]
        writers = (
            await db.execute(text("SELECT count(DISTINCT xmin::text) FROM task WHERE status = 20"))
        ).scalar_one()
    assert found == [("test.batch", 20, 2_000), ("test.other", 90, 98_000)]
    assert writers == 2
    most = operations.RETRY_MAX
    assert (
        await rows_read(bare_url, operations._FAILED, name="test.other", after=0, most=most) <= most
    )
    some = list(range(1, most + 1))
    assert await rows_read(bare_url, operations._RETRY, deadline_s=900.0, ids=some) <= most


async def test_one_key_among_many_failed_ones_is_looked_up(
    database: Database, bare_url: str
) -> None:
    await tasks(database, MANY, "90")
    await fill(database, "UPDATE task SET exclusive = true, order_no = 'o' || task_id % 40000")
    read = await rows_read(bare_url, operations._RETRY, deadline_s=900.0, ids=list(range(1, 1_001)))
    assert read <= 4_000


async def test_events_are_replayed_a_bounded_part_of_the_outbox_at_a_time(
    database: Database, stub: Any
) -> None:
    given = {"first": first_of(NOW), "now": NOW, "many": MANY}
    await fill(database, FILL_OUTBOX, **given)
    await fill(database, FILL_EVENTS, **given)
    request, counts = pb.ReplayEventsRequest(subject_prefix="a."), []
    request.start_time.FromDatetime(NOW - timedelta(hours=1))
    request.end_time.FromDatetime(NOW + timedelta(hours=1))
    while not counts or request.page_token:
        answer = await stub.ReplayEvents(request)
        counts.append(answer.count)
        request.page_token = answer.next_page_token
    assert sum(counts) == MANY // 10_000
    assert MANY // operations.REPLAY_MAX <= len(counts) <= MANY // operations.REPLAY_MAX + 1
    request.start_time.FromDatetime(NOW + timedelta(days=3))
    request.end_time.FromDatetime(NOW + timedelta(days=4))
    nothing = await stub.ReplayEvents(request)
    assert (nothing.count, nothing.next_page_token) == (0, "")


@pytest.mark.parametrize("token", ["-1", "1x", str(2**63), "9" * 5_000, "１"])
async def test_a_token_that_is_not_ours_is_refused_by_every_operation(
    stub: Any, token: str
) -> None:
    replay = pb.ReplayEventsRequest(page_token=token)
    replay.start_time.FromDatetime(NOW)
    replay.end_time.FromDatetime(NOW)
    for call in (
        stub.ListTasks(pb.ListTasksRequest(page_token=token)),
        stub.RetryTasks(pb.RetryTasksRequest(failed_name="x", page_token=token)),
        stub.ReplayEvents(replay),
    ):
        with pytest.raises(grpc.RpcError) as refused:
            await call
        assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT


CLAIM: dict[str, Any] = {"names": ["test.batch"], "queues": None, "most": 1_000, "lease_s": 20.0}


async def claimed(database: Database, paused: list[str]) -> list[Any]:
    async with database.begin() as db:
        return list(await store.claim_tasks(db, **CLAIM, paused=paused, keep_failed_s=1))


async def test_a_paused_queue_costs_a_scan_nothing_once_it_is_set_aside(
    database: Database, bare_url: str
) -> None:
    await tasks(database, PAUSED, "20")
    scans = 0
    while aside := await claimed(database, ["test:batch"]):
        assert all(row.aside and row.status == 20 and row.count == 0 for row in aside)
        scans += 1
    assert scans == PAUSED // 1_000
    binds = CLAIM | {"paused": ["test:batch"], "queues": [], "all_queues": True, "keep_failed_s": 1}
    assert await rows_read(bare_url, store._CLAIM, **binds) == 0
    assert await rows_read(bare_url, store._PAUSED) <= 2
    assert await rows_read(bare_url, store._GAUGES, names=["test.batch"], most=1_000) <= 2
    back = {"queue_name": "test:batch", "most": 1_000}
    assert await rows_read(bare_url, store._BRING_BACK, **back) <= 1_000
    await fill(database, "UPDATE task SET queue_name = 'test:other' WHERE task_id < 40000")
    assert await rows_read(bare_url, store._GAUGES, names=["test.batch"], most=1_000) <= 3
    assert await rows_read(bare_url, store._BRING_BACK, **back) <= 1_000


async def test_tasks_of_a_paused_queue_wait_and_all_run_when_it_is_resumed(
    database: Database, ids: Any, stub: Any
) -> None:
    harness = Harness(database, ids)
    pause = pb.PauseQueueRequest(queue_name="test:batch", paused=True, by="me", reason="why")
    await stub.PauseQueue(pause)
    await tasks(database, 2_500, "20")
    worker = start(harness)
    waiting = text("SELECT count(*) FROM task WHERE next_execute_time < 'infinity'")

    async def set_aside() -> bool:
        async with database.connect() as db:
            return (await db.execute(waiting)).scalar_one() == 0

    await eventually(set_aside)
    listed = (await stub.ListTasks(pb.ListTasksRequest(page_size=1))).tasks[0]
    assert (listed.status, listed.count) == (pb.TASK_STATUS_WAITING, 0)
    assert not listed.HasField("next_execute_time")
    async with database.connect() as db:
        late = {row.name: row.due_s for row in await store.task_gauges(db, [BATCH.name], 1_000)}
    assert late[BATCH.name] >= 3_600
    assert harness.seen == []
    await stub.PauseQueue(pb.PauseQueueRequest(queue_name="test:batch"))
    await eventually(lambda: len(harness.seen) == 2_500, within_s=20)
    await worker.stop(1)
    assert await harness.pending() == 0


@pytest.mark.parametrize("status", ["20", "90", "CASE WHEN n % 2 = 0 THEN 90 ELSE 20 END"])
async def test_the_gauges_read_no_more_rows_than_they_show(
    database: Database, status: str, bare_url: str
) -> None:
    await tasks(database, MANY, status, "'kind' || n % 3")
    names = [f"kind{n}" for n in range(3)]
    assert await rows_read(bare_url, store._GAUGES, names=names, most=1_000) <= 3 * 1_000
    async with database.connect() as db:
        found = await store.task_gauges(db, names, 1_000)
    if "90" in status:
        assert {row.name: row.dead for row in found if row.dead} == dict.fromkeys(names, 1_000)
    if "20" in status:
        assert {row.name for row in found if row.due_s > 3_000} == set(names)
