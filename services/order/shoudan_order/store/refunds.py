"""Statements on oms_refund_info: creating, finding, moving and closing refunds."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db.columns import Rows, assigned, literals, returned, types
from shoudan_kit.db.text_statements import columns, statement, unnest
from shoudan_order.states import (
    MoneyBackStatus,
    NotifyStatus,
    NotifyType,
    RefundStatus,
    RefundType,
    UpReturnStatus,
    YesNo,
)
from shoudan_order.store.orders import SELECTED, STATE, read_order
from shoudan_order.store.rows import Order, OrderState
from shoudan_order.tables import REFUND as REFUNDS


class Refund(msgspec.Struct, frozen=True):
    """A refund with where it stands."""

    refund_id: int
    order_id: int
    down_channel_no: str
    request_no: str
    down_refund_no: str
    refund_type: RefundType
    face_micros: int
    refund_num: int
    refund_face_micros: int
    refund_sell_amount_micros: int
    refund_commission_amount_micros: int
    refund_service_amount_micros: int
    refund_fee_amount_micros: int
    has_notify: bool
    request_hash: bytes
    refund_status: RefundStatus
    up_return_status: UpReturnStatus
    down_refund_status: MoneyBackStatus
    refund_notify_status: NotifyStatus
    create_time: datetime | None = None
    reason: str = ""


class RefundNotify(msgspec.Struct, frozen=True):
    """A notify to be written with its refund."""

    notify_id: int
    refund_id: int
    down_channel_no: str
    notify_url: str


_REFUNDS: Final = Rows(Refund)
READ_NAMES: Final = _REFUNDS.of("r")
_WRITTEN: Final = tuple(name for name in _REFUNDS.names if name != "create_time")
# The totals of an order, and what a refund takes of each.
AMOUNTS: Final = {
    "success_face_micros": "refund_face_micros",
    "success_sell_amount_micros": "refund_sell_amount_micros",
    "success_commission_micros": "refund_commission_amount_micros",
    "success_service_micros": "refund_service_amount_micros",
    "success_fee_micros": "refund_fee_amount_micros",
}
# What the end of its returns may change of a refund.
_CHANGED: Final = (
    "refund_status", "up_return_status", "down_refund_status", "refund_notify_status",
    *AMOUNTS.values(),
)  # fmt: skip
# Goods are back: the channel has its money or gets it; and returns whose supplier may still owe.
_OWING: Final = literals(sorted({RefundStatus.REFUNDING, RefundStatus.PARTIAL}))
_UNREFUNDED: Final = literals(
    sorted(set(MoneyBackStatus) - {MoneyBackStatus.DONE, MoneyBackStatus.NOT_NEEDED})
)

# The order gives what the refund repeats of it. A refund_no that another order has used makes nothing.
_INSERT = statement(f"""
WITH made AS (
    INSERT INTO oms_refund_info ({", ".join(_WRITTEN)}, return_overtime, down_shelf_id,
        down_product_id, ext_product_no, line_id, carrier_no, province_no, city_no, end_time)
    SELECT {", ".join(f"given.{name}" for name in _WRITTEN)},
        shoudan_now() + make_interval(secs => given.timeout_s), o.down_shelf_id,
        o.down_product_id, o.ext_product_no, o.line_id, o.carrier_no, o.province_no, o.city_no,
        CASE WHEN given.refund_status <> {RefundStatus.RETURNING:d} THEN shoudan_now() END
    FROM {unnest(**types(REFUNDS, *_WRITTEN), timeout_s="integer")} JOIN oms_order_info o USING (order_id)
    ON CONFLICT (down_channel_no, down_refund_no) DO NOTHING
    RETURNING refund_id
), notify AS (
    INSERT INTO oms_notify_info
        (notify_id, order_id, refund_id, down_channel_no, notify_type, max_count, notify_url)
    SELECT n.notify_id, n.order_id, n.refund_id, n.channel_no, {NotifyType.REFUND:d}, :notify_max,
        n.notify_url
    FROM unnest(CAST(:notify_id AS bigint[]), CAST(:notify_order AS bigint[]),
        CAST(:notify_refund AS bigint[]), CAST(:notify_channel AS text[]),
        CAST(:notify_url AS text[])) AS n(notify_id, order_id, refund_id, channel_no, notify_url)
    WHERE (n.refund_id IN (SELECT refund_id FROM made)) IS TRUE
)
SELECT refund_id FROM made
""")

_BY_KEYS = statement(f"""
SELECT {READ_NAMES} FROM oms_refund_info r
JOIN unnest(CAST(:channel_nos AS text[]), CAST(:refund_nos AS text[])) AS k(channel_no, refund_no)
    ON r.down_channel_no = k.channel_no AND r.down_refund_no = k.refund_no
