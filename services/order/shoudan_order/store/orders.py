"""Statements on oms_order_info: taking, finding and moving orders."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db.columns import Rows, assigned, literals, names_of, returned, types
from shoudan_kit.db.text_statements import columns, statement, unnest
from shoudan_order.states import (
    ENDED,
    FAIL_REFUND,
    MESSAGE,
    BindStatus,
    FailRefundEvent,
    FailRefundStatus,
    NotifyEvent,
    NotifyStatus,
    NotifyType,
    OrderStatus,
    PaymentStatus,
    YesNo,
)
from shoudan_order.store.deliveries import INSERT_DELIVERIES, delivery_binds
from shoudan_order.store.nonces import USE_NONCES, CallNonce, nonce_binds
from shoudan_order.store.risk import COUNT_BATCH, Count, Counted, Tally, batch_binds
from shoudan_order.store.rows import Delivery, Order, OrderState, OrderSummary, OrderUpdate
from shoudan_order.tables import ORDER


class NewNotify(msgspec.Struct, frozen=True):
    """A notify to be written with its order."""

    notify_id: int
    order_id: int
    down_channel_no: str
    notify_url: str


class Inserted(msgspec.Struct, frozen=True):
    """The ids that are new, the replayed calls, and the counters of risk rules with the batch counted."""

    made: set[int]
    replays: set[int]
    counters: dict[Counted, Count]


class Paid(msgspec.Struct, frozen=True):
    """An order that has just been paid, and how far it is bound."""

    order_id: int
    payment_status: PaymentStatus
    delivery_bind_status: BindStatus
    bind_face_micros: int


class FailedUnpaid(msgspec.Struct, frozen=True):
    """An order that ends before it was known to be paid."""

    order_id: int
    fail_code: str
    fail_msg: str


_SOLD: Final = names_of(Order)
_STORED: Final = tuple(name for name in _SOLD if name != "timeout_s")
_COLUMNS: Final = ", ".join(_STORED)
_STATE: Final = names_of(OrderState)
_STATES: Final = Rows(OrderState)
_SUMMARIES: Final = Rows(OrderSummary)
# What a step may change of an order that it has locked.
_CHANGED: Final = tuple(
    name
    for name in _STATE
    if name not in {"order_id", "payment_status", "delivery_pause", "up_paid_face_micros", "left_s"}
)
# Computed where it is read: seconds are bounded to a year.
_SECONDS: Final = {
    "timeout_s": "o.order_overtime - o.create_time",
    "left_s": "o.order_overtime - shoudan_now()",
}


def _selected(names: Iterable[str]) -> str:
    return ", ".join(
        f"CAST(least(extract(epoch FROM {_SECONDS[name]}), 31536000) AS integer) AS {name}"
        if name in _SECONDS
        else f"o.{name}"
        for name in names
    )


SELECTED: Final = _selected(_SOLD)
STATE: Final = _selected(_STATE)

# Rows go in by key, so that two batches with the same keys wait for each other in the same order.
# An order of a signed call is written only with its nonce, the notify of an order only with an order
# that is new, here and among the archived ones. Calls whose nonce another call has used come back beside
# the ids that are new.
_TAKEN: Final = f"""
WITH used AS (
    {USE_NONCES}
), made AS (
    INSERT INTO oms_order_info ({_COLUMNS}, order_overtime)
    SELECT {_COLUMNS}, shoudan_now() + make_interval(secs => timeout_s)
    FROM {unnest(**types(ORDER, *_STORED), timeout_s="integer", signed_call="bigint")}
    WHERE (signed_call = 0 OR (signed_call IN (SELECT call_id FROM used)) IS TRUE)
        AND NOT EXISTS (SELECT FROM oms_archived_order k
            WHERE k.down_channel_no = given.down_channel_no AND k.request_no = given.request_no)
    ORDER BY down_channel_no, request_no
    ON CONFLICT (down_channel_no, request_no) DO NOTHING
    RETURNING order_id
), notify AS (
    INSERT INTO oms_notify_info
        (notify_id, order_id, refund_id, down_channel_no, notify_type, max_count, notify_url)
    SELECT n.notify_id, n.order_id, 0, n.channel_no, {NotifyType.ORDER:d}, :notify_max, n.notify_url
    FROM unnest(CAST(:notify_id AS bigint[]), CAST(:notify_order AS bigint[]),
        CAST(:notify_channel AS text[]), CAST(:notify_url AS text[]))
        AS n(notify_id, order_id, channel_no, notify_url)
    WHERE (n.order_id IN (SELECT order_id FROM made)) IS TRUE
)"""
_REPLAYED: Final = """FROM unnest(CAST(:nonce_calls AS bigint[])) AS given(call_id)
WHERE (call_id IN (SELECT call_id FROM used)) IS NOT TRUE"""

_INSERT = statement(f"""{_TAKEN}
SELECT order_id, 0 AS replay FROM made
UNION ALL
SELECT 0, call_id {_REPLAYED}
""")

# The same, counted by risk rules: the counters are locked last, so they wait for the commit alone.
_INSERT_COUNTED = statement(f"""{_TAKEN}, counted AS (
    {COUNT_BATCH}
)
SELECT order_id, 0 AS replay, '' AS rule_id, CAST('' AS bytea) AS subject, '' AS period,
    CAST(0 AS bigint) AS orders, CAST(0 AS bigint) AS amount, CAST(0 AS bigint) AS age_s FROM made
