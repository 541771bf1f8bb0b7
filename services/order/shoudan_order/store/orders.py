"""Statements on oms_order_info: taking, finding and moving orders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db.text_statements import columns, statement, unnest
from shoudan_order.states import (
    ENDED,
    BindStatus,
    DeliveryStatus,
    FailRefundStatus,
    NotifyStatus,
    OrderStatus,
    PaymentStatus,
)
from shoudan_order.store.deliveries import INSERTED, INSERTED_COLUMNS, delivery_binds
from shoudan_order.store.rows import Delivery, Order, OrderState, OrderSummary

# Types of the columns an order is inserted with, in the order of the dataclass.
_SOLD: Final = {
    "order_id": "bigint",
    "down_channel_no": "text",
    "request_no": "text",
    "down_shelf_id": "bigint",
    "down_product_id": "bigint",
    "ext_product_no": "text",
    "line_id": "bigint",
    "carrier_no": "text",
    "province_no": "text",
    "city_no": "text",
    "invoice_type": "integer",
    "face_micros": "bigint",
    "num": "integer",
    "total_face_micros": "bigint",
    "mer_amount_micros": "bigint",
    "sell_amount_micros": "bigint",
    "commission_amount_micros": "bigint",
    "service_amount_micros": "bigint",
    "fee_amount_micros": "bigint",
    "sell_discount_ppm": "bigint",
    "commission_discount_ppm": "bigint",
    "service_discount_ppm": "bigint",
    "payment_fee_discount_ppm": "bigint",
    "can_split_order": "smallint",
    "split_order_face_micros": "bigint",
    "timeout_s": "integer",
    "rechage_account": "text",
    "has_notify": "boolean",
    "request_hash": "bytea",
}
_SOLD_COLUMNS: Final = ", ".join(name for name in _SOLD if name != "timeout_s")
SELECTED: Final = ", ".join(
    "CAST(least(extract(epoch FROM o.order_overtime - o.create_time), 31536000) AS integer)"
    " AS timeout_s"
    if name == "timeout_s"
    else f"o.{name}"
    for name in _SOLD
)
STATE: Final = (
    "o.order_status, o.payment_status, o.delivery_bind_status, o.refund_status, o.notify_status,"
    " o.is_refund, o.delivery_pause, o.bind_face_micros, o.success_face_micros,"
    " o.success_sell_amount_micros, o.success_commission_micros, o.success_service_micros,"
    " o.success_fee_micros, o.success_cost_amount_micros, o.success_up_commission_micros,"
    " o.success_up_service_micros, o.profit_micros, o.up_paid_face_micros,"
    " CAST(least(extract(epoch FROM o.order_overtime - shoudan_now()), 31536000) AS integer)"
    " AS left_s, o.parked_reason, o.fail_code, o.fail_msg"
)
_SUMMARY: Final = (
    "o.order_id, o.down_channel_no, o.request_no, o.order_status, o.fail_code, o.fail_msg,"
    " o.notify_status, o.request_hash"
)

ENDED_STATUSES: Final = ", ".join(str(int(status)) for status in sorted(ENDED))

# Rows go in by key, so that two batches with the same keys wait for each other in the same order.
# The notify of an order is written only with an order that is new.
_INSERT = statement(f"""
WITH made AS (
    INSERT INTO oms_order_info ({_SOLD_COLUMNS}, order_overtime)
    SELECT {_SOLD_COLUMNS}, shoudan_now() + make_interval(secs => timeout_s)
    FROM {unnest(**_SOLD)} ORDER BY down_channel_no, request_no
    ON CONFLICT (down_channel_no, request_no) DO NOTHING
    RETURNING order_id
), told AS (
    INSERT INTO oms_notify_info
        (notify_id, order_id, refund_id, down_channel_no, notify_type, max_count, notify_url)
    SELECT n.notify_id, n.order_id, 0, n.channel_no, 1, :notify_max, n.notify_url
    FROM unnest(CAST(:notify_id AS bigint[]), CAST(:notify_order AS bigint[]),
        CAST(:notify_channel AS text[]), CAST(:notify_url AS text[]))
        AS n(notify_id, order_id, channel_no, notify_url)
    WHERE (n.order_id IN (SELECT order_id FROM made)) IS TRUE
)
SELECT order_id FROM made
""")

# By the unique key of the channel.
_BY_KEYS = statement(f"""
SELECT {_SUMMARY} FROM oms_order_info o
JOIN unnest(CAST(:channel_nos AS text[]), CAST(:request_nos AS text[])) AS k(channel_no, request_no)
    ON o.down_channel_no = k.channel_no AND o.request_no = k.request_no
