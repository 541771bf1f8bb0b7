"""Statements on the shared tables: each takes a batch, whatever its size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db import columns, statement, unnest

if TYPE_CHECKING:
    from shoudan_kit.task import NewTask, Task
    from shoudan_kit.work import EventRow

_encode = msgspec.json.Encoder().encode

# A task run from memory is written as begun once and leased; the others are due after their delay.
_INSERT_TASKS = statement(f"""
INSERT INTO task (task_id, name, queue_name, order_no, exclusive, msg_content, status, count, max_count,
    next_interval, delete_interval, create_time, last_execute_time, next_execute_time, max_execute_time)
SELECT task_id, name, queue_name, order_no, exclusive, msg_content,
    CASE WHEN mine THEN 30 ELSE 20 END, CASE WHEN mine THEN 1 ELSE 0 END, max_count,
    next_interval, delete_interval, shoudan_now(), CASE WHEN mine THEN shoudan_now() END,
    shoudan_now() + make_interval(secs => wait_s), shoudan_now() + make_interval(secs => deadline_s)
FROM {
    unnest(
        task_id="bigint",
        name="text",
        queue_name="text",
        order_no="text",
        exclusive="boolean",
        msg_content="text",
        mine="boolean",
        max_count="integer",
        next_interval="integer",
        delete_interval="integer",
        wait_s="float8",
        deadline_s="float8",
    )
}
ON CONFLICT DO NOTHING
""")  # noqa: S608 - built from literals above

# Kept tasks become 0 with a date of deletion; the usual ones, kept for 0 s, are simply gone.
_FINISH_TASKS = statement(
    "DELETE FROM task WHERE task_id = ANY(CAST(:ids AS bigint[])) AND delete_interval = 0"
)
_FINISH_KEPT = statement("""
WITH gone AS (
    DELETE FROM task WHERE task_id = ANY(CAST(:ids AS bigint[])) AND delete_interval = 0 RETURNING 1
)
UPDATE task SET status = 0, delete_time = shoudan_now() + make_interval(secs => delete_interval)
WHERE task_id = ANY(CAST(:ids AS bigint[])) AND delete_interval > 0 AND status IN (20, 30)
""")
_FINISH_TASKS_FOR = statement("""
DELETE FROM task WHERE name = :name AND order_no = ANY(CAST(:order_nos AS text[]))
    AND exclusive AND status IN (20, 30)
""")

_INSERT_EVENTS = statement(f"""
WITH made AS (
    INSERT INTO event (event_id, subject, key, tag, text, body, create_time)
    SELECT event_id, subject, key, tag, text, body, shoudan_now()
    FROM {unnest(event_id="bigint", subject="text", key="text", tag="text", text="text", body="bytea")}
)
INSERT INTO outbox (batch_id, event_ids, create_time)
VALUES (:batch_id, CAST(:event_id AS bigint[]), shoudan_now()) RETURNING create_time
""")  # noqa: S608

# Due tasks, longest due first, locked by nobody else; those past deadline or count fail here, in the scan.
_CLAIM = statement("""
WITH due AS (
    SELECT task_id FROM task
    WHERE status IN (20, 30) AND next_execute_time <= shoudan_now()
        AND (:all_queues OR queue_name = ANY(CAST(:queues AS text[])))
        AND name = ANY(CAST(:names AS text[]))
        AND NOT queue_name = ANY(CAST(:paused AS text[]))
    ORDER BY next_execute_time LIMIT :most FOR UPDATE SKIP LOCKED
)
UPDATE task SET
    status = CASE WHEN max_execute_time <= shoudan_now() OR count >= max_count THEN 90 ELSE 30 END,
    count = CASE WHEN max_execute_time <= shoudan_now() OR count >= max_count
        THEN count ELSE count + 1 END,
    delete_time = CASE WHEN max_execute_time <= shoudan_now() OR count >= max_count
        THEN shoudan_now() + make_interval(secs => greatest(delete_interval, :keep_failed_s)) END,
    last_execute_time = shoudan_now(),
    next_execute_time = shoudan_now() + make_interval(secs => :lease_s)
FROM due WHERE task.task_id = due.task_id
RETURNING task.task_id, task.name, task.queue_name, task.order_no, task.msg_content, task.status,
    task.count, task.max_execute_time
""")
_DEFER = statement(f"""
UPDATE task SET status = 20, last_error = nullif(given.error, ''),
    next_execute_time = shoudan_now() + make_interval(secs => coalesce(given.again_s, task.next_interval))
FROM {unnest(task_id="bigint", again_s="float8", error="text")}
WHERE task.task_id = given.task_id AND task.status IN (20, 30)
""")  # noqa: S608
_EXTEND = statement("""
UPDATE task SET next_execute_time = shoudan_now() + make_interval(secs => :lease_s)
WHERE task_id = ANY(CAST(:ids AS bigint[])) AND status = 30
""")
_CLEAR = statement("""
DELETE FROM task WHERE task_id IN (
    SELECT task_id FROM task WHERE status IN (0, 90) AND delete_time <= shoudan_now()
    LIMIT :most FOR UPDATE SKIP LOCKED)
