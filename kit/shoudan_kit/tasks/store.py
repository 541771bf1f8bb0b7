"""Statements on the shared tables: each takes a batch, whatever its size."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db.text_statements import statement, unnest
from shoudan_kit.tasks.kinds import TASK, Task, TaskEvent, TaskStatus
from shoudan_kit.tasks.rows import EventRow, NewTask

_encode = msgspec.json.Encoder().encode

# Tasks, ends of tasks and events of a transaction in one statement: one round trip, one plan. Shared
# attributes (a kind's timing, a subject) are sent once and referenced by index, because array encoding
# dominates the cost of a batch.
# A task run from memory is written as begun once and leased; the others are due after their delay.
# Tasks kept for 0 s are simply gone when done.
_WRITE = statement(f"""
WITH put AS (
    INSERT INTO task (task_id, name, queue_name, order_no, exclusive, msg_content, status, count,
        max_count, next_interval, delete_interval, create_time, last_execute_time, next_execute_time,
        max_execute_time, trace)
    SELECT task_id, (CAST(:name AS text[]))[spec], (CAST(:queue_name AS text[]))[spec], order_no,
        order_no IS NOT NULL AND (CAST(:exclusive AS boolean[]))[spec], msg_content,
        CASE WHEN (CAST(:mine AS boolean[]))[spec]
            THEN {TASK.target(TaskEvent.CLAIMED)} ELSE {TASK.initial} END,
        CASE WHEN (CAST(:mine AS boolean[]))[spec] THEN 1 ELSE 0 END,
        (CAST(:max_count AS integer[]))[spec], (CAST(:next_interval AS integer[]))[spec],
        (CAST(:delete_interval AS integer[]))[spec], shoudan_now(),
        CASE WHEN (CAST(:mine AS boolean[]))[spec] THEN shoudan_now() END,
        shoudan_now() + make_interval(secs => (CAST(:wait_s AS float8[]))[spec]),
        shoudan_now() + make_interval(secs => (CAST(:deadline_s AS float8[]))[spec]),
        (CAST(:trace AS text[]))[traced]
    FROM unnest(CAST(:task_id AS bigint[]), CAST(:task_spec AS integer[]), CAST(:order_no AS text[]),
        CAST(:msg_content AS text[]), CAST(:task_trace AS integer[]))
        AS given(task_id, spec, order_no, msg_content, traced)
    ON CONFLICT DO NOTHING
), gone AS (
    DELETE FROM task WHERE task_id = ANY(CAST(:done AS bigint[])) AND delete_interval = 0
), made AS (
    INSERT INTO event (event_id, subject, key, tag, text, body, create_time, trace)
    SELECT event_id, (CAST(:subject AS text[]))[spec], key, (CAST(:tag AS text[]))[spec], text, body,
        shoudan_now(), (CAST(:trace AS text[]))[traced]
    FROM unnest(CAST(:event_id AS bigint[]), CAST(:event_spec AS integer[]), CAST(:key AS text[]),
        CAST(:text AS text[]), CAST(:body AS bytea[]), CAST(:event_trace AS integer[]))
        AS given(event_id, spec, key, text, body, traced)
)
INSERT INTO outbox (batch_id, event_ids, create_time)
SELECT CAST(:batch_id AS bigint), CAST(:event_id AS bigint[]), shoudan_now()
WHERE cardinality(CAST(:event_id AS bigint[])) > 0
RETURNING create_time
""")

_KEPT = statement("""
SELECT t.task_id FROM unnest(CAST(:ids AS bigint[])) AS given(id) JOIN task t ON t.task_id = given.id
""")
# BETWEEN, not IN: the index of due tasks holds what is IN (20, 30), and reading it whole for a few known
# numbers looks cheap to a planner that saw few tasks.
# Kept ones become 0 with a date of deletion.
_FINISH_RETAINED = statement(f"""
UPDATE task SET status = {TASK.target(TaskEvent.FINISHED)},
    delete_time = shoudan_now() + make_interval(secs => delete_interval)