UNION ALL
SELECT 0, call_id, '', CAST('' AS bytea), '', 0, 0, 0 {_REPLAYED}
UNION ALL
SELECT 0, 0, rule_id, subject, period, order_count, amount_micros, age_s FROM counted
""")

# By the unique key of the channel; one that has left by what stays known of it.
_BY_KEYS = statement(f"""
SELECT {_SUMMARIES.of("o")} FROM oms_order_info o
JOIN unnest(CAST(:channel_nos AS text[]), CAST(:request_nos AS text[])) AS k(channel_no, request_no)
    ON o.down_channel_no = k.channel_no AND o.request_no = k.request_no
UNION ALL
SELECT {_SUMMARIES.of("a")} FROM oms_archived_order a
JOIN unnest(CAST(:channel_nos AS text[]), CAST(:request_nos AS text[])) AS k(channel_no, request_no)
    ON a.down_channel_no = k.channel_no AND a.request_no = k.request_no
WHERE NOT EXISTS (SELECT FROM oms_order_info o WHERE o.order_id = a.order_id)
""")

_FACTS = statement(f"""
SELECT {SELECTED} FROM oms_order_info o WHERE o.order_id = ANY(CAST(:ids AS bigint[]))
""")

_READ = statement(f"""
SELECT {SELECTED}, {STATE} FROM oms_order_info o
WHERE o.order_id = ANY(CAST(:ids AS bigint[])) ORDER BY o.order_id
""")

# In id order, like every statement that locks orders.
_LOCK = statement(f"""
SELECT {SELECTED}, {STATE} FROM oms_order_info o
WHERE o.order_id = ANY(CAST(:ids AS bigint[])) ORDER BY o.order_id FOR UPDATE
""")

# The same for orders known by their deliveries.
_LOCK_BY_DELIVERIES = statement(f"""
SELECT {STATE} FROM oms_order_info o
WHERE o.order_id IN (SELECT d.order_id FROM oms_order_delivery d
    WHERE d.delivery_id = ANY(CAST(:ids AS bigint[])))
ORDER BY o.order_id FOR UPDATE OF o
""")

_UNPAID: Final = (
    f"o.order_status = {OrderStatus.PAYING:d} AND o.payment_status = {PaymentStatus.PAYING:d}"
    f" AND o.delivery_bind_status = {BindStatus.NOT_STARTED:d}"
    f" AND o.refund_status = {FailRefundStatus.NOT_STARTED:d}"
)

# 10/30/10/10 -> paid; only orders that moved, and are not paused, get their deliveries.
_PAID = statement(f"""
WITH moved AS (
    UPDATE oms_order_info o SET modify_time = greatest(o.modify_time, shoudan_now()),
        order_status = {OrderStatus.DELIVERING:d}, payment_status = given.payment_status,
        pay_time = shoudan_now(),
        delivery_bind_status = CASE WHEN o.delivery_pause = {YesNo.YES:d}
            THEN {BindStatus.WAITING:d} ELSE given.delivery_bind_status END,
        bind_face_micros = CASE WHEN o.delivery_pause = {YesNo.YES:d}
            THEN 0 ELSE given.bind_face_micros END
    FROM unnest(CAST(:paid_ids AS bigint[]), CAST(:payment_statuses AS smallint[]),
        CAST(:bind_statuses AS smallint[]), CAST(:bind_faces AS bigint[]))
        AS given(order_id, payment_status, delivery_bind_status, bind_face_micros)
    WHERE o.order_id = given.order_id AND {_UNPAID} AND o.order_overtime > shoudan_now()
    RETURNING o.order_id, o.delivery_pause = {YesNo.YES:d} AS paused
), bound AS (
    {INSERT_DELIVERIES}
    WHERE (given.order_id IN (SELECT order_id FROM moved WHERE NOT moved.paused)) IS TRUE
)
SELECT order_id, paused FROM moved
""")

# 10/30/10/10 -> failed; a debit that was not answered may still be made, so its refund waits for that.
_FAILED_UNPAID = statement(f"""
UPDATE oms_order_info o SET modify_time = greatest(o.modify_time, shoudan_now()),
    order_status = {OrderStatus.FAILED:d}, payment_status = {PaymentStatus.OVERTIME:d},
    refund_status = {FailRefundStatus.WAITING:d}, fail_code = given.fail_code, fail_msg = given.fail_msg,
    notify_status = CASE WHEN o.has_notify THEN {NotifyStatus.RUNNING:d} ELSE o.notify_status END,
    end_time = shoudan_now()
