"""Rows that leave the database by number once they have ended: which may go, and why the others stay.

Only a declaration and its two statements; `shoudan_kit.archive.ended` writes and deletes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.ids import first_of

HELD: Final = "hold"
GOES: Final = ""
HOLDS_MAX: Final = 1_000


@dataclass(frozen=True, slots=True)
class Stay:
    """One reason to stay: a word and a line for people, and when it is true of row `r`, in SQL.

    `:before` is the moment after which a change makes a row too young.
    """

    word: str
    why: str
    rule: str


@dataclass(frozen=True, slots=True)
class Ended:
    """A table whose rows leave when nothing can happen to them any more.

    `number`, `owner` and `made` say in SQL what holds are about: the number people know row `r` by, whose
    it is, and when it was made. `holds` gives those four columns of each hold: number (0 for any), owner
    (empty for any), and the period.
    """

    table: str
    key: str
    number: str
    owner: str
    made: str
    stays: tuple[Stay, ...]
    holds: str


@dataclass(frozen=True, slots=True)
class Hold:
    """What may not go, whatever its age."""

    number: int
    owner: str
    start: datetime | None
    end: datetime | None


async def before_of(db: AsyncConnection, keep: timedelta) -> datetime:
    """The moment before which a row was made that is older than `keep`, by the database's clock."""
    now: datetime = (await db.execute(text("SELECT shoudan_now()"))).scalar_one()
    return now - keep


async def holds_of(db: AsyncConnection, ended: Ended) -> list[Hold]:
    """Every hold; a service keeps them where it keeps what a system has once."""
    return [Hold(*row) for row in await db.execute(text(ended.holds))]


async def counted(
    db: AsyncConnection, ended: Ended, before: datetime, holds: Sequence[Hold]
) -> Mapping[str, int]:
    """How many rows that were made before `before` stay, by reason; and how many may go, by GOES."""
    rows = await db.execute(text(sums(ended)), binds(before, holds))
    return {str(row[0]): int(row[1]) for row in rows}


def binds(before: datetime, holds: Sequence[Hold]) -> dict[str, Any]:
    """What the rules are given."""
    return {
        "before": before,
        "edge": first_of(before),
        "hold_numbers": [one.number for one in holds],
        "hold_owners": [one.owner for one in holds],
        "hold_starts": [one.start for one in holds],
        "hold_ends": [one.end for one in holds],
    }


def judged(ended: Ended) -> str:
    """Each row that was made before `:edge`, and the first reason why it stays."""
    cases = " ".join(f"WHEN {one.rule} THEN '{one.word}'" for one in ended.stays)
    held = (
        "EXISTS (SELECT FROM unnest(CAST(:hold_numbers AS bigint[]), CAST(:hold_owners AS text[]),"
        " CAST(:hold_starts AS timestamptz[]), CAST(:hold_ends AS timestamptz[]))"
        " AS h(number, owner, start_time, end_time)"
        f" WHERE (h.number = 0 OR h.number = {ended.number}) AND (h.owner = '' OR h.owner = {ended.owner})"
        f" AND (h.start_time IS NULL OR {ended.made} >= h.start_time)"
        f" AND (h.end_time IS NULL OR {ended.made} < h.end_time))"
    )
    return (
        f"SELECT r.{ended.key} AS key, CASE {cases} WHEN {held} THEN '{HELD}' ELSE '{GOES}' END AS reason"
        f" FROM {ended.table} r WHERE r.{ended.key} < :edge"
    )


def sums(ended: Ended) -> str:
    """How many of them there are by reason."""
    return f"SELECT reason, count(*) FROM ({judged(ended)}) AS judged GROUP BY reason"
