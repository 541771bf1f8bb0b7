"""Statements that survey the orders of a period: how many were made in each part of it, how they stand.

Counting goes along an index and never to the rows, up to a bound for each part; how orders stand and how long
they took is said of so many of the newest of each part, so that a survey of a million costs what one of ten
thousand does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db.text_statements import statement
from shoudan_kit.ids import EPOCH, first_of
from shoudan_order.states import OrderStatus

PARTS_MAX: Final = 96
COUNT_MAX: Final = 30_000  # of one part; a part that reaches it has at least so many
LOOKED_AT: Final = 100  # orders of one part

_PARTS: Final = """unnest(CAST(:parts AS integer[]), CAST(:lows AS bigint[]), CAST(:highs AS bigint[]))
  AS p (part, low, high)"""
_RANGE: Final = "o.order_id >= p.low AND o.order_id < p.high"
# Conditions of the partial index are spelt out, so that a plan which is kept uses it.
_CHANNEL: Final = f"o.down_channel_no = :channel_no AND o.order_id > 0 AND {_RANGE}"


# Times are put together to a tenth, so that those of several shards and parts can be added.
_TOOK: Final = """CAST(CASE WHEN o.end_time IS NOT NULL THEN ceil(power(CAST(1.1 AS float8),
    ceil(ln(CAST(greatest(1, 1000 * extract(epoch FROM o.end_time - o.create_time)) AS float8))
      / ln(CAST(1.1 AS float8))))) END AS bigint) AS took_ms"""

_COUNT = statement(f"""
SELECT p.part, (SELECT count(*) FROM (
  SELECT FROM oms_order_info o WHERE {_RANGE} LIMIT :most) AS seen) AS orders FROM {_PARTS}""")
_COUNT_OF_CHANNEL = statement(f"""
SELECT p.part, (SELECT count(*) FROM (
  SELECT FROM oms_order_info o WHERE {_CHANNEL} LIMIT :most) AS seen) AS orders FROM {_PARTS}""")
_LOOK = statement(f"""
SELECT p.part, o.order_status, o.took_ms, count(*) AS orders FROM {_PARTS}, LATERAL (
  SELECT o.order_status, {_TOOK}
  FROM oms_order_info o WHERE {_RANGE} ORDER BY o.order_id DESC LIMIT :most) AS o
GROUP BY p.part, o.order_status, o.took_ms""")
_LOOK_OF_CHANNEL = statement(f"""
SELECT p.part, o.order_status, o.took_ms, count(*) AS orders FROM {_PARTS}, LATERAL (
  SELECT o.order_status, {_TOOK}
  FROM oms_order_info o WHERE {_CHANNEL} ORDER BY o.order_id DESC LIMIT :most) AS o
GROUP BY p.part, o.order_status, o.took_ms""")


@dataclass
class Part:
    """One part of the period: how many orders; of those looked at how they stand, how long they took."""

    start: datetime
    count: int = 0
    looked_at: int = 0
    statuses: dict[int, int] = field(default_factory=dict[int, int])
    took_ms: dict[int, int] = field(
        default_factory=dict[int, int]
    )  # orders by their time, of those delivered


def parts_of(start: datetime, end: datetime, count: int) -> Sequence[tuple[datetime, int, int]]:
    """When each part begins, and the range of numbers that orders of it have."""
    step = (end - start) / count
    edges = [start + step * number for number in range(count)]
    numbers = [first_of(max(one, EPOCH)) for one in [*edges, end]]
    return [(edge, numbers[at], numbers[at + 1]) for at, edge in enumerate(edges)]


async def survey(
    db: AsyncConnection, channel_no: str, start: datetime, end: datetime, count: int
) -> list[Part]:
    """The parts in which there are orders, in their order."""
    ranges = parts_of(start, end, count)
    found = {at: Part(edge) for at, (edge, _low, _high) in enumerate(ranges)}
    asked: dict[str, Any] = {
        "parts": list(found),
        "lows": [low for _edge, low, _high in ranges],
        "highs": [high for _edge, _low, high in ranges],
    }
    if channel_no:
        asked["channel_no"] = channel_no
    counting, looking = (_COUNT_OF_CHANNEL, _LOOK_OF_CHANNEL) if channel_no else (_COUNT, _LOOK)
    for row in await db.execute(counting, {**asked, "most": COUNT_MAX}):
        found[row.part].count = row.orders
    for row in await db.execute(looking, {**asked, "most": LOOKED_AT}):
        _add(found[row.part], row.order_status, row.took_ms, row.orders)
    return [one for one in found.values() if one.count]


def _add(part: Part, status: int, took_ms: int | None, count: int) -> None:
    part.looked_at += count
    part.statuses[status] = part.statuses.get(status, 0) + count
    if took_ms is not None and status == OrderStatus.SUCCEEDED:
        part.took_ms[took_ms] = part.took_ms.get(took_ms, 0) + count
