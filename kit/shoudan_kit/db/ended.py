"""Rows that leave the database by number once they have ended: which may go, and why the others stay.

Only a declaration and its statements; `shoudan_kit.archive.ended` writes and deletes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.ids import EPOCH, TIME_SHIFT, first_of

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
class Member:
    """A table with rows of those that leave; `where` finds rows `x` by the keys `{ids}`, an array.

    Without `leaves` they are written and stay. What is `blank` is written empty.
    """

    table: str
    order: str
    where: str
    leaves: bool = True
    blank: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ended:
    """A table whose rows leave when nothing can happen to them any more.

    `number`, `owner` and `made` say in SQL what holds are about: the number people know row `r` by, whose
    it is, and when it was made. `holds` gives those four columns of each hold: number (0 for any), owner
    (empty for any), and the period; `holds_in` names the service that keeps them, where it is another one.
    `members` has the table itself first; every member has the column `key`. `keys` is the slim table that
    knows rows that are gone, `lots` that of what left together; `remember` fills the first from `:ids` and
    `:lot_no`, and `add_up`, if any, keeps what reports need of `:ids`, in the transaction that deletes them.
    """

    table: str
    key: str
    number: str
    owner: str
    made: str
    stays: tuple[Stay, ...]
    holds: str
    members: tuple[Member, ...]
    keys: str
    lots: str
    remember: str
    add_up: str = ""
    holds_in: str = ""


@dataclass(frozen=True, slots=True)
class Hold:
    """What may not go, whatever its age."""

    number: int
    owner: str
    start: datetime | None
    end: datetime | None


class Statements:
    """What is asked of a declaration's tables."""

    def __init__(self, ended: Ended) -> None:
        key, table, keys, lots = ended.key, ended.table, ended.keys, ended.lots
        cases = " ".join(f"WHEN {one.rule} THEN '{one.word}'" for one in ended.stays)
        held = (
            "EXISTS (SELECT FROM unnest(CAST(:hold_numbers AS bigint[]), CAST(:hold_owners AS text[]),"
            " CAST(:hold_starts AS timestamptz[]), CAST(:hold_ends AS timestamptz[]))"
            " AS h(number, owner, start_time, end_time)"
            f" WHERE (h.number = 0 OR h.number = {ended.number})"
            f" AND (h.owner = '' OR h.owner = {ended.owner})"
            f" AND (h.start_time IS NULL OR {ended.made} >= h.start_time)"
            f" AND (h.end_time IS NULL OR {ended.made} < h.end_time))"
        )
        judged = (
            f"SELECT r.{key} AS key, CASE {cases} WHEN {held} THEN '{HELD}' ELSE '{GOES}' END AS reason"
            f" FROM {table} r WHERE r.{key} < :edge"
        )
        some = "ANY(CAST(:ids AS bigint[]))"
        self.counts = text(f"SELECT reason, count(*) FROM ({judged}) AS judged GROUP BY reason")
        # Of no lot yet: one that has changed since its lot was written was taken out of it.
        self.next = text(
            f"SELECT key FROM ({judged} AND r.{key} > :after AND NOT EXISTS"
            f" (SELECT FROM {keys} k WHERE k.{key} = r.{key})) AS judged"
            f" WHERE reason = '{GOES}' ORDER BY key LIMIT :most"
        )
        self.going = text(
            f"SELECT key FROM ({judged} AND r.{key} = {some}) AS judged"
            f" WHERE reason = '{GOES}' ORDER BY key"
        )
        # In the order of keys, as every statement that locks them.
        self.lock = text(
            f"SELECT r.{key} FROM {table} r WHERE r.{key} = {some} ORDER BY r.{key} FOR UPDATE"
        )
        self.fence = text(f"LOCK TABLE {table} IN SHARE MODE")
        self.lot = (
            f"SELECT k.{key} FROM {keys} k WHERE k.{key} BETWEEN {{low}} AND {{high}}"
            " AND k.lot_no = '{lot_no}'"
        )
        self.left = text(
            f"SELECT r.{key} FROM {table} r JOIN {keys} k ON k.{key} = r.{key}"
            f" WHERE r.{key} BETWEEN :low AND :high AND k.lot_no = :lot_no ORDER BY r.{key}"
        )
        self.forget = text(f"DELETE FROM {keys} WHERE {key} = {some}")
        self.open_lot = text(
            f"SELECT lot_no, low, high, place, written_time IS NOT NULL AS written FROM {lots}"
            " WHERE deleted_time IS NULL"
        )
        self.add_lot = text(
            f"INSERT INTO {lots} (lot_no, low, high, place) VALUES (:lot_no, :low, :high, :place)"
        )
        self.lot_written = text(
            f"UPDATE {lots} SET written_time = shoudan_now() WHERE lot_no = :lot_no"
        )
        self.lot_deleted = text(
            f"UPDATE {lots} SET deleted_time = shoudan_now() WHERE lot_no = :lot_no"
        )
        self.remember = text(ended.remember)
        self.add_up = text(ended.add_up) if ended.add_up else None


def made_of(number: str) -> str:
    """The moment one of our numbers was made, in SQL."""
    return f"timestamptz '{EPOCH.isoformat()}' + make_interval(secs => ({number} >> {TIME_SHIFT}) / 1000.0)"


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
    rows = await db.execute(Statements(ended).counts, binds(before, holds))
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
