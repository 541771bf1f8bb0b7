"""Statements on oms_notify_info: notifies that are due, and the outcome of each attempt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db.columns import Rows, assigned, literals, names_of, returned, types
from shoudan_kit.db.text_statements import columns, statement, unnest
from shoudan_order.states import MESSAGE, NotifyEvent, NotifyStatus
from shoudan_order.store.rows import NotifyRow
from shoudan_order.tables import ATTEMPT as ATTEMPTS
from shoudan_order.tables import NOTIFY as NOTIFIES


class DeadNotify(msgspec.Struct, frozen=True):
    """A notify that was given up."""

    notify_id: int
    order_id: int
    refund_id: int
    notify_url: str
    notify_msg: str
    notify_count: int


class NotifyAttempt(msgspec.Struct, frozen=True):
    """One attempt and what came of it."""

    notify_id: int
    order_id: int
    attempt_id: int
    acknowledged: bool
    http_status: int
    answer: str
    took_ms: int
    was_count: int  # attempts before this one
    owed_status: int  # what it said
    owed_code: str
    owed_msg: str
    skipped: bool  # given up without having been sent


_NOTIFIES: Final = Rows(NotifyRow)
_DEAD_NOTIFIES: Final = Rows(DeadNotify)
_OPEN: Final = literals(MESSAGE.sources(NotifyEvent.ACKNOWLEDGED))
# What an attempt changes of its notify, and what is written of the attempt itself.
_SAID: Final = ("http_status", "owed_status", "owed_code", "owed_msg")

# By the unique (order_id, refund_id); the order gives the words, the refund its own.
_DUE = statement("""
SELECT n.notify_id, n.order_id, n.refund_id, n.down_channel_no, o.request_no, n.notify_url,
    n.notify_count, n.max_count, n.notify_status, o.order_status,
    coalesce(r.down_refund_no, '') AS down_refund_no, coalesce(r.refund_num, 0) AS refund_num,
    coalesce(r.refund_status, 0) AS refund_status, o.fail_code, o.fail_msg, n.create_time,
    n.owed_status, n.owed_code, n.owed_msg, o.line_id, o.end_time
