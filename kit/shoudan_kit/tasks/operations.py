"""Operations on tasks and events, served by every service that has them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC
from typing import Any

import grpc
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan.core.v1 import core_pb2, operations_service_pb2, operations_service_pb2_grpc
from shoudan_kit.audit_log.entries import describe
from shoudan_kit.db import clock_shift, pages
from shoudan_kit.db.pool import Database
from shoudan_kit.db.text_statements import statement
from shoudan_kit.limits.bulkhead import Resting
from shoudan_kit.rpc.messages import RpcContext
from shoudan_kit.tasks.kinds import TASK, TaskEvent
from shoudan_kit.tasks.refusals import ClockFixed, ClockOutOfRange
from shoudan_kit.tasks.worker import CLAIM_MAX

pb = operations_service_pb2
# What a service's own tables say of these keys, at most so many: history it keeps in no event of the key.
History = Callable[[AsyncConnection, Sequence[str], int], Awaitable[Sequence[core_pb2.Event]]]

PAGE_DEFAULT = 100
PAGE_MAX = 1_000
RETRY_DEADLINE_S = 900
RETRY_MAX = CLAIM_MAX  # failed tasks of one call, one transaction
TOKEN_DIGITS = 20
CLOCK_S_MAX = 5 * 366 * 86_400  # how far a test system's clock may be advanced
REPLAY_MAX = 1_000  # transactions of the outbox one call looks at

# Tasks are walked by their numbers, so by age: whatever is filtered, a page reads a bounded part.
_LIST_EDGE = pages.rising_edge("task", "task_id")
_LIST = statement("""
SELECT task_id, name, queue_name, order_no, status, count, max_count, create_time,
    nullif(next_execute_time, 'infinity') AS next_execute_time, max_execute_time, last_error, msg_content
FROM task
WHERE task_id > :after AND task_id <= :reached
    AND (CAST(:statuses AS smallint[]) = '{}' OR status = ANY(CAST(:statuses AS smallint[])))
    AND (:name = '' OR name = :name) AND (:queue_name = '' OR queue_name = :queue_name)
    AND (:order_no = '' OR order_no = :order_no)
ORDER BY task_id LIMIT :most
""")
# A range of names, though of one: an equality would leave the order to the primary key, and a walk along
# that passes the tasks of all other kinds.
_FAILED = statement(f"""
SELECT task_id FROM task
WHERE {TASK.where(TaskEvent.RETRIED)} AND name <= :name AND (name, task_id) > (:name, :after)
ORDER BY name, task_id LIMIT :most
""")
# One task of an exclusive key at a time: its newest failed one, and none beside one that is pending.
# BETWEEN, not IN: no partial index of what is due or failed is to be read whole for a few known numbers.
# Its twins are asked for row by row: PostgreSQL would read all pending tasks to answer an EXISTS.
_TWIN = """(SELECT true FROM task other WHERE other.order_no = task.order_no
            AND other.name = task.name AND other.exclusive AND {} LIMIT 1) IS NOT TRUE"""
_NEWER_FAILED = f"{TASK.where(TaskEvent.RETRIED, 'other.status')} AND other.task_id > task.task_id"
_RETRIED = f"""task_id = ANY(CAST(:ids AS bigint[])) AND ({TASK.between(TaskEvent.HURRIED)}
    OR ({TASK.between(TaskEvent.RETRIED)} AND (NOT exclusive OR (
        {_TWIN.format(TASK.where(TaskEvent.CLAIMED, "other.status"))}
        AND {_TWIN.format(_NEWER_FAILED)}))))
"""
# A failed task starts again: new deadline, counted from zero, no date of deletion.
_RETRY = statement(f"""
UPDATE task SET status = {TASK.target(TaskEvent.RETRIED)}, next_execute_time = shoudan_now(),
    delete_time = NULL, count = CASE WHEN {TASK.where(TaskEvent.RETRIED)} THEN 0 ELSE count END,
    max_execute_time = greatest(max_execute_time, shoudan_now() + make_interval(secs => :deadline_s))
