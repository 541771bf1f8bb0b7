"""Statements that sum orders for finance; groups, never single orders, leave the database.

They are read day by day, so that memory and statement time stay bounded, and each movement counts at the
moment it ended: a refund of today changes today and no month that is closed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from typing import Final

from sqlalchemy import TextClause
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db.columns import literals
from shoudan_kit.db.text_statements import statement
from shoudan_order.refusals import FieldInvalid
from shoudan_order.states import ENDED, DeliveryStatus, RefundStatus, ReturnStatus, YesNo
from shoudan_order.store.refunds import AMOUNTS
from shoudan_order.tables.retention import SUMMED

# What each movement adds to a sum: a sale (with what refunds have taken of it since), a refund, a delivery,
# a return. Nothing else moves them, and each movement has one moment that no later one changes.
_UP: Final = {
    "success_cost_amount_micros": ("cost_amount_micros", "return_cost_amount_micros"),
    "success_up_commission_micros": (
        "up_commission_amount_micros",
        "return_commission_amount_micros",
    ),
    "success_up_service_micros": ("service_amount_micros", "return_service_amount_micros"),
}
# Of a delivery, and what a return takes back of it.
_RETURNED: Final = {
    "total_face_micros": "return_total_face_micros",
    "cost_amount_micros": "return_cost_amount_micros",
    "up_commission_amount_micros": "return_commission_amount_micros",
    "service_amount_micros": "return_service_amount_micros",
}
_ORDER: Final = (*AMOUNTS, *_UP)
# The plain name is the net: gross less returned, which is what the ledger holds.
ORDER_SUMS: Final = (
    *(f"gross_{name}" for name in _ORDER),
    *(f"returned_{name}" for name in _ORDER),
    *_ORDER,
    "profit_micros",
)
DELIVERY_SUMS: Final = (
    *(f"gross_{name}" for name in _RETURNED),
    *(f"returned_{name}" for name in _RETURNED),
    *_RETURNED,
)
# What the rows that have left have left behind, by the day of their end.
ARCHIVED_SUMS: Final = ("orders", "deliveries", *SUMMED)
_NONE: Final = "CAST(0 AS bigint)"


DAY: Final = timedelta(days=1)
# Days are those of the documents: Asia/Shanghai.
CHINA: Final = timezone(timedelta(hours=8))


def _apart(names: Iterable[str]) -> str:
    """Gross, returned and net of what `moved` holds, in the order of the sums."""
    names = tuple(names)
    return ", ".join(
        [f"CAST(sum(gross_{n}) AS bigint) AS gross_{n}" for n in names]
        + [f"CAST(sum(returned_{n}) AS bigint) AS returned_{n}" for n in names]
        + [f"CAST(sum(gross_{n} - returned_{n}) AS bigint) AS {n}" for n in names]
    )


def _moved(table: str, where: str, gross: Mapping[str, str], returned: Mapping[str, str],
           *, orders: int = 0, more: str = "") -> str:  # fmt: skip
    """One kind of movement of a period, by the BRIN index of its end_time."""
    values = [f"{gross.get(n, _NONE)} AS gross_{n}" for n in _ORDER]
    values += [f"{returned.get(n, _NONE)} AS returned_{n}" for n in _ORDER]
    return (
        f"SELECT m.line_id, m.down_channel_no, {orders} AS orders, {', '.join(values)}"
        f" FROM {table} m {more} WHERE {where} AND m.end_time >= :start AND m.end_time < :end_"
    )


_GIVEN_BACK: Final = literals(
    sorted(set(RefundStatus) - {RefundStatus.RETURNING, RefundStatus.FAILED})
)

# A refund that has been decided is no longer part of its order's sums; the lookup is made only for orders
# that were refunded.
TAKEN: Final = f"""LEFT JOIN LATERAL (
    SELECT {", ".join(f"CAST(sum(r.{name}) AS bigint) AS {name}" for name in AMOUNTS.values())}
    FROM oms_refund_info r WHERE m.is_refund = {YesNo.YES:d} AND r.order_id = m.order_id
        AND r.refund_status IN ({_GIVEN_BACK})) AS t ON true"""
_GONE: Final = {n: f"m.{n}" for n in AMOUNTS} | {n: f"m.{names[0]}" for n, names in _UP.items()}
_THAT_DAY: Final = "m.day = CAST(CAST(:start AS timestamptz) AT TIME ZONE 'Asia/Shanghai' AS date)"
_MOVEMENTS: Final = " UNION ALL ".join(
    (
        _moved(
            "oms_order_info",
            f"m.order_status IN ({literals(sorted(ENDED))})",
            {name: f"m.{name} + coalesce(t.{taken}, 0)" for name, taken in AMOUNTS.items()},
            {},
            orders=1,
            more=TAKEN,
        ),
        _moved(
            "oms_refund_info",
            f"m.refund_status IN ({_GIVEN_BACK})",
            {},
            {name: f"m.{taken}" for name, taken in AMOUNTS.items()},
        ),
        _moved(
            "oms_order_delivery",
            f"m.delivery_status = {DeliveryStatus.SUCCEEDED:d}",
            {name: f"m.{names[0]}" for name, names in _UP.items()},
            {},
        ),
        _moved(
            "oms_refund_up_return",
            f"m.return_status = {ReturnStatus.SUCCEEDED:d}",
            {},
            {name: f"m.{names[1]}" for name, names in _UP.items()},
        ),
        (
            f"SELECT m.line_id, m.down_channel_no, m.orders, {', '.join(_GONE[n] for n in _ORDER)},"
            f" {', '.join(_NONE for _ in _ORDER)} FROM oms_archived_sum m WHERE {_THAT_DAY}"
            " AND m.orders + m.deliveries > 0"
        ),
    )
)
# 利润 = 1-2+3-4-5+6+7 (000).
_PROFIT: Final = " ".join(
    f"{sign} sum(gross_{name} - returned_{name})"
    for sign, name in zip("+-+--++", _ORDER[1:], strict=True)
)
_SUMMED: Final = f"CAST(sum(orders) AS bigint), {_apart(_ORDER)}, CAST({_PROFIT} AS bigint)"
PROFIT = statement(f"""
SELECT to_char(CAST(:start AS timestamptz) AT TIME ZONE 'Asia/Shanghai', 'YYYY-MM-DD') AS day,
    CAST(line_id AS text) AS line_id, {_SUMMED}
