"""How the last steps of orders ended: attempts to notify, and purchases of deliveries, in one statement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db.columns import assigned, literals, names_of, types
from shoudan_kit.db.text_statements import columns, statement, unnest
from shoudan_order.states import (
    MESSAGE,
    UP_PAYMENT,
    DeliveryStatus,
    NotifyEvent,
    NotifyStatus,
    UpPaymentEvent,
    UpPaymentStatus,
    YesNo,
)
from shoudan_order.tables import ATTEMPT as ATTEMPTS
from shoudan_order.tables import NOTIFY as NOTIFIES


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


# What an attempt changes of its notify, and what is written of the attempt itself.
_SAID: Final = ("http_status", "owed_status", "owed_code", "owed_msg")

# Notifies: 10 or 20 -> 0, or 20 again with one attempt more; the order or refund follows an acknowledgement.
# A failure counts once, however often it is written: after the first time the count is another one.
# Purchases: 30 -> 0 and the order's sum, so that two of one order at the same time count both
# (complete_up_pay). Orders are locked first and in id order, like everywhere: the count asks for all of them
# before the first row is written. What belongs to one order changes its row once.
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
        AND n.notify_status IN ({
    literals(MESSAGE.sources(NotifyEvent.ACKNOWLEDGED))
}) AND NOT n.given_up
        AND (given.acknowledged OR n.notify_count = given.was_count)
    RETURNING n.notify_id, n.order_id, n.refund_id, given.acknowledged, given.attempt_id, given.http_status,
        given.answer, given.took_ms
), paid AS (
    UPDATE oms_order_delivery d SET up_payment_status = {UpPaymentStatus.PAID:d},
        money_time = shoudan_now()
    WHERE d.delivery_id = ANY(CAST(:paid_ids AS bigint[])) AND (SELECT count(*) FROM locked) > 0
        AND d.delivery_status = {DeliveryStatus.SUCCEEDED:d}
        AND d.up_payment_status IN ({literals(UP_PAYMENT.sources(UpPaymentEvent.PAID))})
    RETURNING d.delivery_id, d.order_id, d.total_face_micros
), changed AS (
    SELECT order_id, sum(face) AS face, bool_or(notified) AS notified FROM (
        SELECT order_id, 0 AS face, true AS notified FROM recorded WHERE refund_id = 0 AND acknowledged
        UNION ALL SELECT order_id, total_face_micros, false FROM paid
    ) AS both_steps GROUP BY order_id
), orders AS (
    UPDATE oms_order_info o SET modify_time = greatest(o.modify_time, shoudan_now()),
        notify_status = CASE WHEN changed.notified AND o.notify_status = {NotifyStatus.RUNNING:d}
            THEN {NotifyStatus.DONE:d} ELSE o.notify_status END,
        up_paid_face_micros = o.up_paid_face_micros + changed.face,
        complete_up_pay = CASE
            WHEN o.up_paid_face_micros + changed.face >= o.total_face_micros THEN {YesNo.YES:d}
            ELSE o.complete_up_pay END
    FROM changed WHERE o.order_id = changed.order_id
        AND (changed.face > 0 OR o.notify_status = {NotifyStatus.RUNNING:d})
), refunds AS (
    UPDATE oms_refund_info r SET modify_time = greatest(r.modify_time, shoudan_now()),
        refund_notify_status = {NotifyStatus.DONE:d} FROM recorded
    WHERE r.refund_id = recorded.refund_id AND recorded.acknowledged
        AND r.refund_notify_status = {NotifyStatus.RUNNING:d}
), kept AS (
    INSERT INTO oms_notify_attempt (attempt_id, notify_id, http_status, answer, took_ms)
    SELECT attempt_id, notify_id, http_status, answer, took_ms FROM recorded
)
SELECT notify_id AS id, true AS notified FROM recorded
UNION ALL SELECT delivery_id, false FROM paid
""")


async def advance_endings(
    db: AsyncConnection, attempts: Sequence[NotifyAttempt], paid: Mapping[int, int]
) -> tuple[set[int], set[int]]:
    """Record attempts, and that deliveries (with their order) are paid. Repeats change nothing.

    The notifies that were still due, and the deliveries that moved.
    """
    binds = columns(attempts, *names_of(NotifyAttempt))
    order_ids = sorted({*binds["order_id"], *paid.values()})
    rows = [
        tuple(row)
        for row in await db.execute(
            _RECORD, {**binds, "order_ids": order_ids, "paid_ids": sorted(paid)}
        )
    ]
    return {i for i, of_notify in rows if of_notify}, {i for i, of_notify in rows if not of_notify}