WHERE {_RETRIED}
""")
_COUNT_RETRY = statement(f"SELECT count(*) FROM task WHERE {_RETRIED}")
_PAUSE = statement("""
INSERT INTO task_pause (queue_name, paused_by, reason, create_time)
VALUES (:queue_name, :by, :reason, shoudan_now()) ON CONFLICT DO NOTHING
""")
_RESUME = statement("DELETE FROM task_pause WHERE queue_name = :queue_name")
_PAUSED = statement("SELECT queue_name FROM task_pause ORDER BY queue_name")
_PAUSES = statement("""
SELECT queue_name, paused_by, reason, create_time FROM task_pause ORDER BY queue_name LIMIT :most
""")
# Found by their key, then sorted: in the order of numbers all events would be passed.
_HISTORY = statement("""
SELECT event_id, subject, key, tag, text, body, create_time, trace FROM event
WHERE key = ANY(CAST(:keys AS text[])) ORDER BY event_id + 0 LIMIT :most
""")
# Events are walked down their numbers: whatever is filtered, a page reads a bounded part.
_EVENTS_EDGE = pages.edge("event", "event_id")
_EVENTS = statement("""
SELECT event_id, subject, key, tag, text, create_time, trace FROM event
WHERE event_id < :before AND event_id >= :reached AND (:prefix = '' OR starts_with(subject, :prefix))
ORDER BY event_id DESC LIMIT :most
""")
# The relay publishes what is not marked; consumers drop repeats by event_id. One page of the outbox by its
# numbers, which grow with time.
_REPLAY = statement("""
WITH walked AS MATERIALIZED (
    SELECT batch_id, event_ids, published, create_time FROM outbox
    WHERE batch_id > :after AND batch_id < :before ORDER BY batch_id LIMIT :most
), again AS (
    UPDATE outbox SET published = false FROM walked
    WHERE outbox.batch_id = walked.batch_id AND walked.published
        AND walked.create_time >= CAST(:start AS timestamptz)
        AND walked.create_time < CAST(:end AS timestamptz)
        AND (:prefix = '' OR EXISTS (SELECT 1 FROM event
            WHERE event_id = ANY(walked.event_ids) AND starts_with(subject, :prefix)))
    RETURNING cardinality(walked.event_ids) AS events
)
SELECT (SELECT count(*) FROM walked) AS walked, (SELECT max(batch_id) FROM walked) AS last,
    (SELECT coalesce(sum(events), 0) FROM again) AS events
