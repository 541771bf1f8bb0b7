"""Days and page sizes as requests name them."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Final

from shoudan_finance.refusals import FieldInvalid

PAGE_DEFAULT: Final = 100
PAGE_MAX: Final = 1000
DAY_CHARS: Final = 10
BEFORE_ALL: Final = date(1970, 1, 1)


def day_of(field: str, value: str) -> date:
    """A day. Raises FieldInvalid."""
    try:
        if len(value) == DAY_CHARS and value.isascii():
            day = date.fromisoformat(value)
            if day > BEFORE_ALL:
                return day
    except ValueError:
        pass  # refused below, like every other text that is no day
    raise FieldInvalid(field, "is no day of the form yyyy-mm-dd")


def days_after(from_day: str, page_token: str) -> date:
    """Behind which day a page of days begins. Raises FieldInvalid."""
    if page_token:
        return day_of("page_token", page_token)
    return day_of("from_day", from_day) - timedelta(days=1) if from_day else BEFORE_ALL


def page_size(asked: int) -> int:
    """How many rows a page has. Raises FieldInvalid."""
    if not 0 <= asked <= PAGE_MAX:
        raise FieldInvalid("page_size", f"is not within 0..{PAGE_MAX}")
    return asked or PAGE_DEFAULT
