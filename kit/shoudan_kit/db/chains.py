"""Rows that follow one another, each proving the next: they leave from the front, by closed days.

Only a declaration; `shoudan_kit.archive.chains` writes and deletes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db.ended import GOES, HELD, Hold, Stay

BEHIND: Final = "behind"
UNCOPIED: Final = "uncopied"
_PIECES: Final = (
    "unnest(CAST(:ids AS bigint[]), CAST(:lows AS bigint[]), CAST(:highs AS bigint[]))"
    " AS g(chain, low, high)"
)


@dataclass(frozen=True, slots=True)
class Chains:
    """A table of chains: rows of one `chain` are numbered by `place`, from 1 without gaps.

    `days` gives each chain's closed days: columns day, chain, first and last place `low` and `high`, owner,
    and `left_upto`, the place up to which the chain has left. `stays` are rules about such a row `d`;
    `held_no` is true of one with a row that `h.number` names. `remember` keeps what stays known of rows,
    `move` where their chains begin now, both from `:ids`, `:lows`, `:highs`, in the transaction that deletes
    them. The last row of a day stays until the next day leaves: what is stated of a chain's end is here.
    `copied_in` names the service whose copies of days count, `holds_in` that which keeps the holds.
    """

    table: str
    chain: str
    place: str
    days: str
    stays: tuple[Stay, ...]
    held_no: str
    lots: str
    remember: str
    move: str
    copied_in: str
    holds_in: str


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows of one chain behind `low`, up to `high`."""

    chain: int
    low: int
    high: int


class Statements:
    """What is asked of a declaration's tables."""

    def __init__(self, chains: Chains) -> None:
        table, lots = chains.table, chains.lots
        chain, place = chains.chain, chains.place
        judged, waits = _judged(chains), _waits(_judged(chains))
        self.counts = text(
            f"SELECT reason, CAST(sum(high - low) AS bigint) FROM ({waits}) w GROUP BY reason"
        )
        goes = f"FROM ({waits}) w WHERE w.reason = '{GOES}' AND w.high - 1 > w.left_upto"
        self.next_day = text(f"SELECT min(w.day) {goes} AND w.day > CAST(:after AS date)")
        self.going = text(
            f"SELECT w.chain, w.left_upto, w.high - 1 {goes} AND w.day = CAST(:day AS date)"
            " ORDER BY w.chain"
        )
        self.still = text(
            f"SELECT j.chain FROM ({judged} AND d.day = CAST(:day AS date)"
            f" AND d.chain = ANY(CAST(:ids AS bigint[]))) j WHERE j.reason = '{GOES}'"
        )
        self.open_lot = text(
            f"SELECT lot_no, day, place, written_time IS NOT NULL AS written FROM {lots}"
            " WHERE deleted_time IS NULL"
        )
        self.lots_of = text(f"SELECT count(*) FROM {lots} WHERE day = CAST(:day AS date)")
        self.add_lot = text(
            f"INSERT INTO {lots} (lot_no, low, high, place, day)"
            " VALUES (:lot_no, :low, :high, :place, CAST(:day AS date))"
        )
        self.lot_written = text(
            f"UPDATE {lots} SET written_time = shoudan_now() WHERE lot_no = :lot_no"
        )
        self.lot_deleted = text(
            f"UPDATE {lots} SET deleted_time = shoudan_now() WHERE lot_no = :lot_no"
        )
        self.note_pieces = text(
            "CREATE TEMPORARY TABLE IF NOT EXISTS leaving (chain bigint, low bigint, high bigint)"
        )
        self.forget_pieces = text("TRUNCATE leaving")
        self.note_piece = text(f"INSERT INTO leaving SELECT g.chain, g.low, g.high FROM {_PIECES}")
        of_piece = f"x.{chain} = {{0}}.chain AND x.{place} > {{0}}.low AND x.{place} <= {{0}}.high"
        self.rows = (
            f"FROM {table} x JOIN leaving p ON {of_piece.format('p')} ORDER BY x.{chain}, x.{place}"
        )
        self.gone = f"DELETE FROM {table} x USING {_PIECES} WHERE {of_piece.format('g')}"
        # The same rows in a file; as many are given as there are pieces.
        self.in_file = (
            "EXISTS (SELECT 1 FROM (SELECT unnest(CAST(? AS BIGINT[])) AS chain,"
            " unnest(CAST(? AS BIGINT[])) AS low, unnest(CAST(? AS BIGINT[])) AS high) g"
            f" WHERE g.chain = {chain} AND {place} > g.low AND {place} <= g.high)"
        )
        self.remember, self.move = text(chains.remember), text(chains.move)


def _judged(chains: Chains) -> str:
    """Each closed day of a chain with the first reason that keeps it."""
    cases = " ".join(f"WHEN {one.rule} THEN '{one.word}'" for one in chains.stays)
    held = (
        "EXISTS (SELECT FROM unnest(CAST(:hold_numbers AS bigint[]), CAST(:hold_owners AS text[]),"
        " CAST(:hold_starts AS timestamptz[]), CAST(:hold_ends AS timestamptz[]))"
        " AS h(number, owner, start_time, end_time)"
        f" WHERE (h.number = 0 OR {chains.held_no}) AND (h.owner = '' OR h.owner = d.owner)"
        " AND (h.start_time IS NULL OR h.start_time < (d.day + 2) AT TIME ZONE 'Asia/Shanghai')"
        " AND (h.end_time IS NULL OR h.end_time > (d.day - 1) AT TIME ZONE 'Asia/Shanghai'))"
    )
    return (
        "SELECT d.day, d.chain, d.left_upto, greatest(d.low - 1, d.left_upto) AS low, d.high,"
        f" CASE {cases} WHEN d.day <> ALL(CAST(:copied AS date[])) THEN '{UNCOPIED}'"
        f" WHEN {held} THEN '{HELD}' ELSE '{GOES}' END AS reason"
        f" FROM ({chains.days}) d WHERE d.day < CAST(:before AS date)"
    )


def _waits(judged: str) -> str:
    """The same, where a day behind one that stays has to wait: a chain leaves from its front."""
    return (
        f"SELECT j.day, j.chain, j.left_upto, j.low, j.high, CASE WHEN j.reason = '{GOES}' AND"
        f" coalesce(bool_or(j.reason <> '{GOES}') OVER (PARTITION BY j.chain ORDER BY j.day"
        " ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), false)"
        f" THEN '{BEHIND}' ELSE j.reason END AS reason FROM ({judged}) j WHERE j.high > j.low"
    )


async def counted_days(
    db: AsyncConnection,
    chains: Chains,
    before: date,
    copied: Sequence[date],
    holds: Sequence[Hold],
) -> Mapping[str, int]:
    """How many rows of closed days before `before` stay, by reason; and how many may go, by GOES."""
    rows = await db.execute(Statements(chains).counts, day_binds(before, copied, holds))
    return {str(row[0]): int(row[1]) for row in rows}


def day_binds(before: date, copied: Sequence[date], holds: Sequence[Hold]) -> dict[str, Any]:
    """What the rules are given."""
    return {
        "before": before,
        "copied": list(copied),
        "hold_numbers": [one.number for one in holds],
        "hold_owners": [one.owner for one in holds],
        "hold_starts": [one.start for one in holds],
        "hold_ends": [one.end for one in holds],
    }
