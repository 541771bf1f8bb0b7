"""The time: one clock to ask, one to turn in tests, and Beijing time for the documented wires."""

from __future__ import annotations

import re
import time
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Protocol

# China keeps one offset all year, so no time-zone database is needed in the container.
BEIJING = timezone(timedelta(hours=8), "Asia/Shanghai")
_DAY_TEXT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_BEIJING_TEXT = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2}) ([0-9]{2}):([0-9]{2}):([0-9]{2})")


class Clock(Protocol):
    """What code asks for the time; leases and due times are asked of the database instead."""

    def now(self) -> datetime:
        """The moment, aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back; only differences mean something."""
        ...


class SystemClock:
    """The machine's time."""

    def now(self) -> datetime:
        """The moment, aware, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()


class ShiftedClock(SystemClock):
    """The machine's time, ahead by what the database's clock was advanced: 0 in production."""

    def __init__(self) -> None:
        self.shift_s = 0

    def now(self) -> datetime:
        """The moment by the database's clock, aware, in UTC."""
        return super().now() + timedelta(seconds=self.shift_s)


class TurnedClock:
    """A clock that stands still until a test turns it."""

    def __init__(self, start: datetime) -> None:
        if start.tzinfo is None:
            raise ValueError("a clock starts at an aware datetime")
        self._now = start.astimezone(UTC)
        self._monotonic_s = 0.0

    def now(self) -> datetime:
        """The moment it was last turned to, in UTC."""
        return self._now

    def monotonic(self) -> float:
        """Seconds advanced since the start."""
        return self._monotonic_s

    def advance(self, seconds: float) -> None:
        """Turn forward. ValueError when negative: see `step` for a wall clock set back."""
        if seconds < 0:
            raise ValueError("time does not go back; use step() for a wall clock that was set back")
        self._now += timedelta(seconds=seconds)
        self._monotonic_s += seconds

    def step(self, seconds: float) -> None:
        """Set the wall clock forward or back, as an operator or NTP does; monotonic time stays."""
        self._now += timedelta(seconds=seconds)


def beijing(moment: datetime) -> str:
    """`2026-11-20 19:30:00` in Beijing time, fractions of a second dropped."""
    if moment.tzinfo is None:
        raise ValueError("only aware datetimes have a Beijing time")
    return moment.astimezone(BEIJING).strftime("%Y-%m-%d %H:%M:%S")


def day_of(text: str) -> date | None:
    """The day of `2026-11-20`; None for any other form, weeks and days of a year among them."""
    try:
        return date.fromisoformat(text) if _DAY_TEXT.fullmatch(text) else None
    except ValueError:
        return None


def from_beijing(text: str) -> datetime:
    """The UTC moment of `2026-11-20 19:30:00` Beijing time. ValueError on any other shape."""
    found = _BEIJING_TEXT.fullmatch(text)
    if found is None:
        raise ValueError("not of the form YYYY-MM-DD HH:MM:SS")
    year, month, day, hour, minute, second = map(int, found.groups())
    return datetime(year, month, day, hour, minute, second, tzinfo=BEIJING).astimezone(UTC)
