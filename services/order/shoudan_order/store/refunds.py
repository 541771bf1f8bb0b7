"""Statements on oms_refund_info: taking, finding, moving and closing refunds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db.text_statements import columns, statement, unnest
from shoudan_order.states import (
    MoneyBackStatus,
    NotifyStatus,
    RefundStatus,
    RefundType,
    UpReturnStatus,
)
from shoudan_order.store.orders import SELECTED, STATE, order_of, state_of
from shoudan_order.store.rows import Order, OrderState

_FACTS: Final = {
    "refund_id": "bigint",
    "order_id": "bigint",
    "down_channel_no": "text",
    "request_no": "text",
    "down_refund_no": "text",
    "refund_type": "smallint",
    "face_micros": "bigint",
    "refund_num": "integer",
    "refund_face_micros": "bigint",
    "refund_sell_amount_micros": "bigint",
    "refund_commission_amount_micros": "bigint",
    "refund_service_amount_micros": "bigint",
    "refund_fee_amount_micros": "bigint",
    "has_notify": "boolean",
    "request_hash": "bytea",
}
_STATES: Final = {
    "refund_status": "smallint",
    "up_return_status": "smallint",
    "down_refund_status": "smallint",
    "refund_notify_status": "smallint",
}
_NAMES: Final = ", ".join(_FACTS)
_READ_NAMES: Final = ", ".join(f"r.{name}" for name in (*_FACTS, *_STATES))

# The order gives what the refund repeats of it. A refund_no that another order has used makes nothing.
_INSERT = statement(f"""
WITH made AS (
    INSERT INTO oms_refund_info ({_NAMES}, {", ".join(_STATES)}, return_overtime, down_shelf_id,
        down_product_id, ext_product_no, line_id, carrier_no, province_no, city_no, end_time)
    SELECT {", ".join(f"given.{name}" for name in (*_FACTS, *_STATES))},
        shoudan_now() + make_interval(secs => given.timeout_s), o.down_shelf_id,
        o.down_product_id, o.ext_product_no, o.line_id, o.carrier_no, o.province_no, o.city_no,
        CASE WHEN given.refund_status <> {int(RefundStatus.RETURNING)} THEN shoudan_now() END
    FROM {unnest(**_FACTS, **_STATES, timeout_s="integer")} JOIN oms_order_info o USING (order_id)
    ON CONFLICT (down_channel_no, down_refund_no) DO NOTHING
    RETURNING refund_id
), told AS (
    INSERT INTO oms_notify_info
        (notify_id, order_id, refund_id, down_channel_no, notify_type, max_count, notify_url)
    SELECT n.notify_id, n.order_id, n.refund_id, n.channel_no, 2, :notify_max, n.notify_url
    FROM unnest(CAST(:notify_id AS bigint[]), CAST(:notify_order AS bigint[]),
        CAST(:notify_refund AS bigint[]), CAST(:notify_channel AS text[]),
        CAST(:notify_url AS text[])) AS n(notify_id, order_id, refund_id, channel_no, notify_url)
    WHERE (n.refund_id IN (SELECT refund_id FROM made)) IS TRUE
)
SELECT refund_id FROM made
""")

_BY_KEYS = statement(f"""
SELECT {_READ_NAMES}, r.create_time FROM oms_refund_info r
JOIN unnest(CAST(:channel_nos AS text[]), CAST(:refund_nos AS text[])) AS k(channel_no, refund_no)
    ON r.down_channel_no = k.channel_no AND r.down_refund_no = k.refund_no
""")

_BY_IDS = statement(f"""
SELECT {_READ_NAMES}, r.create_time FROM oms_refund_info r
WHERE r.refund_id = ANY(CAST(:ids AS bigint[])) ORDER BY r.refund_id
""")

# In id order, like everybody who locks orders.
_LOCK_BY_KEYS = statement(f"""
SELECT {SELECTED}, {STATE} FROM oms_order_info o
JOIN unnest(CAST(:channel_nos AS text[]), CAST(:request_nos AS text[])) AS k(channel_no, request_no)
    ON o.down_channel_no = k.channel_no AND o.request_no = k.request_no