WHERE task_id = ANY(CAST(:ids AS bigint[])) AND delete_interval > 0
    AND {TASK.between(TaskEvent.FINISHED)}
""")
_FINISH_TASKS_FOR = statement(f"""
DELETE FROM task WHERE name = :name AND order_no = ANY(CAST(:order_nos AS text[]))
    AND exclusive AND {TASK.where(TaskEvent.FINISHED)}
""")

# Due tasks, longest due first, not locked by others; those past deadline or count fail here, in the scan.
# Those of a paused queue are set aside: no longer due, they are not met again until the queue is resumed.
_CLAIM = statement(f"""
WITH due AS (
    SELECT task_id, queue_name = ANY(CAST(:paused AS text[])) AS aside,
        max_execute_time <= shoudan_now() OR count >= max_count AS dead
    FROM task
    WHERE {TASK.where(TaskEvent.CLAIMED)} AND next_execute_time <= shoudan_now()
        AND (:all_queues OR queue_name = ANY(CAST(:queues AS text[])))
        AND name = ANY(CAST(:names AS text[]))
    ORDER BY next_execute_time LIMIT :most FOR UPDATE SKIP LOCKED
)
UPDATE task SET
    status = CASE WHEN aside THEN {TASK.target(TaskEvent.DEFERRED)}
        WHEN dead THEN {TASK.target(TaskEvent.EXHAUSTED)} ELSE {TASK.target(TaskEvent.CLAIMED)} END,
    count = CASE WHEN aside OR dead THEN count ELSE count + 1 END,
    delete_time = CASE WHEN dead AND NOT aside
        THEN shoudan_now() + make_interval(secs => greatest(delete_interval, :keep_failed_s)) END,
    last_execute_time = CASE WHEN aside THEN last_execute_time ELSE shoudan_now() END,
    next_execute_time = CASE WHEN aside THEN 'infinity'
        ELSE shoudan_now() + make_interval(secs => :lease_s) END
FROM due WHERE task.task_id = due.task_id
RETURNING task.task_id, task.name, task.queue_name, task.order_no, task.msg_content, task.status,
    task.count, task.max_execute_time, task.trace, aside
""")
# A range of queues, though of one: an equality would leave the order to the primary key, and a walk along
# that passes the tasks of all other queues.
_BRING_BACK = statement("""
UPDATE task SET next_execute_time = shoudan_now() WHERE task_id IN (
    SELECT task_id FROM task WHERE next_execute_time = 'infinity'
        AND queue_name >= :queue_name AND queue_name <= :queue_name
    ORDER BY queue_name, task_id LIMIT :most FOR UPDATE SKIP LOCKED)
""")
_DEFER = statement(f"""
UPDATE task SET status = {TASK.target(TaskEvent.DEFERRED)}, last_error = nullif(given.error, ''),
    next_execute_time = shoudan_now()
        + make_interval(secs => coalesce(given.retry_after_s, task.next_interval))
FROM {unnest(task_id="bigint", retry_after_s="float8", error="text")}
WHERE task.task_id = given.task_id AND {TASK.between(TaskEvent.DEFERRED, "task.status")}
""")
_EXTEND = statement(f"""
UPDATE task SET next_execute_time = shoudan_now() + make_interval(secs => :lease_s)
WHERE task_id = ANY(CAST(:ids AS bigint[])) AND {TASK.between(TaskEvent.EXTENDED)}
""")
_CLEAR = statement(f"""
DELETE FROM task WHERE task_id IN (
    SELECT task_id FROM task
    WHERE status IN ({TaskStatus.DONE}, {TaskStatus.FAILED}) AND delete_time <= shoudan_now()
    LIMIT :most FOR UPDATE SKIP LOCKED)