""")


class Operations(operations_service_pb2_grpc.OperationsServiceServicer):
    """OperationsService over one database."""

    def __init__(
        self,
        database: Database,
        history: History | None = None,
        resting: Callable[[], Sequence[Resting]] = tuple,
        follow: Callable[[], Awaitable[bool]] | None = None,
    ) -> None:
        """`follow` takes the database's time over; None where it is the machine's."""
        self._database, self._history, self._resting = database, history, resting
        self._follow = follow

    async def ListResting(
        self, request: pb.ListRestingRequest, context: RpcContext
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

    async def ListTasks(
        self, request: pb.ListTasksRequest, context: RpcContext
    ) -> pb.ListTasksResponse:
        """One page of tasks, oldest first; it may be short, or empty, and have a token."""
        most = min(max(request.page_size, 0) or PAGE_DEFAULT, PAGE_MAX)
        after = await _after(request.page_token, context)
        async with self._database.connect() as db:
            reached = await pages.rising_end(db, _LIST_EDGE, after)
            binds = {
                "statuses": [int(s) for s in request.statuses],
                "name": request.name,
                "queue_name": request.queue_name,
                "order_no": request.order_no,
            }
            walk = {"after": after, "reached": reached, "most": most}
            rows = (await db.execute(_LIST, binds | walk)).all()
        token = pages.rising_token([row.task_id for row in rows], most, reached)
        return pb.ListTasksResponse(tasks=[_task(row) for row in rows], next_page_token=token)

    async def RetryTasks(
        self, request: pb.RetryTasksRequest, context: RpcContext
    ) -> pb.RetryTasksResponse:
        """Make tasks due now: those named, and one page of the failed ones of a kind."""
        if len(request.task_ids) > CLAIM_MAX:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"at most {CLAIM_MAX} task_ids")
        after = await _after(request.page_token, context)
        deadline_s = float(request.deadline_s or RETRY_DEADLINE_S)
        ids, token = list(request.task_ids), ""
        async with self._database.begin() as db:
            if request.failed_name:
                page = {"name": request.failed_name, "after": after, "most": RETRY_MAX}
                failed = list((await db.execute(_FAILED, page)).scalars())
                token = str(failed[-1]) if len(failed) == RETRY_MAX else ""
                ids += failed
            if request.dry_run:
                count = (await db.execute(_COUNT_RETRY, {"ids": ids})).scalar_one()
            else:
                done = await db.execute(_RETRY, {"ids": ids, "deadline_s": deadline_s})
                count = done.rowcount
        return pb.RetryTasksResponse(count=count, next_page_token=token)

    async def PauseQueue(
        self, request: pb.PauseQueueRequest, context: RpcContext
    ) -> pb.PauseQueueResponse:
        """Pause or resume a queue; replicas follow within a scan."""
        if not request.queue_name or (request.paused and not (request.by and request.reason)):
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT, "queue_name, by and reason are required"
            )
        async with self._database.begin() as db:
            before = request.queue_name in (await db.execute(_PAUSED)).scalars().all()
            if request.paused:
                names = {"queue_name": request.queue_name, "by": request.by}
                await db.execute(_PAUSE, {**names, "reason": request.reason})
            else:
                await db.execute(_RESUME, {"queue_name": request.queue_name})
            paused = list((await db.execute(_PAUSED)).scalars())
        describe("queue", request.queue_name, {"paused": before}, {"paused": request.paused})
        return pb.PauseQueueResponse(paused_queues=paused)

    async def ListPausedQueues(
        self, request: pb.ListPausedQueuesRequest, context: RpcContext
    ) -> pb.ListPausedQueuesResponse:
        """Those that are stopped."""
        async with self._database.connect() as db:
            rows = (await db.execute(_PAUSES, {"most": PAGE_MAX})).all()
        answer = pb.ListPausedQueuesResponse()
        for row in rows:
            made = answer.queues.add(queue_name=row.queue_name, by=row.paused_by, reason=row.reason)
            made.create_time.FromDatetime(row.create_time)
        return answer

    async def GetHistory(
        self, request: pb.GetHistoryRequest, context: RpcContext
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

    async def ListEvents(
        self, request: pb.ListEventsRequest, context: RpcContext
    ) -> pb.ListEventsResponse:
        """One page of events, newest first; it may be short, or empty, and have a token."""
        most = min(max(request.page_size, 0) or PAGE_DEFAULT, PAGE_MAX)
        before = await _after(request.page_token, context) or pages.ID_MAX
        async with self._database.connect() as db:
            reached = await pages.walk_end(db, _EVENTS_EDGE, before, 0)
            walk = {"before": before, "reached": reached, "most": most}
            rows = (await db.execute(_EVENTS, {**walk, "prefix": request.subject_prefix})).all()
        token = pages.next_token([row.event_id for row in rows], most, reached, 0)
        return pb.ListEventsResponse(events=[event_of(row) for row in rows], next_page_token=token)

    async def ReplayEvents(
        self, request: pb.ReplayEventsRequest, context: RpcContext
    ) -> pb.ReplayEventsResponse:
        """Hand one page of a range of events to the relay once more."""
        if not (request.HasField("start_time") and request.HasField("end_time")):
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT, "start_time and end_time are required"
            )
        start, end = request.start_time.ToDatetime(UTC), request.end_time.ToDatetime(UTC)
        after = max(await _after(request.page_token, context), pages.first_id(start) - 1)
        binds = {"after": after, "before": pages.end_id(end), "most": REPLAY_MAX}
        wanted = {"start": start, "end": end, "prefix": request.subject_prefix}
        async with self._database.begin() as db:
            page = (await db.execute(_REPLAY, binds | wanted)).one()
        token = str(page.last) if page.walked == REPLAY_MAX else ""
        return pb.ReplayEventsResponse(count=page.events, next_page_token=token)

    async def GetClock(
        self, request: pb.GetClockRequest, context: RpcContext
    ) -> pb.GetClockResponse:
        """How far the clock was advanced."""
        return pb.GetClockResponse(clocks=[await self._clock()])

    async def AdvanceClock(
        self, request: pb.AdvanceClockRequest, context: RpcContext
    ) -> pb.AdvanceClockResponse:
        """Advance it, and follow; other processes follow within a second."""
        if self._follow is None:
            raise ClockFixed(why="it is the machine's, as in prod")
        before = (await clock_shift.look(self._database)).shift_s
        if not before <= request.shift_s <= CLOCK_S_MAX:
            raise ClockOutOfRange(shift_s=request.shift_s, from_s=before, to_s=CLOCK_S_MAX)
        async with self._database.begin() as db:
            after = await clock_shift.advance(db, request.shift_s)
        describe("clock", "", {"shift_s": before}, {"shift_s": after})
        await self._follow()
        return pb.AdvanceClockResponse(clocks=[await self._clock()])

    async def _clock(self) -> pb.Clock:
        if self._follow is None:
            return pb.Clock()
        seen = await clock_shift.look(self._database)
        return pb.Clock(turnable=True, shift_s=seen.shift_s, sessions_behind=seen.behind)


async def _after(token: str, context: RpcContext) -> int:
    """The number a page begins behind; a token that is not ours is refused."""
    if not token:
        return 0
    number = (
        int(token)
        if token.isascii() and token.isdecimal() and len(token) < TOKEN_DIGITS
        else pages.ID_MAX + 1
    )
    if number > pages.ID_MAX:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "page_token is not one of ours")
    return number


def event_of(row: Any) -> core_pb2.Event:
    """An event row as the message of the contract."""
    event = core_pb2.Event(
        event_id=row.event_id,
        subject=row.subject,
        key=row.key,
        tag=row.tag,
        text=row.text,
        body=getattr(row, "body", b""),
        trace=row.trace or "",
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
    if row.next_execute_time is not None:
        task.next_execute_time.FromDatetime(row.next_execute_time)
    task.max_execute_time.FromDatetime(row.max_execute_time)
    return task