""")

_FACTS = statement(f"""
SELECT {SELECTED} FROM oms_order_info o WHERE o.order_id = ANY(CAST(:ids AS bigint[]))
""")

_READ = statement(f"""
SELECT {SELECTED}, {STATE} FROM oms_order_info o
WHERE o.order_id = ANY(CAST(:ids AS bigint[])) ORDER BY o.order_id
""")

# In id order, like everybody who locks orders.
_LOCK = statement(f"""
SELECT {SELECTED}, {STATE} FROM oms_order_info o
WHERE o.order_id = ANY(CAST(:ids AS bigint[])) ORDER BY o.order_id FOR UPDATE
""")

# The same for orders known by their deliveries.
_LOCK_BY_DELIVERIES = statement(f"""
SELECT o.order_id, {STATE} FROM oms_order_info o
WHERE o.order_id IN (SELECT d.order_id FROM oms_order_delivery d
    WHERE d.delivery_id = ANY(CAST(:ids AS bigint[])))
ORDER BY o.order_id FOR UPDATE OF o
""")

# 10/30/10/10 -> paid; only orders that moved, and are not paused, get their deliveries.
_PAID = statement(f"""
WITH moved AS (
    UPDATE oms_order_info o SET modify_time = greatest(o.modify_time, shoudan_now()),
        order_status = :delivering, payment_status = g.payment_status,
        pay_time = shoudan_now(),
        delivery_bind_status = CASE WHEN o.delivery_pause = 0
            THEN CAST(:bind_waiting AS smallint) ELSE g.bind_status END,
        bind_face_micros = CASE WHEN o.delivery_pause = 0 THEN 0 ELSE g.bind_face END
    FROM unnest(CAST(:order_ids AS bigint[]), CAST(:payment_statuses AS smallint[]),
        CAST(:bind_statuses AS smallint[]), CAST(:bind_faces AS bigint[]))
        AS g(order_id, payment_status, bind_status, bind_face)
    WHERE o.order_id = g.order_id AND o.order_status = :paying AND o.payment_status = :unpaid
        AND o.delivery_bind_status = :unbound AND o.refund_status = :unfailed
        AND o.order_overtime > shoudan_now()
    RETURNING o.order_id, o.delivery_pause = 0 AS paused
), bound AS (
    INSERT INTO oms_order_delivery ({INSERTED_COLUMNS}, delivery_status, start_time)
    SELECT {INSERTED_COLUMNS}, delivery_status,
        CASE WHEN delivery_status = :sending THEN shoudan_now() END
    FROM {unnest(**INSERTED)}
    WHERE (given.order_id IN (SELECT order_id FROM moved WHERE NOT moved.paused)) IS TRUE
)
SELECT order_id, paused FROM moved
""")

# 10/30/10/10 -> failed before any money moved, or (overtime) before anyone knows whether it did.
_FAILED_UNPAID = statement("""
UPDATE oms_order_info o SET modify_time = greatest(o.modify_time, shoudan_now()),
        order_status = :failed, payment_status = :ended,
    refund_status = :refund_status, fail_code = g.fail_code, fail_msg = g.fail_msg,
    notify_status = CASE WHEN o.has_notify THEN :notifying ELSE o.notify_status END,
    end_time = shoudan_now()
FROM unnest(CAST(:order_ids AS bigint[]), CAST(:fail_codes AS text[]), CAST(:fail_msgs AS text[]))
    AS g(order_id, fail_code, fail_msg)
WHERE o.order_id = g.order_id AND o.order_status = :paying AND o.payment_status = :unpaid
    AND o.delivery_bind_status = :unbound AND o.refund_status = :unfailed
