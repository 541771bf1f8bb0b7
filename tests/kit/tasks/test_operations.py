"""Operators see tasks, push dead ones again, pause queues, read histories and replay events."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial

import grpc
import msgspec
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from sqlalchemy import text

from shoudan.core.v1 import operations_service_pb2 as pb
from shoudan.core.v1 import operations_service_pb2_grpc as pb_grpc
from shoudan_kit.config import ProcessSettings
from shoudan_kit.rpc.client import connect
from shoudan_kit.rpc.server import RpcServer
from shoudan_kit.tasks.kinds import Kind
from shoudan_kit.tasks.operations import Operations
from shoudan_kit.tasks.unit_of_work import UnitOfWork


class Step(msgspec.Struct):
    """A payload."""

    n: int


KIND = Kind("test.step", Step, "test:step", interval_s=5)
EXCLUSIVE = Kind("test.exclusive", Step, "test:step", interval_s=5, exclusive=True)


@pytest.fixture
async def stub(database):
    add = partial(pb_grpc.add_OperationsServiceServicer_to_server, Operations(database))
    server = RpcServer(ProcessSettings(), [add], [])
    port = await server.start()
    async with connect(f"127.0.0.1:{port}") as channel:
        yield pb_grpc.OperationsServiceStub(channel)
    await server.stop()


async def make(database, ids, count=5):
    async with UnitOfWork(database, ids, None, None) as work:
        return [work.tasks.add(KIND, Step(n), order_no=f"o{n}", delay_s=n) for n in range(count)]


async def run(database, sql):
    async with database.begin() as db:
        return await db.execute(text(sql))


async def test_tasks_are_paged_in_the_order_they_are_due(database, ids, stub):
    made = await make(database, ids)
    request, seen = pb.ListTasksRequest(name="test.step", page_size=2), []
    for _ in range(4):
        page = await stub.ListTasks(request)
        seen += page.tasks
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert [task.task_id for task in seen] == made
    assert (seen[3].order_no, seen[3].payload, seen[3].status) == ("o3", '{"n":3}', 20)
    one = await stub.ListTasks(pb.ListTasksRequest(order_no="o2"))
    assert [task.task_id for task in one.tasks] == [made[2]]


async def test_dead_tasks_start_again_and_a_dry_run_only_counts(database, ids, stub):
    await make(database, ids)
    await run(
        database,
        "UPDATE task SET status = 90, count = 9, max_execute_time = now() - interval '1 h'",
    )
    counted = await stub.RetryTasks(pb.RetryTasksRequest(failed_name="test.step", dry_run=True))
    assert counted.count == 5
    assert (await run(database, "SELECT count(*) FROM task WHERE status = 90")).scalar_one() == 5
    assert (await stub.RetryTasks(pb.RetryTasksRequest(failed_name="test.step"))).count == 5
    assert (await stub.RetryTasks(pb.RetryTasksRequest(failed_name="test.step"))).count == 0
    found = await run(
        database,
        "SELECT DISTINCT status, count, delete_time IS NULL,"
        " max_execute_time > now() + interval '14 min' FROM task",
    )
    assert [tuple(row) for row in found] == [(20, 0, True, True)]


async def test_failed_tasks_of_one_key_start_again_one_at_a_time(database, ids, stub):
    await run(database, "DELETE FROM task")
    for n in range(2):  # one failed, made again, failed again: exclusive only while pending
        async with UnitOfWork(database, ids, None, None) as work:
            work.tasks.add(EXCLUSIVE, Step(n), order_no="o")
        await run(database, "UPDATE task SET status = 90")
    await make(database, ids, 1)
    await run(database, "UPDATE task SET status = 90")
    counted = await stub.RetryTasks(
        pb.RetryTasksRequest(failed_name="test.exclusive", dry_run=True)
    )
    assert counted.count == 1
    again = await stub.RetryTasks(pb.RetryTasksRequest(failed_name="test.exclusive"))
    assert again.count == 1
    found = await run(
        database, "SELECT status, msg_content FROM task WHERE exclusive ORDER BY task_id"
    )
    assert [tuple(row) for row in found] == [(90, '{"n":0}'), (20, '{"n":1}')]
    # The other beside the one that is pending: nothing, and those named with it go on.
    named = [row[0] for row in await run(database, "SELECT task_id FROM task WHERE status = 90")]
    assert (await stub.RetryTasks(pb.RetryTasksRequest(task_ids=named))).count == 1


async def test_a_pause_needs_who_and_why_and_can_be_undone(stub):
    with pytest.raises(grpc.RpcError) as refused:
        await stub.PauseQueue(pb.PauseQueueRequest(queue_name="q", paused=True))
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    pause = pb.PauseQueueRequest(queue_name="q", paused=True, by="me", reason="why")
    assert list((await stub.PauseQueue(pause)).paused_queues) == ["q"]
    assert list((await stub.PauseQueue(pause)).paused_queues) == ["q"]
    resume = pb.PauseQueueRequest(queue_name="q", paused=False)
    assert list((await stub.PauseQueue(resume)).paused_queues) == []


async def test_histories_are_read_and_events_replayed(database, ids, stub):
    for n in range(3):
        async with UnitOfWork(database, ids, None, None) as work:
            body = StringValue(value=str(n))
            work.events.add("shoudan.events.t.x.made", key=f"k{n % 2}", body=body, tag="下单")
    await run(database, "UPDATE outbox SET published = true")
    found = await stub.GetHistory(pb.GetHistoryRequest(keys=["k0"]))
    assert [StringValue.FromString(event.body).value for event in found.events] == ["0", "2"]
    request = pb.ReplayEventsRequest(subject_prefix="shoudan.events.t.")
    request.start_time.FromDatetime(datetime.now(UTC) - timedelta(hours=1))
    request.end_time.FromDatetime(datetime.now(UTC) + timedelta(hours=1))
    assert (await stub.ReplayEvents(request)).count == 3
    left = await run(database, "SELECT count(*) FROM outbox WHERE NOT published")
    assert left.scalar_one() == 3


async def test_a_page_token_of_another_kind_is_refused(stub):
    with pytest.raises(grpc.RpcError) as refused:
        await stub.ListTasks(pb.ListTasksRequest(page_token="x'; drop"))
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