""")
# Queues that have tasks set aside: one probe of a partial index each, and that index is mostly empty.
_ASIDE = """WITH RECURSIVE aside AS (
    (SELECT queue_name FROM task WHERE next_execute_time = 'infinity' ORDER BY queue_name LIMIT 1)
    UNION ALL
    SELECT (SELECT task.queue_name FROM task
        WHERE next_execute_time = 'infinity' AND task.queue_name > aside.queue_name
        ORDER BY task.queue_name LIMIT 1)
    FROM aside WHERE aside.queue_name IS NOT NULL
)"""
_PAUSED = statement(f"""
{_ASIDE}
SELECT queue_name, true AS paused FROM task_pause
UNION ALL SELECT queue_name, false FROM aside WHERE queue_name IS NOT NULL
""")
# By partial indexes, and never more than :most rows of each: the longest due of all kinds, the failed of
# each kind, and of a paused queue the oldest that was due. A kind that is not among them is due for less.
_GAUGES = statement(f"""
{_ASIDE}
SELECT name, 0 AS dead, extract(epoch FROM shoudan_now() - min(next_execute_time)) AS due_s
FROM (SELECT name, next_execute_time FROM task
    WHERE {TASK.where(TaskEvent.CLAIMED)} AND next_execute_time <= shoudan_now()
    ORDER BY next_execute_time LIMIT :most) AS due GROUP BY name
UNION ALL
SELECT kind.name, count(*) AS dead, 0 AS due_s
FROM unnest(CAST(:names AS text[])) AS kind(name) CROSS JOIN LATERAL (
    SELECT 1 FROM task WHERE (task.name, task.task_id) > (kind.name, 0) AND task.name <= kind.name
        AND {TASK.where(TaskEvent.RETRIED)}
    ORDER BY task.name, task.task_id LIMIT :most) AS failed
GROUP BY kind.name
UNION ALL
SELECT oldest.name, 0 AS dead, extract(epoch FROM shoudan_now() - oldest.create_time) AS due_s
FROM aside CROSS JOIN LATERAL (SELECT name, create_time FROM task
    WHERE next_execute_time = 'infinity' AND queue_name >= aside.queue_name
    ORDER BY queue_name, task_id LIMIT 1) AS oldest
WHERE aside.queue_name IS NOT NULL
""")

_MARK_PUBLISHED = statement(
    "UPDATE outbox SET published = true WHERE batch_id = ANY(CAST(:ids AS bigint[])) AND NOT published"
)
# By flag, never by a cursor: ids are committed out of order.
_OLDEST_UNPUBLISHED = statement("""
SELECT extract(epoch FROM shoudan_now() - create_time) AS age_s FROM outbox
WHERE NOT published AND create_time <= shoudan_now() - make_interval(secs => :older_s)
ORDER BY batch_id LIMIT 1
""")
# Of the replicas one publishes a batch that stayed behind; when it dies, another after the claim's end.
_CLAIM_UNPUBLISHED = statement("""
WITH behind AS (
    SELECT batch_id FROM outbox
    WHERE NOT published AND create_time <= shoudan_now() - make_interval(secs => :older_s)
        AND (claimed_until IS NULL OR claimed_until <= shoudan_now())
    ORDER BY batch_id LIMIT :most FOR UPDATE SKIP LOCKED
)
UPDATE outbox SET claimed_until = shoudan_now() + make_interval(secs => :claim_s)
FROM behind WHERE outbox.batch_id = behind.batch_id
RETURNING outbox.batch_id, outbox.event_ids, outbox.create_time
""")
_RELEASE_UNPUBLISHED = statement("""
UPDATE outbox SET claimed_until = NULL WHERE batch_id = ANY(CAST(:ids AS bigint[])) AND NOT published
""")
# The range leaves out the months that hold none of them; an array does not.
_EVENTS = statement("""
SELECT event_id, subject, key, tag, text, body, create_time, trace FROM event
WHERE event_id = ANY(CAST(:ids AS bigint[]))
    AND event_id BETWEEN CAST(:first AS bigint) AND CAST(:last AS bigint)