ORDER BY o.order_id FOR UPDATE OF o
""")

_OPEN = statement("""
SELECT order_id FROM oms_refund_info
WHERE order_id = ANY(CAST(:ids AS bigint[])) AND refund_status = :returning
""")

# The caller holds the order's lock and has decided.
_SETTLE = statement(f"""
UPDATE oms_refund_info r SET modify_time = greatest(r.modify_time, shoudan_now()),
        refund_status = g.refund_status, up_return_status = g.up_return_status,
    end_time = CASE WHEN g.refund_status <> {int(RefundStatus.RETURNING)} THEN shoudan_now() END,
    down_refund_status = g.down_refund_status, refund_notify_status = g.refund_notify_status,
    refund_face_micros = g.refund_face_micros,
    refund_sell_amount_micros = g.refund_sell_amount_micros,
    refund_commission_amount_micros = g.refund_commission_amount_micros,
    refund_service_amount_micros = g.refund_service_amount_micros,
    refund_fee_amount_micros = g.refund_fee_amount_micros
FROM {
    unnest(
        refund_id="bigint",
        **_STATES,
        refund_face_micros="bigint",
        refund_sell_amount_micros="bigint",
        refund_commission_amount_micros="bigint",
        refund_service_amount_micros="bigint",
        refund_fee_amount_micros="bigint",
    ).replace("AS given", "AS g")
}
WHERE r.refund_id = g.refund_id AND r.refund_status = :returning
RETURNING r.refund_id
""")

# 20 -> 30 with the first return that starts.
_STARTED = statement("""
UPDATE oms_refund_info SET modify_time = greatest(oms_refund_info.modify_time, shoudan_now()),
        up_return_status = :running
WHERE refund_id = ANY(CAST(:ids AS bigint[])) AND refund_status = :returning
    AND up_return_status = :waiting
""")

# Refunds whose time is not over; a retried return has given them more.
_LEFT = statement("""
SELECT refund_id, CAST(extract(epoch FROM return_overtime - shoudan_now()) AS double precision) AS left_s
FROM oms_refund_info
WHERE refund_id = ANY(CAST(:ids AS bigint[])) AND return_overtime > shoudan_now()
    AND refund_status = :returning
""")

_PROLONG = statement("""
UPDATE oms_refund_info SET modify_time = greatest(oms_refund_info.modify_time, shoudan_now()),
        return_overtime = greatest(return_overtime, shoudan_now() + make_interval(secs => :more_s))
WHERE refund_id = :id AND refund_status = :returning
RETURNING refund_id
""")

_LOCK = statement("""
SELECT refund_id FROM oms_refund_info WHERE refund_id = ANY(CAST(:ids AS bigint[]))
ORDER BY refund_id FOR UPDATE
""")

_MONEY_BACK = statement("""
UPDATE oms_refund_info SET modify_time = greatest(oms_refund_info.modify_time, shoudan_now()),
        down_refund_status = :done,
    money_time = shoudan_now()
WHERE refund_id = ANY(CAST(:ids AS bigint[])) AND down_refund_status = :waiting
    AND refund_status IN (20, 91)
RETURNING refund_id
""")

# 20 -> 0 once the channel has its money and no supplier still owes; decided under the refund's lock.
_CLOSE = statement("""
UPDATE oms_refund_info r SET modify_time = greatest(r.modify_time, shoudan_now()),
        refund_status = CASE WHEN r.refund_status = 20
        THEN CAST(:closed AS smallint) ELSE r.refund_status END,
    complete_up_refund = 0
WHERE r.refund_id = ANY(CAST(:ids AS bigint[])) AND r.refund_status IN (20, 91)
    AND r.down_refund_status = :done
    AND NOT EXISTS (SELECT 1 FROM oms_refund_up_return u
        WHERE u.refund_id = r.refund_id AND u.up_refund_status IN (10, 20, 30))
