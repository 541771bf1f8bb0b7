"""Statements on oms_refund_up_return: goods on their way back to suppliers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db.text_statements import columns, statement, unnest
from shoudan_order.states import MoneyBackStatus, ReturnStatus

_FACTS: Final = {
    "return_id": "bigint",
    "up_channel_no": "text",
    "up_product_id": "bigint",
    "up_ext_product_no": "text",
    "order_id": "bigint",
    "refund_id": "bigint",
    "delivery_id": "bigint",
    "return_face_micros": "bigint",
    "return_num": "integer",
    "return_total_face_micros": "bigint",
    "return_cost_amount_micros": "bigint",
    "return_commission_amount_micros": "bigint",
    "return_service_amount_micros": "bigint",
    "return_status": "smallint",
    "up_refund_status": "smallint",
}
_NAMES: Final = ", ".join(_FACTS)
_READ_NAMES: Final = ", ".join(f"u.{name}" for name in _FACTS)

# The delivery gives what the return repeats of it. What was never there to send back has ended at once.
_INSERT = statement(f"""
INSERT INTO oms_refund_up_return ({_NAMES}, down_channel_no, down_product_id, line_id, carrier_no,
    province_no, city_no, invoice_type, end_time)
SELECT {", ".join(f"given.{name}" for name in _FACTS)}, d.down_channel_no, d.down_product_id,
    d.line_id, d.carrier_no, d.province_no, d.city_no, d.invoice_type,
    CASE WHEN given.return_status = 0 THEN shoudan_now() END
FROM {unnest(**_FACTS)} JOIN oms_order_delivery d USING (delivery_id)
""")

_BY_IDS = statement(f"""
SELECT {_READ_NAMES} FROM oms_refund_up_return u
WHERE u.return_id = ANY(CAST(:ids AS bigint[])) ORDER BY u.return_id
""")

_LOCK_BY_IDS = statement(f"""
SELECT {_READ_NAMES} FROM oms_refund_up_return u
WHERE u.return_id = ANY(CAST(:ids AS bigint[])) ORDER BY u.return_id FOR UPDATE
""")

# Once for each return: what is repeated asks nobody again.
_MARK_CONFLICTS = statement("""
UPDATE oms_refund_up_return SET conflict = true
WHERE return_id = ANY(CAST(:ids AS bigint[])) AND NOT conflict
RETURNING return_id
""")

_BY_REFUNDS = statement(f"""
SELECT {_READ_NAMES} FROM oms_refund_up_return u
WHERE u.refund_id = ANY(CAST(:ids AS bigint[])) ORDER BY u.return_id
""")

# What was given back of a delivery before, or may still be: a return told both ends may have succeeded
# until a person has decided.
_OF_DELIVERIES = statement(f"""
SELECT {_READ_NAMES} FROM oms_refund_up_return u
WHERE u.delivery_id = ANY(CAST(:ids AS bigint[])) AND (u.return_status IN (0, 20, 30)
    OR u.conflict AND EXISTS (SELECT 1 FROM oms_audit_info a WHERE a.order_id = u.order_id
        AND a.delivery_id = u.return_id AND a.change_type = 2 AND a.audit_status = 20))
""")

_START = statement("""
UPDATE oms_refund_up_return SET return_status = :sending, start_time = shoudan_now()
WHERE return_id = ANY(CAST(:ids AS bigint[])) AND return_status = :waiting
RETURNING return_id
""")

_END = statement(f"""
UPDATE oms_refund_up_return u SET return_status = g.return_status,
    up_refund_status = g.up_refund_status, up_return_no = g.up_return_no,
    return_msg = g.return_msg, end_time = shoudan_now()
FROM {
    unnest(
        return_id="bigint",
        return_status="smallint",
        up_refund_status="smallint",
        up_return_no="text",
        return_msg="text",
    ).replace("AS given", "AS g")
}
WHERE u.return_id = g.return_id AND u.return_status IN (20, 30) AND u.up_refund_status = :unpaid
RETURNING u.return_id
""")

_UP_REFUNDED = statement("""
UPDATE oms_refund_up_return SET up_refund_status = :done, money_time = shoudan_now()
WHERE return_id = ANY(CAST(:ids AS bigint[])) AND up_refund_status = :waiting AND return_status = 0
RETURNING return_id
""")


@dataclass(frozen=True, slots=True)
class Return:
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


@dataclass(frozen=True, slots=True)
class EndedReturn:
    """How a return ended."""

    return_id: int
    return_status: ReturnStatus
    up_refund_status: MoneyBackStatus
    up_return_no: str
    return_msg: str


def _return(row: Any) -> Return:
    *facts, status, money = row
    return Return(
        *facts, return_status=ReturnStatus(status), up_refund_status=MoneyBackStatus(money)
    )


def _plain(made: dict[str, list[Any]]) -> dict[str, list[Any]]:
    for name in ("return_status", "up_refund_status"):
        made[name] = [int(one) for one in made[name]]
    return made


async def insert_returns(db: AsyncConnection, returns: Sequence[Return]) -> None:
    """Write returns."""
    if returns:
        await db.execute(_INSERT, _plain(columns(returns, *_FACTS)))


async def returns_by_ids(
    db: AsyncConnection, ids: Sequence[int], *, lock: bool = False
) -> dict[int, Return]:
    """Returns by id; with `lock` held to the end of the transaction."""
    rows = await db.execute(_LOCK_BY_IDS if lock else _BY_IDS, {"ids": ids})
    return {row[0]: _return(row) for row in rows}


async def mark_conflicts(db: AsyncConnection, ids: Sequence[int]) -> set[int]:
    """Their supplier has told another end since; the ids that were not marked before."""
    return set((await db.execute(_MARK_CONFLICTS, {"ids": ids})).scalars())


async def returns_of_refunds(db: AsyncConnection, refund_ids: Sequence[int]) -> list[Return]:
    """All returns of refunds."""
    return [_return(row) for row in await db.execute(_BY_REFUNDS, {"ids": refund_ids})]


async def returns_of_deliveries(db: AsyncConnection, ids: Sequence[int]) -> list[Return]:
    """Returns of deliveries that succeeded or may still."""
    return [_return(row) for row in await db.execute(_OF_DELIVERIES, {"ids": ids})]


async def advance_return_sending(db: AsyncConnection, ids: Sequence[int]) -> set[int]:
    """20 -> 30; the ids that moved."""
    binds = {
        "ids": ids,
        "sending": int(ReturnStatus.SENDING),
        "waiting": int(ReturnStatus.WAITING),
    }
    return set((await db.execute(_START, binds)).scalars())


async def advance_returned(db: AsyncConnection, ended: Sequence[EndedReturn]) -> set[int]:
    """20 or 30 -> 0 or 90; the ids that moved. The orders are locked by the caller."""
    made = columns(
        ended, "return_id", "return_status", "up_refund_status", "up_return_no", "return_msg"
    )
    binds = {**_plain(made), "unpaid": int(MoneyBackStatus.NOT_STARTED)}
    return set((await db.execute(_END, binds)).scalars())


async def advance_up_refunded(db: AsyncConnection, ids: Sequence[int]) -> set[int]:
    """up_refund 20 -> 0; the ids that moved."""
    done, waiting = int(MoneyBackStatus.DONE), int(MoneyBackStatus.WAITING)
    return set(
        (await db.execute(_UP_REFUNDED, {"ids": ids, "done": done, "waiting": waiting})).scalars()
    )