FROM ({_MOVEMENTS}) AS moved GROUP BY 2 ORDER BY 2
""")
DOWN_CHANNEL = statement(f"""
SELECT down_channel_no, {_SUMMED} FROM ({_MOVEMENTS}) AS moved GROUP BY 1 ORDER BY 1
""")
# The first order, by the primary key, which grows with time, or the first day of those that have left; and
# now: refunds come long after.
_SPAN = statement("""
SELECT least((SELECT create_time FROM oms_order_info ORDER BY order_id LIMIT 1),
    (SELECT CAST(day AS timestamp) AT TIME ZONE 'Asia/Shanghai' FROM oms_archived_sum
        ORDER BY day LIMIT 1)) AS first, shoudan_now() AS last
""")
_ANY_ARCHIVED = statement("""
SELECT EXISTS (SELECT FROM oms_archived_sum WHERE day = ANY(CAST(:days AS date[])))
""")
# Sums of one day of orders and deliveries that leave, in the columns of oms_archived_sum.
_DAY_OF_END: Final = "CAST(m.end_time AT TIME ZONE 'Asia/Shanghai' AS date) AS day"
_SUMMED_UP: Final = tuple(name for name in SUMMED if name not in AMOUNTS)
# One that failed adds nothing, and its day is known to be archived.
_DELIVERED: Final = f"CAST(m.delivery_status = {DeliveryStatus.SUCCEEDED:d} AS integer)"
ENDED_ORDERS: Final = f"""SELECT {_DAY_OF_END}, m.line_id, m.down_channel_no, '' AS up_channel_no,
    1 AS orders, 0 AS deliveries,
    {", ".join(f"m.{name} + coalesce(t.{taken}, 0) AS {name}" for name, taken in AMOUNTS.items())},
    {", ".join(f"{_NONE} AS {name}" for name in _SUMMED_UP)}
FROM oms_order_info m {TAKEN}
WHERE m.order_id = ANY(CAST(:ids AS bigint[])) AND m.order_status IN ({literals(sorted(ENDED))})"""
ENDED_DELIVERIES: Final = f"""SELECT {_DAY_OF_END}, m.line_id, m.down_channel_no, m.up_channel_no,
    0, {_DELIVERED}, {", ".join(_NONE for _ in AMOUNTS)},
    {", ".join(f"m.{name} * {_DELIVERED}" for name in _SUMMED_UP)}
