"""The accounting day: 24 hours of Beijing from the cut on, and never before a day that was closed."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from functools import lru_cache

from shoudan_kit.clock import BEIJING


def cut_of(text: str) -> timedelta:
    """How long after midnight a day begins, of HH:MM."""
    hour, minute = map(int, text.split(":"))
    return timedelta(hours=hour, minutes=minute)


@lru_cache(maxsize=64)  # the moment of a batch is that of nearly all its accounts
def day_of(moment: datetime, cut: timedelta) -> date:
    """The accounting day a moment lies in."""
    return (moment.astimezone(BEIJING) - cut).date()


def ends(day: date, cut: timedelta) -> datetime:
    """The first moment that is not of the day any more."""
    return datetime(day.year, day.month, day.day, tzinfo=BEIJING) + timedelta(days=1) + cut
