"""Statements that park orders until a person has decided, and that pause their delivery."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db.columns import literals, returned
from shoudan_kit.db.text_statements import statement
from shoudan_order.states import ENDED, OrderStatus, yes_no

_PARK = statement("""
UPDATE oms_order_info o SET modify_time = greatest(o.modify_time, shoudan_now()),
        parked_reason = g.reason
FROM unnest(CAST(:ids AS bigint[]), CAST(:reasons AS text[])) AS g(order_id, reason)
WHERE o.order_id = g.order_id AND o.parked_reason = ''
RETURNING o.order_id
""")

_UNPARK = statement("""
UPDATE oms_order_info SET modify_time = greatest(oms_order_info.modify_time, shoudan_now()),
        parked_reason = '' WHERE order_id = ANY(CAST(:ids AS bigint[]))
""")

# Reads the partial index of parked orders alone, up to a bound.
_PARKED = statement("""
SELECT count(*) AS parked, min(p.order_id) AS oldest_id
FROM (SELECT order_id FROM oms_order_info WHERE parked_reason <> ''
    ORDER BY order_id LIMIT :most) AS p
""")

# 1 -> 0 and back, while there may be something to bind.
_PAUSE = statement(f"""
UPDATE oms_order_info o SET modify_time = greatest(o.modify_time, shoudan_now()),
        delivery_pause = :pause
WHERE o.order_id = ANY(CAST(:ids AS bigint[])) AND o.delivery_pause <> :pause
    AND o.order_status IN ({literals(sorted(set(OrderStatus) - ENDED))})
RETURNING o.order_id
""")


@dataclass(frozen=True, slots=True)
class Parked:
    """How many orders are parked, and the one made first; None when there is none."""

    count: int
    oldest_id: int | None


async def park_orders(db: AsyncConnection, reasons: Mapping[int, str]) -> set[int]:
    """Park orders for a person's decision, each with its first reason; the ids parked now."""
    return await returned(db, _PARK, ids=list(reasons), reasons=list(reasons.values()))


async def unpark_orders(db: AsyncConnection, ids: Sequence[int]) -> None:
    """Unpark orders with no decision open. They are locked by the caller."""
    await db.execute(_UNPARK, {"ids": ids})


async def parked_orders(db: AsyncConnection, most: int) -> Parked:
    """How many orders are parked, counted up to `most`."""
    row = (await db.execute(_PARKED, {"most": most})).one()
    return Parked(row.parked, row.oldest_id)


async def set_paused(db: AsyncConnection, ids: Sequence[int], *, paused: bool) -> set[int]:
    """Pause or resume the delivery of orders that have not ended; the ids that changed."""
    return await returned(db, _PAUSE, ids=ids, pause=yes_no(paused))
