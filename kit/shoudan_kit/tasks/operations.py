"""Operations on tasks and events, served by every service that has them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import grpc
from sqlalchemy import TextClause
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan.core.v1 import core_pb2, operations_service_pb2, operations_service_pb2_grpc
from shoudan_kit.db.pool import Database
from shoudan_kit.db.text_statements import statement
from shoudan_kit.limits.bulkhead import Resting
from shoudan_kit.rpc.messages import RpcContext as Context
from shoudan_kit.tasks.worker import CLAIM_MAX

pb = operations_service_pb2
# What a service's own tables say of these keys, at most so many: history it keeps in no event of the key.
History = Callable[[AsyncConnection, Sequence[str], int], Awaitable[Sequence[core_pb2.Event]]]

PAGE_DEFAULT = 100
PAGE_MAX = 1_000
RETRY_DEADLINE_S = 900

_LIST = statement("""
SELECT task_id, name, queue_name, order_no, status, count, max_count, create_time, next_execute_time,
    max_execute_time, last_error, msg_content
FROM task
WHERE (CAST(:statuses AS smallint[]) = '{}' OR status = ANY(CAST(:statuses AS smallint[])))
    AND (:name = '' OR name = :name) AND (:queue_name = '' OR queue_name = :queue_name)
    AND (:order_no = '' OR order_no = :order_no)
    AND (next_execute_time, task_id) > (CAST(:after_time AS timestamptz), CAST(:after_id AS bigint))
ORDER BY next_execute_time, task_id LIMIT :most
""")
# One task of an exclusive key at a time: its newest failed one, and none beside one that is pending.
_RETRIED = """status IN (20, 90)
    AND (task_id = ANY(CAST(:ids AS bigint[])) OR (:name <> '' AND name = :name AND status = 90))
    AND NOT (status = 90 AND exclusive AND EXISTS (SELECT 1 FROM task other
        WHERE other.order_no = task.order_no AND other.name = task.name AND other.exclusive
            AND (other.status IN (20, 30) OR (other.status = 90 AND other.task_id > task.task_id))))
"""
# A failed task starts again: new deadline, counted from zero, no date of deletion.
_RETRY = statement(f"""
UPDATE task SET status = 20, next_execute_time = shoudan_now(), delete_time = NULL,
    count = CASE WHEN status = 90 THEN 0 ELSE count END,
    max_execute_time = greatest(max_execute_time, shoudan_now() + make_interval(secs => :deadline_s))
WHERE {_RETRIED}
""")  # noqa: S608 - built from literals
_COUNT_RETRY = statement(f"SELECT count(*) FROM task WHERE {_RETRIED}")  # noqa: S608
_PAUSE = statement("""
INSERT INTO task_pause (queue_name, paused_by, reason, create_time)
VALUES (:queue_name, :by, :reason, shoudan_now()) ON CONFLICT DO NOTHING
""")
_RESUME = statement("DELETE FROM task_pause WHERE queue_name = :queue_name")
_PAUSED = statement("SELECT queue_name FROM task_pause ORDER BY queue_name")
# Found by their key, then sorted: in the order of numbers all events would be passed.
_HISTORY = statement("""
SELECT event_id, subject, key, tag, text, body, create_time FROM event
WHERE key = ANY(CAST(:keys AS text[])) ORDER BY event_id + 0 LIMIT :most
""")
# The relay publishes what is not marked; consumers drop repeats by event_id.
_REPLAY = statement("""
UPDATE outbox SET published = false
WHERE published AND create_time >= CAST(:start AS timestamptz) AND create_time < CAST(:end AS timestamptz)
    AND (:prefix = '' OR EXISTS (SELECT 1 FROM event
        WHERE event_id = ANY(outbox.event_ids) AND starts_with(subject, :prefix)))