FROM unnest(CAST(:order_ids AS bigint[]), CAST(:refund_ids AS bigint[])) AS k(order_id, refund_id)
JOIN oms_notify_info n ON n.order_id = k.order_id AND n.refund_id = k.refund_id
JOIN oms_order_info o ON o.order_id = n.order_id
LEFT JOIN oms_refund_info r ON r.refund_id = n.refund_id
""")

# 10 or 20 -> 0, or 20 again with one attempt more; the order or refund follows an acknowledgement.
# Orders are locked first and in id order, like everywhere: the count asks for all of them before the
# first row is written. A failure counts once, however often it is written: after the first time the count
# is another one.
_RECORD = statement(f"""
WITH locked AS (
    SELECT o.order_id FROM oms_order_info o WHERE o.order_id = ANY(CAST(:order_ids AS bigint[]))
    ORDER BY o.order_id FOR UPDATE
), recorded AS (
    UPDATE oms_notify_info n SET
        notify_status = CASE WHEN given.acknowledged
            THEN {NotifyStatus.DONE:d} ELSE {NotifyStatus.WAITING:d} END,
        notify_count = n.notify_count + CASE WHEN given.skipped THEN 0 ELSE 1 END,
        notify_msg = given.answer, {assigned(_SAID)},
        start_time = coalesce(n.start_time, shoudan_now()),
        end_time = CASE WHEN given.acknowledged THEN shoudan_now() END,
        given_up = NOT given.acknowledged AND (given.skipped OR n.notify_count + 1 >= n.max_count)
    FROM {
    unnest(
        **types(NOTIFIES, "notify_id", *_SAID),
        **types(ATTEMPTS, "attempt_id", "answer", "took_ms"),
        acknowledged="boolean",
        was_count="integer",
        skipped="boolean",
    )
}
    WHERE n.notify_id = given.notify_id AND (SELECT count(*) FROM locked) > 0
        AND n.notify_status IN ({_OPEN}) AND NOT n.given_up
        AND (given.acknowledged OR n.notify_count = given.was_count)
    RETURNING n.notify_id, n.order_id, n.refund_id, given.acknowledged, given.attempt_id, given.http_status,
        given.answer, given.took_ms
), orders AS (
    UPDATE oms_order_info o SET modify_time = greatest(o.modify_time, shoudan_now()),
        notify_status = {NotifyStatus.DONE:d} FROM recorded
    WHERE o.order_id = recorded.order_id AND recorded.refund_id = 0 AND recorded.acknowledged
        AND o.notify_status = {NotifyStatus.RUNNING:d}
), refunds AS (
    UPDATE oms_refund_info r SET modify_time = greatest(r.modify_time, shoudan_now()),
        refund_notify_status = {NotifyStatus.DONE:d} FROM recorded
    WHERE r.refund_id = recorded.refund_id AND recorded.acknowledged
        AND r.refund_notify_status = {NotifyStatus.RUNNING:d}
), kept AS (
    INSERT INTO oms_notify_attempt (attempt_id, notify_id, http_status, answer, took_ms)
    SELECT attempt_id, notify_id, http_status, answer, took_ms FROM recorded
)
SELECT notify_id FROM recorded
""")


_DEAD_ROW: Final = f"SELECT {_DEAD_NOTIFIES.of()}"
_DEAD = statement(f"""
{_DEAD_ROW} FROM oms_notify_info WHERE given_up AND notify_id > :after_id
ORDER BY notify_id LIMIT :most
""")
_DEAD_OF_CHANNEL = statement(f"""
{_DEAD_ROW} FROM oms_notify_info
WHERE given_up AND down_channel_no = :channel_no AND notify_id > :after_id
ORDER BY notify_id LIMIT :most
""")

# Three attempts more; a notify that is not given up is left alone.
_MORE: Final = "given_up = false, max_count = greatest(max_count, notify_count + 3)"
_RESEND = statement(f"""
UPDATE oms_notify_info SET {_MORE} WHERE given_up AND notify_id = ANY(CAST(:ids AS bigint[]))
RETURNING order_id, refund_id
""")
_RESEND_CHANNEL = statement(f"""
UPDATE oms_notify_info SET {_MORE} WHERE given_up AND notify_id IN (
    SELECT notify_id FROM oms_notify_info WHERE given_up AND down_channel_no = :channel_no
    ORDER BY notify_id LIMIT :most)
RETURNING order_id, refund_id
""")


async def notifies_due(
    db: AsyncConnection, keys: Sequence[tuple[int, int]]
) -> dict[tuple[int, int], NotifyRow]:
    """Notifies by (order_id, refund_id)."""
    binds = {"order_ids": [k[0] for k in keys], "refund_ids": [k[1] for k in keys]}
    rows = _NOTIFIES.all(await db.execute(_DUE, binds))
    return {(row.order_id, row.refund_id): row for row in rows}


async def advance_notified(db: AsyncConnection, attempts: Sequence[NotifyAttempt]) -> set[int]:
    """Record attempts; the ids of notifies that were still due. Repeats change nothing."""
    binds = columns(attempts, *names_of(NotifyAttempt))
    return await returned(db, _RECORD, order_ids=sorted(set(binds["order_id"])), **binds)


async def dead_notifies(
    db: AsyncConnection, channel_no: str, after_id: int, most: int
) -> list[DeadNotify]:
    """Given up notifies by id; all channels when empty."""
    binds: dict[str, Any] = {"after_id": after_id, "most": most}
    if channel_no:
        rows = await db.execute(_DEAD_OF_CHANNEL, {**binds, "channel_no": channel_no})
    else:
        rows = await db.execute(_DEAD, binds)
    return _DEAD_NOTIFIES.all(rows)


async def revive_notifies(
    db: AsyncConnection, ids: Sequence[int], channel_no: str, most: int
) -> list[tuple[int, int]]:
    """(order_id, refund_id) of notifies that get more attempts; of a channel, the `most` oldest."""
    rows: list[Any] = list(await db.execute(_RESEND, {"ids": ids})) if ids else []
    if channel_no:
        rows += await db.execute(_RESEND_CHANNEL, {"channel_no": channel_no, "most": most})
    return [(row[0], row[1]) for row in rows]