RETURNING o.order_id
""")

# The caller holds the locks and has decided; the vector is what it read. The first end stays its moment.
_SETTLE = statement(f"""
UPDATE oms_order_info o SET modify_time = greatest(o.modify_time, shoudan_now()),
        order_status = g.order_status, delivery_bind_status = g.bind_status,
    refund_status = g.refund_status, notify_status = g.notify_status,
    bind_face_micros = g.bind_face, success_face_micros = g.success_face,
    success_sell_amount_micros = g.sell, success_commission_micros = g.commission,
    success_service_micros = g.service, success_fee_micros = g.fee,
    success_cost_amount_micros = g.cost, success_up_commission_micros = g.up_commission,
    success_up_service_micros = g.up_service, profit_micros = g.profit,
    fail_code = g.fail_code, fail_msg = g.fail_msg, parked_reason = g.parked_reason,
    is_refund = g.is_refund, end_time = coalesce(o.end_time,
        CASE WHEN g.order_status IN ({ENDED_STATUSES}) THEN shoudan_now() END)
FROM {
    unnest(
        order_id="bigint",
        was_status="smallint",
        order_status="smallint",
        bind_status="smallint",
        refund_status="smallint",
        notify_status="smallint",
        bind_face="bigint",
        success_face="bigint",
        sell="bigint",
        commission="bigint",
        service="bigint",
        fee="bigint",
        cost="bigint",
        up_commission="bigint",
        up_service="bigint",
        profit="bigint",
        fail_code="text",
        fail_msg="text",
        parked_reason="text",
        is_refund="smallint",
    ).replace("AS given", "AS g")
}
WHERE o.order_id = g.order_id AND o.order_status = g.was_status
RETURNING o.order_id
""")

# 20 -> 0 or 99: giving back what a failed order had paid.
_FAIL_REFUND = statement("""
UPDATE oms_order_info o SET modify_time = greatest(o.modify_time, shoudan_now()),
        refund_status = CAST(:refund_status AS smallint),
    money_time = CASE WHEN CAST(:refund_status AS smallint) = 0 THEN shoudan_now() ELSE o.money_time END
WHERE o.order_id = ANY(CAST(:ids AS bigint[])) AND o.order_status = ANY(CAST(:ended AS smallint[]))
    AND o.refund_status = :was
RETURNING o.order_id
""")

# 99 -> 20 of orders that failed unpaid, and of no others: what was paid and refunded stays refunded.
_LATE_DEBIT = statement("""
UPDATE oms_order_info o SET modify_time = greatest(o.modify_time, shoudan_now()),
        refund_status = :waiting
WHERE o.order_id = ANY(CAST(:ids AS bigint[])) AND o.order_status = :failed
    AND o.payment_status = :unpaid AND o.refund_status = ANY(CAST(:was AS smallint[]))
RETURNING o.order_id
""")

# 30 -> 100: whoever has asked need not be told; the notify itself ends, too.
_ANSWERED = statement("""
WITH asked AS (
    UPDATE oms_order_info o SET modify_time = greatest(o.modify_time, shoudan_now()),
        notify_status = :answered
    WHERE o.order_id = ANY(CAST(:ids AS bigint[])) AND o.notify_status = :running
    RETURNING o.order_id
)
UPDATE oms_notify_info n SET notify_status = :answered, end_time = shoudan_now()
WHERE n.order_id = ANY(ARRAY(SELECT order_id FROM asked)) AND n.refund_id = 0
    AND n.notify_status IN (10, 20)
