"""Statements on what ended within a period, row by row, of one channel or supplier or of all.

Each row says what was done when it ended, whatever was refunded or returned since.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db.columns import Rows
from shoudan_kit.db.text_statements import statement
from shoudan_order.states import (
    DeliveryStatus,
    OrderStatus,
    RefundStatus,
    ReturnStatus,
)
from shoudan_order.store.refunds import AMOUNTS
from shoudan_order.store.reports import TAKEN


class TradeKind(IntEnum):
    """What a row of a trade bill is about."""

    ORDER = 1
    REFUND = 2
    DELIVERY = 3
    RETURN = 4


@dataclass(frozen=True, slots=True)
class Trade:
    """One row of a trade bill."""

    kind: TradeKind
    number: int
    order_id: int
    their_no: str
    product_no: str
    carrier_no: str
    face_micros: int
    num: int
    result: int
    done_face_micros: int
    amount_micros: int
    commission_micros: int
    service_micros: int
    fee_micros: int
    end_time: datetime
    down_channel_no: str
    up_channel_no: str
    line_id: int
    invoice_type: int
    reason: str


_TRADE: Final = Rows(Trade)


def _moved(table: str, number: str, values: Mapping[str, str], more: str = "") -> str:
    """Rows of one table behind a key, by the BRIN index of its end_time."""
    given = {name: f"m.{name}" for name in _TRADE.names} | {"number": f"m.{number}"} | dict(values)
    listed = ", ".join(f"{given[name]} AS {name}" for name in _TRADE.names)
    return (
        f"SELECT {listed} FROM {table} m {more}"
        " WHERE m.end_time >= CAST(:start AS timestamptz) AND m.end_time < CAST(:end_ AS timestamptz)"
        f" AND (m.end_time, m.{number}) > (CAST(:start AS timestamptz), CAST(:after AS bigint))"
    )


def _sold(name: str) -> str:
    """What was sold at the order's end: what is left, and what refunds took of it since."""
    return f"m.{name} + coalesce(t.{AMOUNTS[name]}, 0)"


_DONE: Final = _sold("success_face_micros")
_ORDERS: Final = _moved(
    "oms_order_info",
    "order_id",
    {
        "kind": f"{TradeKind.ORDER:d}",
        "their_no": "m.request_no",
        "product_no": "m.ext_product_no",
        # What it was at its end: its status follows refunds, too.
        "result": f"CASE {_DONE} WHEN 0 THEN {OrderStatus.FAILED:d}"
        f" WHEN m.total_face_micros THEN {OrderStatus.SUCCEEDED:d} ELSE {OrderStatus.PARTIAL:d} END",
        "done_face_micros": _DONE,
        "amount_micros": _sold("success_sell_amount_micros"),
        "commission_micros": _sold("success_commission_micros"),
        "service_micros": _sold("success_service_micros"),
        "fee_micros": _sold("success_fee_micros"),
        "up_channel_no": "''",
        "reason": "''",
    },
    TAKEN,
)


def _returned(name: str) -> str:
    return f"CASE m.refund_status WHEN {RefundStatus.FAILED:d} THEN 0 ELSE m.{name} END"


_REFUNDS: Final = _moved(
    "oms_refund_info",
    "refund_id",
    {
        "kind": f"{TradeKind.REFUND:d}",
        "their_no": "m.down_refund_no",
        "product_no": "m.ext_product_no",
        "num": "m.refund_num",
        # Decided is done: that the money goes back takes moments more.
        "result": f"CASE m.refund_status WHEN {RefundStatus.REFUNDING:d} THEN {RefundStatus.SUCCEEDED:d}"
        " ELSE m.refund_status END",
        "done_face_micros": _returned("refund_face_micros"),
        "amount_micros": _returned("refund_sell_amount_micros"),
        "commission_micros": _returned("refund_commission_amount_micros"),
        "service_micros": _returned("refund_service_amount_micros"),
        "fee_micros": _returned("refund_fee_amount_micros"),
        "up_channel_no": "''",
        "invoice_type": "0",
    },
)


def _delivered(name: str) -> str:
    return f"CASE m.delivery_status WHEN {DeliveryStatus.SUCCEEDED:d} THEN m.{name} ELSE 0 END"


_DELIVERIES: Final = _moved(
    "oms_order_delivery",
    "delivery_id",
    {
        "kind": f"{TradeKind.DELIVERY:d}",
        "their_no": "m.up_delivery_no",
        "product_no": "m.up_ext_product_no",
        "result": "m.delivery_status",
        "done_face_micros": _delivered("total_face_micros"),
        "amount_micros": _delivered("cost_amount_micros"),
        "commission_micros": _delivered("up_commission_amount_micros"),
        "service_micros": _delivered("service_amount_micros"),
        "fee_micros": "CAST(0 AS bigint)",
        "reason": "''",
    },
)


def _taken_back(name: str) -> str:
    return f"CASE m.return_status WHEN {ReturnStatus.SUCCEEDED:d} THEN m.{name} ELSE 0 END"


_RETURNS: Final = _moved(
    "oms_refund_up_return",
    "return_id",
    {
        "kind": f"{TradeKind.RETURN:d}",
        "their_no": "m.up_return_no",
        "product_no": "m.up_ext_product_no",
        "face_micros": "m.return_face_micros",
        "num": "m.return_num",
        "result": "m.return_status",
        "done_face_micros": _taken_back("return_total_face_micros"),
        "amount_micros": _taken_back("return_cost_amount_micros"),
        "commission_micros": _taken_back("return_commission_amount_micros"),
        "service_micros": _taken_back("return_service_amount_micros"),
        "fee_micros": "CAST(0 AS bigint)",
        "reason": "''",
    },
)
_ORDER_BY: Final = "ORDER BY end_time, number LIMIT :most"


def _of(table: str, channel: str) -> str:
    """Those of one channel; in an expression, because its own index would give all it ever had."""
    return f"{table} AND m.{channel} || '' = :channel_no"


_DOWN = statement(
    f"{_of(_ORDERS, 'down_channel_no')} UNION ALL {_of(_REFUNDS, 'down_channel_no')} {_ORDER_BY}"
)
_UP = statement(
    f"{_of(_DELIVERIES, 'up_channel_no')} UNION ALL {_of(_RETURNS, 'up_channel_no')} {_ORDER_BY}"
)
_ALL = statement(
    f"{_ORDERS} UNION ALL {_REFUNDS} UNION ALL {_DELIVERIES} UNION ALL {_RETURNS} {_ORDER_BY}"
)
_NOW = statement("SELECT shoudan_now()")


@dataclass(frozen=True, slots=True)
class Whose:
    """Whose trades: of a down channel, of a supplier (`up`), or of all when the number is empty."""

    channel_no: str
    up: bool


async def ended(
    db: AsyncConnection, whose: Whose, *, start: datetime, after: int, end: datetime, most: int
) -> list[Trade]:
    """What ended behind (start, after) and before `end`, by end_time and number."""
    binds: dict[str, object] = {"start": start, "after": after, "end_": end, "most": most}
    if not whose.channel_no:
        return _TRADE.all(await db.execute(_ALL, binds))
    binds["channel_no"] = whose.channel_no
    return _TRADE.all(await db.execute(_UP if whose.up else _DOWN, binds))


async def now(db: AsyncConnection) -> datetime:
    """The database's time, which ends have."""
    moment: datetime = (await db.execute(_NOW)).scalar_one()
    return moment
