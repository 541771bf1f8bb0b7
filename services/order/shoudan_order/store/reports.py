"""Statements that sum orders for finance; groups, never single orders, leave the database.

What has a line for each day is read day by day, so that memory and statement time stay bounded.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, time, timedelta, timezone
from typing import Final

from sqlalchemy import TextClause
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db import statement

ORDER_SUMS: Final = (
    "success_face_micros",
    "success_sell_amount_micros",
    "success_commission_micros",
    "success_service_micros",
    "success_fee_micros",
    "success_cost_amount_micros",
    "success_up_commission_micros",
    "success_up_service_micros",
    "profit_micros",
)
# Of a delivery, and what a return takes back of it.
_RETURNED: Final = {
    "total_face_micros": "return_total_face_micros",
    "cost_amount_micros": "return_cost_amount_micros",
    "up_commission_amount_micros": "return_commission_amount_micros",
    "service_amount_micros": "return_service_amount_micros",
}
# The plain name is the net: gross less returned, which is what the ledger holds.
DELIVERY_SUMS: Final = (
    *(f"gross_{name}" for name in _RETURNED),
    *(f"returned_{name}" for name in _RETURNED),
    *_RETURNED,
)


DAY: Final = timedelta(days=1)
# Days are those of the documents: Asia/Shanghai.
CHINA: Final = timezone(timedelta(hours=8))


def _summed(names: tuple[str, ...]) -> str:
    return ", ".join(f"CAST(sum({name}) AS bigint) AS {name}" for name in names)


# By the BRIN index of create_time.
_ORDERS = "FROM oms_order_info WHERE create_time >= :start AND create_time < :end_"
PROFIT = statement(f"""
SELECT to_char(create_time AT TIME ZONE 'Asia/Shanghai', 'YYYY-MM-DD') AS day,
    CAST(line_id AS text) AS line_id, count(*), {_summed(ORDER_SUMS)}
{_ORDERS} GROUP BY 1, 2 ORDER BY 1, 2
""")
# The first and the last order, by the primary key, which grows with time.
_SPAN = statement("""
SELECT (SELECT create_time FROM oms_order_info ORDER BY order_id LIMIT 1) AS first,
    (SELECT create_time FROM oms_order_info ORDER BY order_id DESC LIMIT 1) AS last
""")
DOWN_CHANNEL = statement(f"""
SELECT down_channel_no, count(*), {_summed(ORDER_SUMS)} {_ORDERS} GROUP BY 1 ORDER BY 1
""")
# Each by the BRIN index of its own end_time: a return counts when it came back, so that it changes no
# period before.
UP_CHANNEL = statement(f"""
SELECT up_channel_no, CAST(sum(delivered) AS bigint), {_summed(DELIVERY_SUMS)} FROM (
    SELECT up_channel_no, 1 AS delivered, {", ".join(f"{n} AS gross_{n}" for n in _RETURNED)},
        {", ".join(f"CAST(0 AS bigint) AS returned_{n}" for n in _RETURNED)}, {", ".join(_RETURNED)}
    FROM oms_order_delivery
    WHERE delivery_status = 0 AND end_time >= :start AND end_time < :end_
    UNION ALL
    SELECT up_channel_no, 0, {", ".join("0" for _ in _RETURNED)},
        {", ".join(_RETURNED.values())}, {", ".join(f"-{name}" for name in _RETURNED.values())}
    FROM oms_refund_up_return
    WHERE return_status = 0 AND end_time >= :start AND end_time < :end_
) AS moved GROUP BY 1 ORDER BY 1
""")  # noqa: S608 - built from literals above


@dataclass(frozen=True, slots=True)
class Report:
    """One kind of report."""

    query: TextClause
    labels: tuple[str, ...]
    sums: tuple[str, ...]
    daily: bool = False


@dataclass(frozen=True, slots=True)
class ReportLine:
    """One line of sums."""

    labels: dict[str, str]
    count: int
    sums_micros: dict[str, int]


REPORTS: Final = {
    1: Report(PROFIT, ("day", "line_id"), ORDER_SUMS, daily=True),
    2: Report(UP_CHANNEL, ("up_channel_no",), DELIVERY_SUMS),
    3: Report(DOWN_CHANNEL, ("down_channel_no",), ORDER_SUMS),
}


async def report_lines(
    db: AsyncConnection, kind: int, start: datetime, end: datetime
) -> AsyncIterator[ReportLine]:
    """The lines of a report, in their order; at most as many in memory as there are lines or channels."""
    one = REPORTS[kind]
    at = len(one.labels)
    windows = await _days(db, start, end) if one.daily else [(start, end)]
    for since, until in windows:
        for row in await db.execute(one.query, {"start": since, "end_": until}):
            yield ReportLine(
                dict(zip(one.labels, row[:at], strict=True)),
                row[at],
                dict(zip(one.sums, row[at + 1 :], strict=True)),
            )


async def _days(
    db: AsyncConnection, start: datetime, end: datetime
) -> list[tuple[datetime, datetime]]:
    """The days of a period in which there may be orders."""
    span = (await db.execute(_SPAN, {})).one()
    if span.first is None:
        return []
    # Numbers are made a moment before the rows, on another clock: a day to each side is plenty.
    start, end = max(start, span.first - DAY), min(end, span.last + DAY)
    days: list[tuple[datetime, datetime]] = []
    while start < end:
        midnight = datetime.combine(start.astimezone(CHINA).date() + DAY, time(), CHINA)
        days.append((start, min(midnight, end)))
        start = midnight
    return days
