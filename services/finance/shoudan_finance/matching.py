"""The join of the books: which entries of ours and of theirs are one movement, and how far they agree.

It knows no database of ours: entries go in as files, what was found comes out by pages, and DuckDB does the
join within its own bound of memory, beyond it on disk. Decision 0052.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import duckdb

from shoudan_finance.states import EntryKind, ExceptionKind, MatchRule, Outcome

MEMORY: Final = "768MB"
THREADS: Final = 2
ROUNDS_MAX: Final = 5  # of the rule of account and time: who is nearest to whom, then the rest


@dataclass(frozen=True, slots=True)
class Terms:
    """What a run goes by."""

    today: date
    due_days: int
    tolerance_micros: int
    window_s: int
    covered: Sequence[tuple[date, date]]  # days of statements, first and last
    ours_from: date  # our side is here from this day on
    ours_until: date  # up to this one


@dataclass(frozen=True, slots=True)
class Loaded:
    """A page of entries that was added."""

    ours: int
    theirs: int
    last_id: int  # the highest number of all so far


@dataclass(frozen=True, slots=True)
class Found:
    """A pair, or an entry alone (the other is 0): matched when `kind` is None, else an exception."""

    ours_id: int
    theirs_id: int
    rule: MatchRule
    kind: ExceptionKind | None
    diff_micros: int
    day: date


COLUMNS: Final = {
    "entry_id": "BIGINT",
    "book": "TINYINT",
    "kind": "TINYINT",
    "our_no": "VARCHAR",
    "their_no": "VARCHAR",
    "account": "VARCHAR",
    "face": "BIGINT",
    "amount": "BIGINT",
    "outcome": "TINYINT",
    "at_s": "BIGINT",
    "day": "DATE",
    "broken": "BOOLEAN",
}
_NAMES: Final = ", ".join(COLUMNS)
_MADE: Final = f"""
CREATE TABLE e ({", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())});
CREATE TABLE pair (ours BIGINT, theirs BIGINT, rule TINYINT);
CREATE TABLE cover (first DATE, last DATE);
CREATE TABLE terms (today DATE, due_days INTEGER, tolerance BIGINT, window_s BIGINT,
    ours_from DATE, ours_until DATE);
CREATE VIEW ours AS SELECT {_NAMES} FROM e ANTI JOIN pair ON e.entry_id = pair.ours WHERE book = 1;
CREATE VIEW theirs AS SELECT {_NAMES} FROM e ANTI JOIN pair ON e.entry_id = pair.theirs WHERE book > 1;
"""
_LOAD: Final = f"""
INSERT INTO e SELECT {_NAMES} FROM read_csv(?, auto_detect = false, header = false, delim = ',',
    quote = '"', escape = '"', nullstr = '\\N', columns = {COLUMNS})
"""


# Where a number stands there several times, the first goes with the first and so on.
_BY_NUMBER: Final = """
INSERT INTO pair SELECT o.entry_id, t.entry_id, {rule}
FROM (
    SELECT entry_id, kind, {name}, row_number() OVER (
        PARTITION BY kind, {name} ORDER BY at_s, entry_id) AS n
    FROM ours WHERE {name} <> ''
) o JOIN (
    SELECT entry_id, kind, {name}, row_number() OVER (
        PARTITION BY kind, {name} ORDER BY at_s, entry_id) AS n
    FROM theirs WHERE {name} <> ''
) t USING (kind, {name}, n)
"""
_RULES: Final = (
    _BY_NUMBER.format(name="our_no", rule=int(MatchRule.OUR_NO)),
    _BY_NUMBER.format(name="their_no", rule=int(MatchRule.THEIR_NO)),
)
# Each with the nearest in time that has none nearer; what is left over is looked at again.
_BY_ACCOUNT: Final = f"""
INSERT INTO pair
WITH near AS (
    SELECT o.entry_id AS ours, t.entry_id AS theirs, abs(o.at_s - t.at_s) AS apart
    FROM ours o JOIN theirs t ON o.kind = t.kind AND o.account = t.account AND o.face = t.face
    WHERE o.account <> '' AND o.face > 0
        AND abs(o.at_s - t.at_s) <= (SELECT window_s FROM terms)
), ranked AS (
    SELECT ours, theirs, row_number() OVER (PARTITION BY ours ORDER BY apart, theirs) AS a,
        row_number() OVER (PARTITION BY theirs ORDER BY apart, ours) AS b
    FROM near
)
SELECT ours, theirs, {int(MatchRule.ACCOUNT)} FROM ranked WHERE a = 1 AND b = 1
"""
_SUCCESS: Final = int(Outcome.SUCCESS)
_FAILED: Final = int(Outcome.FAILED)
_UNKNOWN: Final = int(Outcome.UNKNOWN)
_OF_SUMS: Final = f"{int(EntryKind.SETTLEMENT)}, {int(EntryKind.TRANSFER)}"
# What an entry moved: a failure moves nothing.
_MOVED: Final = f"CASE {{0}}.outcome WHEN {_SUCCESS} THEN {{0}}.amount ELSE 0 END"
_PAIRS: Final = f"""
SELECT p.ours, p.theirs, p.rule,
    CASE
        WHEN o.outcome <> t.outcome THEN {int(ExceptionKind.STATUS)}
        WHEN o.outcome = {_SUCCESS} AND abs(t.amount - o.amount) > (SELECT tolerance FROM terms)
            THEN {int(ExceptionKind.AMOUNT)}
        ELSE 0
    END AS verdict,
    {_MOVED.format("t")} - {_MOVED.format("o")} AS diff, t.day
FROM pair p JOIN e o ON o.entry_id = p.ours JOIN e t ON t.entry_id = p.theirs
WHERE t.outcome <> {_UNKNOWN} AND o.outcome <> {_UNKNOWN}
ORDER BY p.ours
"""
# Ours is due when a statement covers its day and the days of grace are over; theirs when our side of its
# days is here. What is not due waits: it is no exception.
_DUE: Final = """day + CAST((SELECT due_days FROM terms) AS INTEGER) < (SELECT today FROM terms)
    AND day >= (SELECT ours_from FROM terms)"""
_ALONE: Final = f"""
WITH alone AS (
    SELECT entry_id AS ours, 0 AS theirs, -({_MOVED.format("ours")}) AS diff, day, broken FROM ours
    WHERE {_DUE} AND EXISTS (SELECT 1 FROM cover WHERE ours.day BETWEEN first AND last)
    UNION ALL
    SELECT 0, entry_id, {_MOVED.format("theirs")}, day, broken FROM theirs
    WHERE {_DUE} AND kind NOT IN ({_OF_SUMS}) AND outcome <> {_UNKNOWN}
        AND day + CAST((SELECT due_days FROM terms) AS INTEGER) <= (SELECT ours_until FROM terms)
)
SELECT ours, theirs, CASE diff WHEN 0 THEN {int(MatchRule.NOTHING_MOVED)} ELSE 0 END,
    CASE WHEN diff > 0 THEN {int(ExceptionKind.LONG)}
        WHEN diff < 0 THEN {int(ExceptionKind.SHORT)} ELSE 0 END,
    diff, day
FROM alone WHERE diff = 0 OR NOT broken ORDER BY ours, theirs
"""


class Join:
    """One join: `load` pages, `run`, read `found`. Use it in one thread at a time, and close it."""

    def __init__(self, terms: Terms) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="shoudan-match-")
        self.page = Path(self._folder.name) / "page.csv"
        self._db = duckdb.connect(config={"memory_limit": MEMORY, "threads": THREADS})
        self._db.execute("SET temp_directory = ?", [self._folder.name])
        self._db.execute(_MADE)
        self._db.execute(
            "INSERT INTO terms VALUES (?, ?, ?, ?, ?, ?)",
            [
                terms.today,
                terms.due_days,
                terms.tolerance_micros,
                terms.window_s,
                terms.ours_from,
                terms.ours_until,
            ],
        )
        for first, last in terms.covered:
            self._db.execute("INSERT INTO cover VALUES (?, ?)", [first, last])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._db.close()
        self._folder.cleanup()

    def load(self) -> Loaded:
        """Add the entries of the file `page`, which goes: CSV with the columns COLUMNS."""
        before = self._all()
        self._db.execute(_LOAD, [str(self.page)])
        self.page.unlink()
        now = self._all()
        return Loaded(now.ours - before.ours, now.theirs - before.theirs, now.last_id)

    def _all(self) -> Loaded:
        self._db.execute(
            "SELECT count(*) FILTER (book = 1), count(*) FILTER (book > 1), coalesce(max(entry_id), 0)"
            " FROM e"
        )
        (found,) = self._db.fetchall()
        return Loaded(*found)

    def run(self) -> None:
        """Pair by the rules in their order."""
        for rule in _RULES:
            self._db.execute(rule)
        for _ in range(ROUNDS_MAX):
            before = self.counted("SELECT count(*) FROM pair")
            self._db.execute(_BY_ACCOUNT)
            if self.counted("SELECT count(*) FROM pair") == before:
                return

    def found(self, most: int) -> Iterator[list[Found]]:
        """Pairs first, then what is alone and due, by pages."""
        for query in (_PAIRS, _ALONE):
            self._db.execute(query)
            while rows := self._db.fetchmany(most):
                yield [
                    Found(
                        ours,
                        theirs,
                        MatchRule(rule),
                        ExceptionKind(verdict) if verdict else None,
                        diff,
                        day,
                    )
                    for ours, theirs, rule, verdict, diff, day in rows
                ]

    def counted(self, query: str) -> int:
        """The number that a query gives."""
        row = self._db.execute(query).fetchone()
        assert row is not None
        return row[0]