""")


@dataclass(frozen=True, slots=True)
class NewNotify:
    """A notify to be written with its order."""

    notify_id: int
    order_id: int
    down_channel_no: str
    notify_url: str


@dataclass(frozen=True, slots=True)
class Paid:
    """An order that has just been paid, and how far it is bound."""

    order_id: int
    payment_status: PaymentStatus
    bind_status: BindStatus
    bind_face_micros: int


@dataclass(frozen=True, slots=True)
class FailedUnpaid:
    """An order that ends before it was known to be paid."""

    order_id: int
    fail_code: str
    fail_msg: str


@dataclass(frozen=True, slots=True)
class OrderUpdate:
    """What becomes of an order, decided under its lock."""

    was: OrderState
    order_status: OrderStatus
    delivery_bind_status: BindStatus
    refund_status: FailRefundStatus
    notify_status: NotifyStatus
    bind_face_micros: int
    success_face_micros: int
    success_sell_amount_micros: int
    success_commission_micros: int
    success_service_micros: int
    success_fee_micros: int
    success_cost_amount_micros: int
    success_up_commission_micros: int
    success_up_service_micros: int
    profit_micros: int
    fail_code: str = ""
    fail_msg: str = ""
    parked_reason: str = ""
    is_refund: int = 1


def order_of(row: Row[Any]) -> Order:
    """The frozen facts of a row of _FACTS, _READ or _LOCK."""
    return Order(*row[: len(_SOLD)])


def state_of(row: Row[Any]) -> OrderState:
    """Where the order of a row of _READ or _LOCK stands."""
    return _state(row[0], row[len(_SOLD) :])


def _state(order_id: int, rest: Sequence[Any]) -> OrderState:
    return OrderState(
        order_id,
        OrderStatus(rest[0]),
        PaymentStatus(rest[1]),
        BindStatus(rest[2]),
        FailRefundStatus(rest[3]),
        NotifyStatus(rest[4]),
        *rest[5:],
    )


def _summary(row: Row[Any]) -> OrderSummary:
    return OrderSummary(
        row.order_id,
        row.down_channel_no,
        row.request_no,
        OrderStatus(row.order_status),
        row.fail_code,
        row.fail_msg,
        NotifyStatus(row.notify_status),
        bytes(row.request_hash),
    )


async def insert_orders(
    db: AsyncConnection, orders: Sequence[Order], notifies: Sequence[NewNotify], notify_max: int
) -> set[int]:
    """Write orders with their notifies; the ids that are new. Keys in `orders` are distinct."""
    binds: dict[str, Any] = columns(orders, *_SOLD)
    binds |= {
        "notify_id": [n.notify_id for n in notifies],
        "notify_order": [n.order_id for n in notifies],
        "notify_channel": [n.down_channel_no for n in notifies],
        "notify_url": [n.notify_url for n in notifies],
        "notify_max": notify_max,
    }
    return set((await db.execute(_INSERT, binds)).scalars())


async def orders_by_keys(
    db: AsyncConnection, keys: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], OrderSummary]:
    """Orders by (channel_no, request_no)."""
    binds = {"channel_nos": [k[0] for k in keys], "request_nos": [k[1] for k in keys]}
    found = [_summary(row) for row in await db.execute(_BY_KEYS, binds)]
    return {(one.down_channel_no, one.request_no): one for one in found}


async def order_facts(db: AsyncConnection, ids: Sequence[int]) -> dict[int, Order]:
    """Orders as they were sold, by id."""
    return {row[0]: order_of(row) for row in await db.execute(_FACTS, {"ids": ids})}


async def read_orders(
    db: AsyncConnection, ids: Sequence[int], *, lock: bool
) -> dict[int, tuple[Order, OrderState]]:
    """Orders with where they stand, by id; with `lock` held to the end of the transaction."""
    rows = await db.execute(_LOCK if lock else _READ, {"ids": ids})
    return {row[0]: (order_of(row), state_of(row)) for row in rows}


async def lock_by_deliveries(
    db: AsyncConnection, delivery_ids: Sequence[int]
) -> dict[int, OrderState]:
    """The orders of deliveries, locked to the end of the transaction."""
    rows = await db.execute(_LOCK_BY_DELIVERIES, {"ids": delivery_ids})
    return {row[0]: _state(row[0], row[1:]) for row in rows}


async def advance_paid(
    db: AsyncConnection, paid: Sequence[Paid], bound: Mapping[int, Order], parts: Sequence[Delivery],
    started: bool,
) -> dict[int, bool]:  # fmt: skip
    """10 -> 20 with the deliveries bound at once, sending if `started`; the ids that moved.

    True for orders whose delivery is paused: what was to be bound of them is not.
    """
    binds = {
        "order_ids": [p.order_id for p in paid],
        "payment_statuses": [int(p.payment_status) for p in paid],
        "bind_statuses": [int(p.bind_status) for p in paid],
        "bind_faces": [p.bind_face_micros for p in paid],
        "paying": int(OrderStatus.PAYING),
        "delivering": int(OrderStatus.DELIVERING),
        "unpaid": int(PaymentStatus.PAYING),
        "unbound": int(BindStatus.NOT_STARTED),
        "unfailed": int(FailRefundStatus.NOT_STARTED),
        "bind_waiting": int(BindStatus.WAITING),
        "sending": int(DeliveryStatus.SENDING),
        **delivery_binds(parts, bound, started=started),
    }
    return {row.order_id: row.paused for row in await db.execute(_PAID, binds)}


async def advance_failed_unpaid(
    db: AsyncConnection, failed: Sequence[FailedUnpaid], refund_status: FailRefundStatus
) -> set[int]:
    """10 -> 90 before a payment is known; the ids that moved."""
    binds = {
        "order_ids": [f.order_id for f in failed],
        "fail_codes": [f.fail_code for f in failed],
        "fail_msgs": [f.fail_msg for f in failed],
        "failed": int(OrderStatus.FAILED),
        "ended": int(PaymentStatus.OVERTIME),
        "refund_status": int(refund_status),
        "notifying": int(NotifyStatus.RUNNING),
        "paying": int(OrderStatus.PAYING),
        "unpaid": int(PaymentStatus.PAYING),
        "unbound": int(BindStatus.NOT_STARTED),
        "unfailed": int(FailRefundStatus.NOT_STARTED),
    }
    return set((await db.execute(_FAILED_UNPAID, binds)).scalars())


async def advance_orders(db: AsyncConnection, updates: Sequence[OrderUpdate]) -> set[int]:
    """Write what was decided under the locks; the ids that moved (all, while the locks are held)."""
    binds = {
        "order_id": [s.was.order_id for s in updates],
        "was_status": [int(s.was.order_status) for s in updates],
        "order_status": [int(s.order_status) for s in updates],
        "bind_status": [int(s.delivery_bind_status) for s in updates],
        "refund_status": [int(s.refund_status) for s in updates],
        "notify_status": [int(s.notify_status) for s in updates],
        "bind_face": [s.bind_face_micros for s in updates],
        "success_face": [s.success_face_micros for s in updates],
        "sell": [s.success_sell_amount_micros for s in updates],
        "commission": [s.success_commission_micros for s in updates],
        "service": [s.success_service_micros for s in updates],
        "fee": [s.success_fee_micros for s in updates],
        "cost": [s.success_cost_amount_micros for s in updates],
        "up_commission": [s.success_up_commission_micros for s in updates],
        "up_service": [s.success_up_service_micros for s in updates],
        "profit": [s.profit_micros for s in updates],
        "fail_code": [s.fail_code for s in updates],
        "fail_msg": [s.fail_msg for s in updates],
        "parked_reason": [s.parked_reason for s in updates],
        "is_refund": [s.is_refund for s in updates],
    }
    return set((await db.execute(_SETTLE, binds)).scalars())


async def advance_fail_refund(
    db: AsyncConnection,
    ids: Sequence[int],
    refund_status: FailRefundStatus,
) -> set[int]:
    """20 -> done or not needed, of ended orders; the ids that moved."""
    binds = {
        "ids": ids,
        "refund_status": int(refund_status),
        "was": int(FailRefundStatus.WAITING),
        "ended": [int(OrderStatus.FAILED), int(OrderStatus.PARTIAL)],
    }
    return set((await db.execute(_FAIL_REFUND, binds)).scalars())


async def advance_late_debit(
    db: AsyncConnection, ids: Sequence[int], was: Sequence[FailRefundStatus]
) -> set[int]:
    """A debit found its order already failed: to be given back; the ids that moved."""
    binds = {
        "ids": ids,
        "waiting": int(FailRefundStatus.WAITING),
        "was": [int(one) for one in was],
        "failed": int(OrderStatus.FAILED),
        "unpaid": int(PaymentStatus.OVERTIME),
    }
    return set((await db.execute(_LATE_DEBIT, binds)).scalars())


async def advance_answered(db: AsyncConnection, ids: Sequence[int]) -> None:
    """Notifies that were running are answered by the query (100)."""
    answered, running = int(NotifyStatus.ANSWERED), int(NotifyStatus.RUNNING)
    await db.execute(_ANSWERED, {"ids": ids, "answered": answered, "running": running})