FROM {unnest(**types(ORDER, *names_of(FailedUnpaid)))}
WHERE o.order_id = given.order_id AND {_UNPAID}
RETURNING o.order_id
""")

# The caller has locked the orders and decided; was_status is what it read. end_time keeps the first end.
_UPDATE = statement(f"""
UPDATE oms_order_info o SET modify_time = greatest(o.modify_time, shoudan_now()),
    {assigned(_CHANGED)}, end_time = coalesce(o.end_time,
        CASE WHEN given.order_status IN ({literals(sorted(ENDED))}) THEN shoudan_now() END)
FROM {unnest(**types(ORDER, "order_id", *_CHANGED), was_status="smallint")}
WHERE o.order_id = given.order_id AND o.order_status = given.was_status
RETURNING o.order_id
""")

# 20 -> 0 or 99: giving back what a failed order had paid.
_FAIL_REFUND = statement(f"""
UPDATE oms_order_info o SET modify_time = greatest(o.modify_time, shoudan_now()),
    refund_status = CAST(:refund_status AS smallint),
    money_time = CASE WHEN CAST(:refund_status AS smallint) = {FailRefundStatus.DONE:d}
        THEN shoudan_now() ELSE o.money_time END
WHERE o.order_id = ANY(CAST(:ids AS bigint[]))
    AND o.order_status IN ({literals(sorted(ENDED - {OrderStatus.SUCCEEDED}))})
    AND o.refund_status = {FailRefundStatus.WAITING:d}
RETURNING o.order_id
""")

# 10 or 99 -> 20 of orders that failed unpaid, and of no others: what was paid and refunded stays refunded.
_LATE_DEBIT = statement(f"""
UPDATE oms_order_info o SET modify_time = greatest(o.modify_time, shoudan_now()),
    refund_status = {FailRefundStatus.WAITING:d}
WHERE o.order_id = ANY(CAST(:ids AS bigint[])) AND o.order_status = {OrderStatus.FAILED:d}
    AND o.payment_status = {PaymentStatus.OVERTIME:d}
    AND o.refund_status IN ({literals(FAIL_REFUND.sources(FailRefundEvent.ORDER_FAILED))})
RETURNING o.order_id
""")

# 30 -> 100: a channel that has queried needs no notify, so the notify itself ends, too.
_ANSWERED = statement(f"""
WITH asked AS (
    UPDATE oms_order_info o SET modify_time = greatest(o.modify_time, shoudan_now()),
        notify_status = {NotifyStatus.ANSWERED:d}
    WHERE o.order_id = ANY(CAST(:ids AS bigint[])) AND o.notify_status = {NotifyStatus.RUNNING:d}
    RETURNING o.order_id
)
UPDATE oms_notify_info n SET notify_status = {NotifyStatus.ANSWERED:d}, end_time = shoudan_now()
WHERE n.order_id = ANY(ARRAY(SELECT order_id FROM asked)) AND n.refund_id = 0
    AND n.notify_status IN ({literals(MESSAGE.sources(NotifyEvent.QUERIED))})