ORDER BY event_id
""")
_FORGET_PUBLISHED = statement("""
WITH old AS (
    SELECT batch_id FROM outbox WHERE published AND batch_id < :before ORDER BY batch_id LIMIT :most
)
DELETE FROM outbox USING old WHERE outbox.batch_id = old.batch_id
""")


async def write(
    db: AsyncConnection,
    *,
    tasks: Sequence[NewTask],
    lease_s: float,
    done: Sequence[int],
    batch_id: int,
    events: Sequence[EventRow],
) -> datetime | None:
    """Write new tasks, end done ones, write events with their outbox row.

    Gives the time of the events, None without any. A second pending task of an exclusive kind is
    silently not made; ending a task twice changes nothing.
    """
    task_specs: dict[tuple[Any, ...], int] = {}
    event_specs: dict[tuple[str, str], int] = {}
    traces: dict[str, int] = {}
    binds = {
        "task_spec": [_spec(task_specs, _timing(task, lease_s)) for task in tasks],
        "task_id": [task.id for task in tasks],
        "order_no": [task.order_no for task in tasks],
        "msg_content": [_encode(task.payload).decode() for task in tasks],
        "done": done,
        "batch_id": batch_id,
        "event_spec": [_spec(event_specs, (event.subject, event.tag)) for event in events],
        "event_id": [event.event_id for event in events],
        "key": [event.key for event in events],
        "text": [event.text for event in events],
        "body": [event.body for event in events],
        "task_trace": [_spec(traces, task.trace) if task.trace else 0 for task in tasks],
        "event_trace": [_spec(traces, event.trace) if event.trace else 0 for event in events],
        "trace": list(traces),
    }
    binds |= _by_name(_TIMING, task_specs) | _by_name(("subject", "tag"), event_specs)
    return (await db.execute(_WRITE, binds)).scalar_one_or_none()


_TIMING = (
    "name",
    "queue_name",
    "exclusive",
    "mine",
    "max_count",
    "next_interval",
    "delete_interval",
    "wait_s",
    "deadline_s",
)


def _timing(task: NewTask, lease_s: float) -> tuple[Any, ...]:
    """What tasks of a batch mostly share, in the order of _TIMING."""
    kind = task.kind
    return (
        kind.name,
        task.queue,
        kind.exclusive,
        task.mine,
        task.count_max,
        kind.interval_s,
        kind.retention_s,
        lease_s if task.mine else float(max(task.delay_s, 0)),
        float(task.deadline_s),
    )


def _spec(specs: dict[Any, int], one: Any) -> int:
    """Where `one` stands in the arrays of what is shared, counted from 1 as PostgreSQL does."""
    return specs.setdefault(one, len(specs) + 1)


def _by_name(names: Sequence[str], specs: Iterable[tuple[Any, ...]]) -> dict[str, list[Any]]:
    rows = list(specs)
    return {name: [row[i] for row in rows] for i, name in enumerate(names)}


async def kept(db: AsyncConnection, ids: Sequence[int]) -> set[int]:
    """Which of these tasks there are."""
    return set((await db.execute(_KEPT, {"ids": ids})).scalars())


async def finish_retained(db: AsyncConnection, ids: Sequence[int]) -> None:
    """End tasks of kinds that are kept for a while. Repeats change nothing."""
    await db.execute(_FINISH_RETAINED, {"ids": ids})


async def finish_tasks_for(db: AsyncConnection, name: str, order_nos: Sequence[str]) -> None:
    """End the pending tasks of one exclusive kind."""
    await db.execute(_FINISH_TASKS_FOR, {"name": name, "order_nos": order_nos})


async def claim_tasks(
    db: AsyncConnection,
    *,
    names: Sequence[str],
    queues: Sequence[str] | None,
    paused: Sequence[str],
    most: int,
    lease_s: float,
    keep_failed_s: int,
) -> Sequence[Any]:
    """Due tasks, now leased to the caller.

    Not to be run are rows with status 90, which have just failed, and rows of a paused queue, which are
    set aside until it is resumed.
    """
    found = await db.execute(
        _CLAIM,
        {
            "names": names,
            "all_queues": queues is None,
            "queues": queues or [],
            "paused": paused,
            "most": most,
            "lease_s": lease_s,
            "keep_failed_s": keep_failed_s,
        },
    )
    return found.all()


async def defer_tasks(db: AsyncConnection, tasks: Sequence[Task[Any]]) -> None:
    """Give tasks back: due after their own delay, else after their kind's interval."""
    await db.execute(
        _DEFER,
        {
            "task_id": [t.id for t in tasks],
            "retry_after_s": [t.retry_after_s for t in tasks],
            "error": [t.error[:500] for t in tasks],
        },
    )


