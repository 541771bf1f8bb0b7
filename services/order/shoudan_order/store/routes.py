"""Statements on how suppliers did, minute by minute, and on a day's orders to try a policy on."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db.columns import literals, returned
from shoudan_kit.db.text_statements import statement
from shoudan_order.states import DELIVERY, DeliveryEvent, DeliveryStatus

FORGET_MAX: Final = 5_000  # deleted by one statement


class Facts(msgspec.Struct, frozen=True):
    """How a supplier did for a line: of the last hour, and of its last quarter (`recent`)."""

    ended: int = 0
    succeeded: int = 0
    p90_ms: int = 0
    recent_ended: int = 0
    recent_succeeded: int = 0


_ENDS: Final = literals(
    sorted(
        {
            DELIVERY.next(DeliveryStatus.SENDING, DeliveryEvent.FAILED),
            DELIVERY.next(DeliveryStatus.SENDING, DeliveryEvent.SUCCEEDED),
        }
    )
)

_LAST = statement("SELECT minute FROM oms_route_minute ORDER BY minute DESC LIMIT 1")
# Whole minutes, each written once, by whichever process comes first. A delivery that a person ended hours
# later counts as one of an hour.
_GATHER = statement(f"""
INSERT INTO oms_route_minute (minute, line_id, up_channel_no, ended, succeeded, p90_ms)
SELECT date_trunc('minute', d.end_time), d.line_id, d.up_channel_no, count(*),
    count(*) FILTER (WHERE d.delivery_status = {DeliveryStatus.SUCCEEDED:d}),
    CAST(percentile_disc(0.9) WITHIN GROUP (ORDER BY CAST(least(3600000,
        EXTRACT(epoch FROM d.end_time - coalesce(d.start_time, d.end_time)) * 1000) AS bigint)) AS bigint)
FROM oms_order_delivery d
WHERE d.end_time >= :start AND d.end_time < :end_ AND d.delivery_status IN ({_ENDS})
GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
ON CONFLICT (minute, line_id, up_channel_no) DO NOTHING
""")
# The slowest tenth of an hour is the mean of its minutes', each as heavy as what ended in it.
_FACTS = statement("""
SELECT line_id, up_channel_no, CAST(sum(ended) AS bigint), CAST(sum(succeeded) AS bigint),
    CAST(floor(sum(p90_ms * ended) / sum(ended)) AS bigint),
    CAST(coalesce(sum(ended) FILTER (WHERE minute >= :recent), 0) AS bigint),
    CAST(coalesce(sum(succeeded) FILTER (WHERE minute >= :recent), 0) AS bigint)
FROM oms_route_minute WHERE minute >= :start AND minute < :end_ GROUP BY line_id, up_channel_no
""")
_FORGET = statement(f"""
DELETE FROM oms_route_minute WHERE (minute, line_id, up_channel_no) IN (
    SELECT minute, line_id, up_channel_no FROM oms_route_minute
    WHERE minute < :before ORDER BY minute LIMIT {FORGET_MAX})
RETURNING 1
""")
_ORDERS = statement("""
SELECT order_id, line_id FROM oms_order_info
WHERE order_id > :after AND order_id < :before ORDER BY order_id LIMIT :most
""")


async def last_minute(db: AsyncConnection) -> datetime | None:
    """The newest minute that is known."""
    return (await db.execute(_LAST)).scalar()


async def gather(db: AsyncConnection, start: datetime, end: datetime) -> None:
    """Write how deliveries of these minutes ended."""
    await db.execute(_GATHER, {"start": start, "end_": end})


async def facts(
    db: AsyncConnection, start: datetime, end: datetime, recent: datetime
) -> dict[tuple[int, str], Facts]:
    """How suppliers did, by line and supplier."""
    rows = await db.execute(_FACTS, {"start": start, "end_": end, "recent": recent})
    return {(line_id, channel_no): Facts(*sums) for line_id, channel_no, *sums in rows}


async def forget(db: AsyncConnection, before: datetime) -> bool:
    """Delete minutes of long ago; whether there may be more."""
    return len(await returned(db, _FORGET, before=before)) == FORGET_MAX


async def orders_between(
    db: AsyncConnection, after: int, before: int, most: int
) -> list[tuple[int, int]]:
    """A page of orders by their numbers, oldest first, each with its line."""
    binds = {"after": after, "before": before, "most": most}
    return [(order_id, line_id) for order_id, line_id in await db.execute(_ORDERS, binds)]
