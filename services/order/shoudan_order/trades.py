"""What ended on a day, row by row in pages: what trade bills (交易账单) are made of."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

from shoudan_kit.clock import BEIJING
from shoudan_order.context import Context
from shoudan_order.refusals import FieldInvalid
from shoudan_order.store import trades as store
from shoudan_order.store.reports import any_archived
from shoudan_order.store.trades import Trade, Whose

DAY: Final = timedelta(days=1)
# A transaction that read its time before midnight is committed or gone by then.
LATE: Final = timedelta(minutes=10)
# One statement reads so much of the day, more where little ended.
SPAN: Final = timedelta(minutes=1)
SPAN_MAX: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Place:
    """Behind which row a page begins."""

    end_time: datetime
    number: int


@dataclass(frozen=True, slots=True)
class Asked:
    """Whose trades, and on which day."""

    whose: Whose
    day: date

    @property
    def start(self) -> datetime:
        """Midnight in Beijing."""
        return datetime(self.day.year, self.day.month, self.day.day, tzinfo=BEIJING)


async def page(
    context: Context, asked: Asked, after: Place | None, most: int
) -> tuple[list[Trade], Place | None]:
    """Rows by end_time and number, and behind which the next page begins; None at the end of the day.

    The rows of a day that is over never change. Refuses FieldInvalid for one that is not, for
    one whose orders have left the database, and for a place on another day.
    """
    place, end, span = after or Place(asked.start, 0), asked.start + DAY, SPAN
    found: list[Trade] = []
    if not asked.start <= place.end_time < end:  # what is between would be read as the day's
        raise FieldInvalid("page_token", "not given by the page before")
    async with context.app.db.connect() as db:
        if await any_archived(db, [asked.day]):
            raise FieldInvalid("day", "orders that ended that day are archived")
        if await store.now(db) < end + LATE:
            raise FieldInvalid("day", "is not over yet")
        while place.end_time < end:
            until = min(end, place.end_time + span)
            rows = await store.ended(
                db,
                asked.whose,
                start=place.end_time,
                after=place.number,
                end=until,
                most=most - len(found),
            )
            found += rows
            if len(found) == most:
                return found, Place(found[-1].end_time, found[-1].number)
            place, span = Place(until, 0), min(2 * span, SPAN_MAX)
    return found, None