async def postpone_tasks(db: AsyncConnection, due_s: Mapping[int, float]) -> None:
    """Make waiting tasks due so many seconds from now."""
    binds = {"task_id": list(due_s), "retry_after_s": list(due_s.values())}
    await db.execute(_DEFER, binds | {"error": [""] * len(due_s)})


async def extend_tasks(db: AsyncConnection, ids: Sequence[int], lease_s: float) -> None:
    """Keep tasks leased to this process."""
    await db.execute(_EXTEND, {"ids": ids, "lease_s": lease_s})


async def clear_tasks(db: AsyncConnection, most: int) -> None:
    """Delete ended tasks whose time has come."""
    await db.execute(_CLEAR, {"most": most})


async def task_gauges(db: AsyncConnection, names: Sequence[str], most: int) -> Sequence[Any]:
    """By kind: how many tasks of `names` are dead, and for how long the longest due one is.

    Reads at most `most` rows of each: that many dead of a kind stand for more, and a kind that is not among
    the `most` longest due tasks is left out.
    A task of a paused queue counts from when it was made, and its queue only for the kind of its oldest.
    """
    return (await db.execute(_GAUGES, {"names": names, "most": most})).all()


async def paused_queues(db: AsyncConnection) -> tuple[frozenset[str], frozenset[str]]:
    """The paused queues, and resumed ones that have tasks set aside."""
    rows = (await db.execute(_PAUSED)).all()
    paused = frozenset(row.queue_name for row in rows if row.paused)
    return paused, frozenset(row.queue_name for row in rows) - paused


async def bring_back(db: AsyncConnection, queue: str, most: int) -> int:
    """Make tasks of a resumed queue due, the oldest first; how many."""
    return (await db.execute(_BRING_BACK, {"queue_name": queue, "most": most})).rowcount


async def mark_published(db: AsyncConnection, batch_ids: Sequence[int]) -> None:
    """JetStream has acknowledged these batches."""
    await db.execute(_MARK_PUBLISHED, {"ids": batch_ids})


async def oldest_unpublished_s(db: AsyncConnection, *, older_s: float) -> float:
    """Age of the oldest batch JetStream has not acknowledged, in seconds; 0 when there is none."""
    age = (await db.execute(_OLDEST_UNPUBLISHED, {"older_s": older_s})).scalar()
    return float(age or 0)


async def claim_unpublished(
    db: AsyncConnection, *, older_s: float, claim_s: float, most: int
) -> list[Any]:
    """Batches JetStream has not acknowledged, oldest first, for this process alone during `claim_s`."""
    binds = {"older_s": older_s, "claim_s": claim_s, "most": most}
    rows = (await db.execute(_CLAIM_UNPUBLISHED, binds)).all()
    return sorted(rows, key=lambda one: one.batch_id)


async def release_unpublished(db: AsyncConnection, batch_ids: Sequence[int]) -> None:
    """Give claimed batches back that could not be published."""
    await db.execute(_RELEASE_UNPUBLISHED, {"ids": batch_ids})


async def events_by_id(db: AsyncConnection, ids: Sequence[int]) -> Sequence[Any]:
    """Events by id, in order."""
    binds = {"ids": ids, "first": min(ids, default=0), "last": max(ids, default=0)}
    return (await db.execute(_EVENTS, binds)).all()


async def forget_published(db: AsyncConnection, before: int, most: int) -> None:
    """Delete outbox rows older than `before`; their events stay."""
    await db.execute(_FORGET_PUBLISHED, {"before": before, "most": most})
