"""What time it is in the system that is shown: a test system may be ahead of the machine."""

from __future__ import annotations

from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from typing import Final

_ahead_s: Final = ContextVar("ahead_s", default=0)


def now() -> datetime:
    """The time of the system, in a request of a browser."""
    return datetime.now(UTC) + timedelta(seconds=_ahead_s.get())


def keep_ahead(seconds: int) -> None:
    """From here on this request is so far ahead of the machine."""
    _ahead_s.set(seconds)
