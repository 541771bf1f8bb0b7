"""Statements on closed periods."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_finance.tables import PERIODS, UNDECIDED
from shoudan_finance.tables.periods import REOPENING
from shoudan_kit.db.columns import Rows, types
from shoudan_kit.db.text_statements import columns, statement, unnest


@dataclass(frozen=True, slots=True)
class NewPeriod:
    """A period as it is closed."""

    first_day: date
    last_day: date
    accounts: int
    opening_micros: int
    debits_micros: int
    credits_micros: int
    closing_micros: int
    digest: bytes
    closed_by: str


@dataclass(frozen=True, slots=True)
class Period(NewPeriod):
    """One row of period."""

    close_time: datetime


@dataclass(frozen=True, slots=True)
class NewReopening:
    """A period that is opened again."""

    reopening_id: int
    first_day: date
    last_day: date
    reason: str
    reopened_by: str


@dataclass(frozen=True, slots=True)
class Reopening(NewReopening):
    """One row of period_reopening: how it had been closed."""

    closing_micros: int
    digest: bytes
    closed_by: str
    close_time: datetime
    reopen_time: datetime


_NEW: Final = Rows(NewPeriod)
_PERIOD: Final = Rows(Period)
_REOPENING: Final = Rows(Reopening)

_REOPENED = statement(f"""
WITH gone AS (
    DELETE FROM period
    WHERE first_day = CAST(:first_day AS date) AND last_day = CAST(:last_day AS date)
    RETURNING first_day, last_day, closing_micros, digest, closed_by, close_time
)
INSERT INTO {REOPENING.name} (reopening_id, first_day, last_day, closing_micros, digest, closed_by,
    close_time, reason, reopened_by, reopen_time)
SELECT :reopening_id, gone.first_day, gone.last_day, gone.closing_micros, gone.digest, gone.closed_by,
    gone.close_time, :reason, :reopened_by, shoudan_now()
FROM gone RETURNING reopening_id
""")
# A month begins at most a month before a day of it.
_AROUND = statement(f"""
SELECT {_PERIOD.of()} FROM period
WHERE first_day BETWEEN CAST(:first_day AS date) - 31 AND CAST(:first_day AS date)
    AND last_day >= CAST(:last_day AS date) AND last_day - first_day
        > CAST(:last_day AS date) - CAST(:first_day AS date)
ORDER BY first_day LIMIT 1
""")
_REOPENINGS = statement(f"""
SELECT {_REOPENING.of()} FROM {REOPENING.name} WHERE reopening_id < :before
ORDER BY reopening_id DESC LIMIT :most
""")

_ADD = statement(f"""
INSERT INTO period ({_NEW.of()}, close_time)
SELECT {_NEW.of("given")}, shoudan_now() FROM {unnest(**types(PERIODS, *_NEW.names))}
ON CONFLICT DO NOTHING RETURNING first_day
""")
_GET = statement(f"""
SELECT {_PERIOD.of()} FROM period
WHERE first_day = CAST(:first_day AS date) AND last_day = CAST(:last_day AS date)
""")
_PAGE = statement(f"""
SELECT {_PERIOD.of()} FROM period
WHERE (first_day, last_day) > (CAST(:first_day AS date), CAST(:last_day AS date))
ORDER BY first_day, last_day LIMIT :most
""")
# What waits for a person is little, and counted up to a bound.
_OPEN = statement(f"""
SELECT count(1) FROM (
    SELECT day FROM exception WHERE {UNDECIDED} AND exception_id > 0
    ORDER BY exception_id LIMIT 10000) AS waiting
WHERE day <= CAST(:to_day AS date)
""")


async def reopen(db: AsyncConnection, one: NewReopening) -> bool:
    """Take a period out of the closed ones and store how it had been closed; False when it is not closed."""
    binds = {
        "first_day": one.first_day,
        "last_day": one.last_day,
        "reopening_id": one.reopening_id,
        "reason": one.reason,
        "reopened_by": one.reopened_by,
    }
    return (await db.execute(_REOPENED, binds)).first() is not None


async def around(db: AsyncConnection, first: date, last: date) -> Period | None:
    """A closed period that is longer and has this one within."""
    return _PERIOD.one(await db.execute(_AROUND, {"first_day": first, "last_day": last}))


async def reopenings(db: AsyncConnection, before: int, most: int) -> list[Reopening]:
    """Periods that were opened again, newest first."""
    return _REOPENING.all(await db.execute(_REOPENINGS, {"before": before, "most": most}))


async def add(db: AsyncConnection, one: NewPeriod) -> bool:
    """Store a closed period; False when it is there."""
    return (await db.execute(_ADD, columns([one], *_NEW.names))).first() is not None


async def get(db: AsyncConnection, first: date, last: date) -> Period | None:
    """One closed period."""
    return _PERIOD.one(await db.execute(_GET, {"first_day": first, "last_day": last}))


async def page(db: AsyncConnection, after: tuple[date, date], most: int) -> list[Period]:
    """Closed periods behind one."""
    binds = {"first_day": after[0], "last_day": after[1], "most": most}
    return _PERIOD.all(await db.execute(_PAGE, binds))


async def open_exceptions(db: AsyncConnection, last: date) -> int:
    """Exceptions up to a day that wait for a decision."""
    return int((await db.execute(_OPEN, {"to_day": last})).scalar_one())
