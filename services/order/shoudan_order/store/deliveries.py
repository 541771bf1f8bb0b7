"""Statements on oms_order_delivery."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db.columns import assigned, literals, names_of, returned, types
from shoudan_kit.db.text_statements import columns, statement, unnest
from shoudan_order.states import (
    DELIVERY,
    UP_PAYMENT,
    DeliveryEvent,
    DeliveryStatus,
    UpPaymentEvent,
    UpPaymentStatus,
)
from shoudan_order.store.rows import Delivery, DeliveryState, Order
from shoudan_order.tables import DELIVERY as DELIVERIES


class Ended(msgspec.Struct, frozen=True):
    """How a delivery ended."""

    delivery_id: int
    delivery_status: DeliveryStatus
    up_payment_status: UpPaymentStatus
    up_delivery_no: str
    cost_amount_micros: int
    courier_cost_amount_micros: int
    return_msg: str
    result_params: str


# What a delivery is inserted with, and what it repeats of its order. Its time-out is not stored.
_OWN: Final = names_of(Delivery)[:-1]
_OF_ORDER: Final = (
    "down_channel_no", "down_product_id", "line_id", "carrier_no", "province_no", "city_no",
)  # fmt: skip
_INSERTED: Final = ", ".join((*_OWN, *_OF_ORDER))
_SELECTED: Final = ", ".join(
    f"d.{name}" for name in (*_OWN, "delivery_status", "up_payment_status")
)
_END_COLUMNS: Final = names_of(Ended)
_OPEN: Final = literals(DELIVERY.sources(DeliveryEvent.FAILED))

# Deliveries are written as about to be sent; the orders are locked by the caller.
INSERT_DELIVERIES: Final = f"""INSERT INTO oms_order_delivery
    ({_INSERTED}, delivery_status, start_time)
    SELECT {_INSERTED}, {DeliveryStatus.SENDING:d}, shoudan_now()
    FROM {unnest(**types(DELIVERIES, *_OWN, *_OF_ORDER))}"""
_INSERT = statement(INSERT_DELIVERIES)

_BY_IDS = statement(f"""
SELECT {_SELECTED} FROM oms_order_delivery d
WHERE d.delivery_id = ANY(CAST(:ids AS bigint[])) ORDER BY d.delivery_id
""")

_BY_ORDERS = statement(f"""
SELECT {_SELECTED} FROM oms_order_delivery d
WHERE d.order_id = ANY(CAST(:ids AS bigint[])) ORDER BY d.delivery_id
""")

# 20 -> 30, committed before the call.
_START = statement(f"""
UPDATE oms_order_delivery SET delivery_status = {DeliveryStatus.SENDING:d}, start_time = shoudan_now()
WHERE delivery_id = ANY(CAST(:ids AS bigint[]))
    AND delivery_status IN ({literals(DELIVERY.sources(DeliveryEvent.STARTED))})
RETURNING delivery_id
""")

# 30 (or, refused before it was sent, 20) -> 0 or 90, with what the supplier said.
_END = statement(f"""
UPDATE oms_order_delivery d SET {assigned(_END_COLUMNS[1:])}, end_time = shoudan_now()
FROM {unnest(**types(DELIVERIES, *_END_COLUMNS))}
WHERE d.delivery_id = given.delivery_id AND d.delivery_status IN ({_OPEN})
    AND d.up_payment_status IN ({literals(UP_PAYMENT.sources(UpPaymentEvent.DELIVERED))})
RETURNING d.delivery_id
""")

# Suppliers that failed these orders recently, or ever reported two different ends of one delivery.
_EXCLUDED = statement(f"""
SELECT order_id, up_channel_no FROM oms_order_delivery
WHERE order_id = ANY(CAST(:ids AS bigint[])) AND (conflict OR delivery_status = {DeliveryStatus.FAILED:d}
    AND end_time > shoudan_now() - make_interval(secs => :within_s))
""")

# Once for each delivery: a repeated contradiction makes no second audit.
_MARK_CONFLICTS = statement("""
UPDATE oms_order_delivery SET conflict = true
WHERE delivery_id = ANY(CAST(:ids AS bigint[])) AND NOT conflict
RETURNING delivery_id
""")

# 90 -> 0 by a person's decision, under the order's lock: it ends anew, so that no closed month changes.
_CONFIRM = statement(f"""
UPDATE oms_order_delivery SET return_msg = :reason, end_time = shoudan_now(),
    delivery_status = {DELIVERY.next(DeliveryStatus.FAILED, DeliveryEvent.CONFIRMED):d},
    up_payment_status = {UP_PAYMENT.next(UpPaymentStatus.NOT_NEEDED, UpPaymentEvent.CONFIRMED):d}
WHERE delivery_id = :id
    AND delivery_status IN ({literals(DELIVERY.sources(DeliveryEvent.CONFIRMED))})
    AND up_payment_status IN ({literals(UP_PAYMENT.sources(UpPaymentEvent.CONFIRMED))})
RETURNING delivery_id
""")


def delivery_binds(parts: Sequence[Delivery], orders: Mapping[int, Order]) -> dict[str, list[Any]]:
    """Binds of INSERT_DELIVERIES."""
    return columns(parts, *_OWN) | columns((orders[part.order_id] for part in parts), *_OF_ORDER)


def _read(row: Any) -> DeliveryState:
    *own, status, paid = row
    return DeliveryState(Delivery(*own, timeout_s=0), DeliveryStatus(status), UpPaymentStatus(paid))


async def insert_deliveries(
    db: AsyncConnection, parts: Sequence[Delivery], orders: Mapping[int, Order]
) -> None:
    """Write deliveries that are about to be sent."""
    if parts:
        await db.execute(_INSERT, delivery_binds(parts, orders))


async def deliveries_by_ids(db: AsyncConnection, ids: Sequence[int]) -> dict[int, DeliveryState]:
    """Deliveries by id. Their time-out is not stored: 0."""
    return {row[0]: _read(row) for row in await db.execute(_BY_IDS, {"ids": ids})}


async def deliveries_of(db: AsyncConnection, order_ids: Sequence[int]) -> list[DeliveryState]:
    """All deliveries of orders, by id."""
    return [_read(row) for row in await db.execute(_BY_ORDERS, {"ids": order_ids})]


async def advance_started(db: AsyncConnection, ids: Sequence[int]) -> set[int]:
    """20 -> 30; the ids that moved."""
    return await returned(db, _START, ids=ids)


async def advance_ended(db: AsyncConnection, ended: Sequence[Ended]) -> set[int]:
    """20 or 30 -> 0 or 90; the ids that moved. The orders are locked by the caller."""
    return await returned(db, _END, **columns(ended, *_END_COLUMNS))


async def mark_conflicts(db: AsyncConnection, ids: Sequence[int]) -> set[int]:
    """Their supplier has reported the other end since; the ids that were not marked before."""
    return await returned(db, _MARK_CONFLICTS, ids=ids)


async def advance_confirmed(db: AsyncConnection, delivery_id: int, reason: str) -> bool:
    """90 -> 0, to be paid; whether it moved. The order is locked by the caller."""
    return bool(await returned(db, _CONFIRM, id=delivery_id, reason=reason))


async def excluded(
    db: AsyncConnection, order_ids: Sequence[int], within_s: float
) -> dict[int, set[str]]:
    """Suppliers that get nothing of each order: failed within the last seconds, or in conflict."""
    found: dict[int, set[str]] = {}
    for order_id, channel_no in await db.execute(
        _EXCLUDED, {"ids": order_ids, "within_s": within_s}
    ):
        found.setdefault(order_id, set()).add(channel_no)
    return found