FROM oms_order_delivery m WHERE m.order_id = ANY(CAST(:ids AS bigint[]))"""
# Each by the BRIN index of its own end_time: a return counts when it came back, so that it changes no
# period before.
UP_CHANNEL = statement(f"""
SELECT up_channel_no, CAST(sum(delivered) AS bigint), {_apart(_RETURNED)} FROM (
    SELECT up_channel_no, 1 AS delivered, {", ".join(f"{n} AS gross_{n}" for n in _RETURNED)},
        {", ".join(f"{_NONE} AS returned_{n}" for n in _RETURNED)}
    FROM oms_order_delivery
    WHERE delivery_status = {DeliveryStatus.SUCCEEDED:d} AND end_time >= :start AND end_time < :end_
    UNION ALL
    SELECT up_channel_no, 0, {", ".join("0" for _ in _RETURNED)}, {", ".join(_RETURNED.values())}
    FROM oms_refund_up_return
    WHERE return_status = {ReturnStatus.SUCCEEDED:d} AND end_time >= :start AND end_time < :end_
    UNION ALL
    SELECT up_channel_no, m.deliveries, {", ".join(_RETURNED)}, {", ".join(_NONE for _ in _RETURNED)}
    FROM oms_archived_sum m WHERE {_THAT_DAY} AND m.deliveries > 0
) AS moved GROUP BY 1 ORDER BY 1
""")


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
    """The lines of a report, in their order; at most as many in memory as there are lines or channels.

    One statement reads one day at most: what has no line for each day is added up here. Of a day whose
    orders have left in part only its sums are known: refuses FieldInvalid for a piece of such a day.
    """
    one, days = REPORTS[kind], await _days(db, start, end)
    await _whole_where_archived(db, days)
    totals: dict[tuple[str, ...], ReportLine] = {}
    for since, until in days:
        lines = await _of_day(db, one, since, until)
        if one.daily:
            for line in lines:
                yield line
            continue
        for line in lines:
            key = tuple(line.labels.values())
            totals[key] = _added(totals[key], line) if key in totals else line
    for key in sorted(totals):
        yield totals[key]


async def _of_day(
    db: AsyncConnection, one: Report, since: datetime, until: datetime
) -> list[ReportLine]:
    at = len(one.labels)
    return [
        ReportLine(
            dict(zip(one.labels, row[:at], strict=True)),
            row[at],
            dict(zip(one.sums, row[at + 1 :], strict=True)),
        )
        for row in await db.execute(one.query, {"start": since, "end_": until})
    ]


def _added(a: ReportLine, b: ReportLine) -> ReportLine:
    sums = {name: micros + b.sums_micros[name] for name, micros in a.sums_micros.items()}
    return ReportLine(a.labels, a.count + b.count, sums)


async def _days(
    db: AsyncConnection, start: datetime, end: datetime
) -> list[tuple[datetime, datetime]]:
    """The days of a period in which something may have ended."""
    span = (await db.execute(_SPAN, {})).one()
    if span.first is None:
        return []
    start, end = max(start, _midnight(span.first)), min(end, span.last + DAY)
    days: list[tuple[datetime, datetime]] = []
    while start < end:
        midnight = _midnight(start) + DAY
        days.append((start, min(midnight, end)))
        start = midnight
    return days


def _midnight(moment: datetime) -> datetime:
    """When its day began."""
    return datetime.combine(moment.astimezone(CHINA).date(), time(), CHINA)


async def any_archived(db: AsyncConnection, days: Sequence[date]) -> bool:
    """Whether orders or deliveries that ended on one of these days of Beijing have left the database."""
    return bool((await db.execute(_ANY_ARCHIVED, {"days": list(days)})).scalar_one())


async def _whole_where_archived(
    db: AsyncConnection, days: Sequence[tuple[datetime, datetime]]
) -> None:
    pieces = [since for since, until in days if until - since < DAY]
    if not pieces:
        return
    if await any_archived(db, [one.astimezone(CHINA).date() for one in pieces]):
        why = "orders that ended that day are archived: whole days of Beijing only"
        raise FieldInvalid("start_time", why)
