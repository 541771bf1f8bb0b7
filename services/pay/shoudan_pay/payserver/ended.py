"""What ended on a day: pays, refunds and what persons corrected, row by row in pages, for the books."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

from shoudan_kit.clock import BEIJING
from shoudan_kit.service import App
from shoudan_pay.config import PaySettings
from shoudan_pay.payserver.rules import Method
from shoudan_pay.payserver.states import PAID, RefundStatus
from shoudan_pay.payserver.store import ended as store
from shoudan_pay.payserver.store.ended import Result
from shoudan_pay.refusals import FieldInvalid

DAY: Final = timedelta(days=1)
# A transaction that read its time before midnight is committed or gone by then.
LATE: Final = timedelta(minutes=10)
COMPONENT_MAX: Final = 32  # as sources of statements are named
_GOOD: Final = frozenset({*map(str, PAID), str(RefundStatus.REFUNDED)})


@dataclass(frozen=True, slots=True)
class Place:
    """Behind which result a page begins."""

    end_time: datetime
    record_id: int


@dataclass(frozen=True, slots=True)
class Ended:
    """A result that is news: the first one, or the other one."""

    result: Result
    corrected: bool
    succeeded: bool

    @property
    def moved_micros(self) -> int:
        """What it adds to what moved."""
        if self.succeeded:
            return self.result.amount_micros
        return -self.result.amount_micros if self.corrected else 0

    @property
    def component(self) -> str:
        """With whom the money moved; empty when no component did."""
        one = self.result
        if one.method != Method.COMPONENT:
            return ""
        return (one.channel or one.template_id or one.mode_uuid)[:COMPONENT_MAX]


async def page(
    app: App[PaySettings], day: date, after: Place | None, most: int
) -> tuple[list[Ended], Place | None]:
    """News of a day, and behind which result the next page begins; None at the end of the day.

    Refuses FieldInvalid for a day that is not over, and for a place on another day.
    """
    start = datetime(day.year, day.month, day.day, tzinfo=BEIJING)
    place, end = after or Place(start, 0), start + DAY
    if not start <= place.end_time < end:
        raise FieldInvalid("page_token", "was not given by this service")
    async with app.db.connect() as db:
        if await store.now(db) < end + LATE:
            raise FieldInvalid("day", "is not over yet")
        found = await store.ended(
            db, start=place.end_time, after=place.record_id, end=end, most=most
        )
    whole = len(found) < most
    last = None if whole else Place(found[-1].end_time, found[-1].record_id)
    return [news for one in found if (news := _news(one)) is not None], last


def _news(one: Result) -> Ended | None:
    """A refund changes the status of its pay, too: that is no result of the pay."""
    good = one.status in _GOOD
    if one.was and (one.was in _GOOD) == good:
        return None
    return Ended(one, bool(one.was), good)