""")

_BY_IDS = statement(f"""
SELECT {READ_NAMES} FROM oms_refund_info r
WHERE r.refund_id = ANY(CAST(:ids AS bigint[])) ORDER BY r.refund_id
""")

# In id order, like every statement that locks orders.
_LOCK_BY_KEYS = statement(f"""
SELECT {SELECTED}, {STATE} FROM oms_order_info o
JOIN unnest(CAST(:channel_nos AS text[]), CAST(:request_nos AS text[])) AS k(channel_no, request_no)
    ON o.down_channel_no = k.channel_no AND o.request_no = k.request_no
ORDER BY o.order_id FOR UPDATE OF o
""")

_OPEN = statement(f"""
SELECT order_id FROM oms_refund_info
WHERE order_id = ANY(CAST(:ids AS bigint[])) AND refund_status = {RefundStatus.RETURNING:d}
""")

# The caller has locked the order and decided.
_UPDATE = statement(f"""
UPDATE oms_refund_info r SET modify_time = greatest(r.modify_time, shoudan_now()),
    {assigned(_CHANGED)},
    end_time = CASE WHEN given.refund_status <> {RefundStatus.RETURNING:d} THEN shoudan_now() END
FROM {unnest(**types(REFUNDS, "refund_id", *_CHANGED))}
WHERE r.refund_id = given.refund_id AND r.refund_status = {RefundStatus.RETURNING:d}
RETURNING r.refund_id
""")

# 20 -> 30 with the first return that starts.
_STARTED = statement(f"""
UPDATE oms_refund_info SET modify_time = greatest(oms_refund_info.modify_time, shoudan_now()),
        up_return_status = {UpReturnStatus.RUNNING:d}
WHERE refund_id = ANY(CAST(:ids AS bigint[])) AND refund_status = {RefundStatus.RETURNING:d}
    AND up_return_status = {UpReturnStatus.WAITING:d}
""")

# Refunds whose time is not over; a retried return has given them more.
_LEFT = statement(f"""
SELECT refund_id, CAST(extract(epoch FROM return_overtime - shoudan_now()) AS double precision) AS left_s
FROM oms_refund_info
WHERE refund_id = ANY(CAST(:ids AS bigint[])) AND return_overtime > shoudan_now()
    AND refund_status = {RefundStatus.RETURNING:d}
""")

_PROLONG = statement(f"""
UPDATE oms_refund_info SET modify_time = greatest(oms_refund_info.modify_time, shoudan_now()),
        return_overtime = greatest(return_overtime, shoudan_now() + make_interval(secs => :more_s))
WHERE refund_id = :id AND refund_status = {RefundStatus.RETURNING:d}
RETURNING refund_id
""")

_LOCK = statement("""
SELECT refund_id FROM oms_refund_info WHERE refund_id = ANY(CAST(:ids AS bigint[]))
ORDER BY refund_id FOR UPDATE
""")

_MONEY_BACK = statement(f"""
UPDATE oms_refund_info SET modify_time = greatest(oms_refund_info.modify_time, shoudan_now()),
        down_refund_status = {MoneyBackStatus.DONE:d},
    money_time = shoudan_now()
WHERE refund_id = ANY(CAST(:ids AS bigint[])) AND down_refund_status = {MoneyBackStatus.WAITING:d}
    AND refund_status IN ({_OWING})
RETURNING refund_id
""")

# 20 -> 0 once the channel has its money and no supplier still owes; decided under the refund's lock.
_CLOSE = statement(f"""
UPDATE oms_refund_info r SET modify_time = greatest(r.modify_time, shoudan_now()),
        refund_status = CASE WHEN r.refund_status = {RefundStatus.REFUNDING:d}
        THEN {RefundStatus.SUCCEEDED:d} ELSE r.refund_status END,
    complete_up_refund = {YesNo.YES:d}