RETURNING r.refund_id
""")


@dataclass(frozen=True, slots=True)
class Refund:
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
    create_time: Any = None


@dataclass(frozen=True, slots=True)
class RefundNotify:
    """A notify to be written with its refund."""

    notify_id: int
    refund_id: int
    down_channel_no: str
    notify_url: str


def _refund(row: Any) -> Refund:
    values = list(row)
    values[5] = RefundType(values[5])
    at = len(_FACTS)
    values[at - 1] = bytes(values[at - 1])
    kinds = (RefundStatus, UpReturnStatus, MoneyBackStatus, NotifyStatus)
    for offset, kind in enumerate(kinds):
        values[at + offset] = kind(values[at + offset])
    return Refund(*values)


def _plain(rows: Sequence[Refund], *names: str) -> dict[str, list[Any]]:
    """Columns with enums as plain numbers, which the driver needs."""
    made = columns(rows, *names)
    for name in ("refund_type", *_STATES):
        if name in made:
            made[name] = [int(one) for one in made[name]]
    return made


async def insert_refunds(
    db: AsyncConnection,
    refunds: Sequence[Refund],
    timeouts_s: Sequence[int],
    notifies: Sequence[RefundNotify],
    notify_max: int,
) -> set[int]:
    """Write refunds with their notifies; the ids that are new."""
    order_of = {refund.refund_id: refund.order_id for refund in refunds}
    binds: dict[str, Any] = {
        **_plain(refunds, *_FACTS, *_STATES),
        "timeout_s": list(timeouts_s),
        "notify_id": [n.notify_id for n in notifies],
        "notify_order": [order_of[n.refund_id] for n in notifies],
        "notify_refund": [n.refund_id for n in notifies],
        "notify_channel": [n.down_channel_no for n in notifies],
        "notify_url": [n.notify_url for n in notifies],
        "notify_max": notify_max,
    }
    return set((await db.execute(_INSERT, binds)).scalars())


async def refunds_by_keys(
    db: AsyncConnection, keys: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], Refund]:
    """Refunds by (channel_no, refund_no)."""
    binds = {"channel_nos": [k[0] for k in keys], "refund_nos": [k[1] for k in keys]}
    found = [_refund(row) for row in await db.execute(_BY_KEYS, binds)]
    return {(one.down_channel_no, one.down_refund_no): one for one in found}


async def refunds_by_ids(db: AsyncConnection, ids: Sequence[int]) -> dict[int, Refund]:
    """Refunds by id."""
    return {row[0]: _refund(row) for row in await db.execute(_BY_IDS, {"ids": ids})}


async def lock_orders_by_keys(
    db: AsyncConnection, keys: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], tuple[Order, OrderState]]:
    """Orders by (channel_no, request_no), locked to the end of the transaction."""
    binds = {"channel_nos": [k[0] for k in keys], "request_nos": [k[1] for k in keys]}
    rows = (await db.execute(_LOCK_BY_KEYS, binds)).all()
    return {(row[1], row[2]): (order_of(row), state_of(row)) for row in rows}


async def orders_in_refund(db: AsyncConnection, order_ids: Sequence[int]) -> set[int]:
    """Orders with a refund that is not over."""
    binds = {"ids": order_ids, "returning": int(RefundStatus.RETURNING)}
    return set((await db.execute(_OPEN, binds)).scalars())


async def advance_refunds(db: AsyncConnection, refunds: Sequence[Refund]) -> set[int]:
    """10 -> what was decided; the ids that moved."""
    names = ("refund_id", *_STATES, "refund_face_micros", "refund_sell_amount_micros",
             "refund_commission_amount_micros", "refund_service_amount_micros",
             "refund_fee_amount_micros")  # fmt: skip
    binds = {**_plain(refunds, *names), "returning": int(RefundStatus.RETURNING)}
    return set((await db.execute(_SETTLE, binds)).scalars())


async def seconds_left(db: AsyncConnection, ids: Sequence[int]) -> dict[int, float]:
    """Seconds until the overtime of open refunds, where it has not come."""
    binds = {"ids": ids, "returning": int(RefundStatus.RETURNING)}
    return {row.refund_id: row.left_s for row in await db.execute(_LEFT, binds)}


async def prolong(db: AsyncConnection, refund_id: int, more_s: float) -> bool:
    """Give an open refund at least so many seconds from now; False when it has ended."""
    binds = {"id": refund_id, "more_s": more_s, "returning": int(RefundStatus.RETURNING)}
    return (await db.execute(_PROLONG, binds)).scalar() is not None


async def advance_return_started(db: AsyncConnection, ids: Sequence[int]) -> None:
    """Refunds whose first return starts."""
    binds = {
        "ids": ids,
        "running": int(UpReturnStatus.RUNNING),
        "waiting": int(UpReturnStatus.WAITING),
        "returning": int(RefundStatus.RETURNING),
    }
    await db.execute(_STARTED, binds)


async def lock_refunds(db: AsyncConnection, ids: Sequence[int]) -> None:
    """Hold refunds to the end of the transaction, in id order."""
    await db.execute(_LOCK, {"ids": ids})


async def advance_money_back(db: AsyncConnection, ids: Sequence[int]) -> set[int]:
    """down_refund 20 -> 0; the ids that moved."""
    done, waiting = int(MoneyBackStatus.DONE), int(MoneyBackStatus.WAITING)
    return set(
        (await db.execute(_MONEY_BACK, {"ids": ids, "done": done, "waiting": waiting})).scalars()
    )


async def advance_closed(db: AsyncConnection, ids: Sequence[int]) -> set[int]:
    """Close refunds with nothing left to do; the ids that closed. The caller holds them."""
    binds = {
        "ids": ids,
        "closed": int(RefundStatus.SUCCEEDED),
        "done": int(MoneyBackStatus.DONE),
    }
    return set((await db.execute(_CLOSE, binds)).scalars())