RETURNING cardinality(event_ids)
""")

_BEGINNING = datetime(2000, 1, 1, tzinfo=UTC)


class Operations(operations_service_pb2_grpc.OperationsServiceServicer):
    """OperationsService over one database."""

    def __init__(
        self,
        database: Database,
        history: History | None = None,
        resting: Callable[[], Sequence[Resting]] = tuple,
    ) -> None:
        self._database, self._history, self._resting = database, history, resting

    async def ListResting(  # noqa: N802 - gRPC names
        self, request: pb.ListRestingRequest, context: Context
    ) -> pb.ListRestingResponse:
        """Hosts outside that do not answer this process."""
        hosts = [
            pb.ListRestingResponse.Host(
                calls=one.calls,
                group=one.group,
                host=one.host,
                off=one.off,
                left_s=round(one.left_s),
                failing_s=round(one.failing_s),
            )
            for one in self._resting()
        ]
        return pb.ListRestingResponse(hosts=hosts)

    async def ListTasks(  # noqa: N802 - gRPC names
        self, request: pb.ListTasksRequest, context: Context
    ) -> pb.ListTasksResponse:
        """One page of tasks, longest due first."""
        most = min(request.page_size or PAGE_DEFAULT, PAGE_MAX)
        after_time, after_id = _BEGINNING, 0
        if request.page_token:
            micros, _, task_id = request.page_token.partition("-")
            if not (micros.isdecimal() and task_id.isdecimal()):
                await context.abort(
                    grpc.StatusCode.INVALID_ARGUMENT, "page_token is not one of ours"
                )
            after_time, after_id = _from_micros(int(micros)), int(task_id)
        rows = await self._rows(
            _LIST,
            statuses=[int(s) for s in request.statuses],
            name=request.name,
            queue_name=request.queue_name,
            order_no=request.order_no,
            after_time=after_time,
            after_id=after_id,
            most=most,
        )
        full = len(rows) == most
        token = f"{_micros(rows[-1].next_execute_time)}-{rows[-1].task_id}" if full else ""
        return pb.ListTasksResponse(tasks=[_task(row) for row in rows], next_page_token=token)

    async def RetryTasks(  # noqa: N802
        self, request: pb.RetryTasksRequest, context: Context
    ) -> pb.RetryTasksResponse:
        """Make tasks due now."""
        if len(request.task_ids) > CLAIM_MAX:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"at most {CLAIM_MAX} task_ids")
        binds: dict[str, Any] = {"ids": list(request.task_ids), "name": request.failed_name}
        if request.dry_run:
            return pb.RetryTasksResponse(count=(await self._rows(_COUNT_RETRY, **binds))[0][0])
        async with self._database.begin() as db:
            deadline_s = float(request.deadline_s or RETRY_DEADLINE_S)
            done = await db.execute(_RETRY, {**binds, "deadline_s": deadline_s})
        return pb.RetryTasksResponse(count=done.rowcount)

    async def PauseQueue(  # noqa: N802
        self, request: pb.PauseQueueRequest, context: Context
    ) -> pb.PauseQueueResponse:
        """Pause or resume a queue; replicas follow within a scan."""
        if not request.queue_name or (request.paused and not (request.by and request.reason)):
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT, "queue_name, by and reason are required"
            )
        async with self._database.begin() as db:
            if request.paused:
                names = {"queue_name": request.queue_name, "by": request.by}
                await db.execute(_PAUSE, {**names, "reason": request.reason})
            else:
                await db.execute(_RESUME, {"queue_name": request.queue_name})
            paused = list((await db.execute(_PAUSED)).scalars())
        return pb.PauseQueueResponse(paused_queues=paused)

    async def GetHistory(  # noqa: N802
        self, request: pb.GetHistoryRequest, context: Context
    ) -> pb.GetHistoryResponse:
        """The events of some keys, oldest first."""
        if len(request.keys) > PAGE_MAX:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"at most {PAGE_MAX} keys")
        keys, most = list(request.keys), 10 * PAGE_MAX
        async with self._database.connect() as db:
            rows = (await db.execute(_HISTORY, {"keys": keys, "most": most})).all()
            events = [event_of(row) for row in rows]
            if self._history is not None:
                events += await self._history(db, keys, most)
                events.sort(key=lambda e: (e.time.seconds, e.time.nanos, e.event_id))
        return pb.GetHistoryResponse(events=events[:most])

    async def ReplayEvents(  # noqa: N802
        self, request: pb.ReplayEventsRequest, context: Context
    ) -> pb.ReplayEventsResponse:
        """Hand a range of events to the relay once more."""
        if not (request.HasField("start_time") and request.HasField("end_time")):
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT, "start_time and end_time are required"
            )
        async with self._database.begin() as db:
            counts = await db.execute(
                _REPLAY,
                {
                    "start": request.start_time.ToDatetime(UTC),
                    "end": request.end_time.ToDatetime(UTC),
                    "prefix": request.subject_prefix,
                },
            )
            return pb.ReplayEventsResponse(count=sum(counts.scalars()))

    async def _rows(self, sql: TextClause, **binds: Any) -> Sequence[Any]:
        async with self._database.connect() as db:
            return (await db.execute(sql, binds)).all()


def event_of(row: Any) -> core_pb2.Event:
    """An event row as the message everybody reads."""
    event = core_pb2.Event(
        event_id=row.event_id,
        subject=row.subject,
        key=row.key,
        tag=row.tag,
        text=row.text,
        body=row.body,
    )
    event.time.FromDatetime(row.create_time)
    return event


def _task(row: Any) -> pb.Task:
    task = pb.Task(
        task_id=row.task_id,
        name=row.name,
        queue_name=row.queue_name,
        order_no=row.order_no or "",
        status=row.status,
        count=row.count,
        max_count=row.max_count,
        last_error=row.last_error or "",
        payload=row.msg_content,
    )
    task.create_time.FromDatetime(row.create_time)
    task.next_execute_time.FromDatetime(row.next_execute_time)
    task.max_execute_time.FromDatetime(row.max_execute_time)
    return task


def _micros(time: datetime) -> int:
    return int((time - _BEGINNING).total_seconds() * 1_000_000)


def _from_micros(micros: int) -> datetime:
    seconds, rest = divmod(micros, 1_000_000)
    return datetime.fromtimestamp(_BEGINNING.timestamp() + seconds, UTC).replace(microsecond=rest)
