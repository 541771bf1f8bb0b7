"""Statements that hold orders: parked until a person has decided, or their delivery paused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db import statement
from shoudan_order.states import OrderStatus, Toggle

_PARK = statement("""
UPDATE oms_order_info o SET parked_reason = g.reason
FROM unnest(CAST(:ids AS bigint[]), CAST(:reasons AS text[])) AS g(order_id, reason)
WHERE o.order_id = g.order_id AND o.parked_reason = ''
RETURNING o.order_id
""")

_UNPARK = statement("""
UPDATE oms_order_info SET parked_reason = '' WHERE order_id = ANY(CAST(:ids AS bigint[]))
""")

# 1 -> 0 and back, while there may be something to bind.
_PAUSE = statement("""
UPDATE oms_order_info o SET delivery_pause = :pause
WHERE o.order_id = ANY(CAST(:ids AS bigint[])) AND o.delivery_pause <> :pause
    AND o.order_status = ANY(CAST(:open AS smallint[]))
RETURNING o.order_id
""")


async def park_orders(db: AsyncConnection, reasons: Mapping[int, str]) -> set[int]:
    """Leave orders to a person, each with its first reason; the ids parked now."""
    binds = {"ids": list(reasons), "reasons": list(reasons.values())}
    return set((await db.execute(_PARK, binds)).scalars())


async def unpark_orders(db: AsyncConnection, ids: Sequence[int]) -> None:
    """Nothing of these orders waits for a decision any more. They are locked by the caller."""
    await db.execute(_UNPARK, {"ids": ids})


async def set_paused(db: AsyncConnection, ids: Sequence[int], *, paused: bool) -> set[int]:
    """Pause or resume the delivery of orders that have not ended; the ids that changed."""
    binds = {
        "ids": ids,
        "pause": int(Toggle.YES if paused else Toggle.NO),
        "open": [int(OrderStatus.PAYING), int(OrderStatus.DELIVERING)],
    }
    return set((await db.execute(_PAUSE, binds)).scalars())