""")
_PAUSED = statement("SELECT queue_name FROM task_pause")

_MARK_PUBLISHED = statement(
    "UPDATE outbox SET published = true WHERE batch_id = ANY(CAST(:ids AS bigint[])) AND NOT published"
)
# By flag, never by a cursor: ids are committed out of order.
_UNPUBLISHED = statement("""
SELECT batch_id, event_ids, create_time FROM outbox
WHERE NOT published AND create_time <= shoudan_now() - make_interval(secs => :older_s)
ORDER BY batch_id LIMIT :most
""")
_EVENTS = statement("""
SELECT event_id, subject, key, tag, text, body, create_time FROM event
WHERE event_id = ANY(CAST(:ids AS bigint[])) ORDER BY event_id
""")
_FORGET_PUBLISHED = statement("""
WITH old AS (
    SELECT batch_id FROM outbox WHERE published AND batch_id < :before ORDER BY batch_id LIMIT :most
)
DELETE FROM outbox USING old WHERE outbox.batch_id = old.batch_id
""")


@dataclass(frozen=True, slots=True)
class Written:
    """A batch of events as the database has it."""

    batch_id: int
    time: datetime


async def insert_tasks(db: AsyncConnection, tasks: Sequence[NewTask], lease_s: float) -> None:
    """Write new tasks; a second pending task of an exclusive kind is silently not made."""
    await db.execute(
        _INSERT_TASKS,
        {
            "task_id": [t.id for t in tasks],
            "name": [t.kind.name for t in tasks],
            "queue_name": [t.queue for t in tasks],
            "order_no": [t.order_no for t in tasks],
            "exclusive": [t.kind.exclusive and t.order_no is not None for t in tasks],
            "msg_content": [_encode(t.payload).decode() for t in tasks],
            "mine": [t.mine for t in tasks],
            "max_count": [t.count_max for t in tasks],
            "next_interval": [t.kind.interval_s for t in tasks],
            "delete_interval": [t.kind.keep_s for t in tasks],
            "wait_s": [lease_s if t.mine else float(max(t.delay_s, 0)) for t in tasks],
            "deadline_s": [float(t.deadline_s) for t in tasks],
        },
    )


async def finish_tasks(db: AsyncConnection, ids: Sequence[int], *, kept: bool = True) -> None:
    """End tasks by id. Repeats change nothing. `kept` false: none of them is of a kept kind."""
    await db.execute(_FINISH_KEPT if kept else _FINISH_TASKS, {"ids": ids})


async def finish_tasks_for(db: AsyncConnection, name: str, order_nos: Sequence[str]) -> None:
    """End the pending tasks of one exclusive kind."""
    await db.execute(_FINISH_TASKS_FOR, {"name": name, "order_nos": order_nos})


async def insert_events(db: AsyncConnection, batch_id: int, events: Sequence[EventRow]) -> Written:
    """Write events and the outbox row that owes them to JetStream."""
    binds = columns(events, "event_id", "subject", "key", "tag", "text", "body")
    found = await db.execute(_INSERT_EVENTS, {**binds, "batch_id": batch_id})
    return Written(batch_id, found.scalar_one())


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
    """Due tasks, now leased to the caller; rows with status 90 have just failed and are not to be run."""
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
            "again_s": [t.again_s for t in tasks],
            "error": [t.error[:500] for t in tasks],
        },
    )


async def extend_tasks(db: AsyncConnection, ids: Sequence[int], lease_s: float) -> None:
    """Keep tasks leased to this process."""
    await db.execute(_EXTEND, {"ids": ids, "lease_s": lease_s})


async def clear_tasks(db: AsyncConnection, most: int) -> None:
    """Delete ended tasks whose time has come."""
    await db.execute(_CLEAR, {"most": most})


async def paused_queues(db: AsyncConnection) -> frozenset[str]:
    """The queues nobody may work on now."""
    return frozenset((await db.execute(_PAUSED)).scalars())


async def mark_published(db: AsyncConnection, batch_ids: Sequence[int]) -> None:
    """JetStream has acknowledged these batches."""
    await db.execute(_MARK_PUBLISHED, {"ids": batch_ids})


async def unpublished(db: AsyncConnection, *, older_s: float, most: int) -> Sequence[Any]:
    """Batches JetStream has not acknowledged, oldest first."""
    return (await db.execute(_UNPUBLISHED, {"older_s": older_s, "most": most})).all()


async def events_by_id(db: AsyncConnection, ids: Sequence[int]) -> Sequence[Any]:
    """Events by id, in order."""
    return (await db.execute(_EVENTS, {"ids": ids})).all()


async def forget_published(db: AsyncConnection, before: int, most: int) -> None:
    """Delete outbox rows older than `before`; their events stay."""
    await db.execute(_FORGET_PUBLISHED, {"before": before, "most": most})