""")


def read_order(row: Row[Any]) -> tuple[Order, OrderState]:
    """The order of a row of SELECTED and STATE."""
    return Order(*row[: len(_SOLD)]), _STATES.read(row)


async def insert_orders(
    db: AsyncConnection,
    orders: Sequence[Order],
    signed_calls: Sequence[int],
    nonces: Sequence[CallNonce],
    notifies: Sequence[NewNotify],
    notify_max: int,
    counted: Tally | None = None,
) -> Inserted:
    """Use nonces up and write orders with their notifies.

    Keys in `orders` and in `nonces` are distinct. `signed_calls`: of each order the call whose nonce it
    needs, 0 for none. `counted`: what to count, whether or not the orders are new.
    """
    binds: dict[str, Any] = columns(orders, *_SOLD) | nonce_binds(nonces)
    binds |= {
        "signed_call": list(signed_calls),
        "notify_id": [n.notify_id for n in notifies],
        "notify_order": [n.order_id for n in notifies],
        "notify_channel": [n.down_channel_no for n in notifies],
        "notify_url": [n.notify_url for n in notifies],
        "notify_max": notify_max,
    }
    counters: dict[Counted, Count] = {}
    if counted:
        rows = [
            tuple(row) for row in await db.execute(_INSERT_COUNTED, binds | batch_binds(counted))
        ]
        counters = {
            Counted(row[2], bytes(row[3]), row[4]): Count(*row[5:]) for row in rows if row[2]
        }
    else:
        rows = [tuple(row) for row in await db.execute(_INSERT, binds)]
    made = {row[0] for row in rows if row[0]}
    return Inserted(made, {row[1] for row in rows if row[1]}, counters)


async def orders_by_keys(
    db: AsyncConnection, keys: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], OrderSummary]:
    """Orders by (channel_no, request_no)."""
    binds = {"channel_nos": [k[0] for k in keys], "request_nos": [k[1] for k in keys]}
    found = _SUMMARIES.all(await db.execute(_BY_KEYS, binds))
    return {(one.down_channel_no, one.request_no): one for one in found}


async def order_facts(db: AsyncConnection, ids: Sequence[int]) -> dict[int, Order]:
    """Orders as they were sold, by id."""
    return {row[0]: Order(*row) for row in await db.execute(_FACTS, {"ids": ids})}


async def read_orders(
    db: AsyncConnection, ids: Sequence[int], *, lock: bool
) -> dict[int, tuple[Order, OrderState]]:
    """Orders with their states, by id; with `lock` locked to the end of the transaction."""
    rows = await db.execute(_LOCK if lock else _READ, {"ids": ids})
    return {row[0]: read_order(row) for row in rows}


async def lock_by_deliveries(
    db: AsyncConnection, delivery_ids: Sequence[int]
) -> dict[int, OrderState]:
    """The orders of deliveries, locked to the end of the transaction."""
    rows = await db.execute(_LOCK_BY_DELIVERIES, {"ids": delivery_ids})
    return {row[0]: _STATES.read(row) for row in rows}


async def advance_paid(
    db: AsyncConnection, paid: Sequence[Paid], bound: Mapping[int, Order], parts: Sequence[Delivery]
) -> dict[int, bool]:
    """10 -> 20 with the deliveries bound at once, which are about to be sent; the ids that moved.

    True for orders whose delivery is paused: what was to be bound of them is not.
    """
    binds = delivery_binds(parts, bound) | {
        "paid_ids": [one.order_id for one in paid],
        "payment_statuses": [one.payment_status for one in paid],
        "bind_statuses": [one.delivery_bind_status for one in paid],
        "bind_faces": [one.bind_face_micros for one in paid],
    }
    return {row.order_id: row.paused for row in await db.execute(_PAID, binds)}


async def advance_failed_unpaid(db: AsyncConnection, failed: Sequence[FailedUnpaid]) -> set[int]:
    """10 -> 90 before a payment is known, its refund waiting; the ids that moved."""
    return await returned(db, _FAILED_UNPAID, **columns(failed, *names_of(FailedUnpaid)))


async def advance_orders(db: AsyncConnection, updates: Sequence[OrderUpdate]) -> set[int]:
    """Write what was decided under the locks; the ids that moved (all of those locked)."""
    binds = columns(updates, "order_id", *_CHANGED)
    return await returned(
        db, _UPDATE, was_status=[one.was.order_status for one in updates], **binds
    )


async def advance_fail_refund(
    db: AsyncConnection, ids: Sequence[int], refund_status: FailRefundStatus
) -> set[int]:
    """20 -> done or not needed, of ended orders; the ids that moved."""
    return await returned(db, _FAIL_REFUND, ids=ids, refund_status=refund_status)


async def advance_late_debit(db: AsyncConnection, ids: Sequence[int]) -> set[int]:
    """A debit found its order already failed: to be refunded; the ids that moved."""
    return await returned(db, _LATE_DEBIT, ids=ids)


async def advance_answered(db: AsyncConnection, ids: Sequence[int]) -> None:
    """Notifies that were running are answered by the query (100)."""
    await db.execute(_ANSWERED, {"ids": ids})