WHERE r.refund_id = ANY(CAST(:ids AS bigint[])) AND r.refund_status IN ({_OWING})
    AND r.down_refund_status = {MoneyBackStatus.DONE:d}
    AND NOT EXISTS (SELECT 1 FROM oms_refund_up_return u
        WHERE u.refund_id = r.refund_id AND u.up_refund_status IN ({_UNREFUNDED}))
RETURNING r.refund_id
""")


async def insert_refunds(
    db: AsyncConnection,
    refunds: Sequence[Refund],
    timeouts_s: Sequence[int],
    notifies: Sequence[RefundNotify],
    notify_max: int,
) -> set[int]:
    """Write refunds with their notifies; the ids that are new."""
    orders = {refund.refund_id: refund.order_id for refund in refunds}
    binds: dict[str, Any] = {
        **columns(refunds, *_WRITTEN),
        "timeout_s": list(timeouts_s),
        "notify_id": [n.notify_id for n in notifies],
        "notify_order": [orders[n.refund_id] for n in notifies],
        "notify_refund": [n.refund_id for n in notifies],
        "notify_channel": [n.down_channel_no for n in notifies],
        "notify_url": [n.notify_url for n in notifies],
        "notify_max": notify_max,
    }
    return await returned(db, _INSERT, **binds)


async def refunds_by_keys(
    db: AsyncConnection, keys: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], Refund]:
    """Refunds by (channel_no, refund_no)."""
    binds = {"channel_nos": [k[0] for k in keys], "refund_nos": [k[1] for k in keys]}
    found = _REFUNDS.all(await db.execute(_BY_KEYS, binds))
    return {(one.down_channel_no, one.down_refund_no): one for one in found}


async def refunds_by_ids(db: AsyncConnection, ids: Sequence[int]) -> dict[int, Refund]:
    """Refunds by id."""
    return {row[0]: _REFUNDS.read(row) for row in await db.execute(_BY_IDS, {"ids": ids})}


async def lock_orders_by_keys(
    db: AsyncConnection, keys: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], tuple[Order, OrderState]]:
    """Orders by (channel_no, request_no), locked to the end of the transaction."""
    binds = {"channel_nos": [k[0] for k in keys], "request_nos": [k[1] for k in keys]}
    rows = (await db.execute(_LOCK_BY_KEYS, binds)).all()
    return {(row[1], row[2]): read_order(row) for row in rows}


async def orders_in_refund(db: AsyncConnection, order_ids: Sequence[int]) -> set[int]:
    """Orders with a refund that is not over."""
    return await returned(db, _OPEN, ids=order_ids)


async def advance_refunds(db: AsyncConnection, refunds: Sequence[Refund]) -> set[int]:
    """10 -> what was decided; the ids that moved."""
    return await returned(db, _UPDATE, **columns(refunds, "refund_id", *_CHANGED))


async def seconds_left(db: AsyncConnection, ids: Sequence[int]) -> dict[int, float]:
    """Seconds until the timeout of open refunds, where it has not come."""
    return {row.refund_id: row.left_s for row in await db.execute(_LEFT, {"ids": ids})}


async def prolong(db: AsyncConnection, refund_id: int, more_s: float) -> bool:
    """Give an open refund at least so many seconds from now; False when it has ended."""
    return bool(await returned(db, _PROLONG, id=refund_id, more_s=more_s))


async def advance_return_started(db: AsyncConnection, ids: Sequence[int]) -> None:
    """Refunds whose first return starts."""
    await db.execute(_STARTED, {"ids": ids})


async def lock_refunds(db: AsyncConnection, ids: Sequence[int]) -> None:
    """Lock refunds to the end of the transaction, in id order."""
    await db.execute(_LOCK, {"ids": ids})


async def advance_money_back(db: AsyncConnection, ids: Sequence[int]) -> set[int]:
    """down_refund 20 -> 0; the ids that moved."""
    return await returned(db, _MONEY_BACK, ids=ids)


async def advance_closed(db: AsyncConnection, ids: Sequence[int]) -> set[int]:
    """Close refunds with nothing left to do; the ids that closed. The caller has locked them."""
    return await returned(db, _CLOSE, ids=ids)
