"""The gauges of parked orders: how many, and how old the oldest is."""

from __future__ import annotations

import asyncio
from typing import Final

from sqlalchemy.exc import DBAPIError

from shoudan_kit import log, metrics
from shoudan_kit.ids import time_of
from shoudan_order.context import Context
from shoudan_order.store import pauses as pause_store

GAUGE_EVERY_S: Final = 5.0
# The count stops here: above it the alert is the same.
COUNT_MAX: Final = 10_000

ORDERS_PARKED: Final = metrics.total(
    "orders_parked", f"Orders that wait for a person; {COUNT_MAX} stands for that many or more."
)
ORDERS_PARKED_AGE_SECONDS: Final = metrics.worst(
    "orders_parked_age_seconds",
    "Age of the oldest parked order, since it was made; 0 when none is parked.",
)

_log = log.get_logger("parked")


async def gauge_forever(context: Context) -> None:
    """Set the gauges every GAUGE_EVERY_S; while the database is away they keep their values."""
    while True:
        try:
            await gauge(context)
        except (DBAPIError, OSError, TimeoutError) as error:
            _log.warning("gauge_failed", error=type(error).__name__)
        await asyncio.sleep(GAUGE_EVERY_S)


async def gauge(context: Context) -> None:
    """Set both gauges once. The age comes from the order's number, so the index alone is read."""
    async with context.app.db.connect() as db:
        found = await pause_store.parked_orders(db, COUNT_MAX)
    age_s = 0.0
    if found.oldest_id is not None:
        age_s = (context.app.clock.now() - time_of(found.oldest_id)).total_seconds()
    ORDERS_PARKED().set(found.count)
    ORDERS_PARKED_AGE_SECONDS().set(max(0.0, age_s))
