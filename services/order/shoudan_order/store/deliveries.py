"""Statements on oms_order_delivery."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db.text_statements import statement, unnest
from shoudan_order.states import (
    DELIVERY,
    UP_PAYMENT,
    DeliveryEvent,
    DeliveryStatus,
    UpPaymentEvent,
    UpPaymentStatus,
)
from shoudan_order.store.rows import Delivery, DeliveryState, Order

# What a delivery is inserted with; the second part comes from its order.
INSERTED: Final = {
    "delivery_id": "bigint",
    "order_id": "bigint",
    "up_channel_no": "text",
    "up_product_id": "bigint",
    "up_ext_product_no": "text",
    "invoice_type": "integer",
    "face_micros": "bigint",
    "num": "integer",
    "total_face_micros": "bigint",
    "cost_amount_micros": "bigint",
    "up_commission_amount_micros": "bigint",
    "service_amount_micros": "bigint",
    "down_channel_no": "text",
    "down_product_id": "bigint",
    "line_id": "bigint",
    "carrier_no": "text",
    "province_no": "text",
    "city_no": "text",
    "delivery_status": "smallint",
}
INSERTED_COLUMNS: Final = ", ".join(name for name in INSERTED if name != "delivery_status")
_OWN: Final = (
    "delivery_id", "order_id", "up_channel_no", "up_product_id", "up_ext_product_no", "invoice_type",
    "face_micros", "num", "total_face_micros", "cost_amount_micros", "up_commission_amount_micros",
    "service_amount_micros",
)  # fmt: skip
_SELECTED: Final = ", ".join(f"d.{name}" for name in _OWN)

# A statement of its own for deliveries bound after the payment; the orders are locked by the caller.
_INSERT = statement(f"""
INSERT INTO oms_order_delivery ({INSERTED_COLUMNS}, delivery_status, start_time)
SELECT {INSERTED_COLUMNS}, delivery_status,
    CASE WHEN delivery_status = :sending THEN shoudan_now() END
FROM {unnest(**INSERTED)}
""")

_BY_IDS = statement(f"""
SELECT {_SELECTED}, d.delivery_status, d.up_payment_status FROM oms_order_delivery d
WHERE d.delivery_id = ANY(CAST(:ids AS bigint[])) ORDER BY d.delivery_id
""")

_BY_ORDERS = statement(f"""
SELECT {_SELECTED}, d.delivery_status, d.up_payment_status FROM oms_order_delivery d
WHERE d.order_id = ANY(CAST(:ids AS bigint[])) ORDER BY d.delivery_id
""")

# 20 -> 30, committed before the call.
_START = statement("""
UPDATE oms_order_delivery SET delivery_status = :sending, start_time = shoudan_now()
WHERE delivery_id = ANY(CAST(:ids AS bigint[])) AND delivery_status = :waiting
RETURNING delivery_id
""")

# 30 (or, refused before it was sent, 20) -> 0 or 90, with what the supplier said.
_END = statement(f"""
UPDATE oms_order_delivery d SET delivery_status = g.delivery_status,
    up_payment_status = g.up_payment_status, up_delivery_no = g.up_delivery_no,
    cost_amount_micros = g.cost, courier_cost_amount_micros = g.courier_cost,
    return_msg = g.return_msg, result_params = g.result_params, end_time = shoudan_now()
FROM {
    unnest(
        delivery_id="bigint",
        delivery_status="smallint",
        up_payment_status="smallint",
        up_delivery_no="text",
        cost="bigint",
        courier_cost="bigint",
        return_msg="text",
        result_params="text",
    ).replace("AS given", "AS g")
}
WHERE d.delivery_id = g.delivery_id AND d.delivery_status IN (20, 30)
    AND d.up_payment_status = :unpaid
