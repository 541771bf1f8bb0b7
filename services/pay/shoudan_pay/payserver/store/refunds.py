"""Statements on refunds and trade records."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from typing import ClassVar, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db.columns import literal, types
from shoudan_kit.db.text_statements import columns, statement, unnest
from shoudan_pay.payserver.states import REFUND, RefundStatus
from shoudan_pay.payserver.store.orders import Order, Orders
from shoudan_pay.payserver.tables import REFUND_ORDER, TRADE_RECORD


class RefundOrder(Order, frozen=True):
    """One row of refund_order."""

    CLIENT_NO: ClassVar[str] = "client_refund_no"
    THIRD_NO: ClassVar[str] = "third_refund_no"
    CALLED_AT: ClassVar[str] = "start_time"

    pay_id: int
    pay_uuid: str
    pay_traction_no: str
    client_refund_no: str
    cancel: bool
    third_refund_no: str | None


@dataclass(frozen=True, slots=True)
class Trade:
    """A trade record to write."""

    uuid: str
    traction_no: str
    trade_type: str
    amount_micros: int
    status: str
    result_code: str
    merchant_uuid: str
    mode_uuid: str
    template_id: str | None
    pay_uuid: str
    refund_uuid: str


ORDERS: Final = Orders(RefundOrder, REFUND_ORDER, REFUND)
by_client_no, by_number = ORDERS.by_client_no, ORDERS.by_number
settle, park = ORDERS.settle, ORDERS.park

# The database gives the id and the times but finish_time.
_NEW: Final = tuple(
    name
    for name in ORDERS.rows.names
    if name not in {"id", "parked", "start_time", "create_time", "modify_time"}
)
_NAMES: Final = ", ".join(_NEW)
_INSERT = statement(f"""
INSERT INTO refund_order AS o ({_NAMES}, parked, start_time, create_time, modify_time)
SELECT {_NAMES}, false, shoudan_now(), shoudan_now(), shoudan_now()
FROM {unnest(**types(REFUND_ORDER, *_NEW))} RETURNING {ORDERS.rows.of("o")}
""")
# Read while the pay orders are locked: no other transaction can add to these now. A failed refund that its
# component now calls a success may have been given back: it counts until a person has decided.
_GIVEN = statement(f"""
SELECT pay_id, CAST(sum(amount_micros) AS bigint)
FROM refund_order
WHERE pay_id = ANY(CAST(:pay_ids AS bigint[]))
    AND (status <> {literal(RefundStatus.REFUND_FAILED)} OR parked)
GROUP BY pay_id
""")

_TRADE: Final = tuple(one.name for one in fields(Trade))
_INSERT_TRADES = statement(f"""
INSERT INTO trade_record ({", ".join(_TRADE)}, create_time)
SELECT {", ".join(f"given.{name}" for name in _TRADE)}, shoudan_now()
FROM {unnest(**types(TRADE_RECORD, *_TRADE))}
""")


async def insert(db: AsyncConnection, new: Sequence[RefundOrder]) -> dict[str, RefundOrder]:
    """Write new refunds, by tractionNo; ids and times given with them do not count."""
    ordered = sorted(new, key=lambda one: one.client_key)
    found = ORDERS.rows.all(await db.execute(_INSERT, columns(ordered, *_NEW)))
    return {one.traction_no: one for one in found}


async def given(db: AsyncConnection, pay_ids: Collection[int]) -> dict[int, int]:
    """Micro-yuan that refunds of locked pay orders have or may still have, by pay id; failed ones not."""
    rows = (await db.execute(_GIVEN, {"pay_ids": list(pay_ids)})).all()
    return {row[0]: row[1] for row in rows}


async def record(db: AsyncConnection, trades: Sequence[Trade]) -> None:
    """Add to the history."""
    await db.execute(_INSERT_TRADES, columns(trades, *_TRADE))
