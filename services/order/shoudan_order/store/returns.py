"""Statements on oms_refund_up_return: returns of goods to suppliers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db.columns import Rows, assigned, literals, names_of, returned, types
from shoudan_kit.db.text_statements import columns, statement, unnest
from shoudan_order.states import (
    MONEY_BACK,
    RETURN,
    AuditStatus,
    AuditType,
    MoneyBackEvent,
    MoneyBackStatus,
    ReturnEvent,
    ReturnStatus,
)
from shoudan_order.tables import RETURN as RETURNS


class Return(msgspec.Struct, frozen=True):
    """Goods of one delivery on their way back."""

    return_id: int
    up_channel_no: str
    up_product_id: int
    up_ext_product_no: str
    order_id: int
    refund_id: int
    delivery_id: int
    return_face_micros: int
    return_num: int
    return_total_face_micros: int
    return_cost_amount_micros: int
    return_commission_amount_micros: int
    return_service_amount_micros: int
    return_status: ReturnStatus
    up_refund_status: MoneyBackStatus


class EndedReturn(msgspec.Struct, frozen=True):
    """How a return ended."""

    return_id: int
    return_status: ReturnStatus
    up_refund_status: MoneyBackStatus
    up_return_no: str
    return_msg: str


_RETURNS: Final = Rows(Return)
_FACTS: Final = _RETURNS.names
_END_COLUMNS: Final = names_of(EndedReturn)
_READ_NAMES: Final = _RETURNS.of("u")

# The delivery gives what the return repeats of it. What was never there to send back has ended at once.
_INSERT = statement(f"""
INSERT INTO oms_refund_up_return ({", ".join(_FACTS)}, down_channel_no, down_product_id, line_id, carrier_no,
    province_no, city_no, invoice_type, end_time)
SELECT {", ".join(f"given.{name}" for name in _FACTS)}, d.down_channel_no, d.down_product_id,
    d.line_id, d.carrier_no, d.province_no, d.city_no, d.invoice_type,
    CASE WHEN given.return_status = {ReturnStatus.SUCCEEDED:d} THEN shoudan_now() END
FROM {unnest(**types(RETURNS, *_FACTS))} JOIN oms_order_delivery d USING (delivery_id)
""")

_BY_IDS = statement(f"""
SELECT {_READ_NAMES} FROM oms_refund_up_return u
WHERE u.return_id = ANY(CAST(:ids AS bigint[])) ORDER BY u.return_id
""")

_LOCK_BY_IDS = statement(f"""
SELECT {_READ_NAMES} FROM oms_refund_up_return u
WHERE u.return_id = ANY(CAST(:ids AS bigint[])) ORDER BY u.return_id FOR UPDATE
""")

# Once for each return: a repeated contradiction makes no second audit.
_MARK_CONFLICTS = statement("""
UPDATE oms_refund_up_return SET conflict = true
WHERE return_id = ANY(CAST(:ids AS bigint[])) AND NOT conflict
RETURNING return_id
""")

_BY_REFUNDS = statement(f"""
SELECT {_READ_NAMES} FROM oms_refund_up_return u
WHERE u.refund_id = ANY(CAST(:ids AS bigint[])) ORDER BY u.return_id
""")

# Returns of a delivery that succeeded or may still: one reported with both ends may have succeeded
# until a person has decided.
_OF_DELIVERIES = statement(f"""
SELECT {_READ_NAMES} FROM oms_refund_up_return u
WHERE u.delivery_id = ANY(CAST(:ids AS bigint[])) AND (u.return_status <> {ReturnStatus.FAILED:d}
    OR u.conflict AND EXISTS (SELECT 1 FROM oms_audit_info a WHERE a.order_id = u.order_id
        AND a.delivery_id = u.return_id AND a.change_type = {AuditType.RETURN:d}
        AND a.audit_status = {AuditStatus.WAITING:d}))
""")

_START = statement(f"""
UPDATE oms_refund_up_return SET return_status = {ReturnStatus.SENDING:d}, start_time = shoudan_now()
WHERE return_id = ANY(CAST(:ids AS bigint[]))
    AND return_status IN ({literals(RETURN.sources(ReturnEvent.STARTED))})
RETURNING return_id
""")

_END = statement(f"""
UPDATE oms_refund_up_return u SET {assigned(_END_COLUMNS[1:])}, end_time = shoudan_now()
FROM {unnest(**types(RETURNS, *_END_COLUMNS))}
WHERE u.return_id = given.return_id
    AND u.return_status IN ({literals(RETURN.sources(ReturnEvent.FAILED))})
    AND u.up_refund_status IN ({literals(MONEY_BACK.sources(MoneyBackEvent.RETURNED))})
RETURNING u.return_id
""")

_UP_REFUNDED = statement(f"""
UPDATE oms_refund_up_return SET up_refund_status = {MoneyBackStatus.DONE:d}, money_time = shoudan_now()
WHERE return_id = ANY(CAST(:ids AS bigint[])) AND return_status = {ReturnStatus.SUCCEEDED:d}
    AND up_refund_status IN ({literals(MONEY_BACK.sources(MoneyBackEvent.POSTED))})
RETURNING return_id
""")


async def insert_returns(db: AsyncConnection, returns: Sequence[Return]) -> None:
    """Write returns."""
    if returns:
        await db.execute(_INSERT, columns(returns, *_FACTS))


async def returns_by_ids(
    db: AsyncConnection, ids: Sequence[int], *, lock: bool = False
) -> dict[int, Return]:
    """Returns by id; with `lock` locked to the end of the transaction."""
    rows = await db.execute(_LOCK_BY_IDS if lock else _BY_IDS, {"ids": ids})
    return {row[0]: _RETURNS.read(row) for row in rows}


async def mark_conflicts(db: AsyncConnection, ids: Sequence[int]) -> set[int]:
    """Their supplier has reported the other end since; the ids that were not marked before."""
    return await returned(db, _MARK_CONFLICTS, ids=ids)


async def returns_of_refunds(db: AsyncConnection, refund_ids: Sequence[int]) -> list[Return]:
    """All returns of refunds."""
    return _RETURNS.all(await db.execute(_BY_REFUNDS, {"ids": refund_ids}))


async def returns_of_deliveries(db: AsyncConnection, ids: Sequence[int]) -> list[Return]:
    """Returns of deliveries that succeeded or may still."""
    return _RETURNS.all(await db.execute(_OF_DELIVERIES, {"ids": ids}))


async def advance_return_sending(db: AsyncConnection, ids: Sequence[int]) -> set[int]:
    """20 -> 30; the ids that moved."""
    return await returned(db, _START, ids=ids)


async def advance_returned(db: AsyncConnection, ended: Sequence[EndedReturn]) -> set[int]:
    """20 or 30 -> 0 or 90; the ids that moved. The orders are locked by the caller."""
    return await returned(db, _END, **columns(ended, *_END_COLUMNS))


async def advance_up_refunded(db: AsyncConnection, ids: Sequence[int]) -> set[int]:
    """up_refund 20 -> 0; the ids that moved."""
    return await returned(db, _UP_REFUNDED, ids=ids)