RETURNING d.delivery_id
""")

# 30 -> 0 and the order's sum under the order's lock, in id order: two payments of one order at the
# same time count both (complete_up_pay).
_UP_PAID = statement("""
WITH locked AS (
    SELECT o.order_id FROM oms_order_info o WHERE o.order_id = ANY(CAST(:order_ids AS bigint[]))
    ORDER BY o.order_id FOR UPDATE
), paid AS (
    UPDATE oms_order_delivery d SET up_payment_status = :paid,
        money_time = shoudan_now()
    WHERE d.delivery_id = ANY(CAST(:ids AS bigint[])) AND (SELECT count(*) FROM locked) > 0
        AND d.delivery_status = :delivered AND d.up_payment_status = :paying
    RETURNING d.delivery_id, d.order_id, d.total_face_micros
), sums AS (
    SELECT order_id, sum(total_face_micros) AS face FROM paid GROUP BY order_id
), summed AS (
    UPDATE oms_order_info o SET modify_time = greatest(o.modify_time, shoudan_now()),
        up_paid_face_micros = o.up_paid_face_micros + sums.face,
        complete_up_pay = CASE
            WHEN o.up_paid_face_micros + sums.face >= o.total_face_micros THEN 0
            ELSE o.complete_up_pay END
    FROM sums WHERE o.order_id = sums.order_id
)
SELECT delivery_id FROM paid
""")

# Suppliers that failed these orders a moment ago, or ever told two different ends of one delivery.
_EXCLUDED = statement("""
SELECT order_id, up_channel_no FROM oms_order_delivery
WHERE order_id = ANY(CAST(:ids AS bigint[])) AND (conflict OR delivery_status = :failed
    AND end_time > shoudan_now() - make_interval(secs => :within_s))
""")

# Once for each delivery: what is repeated asks nobody again.
_MARK_CONFLICTS = statement("""
UPDATE oms_order_delivery SET conflict = true
WHERE delivery_id = ANY(CAST(:ids AS bigint[])) AND NOT conflict
RETURNING delivery_id
""")

# 90 -> 0 by a person's decision, under the order's lock: it ends anew, so that no closed month changes.
_CONFIRM = statement("""
UPDATE oms_order_delivery SET delivery_status = :succeeded, up_payment_status = :paying,
    return_msg = :reason, end_time = shoudan_now()
WHERE delivery_id = :id AND delivery_status = :failed AND up_payment_status = :not_needed
RETURNING delivery_id
""")


@dataclass(frozen=True, slots=True)
class Ended:
    """How a delivery ended."""

    delivery_id: int
    delivery_status: DeliveryStatus
    up_payment_status: UpPaymentStatus
    up_delivery_no: str
    cost_amount_micros: int
    courier_cost_amount_micros: int
    return_msg: str
    result_params: str


def delivery_binds(
    parts: Sequence[Delivery], orders: Mapping[int, Order], *, started: bool
) -> dict[str, list[Any]]:
    """Binds of INSERTED."""
    of = [orders[part.order_id] for part in parts]
    binds: dict[str, list[Any]] = {name: [getattr(part, name) for part in parts] for name in _OWN}
    status = int(DeliveryStatus.SENDING if started else DeliveryStatus.WAITING)
    return binds | {
        "down_channel_no": [order.down_channel_no for order in of],
        "down_product_id": [order.down_product_id for order in of],
        "line_id": [order.line_id for order in of],
        "carrier_no": [order.carrier_no for order in of],
        "province_no": [order.province_no for order in of],
        "city_no": [order.city_no for order in of],
        "delivery_status": [status] * len(parts),
    }


def _state(row: Any) -> DeliveryState:
    return DeliveryState(
        Delivery(*row[: len(_OWN)], timeout_s=0),
        DeliveryStatus(row.delivery_status),
        UpPaymentStatus(row.up_payment_status),
    )


async def insert_deliveries(
    db: AsyncConnection, parts: Sequence[Delivery], orders: Mapping[int, Order], *, started: bool
) -> None:
    """Write deliveries; `started` ones are about to be sent."""
    if parts:
        binds = delivery_binds(parts, orders, started=started)
        await db.execute(_INSERT, {**binds, "sending": int(DeliveryStatus.SENDING)})


async def deliveries_by_ids(db: AsyncConnection, ids: Sequence[int]) -> dict[int, DeliveryState]:
    """Deliveries by id. Their time-out is not stored: 0."""
    return {row[0]: _state(row) for row in await db.execute(_BY_IDS, {"ids": ids})}


async def deliveries_of(db: AsyncConnection, order_ids: Sequence[int]) -> list[DeliveryState]:
    """All deliveries of orders, by id."""
    return [_state(row) for row in await db.execute(_BY_ORDERS, {"ids": order_ids})]


async def advance_started(db: AsyncConnection, ids: Sequence[int]) -> set[int]:
    """20 -> 30; the ids that moved."""
    binds = {
        "ids": ids,
        "sending": int(DeliveryStatus.SENDING),
        "waiting": int(DeliveryStatus.WAITING),
    }
    return set((await db.execute(_START, binds)).scalars())


async def advance_ended(db: AsyncConnection, ended: Sequence[Ended]) -> set[int]:
    """20 or 30 -> 0 or 90; the ids that moved. The orders are locked by the caller."""
    binds: dict[str, Any] = {
        "delivery_id": [e.delivery_id for e in ended],
        "delivery_status": [int(e.delivery_status) for e in ended],
        "up_payment_status": [int(e.up_payment_status) for e in ended],
        "up_delivery_no": [e.up_delivery_no for e in ended],
        "cost": [e.cost_amount_micros for e in ended],
        "courier_cost": [e.courier_cost_amount_micros for e in ended],
        "return_msg": [e.return_msg for e in ended],
        "result_params": [e.result_params for e in ended],
        "unpaid": int(UpPaymentStatus.NOT_STARTED),
    }
    return set((await db.execute(_END, binds)).scalars())


async def advance_up_paid(
    db: AsyncConnection, ids: Sequence[int], order_ids: Sequence[int]
) -> set[int]:
    """30 -> 0 and the orders' complete_up_pay; the ids that moved."""
    binds = {
        "ids": ids,
        "order_ids": order_ids,
        "paid": int(UpPaymentStatus.PAID),
        "paying": int(UpPaymentStatus.PAYING),
        "delivered": int(DeliveryStatus.SUCCEEDED),
    }
    return set((await db.execute(_UP_PAID, binds)).scalars())


async def mark_conflicts(db: AsyncConnection, ids: Sequence[int]) -> set[int]:
    """Their supplier has told another end since; the ids that were not marked before."""
    return set((await db.execute(_MARK_CONFLICTS, {"ids": ids})).scalars())


async def advance_confirmed(db: AsyncConnection, delivery_id: int, reason: str) -> bool:
    """90 -> 0, to be paid; whether it moved. The order is locked by the caller."""
    event, paid = DeliveryEvent.CONFIRMED, UpPaymentEvent.CONFIRMED
    binds = {
        "id": delivery_id,
        "reason": reason,
        "failed": int(DeliveryStatus.FAILED),
        "not_needed": int(UpPaymentStatus.NOT_NEEDED),
        "succeeded": int(DELIVERY.next(DeliveryStatus.FAILED, event)),
        "paying": int(UP_PAYMENT.next(UpPaymentStatus.NOT_NEEDED, paid)),
    }
    return (await db.execute(_CONFIRM, binds)).first() is not None


async def excluded(
    db: AsyncConnection, order_ids: Sequence[int], within_s: float
) -> dict[int, set[str]]:
    """Suppliers that get nothing of each order: failed within the last seconds, or in conflict."""
    binds = {"ids": order_ids, "within_s": within_s, "failed": int(DeliveryStatus.FAILED)}
    found: dict[int, set[str]] = {}
    for order_id, channel_no in await db.execute(_EXCLUDED, binds):
        found.setdefault(order_id, set()).add(channel_no)
    return found
