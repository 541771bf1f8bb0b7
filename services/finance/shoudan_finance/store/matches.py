"""Statements on what a run found: entries that are one movement, and exceptions, by arrays.

Who changes both locks entries first, then exceptions, each by number: runs, corrections and decisions
wait for each other, and never in a circle.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_finance.states import (
    ENTRY,
    EXCEPTION,
    Book,
    EntryEvent,
    EntryKind,
    EntryStatus,
    ExceptionEvent,
    ExceptionKind,
    MatchRule,
    Outcome,
)
from shoudan_finance.tables import (
    ENTRY_TABLE,
    EXCEPTION_TABLE,
    LIVE,
    STILL_UNDECIDED,
    STILL_UNMATCHED,
    UNDECIDED,
    UNMATCHED,
)
from shoudan_kit.db.columns import Rows, literal, literals, types
from shoudan_kit.db.text_statements import FastConnection, columns, statement, unnest

_SUMS: Final = literals([EntryKind.SETTLEMENT, EntryKind.TRANSFER])


@dataclass(frozen=True, slots=True)
class Move:
    """What becomes of an entry."""

    entry_id: int
    status: EntryStatus
    match_id: int
    rule: MatchRule


@dataclass(frozen=True, slots=True)
class NewException:
    """A difference that a run found."""

    exception_id: int
    source: str
    kind: ExceptionKind
    ours_id: int
    theirs_id: int
    diff_micros: int
    day: date
    run_id: int


@dataclass(frozen=True, slots=True)
class Settlement:
    """A line that others add up to, what they come to, and how many they are."""

    entry_id: int
    book: int
    settle_no: str
    amount_micros: int
    day: date
    status: int
    lines: int
    sum_micros: int
    paid_id: int


_NEW: Final = Rows(NewException)

# A broken one that has a counterpart keeps it: only what is alone is looked at again. The columns are those
# of matching.COLUMNS, in their order.
_PAGE = statement(f"""
SELECT entry_id, book, kind, our_no, their_no, account, face_micros, amount_micros, outcome,
    extract(epoch FROM happen_time)::bigint AS at_s, day,
    status = {literal(EntryStatus.BROKEN)} AS broken
FROM entry WHERE source = :source AND entry_id > :after AND {UNMATCHED} AND match_id = 0
    AND kind NOT IN ({_SUMS})
ORDER BY entry_id LIMIT :most
""")
_LOCK = statement(f"""
SELECT entry_id, status = {literal(EntryStatus.BROKEN)} AS broken FROM entry
WHERE entry_id = ANY(CAST(:entry_id AS bigint[])) AND {STILL_UNMATCHED} AND match_id = 0
ORDER BY entry_id FOR UPDATE
""")
# A settlement is stored in the lines that it settles, too: they are locked before any of them is changed.
_LOCK_SETTLED = statement(f"""
SELECT count(*) FROM (
    SELECT e.entry_id FROM (
        SELECT CAST(l.entry_id AS bigint) AS entry_id FROM unnest(CAST(:entry_id AS bigint[])) l(entry_id)
        UNION
        SELECT s.entry_id FROM entry s
        WHERE s.source = :source AND s.settle_no = ANY(CAST(:settle_no AS text[]))
            AND s.settle_no <> '' AND s.book = {literal(Book.THEIRS)}
    ) wanted JOIN entry e ON e.entry_id = wanted.entry_id
    ORDER BY e.entry_id FOR UPDATE OF e
) locked
""")
_LOCK_STATEMENT = statement(f"""
SELECT count(*) FROM (
    SELECT e.entry_id FROM (
        SELECT s.entry_id FROM entry s WHERE s.statement_id = :statement_id AND s.{LIVE}
        UNION
        SELECT s.match_id FROM entry s
        WHERE s.statement_id = :statement_id AND s.match_id > 0 AND s.{LIVE}
        UNION
        SELECT s.settle_id FROM entry s
        WHERE s.statement_id = :statement_id AND s.settle_id > 0 AND s.{LIVE}
    ) wanted JOIN entry e ON e.entry_id = wanted.entry_id
    ORDER BY e.entry_id FOR UPDATE OF e
) locked
""")
_MOVE = statement(f"""
UPDATE entry e SET status = given.status, match_id = given.match_id, rule = given.rule
FROM {unnest(**types(ENTRY_TABLE, "entry_id", "status", "match_id", "rule"))}
WHERE e.entry_id = given.entry_id
""")
_OF_ENTRIES = statement(f"""
SELECT x.exception_id FROM {unnest(ours_id="bigint", theirs_id="bigint")}
CROSS JOIN LATERAL (
    SELECT e.exception_id FROM exception e
    WHERE e.ours_id = given.ours_id AND e.theirs_id = given.theirs_id AND e.{UNDECIDED} LIMIT 1
) found
JOIN exception x ON x.exception_id = found.exception_id AND x.{STILL_UNDECIDED}
ORDER BY x.exception_id FOR UPDATE OF x
""")
_OF_STATEMENT = statement(f"""
SELECT x.exception_id FROM entry gone
CROSS JOIN LATERAL (
    SELECT e.exception_id FROM exception e
    WHERE e.theirs_id = gone.entry_id AND e.theirs_id > 0 AND e.{UNDECIDED} LIMIT 1
) found
JOIN exception x ON x.exception_id = found.exception_id AND x.{STILL_UNDECIDED}
WHERE gone.statement_id = :statement_id AND gone.{LIVE}
ORDER BY x.exception_id FOR UPDATE OF x
""")
_END = statement("""
UPDATE exception SET status = :status, change_time = shoudan_now(), end_time = shoudan_now()
WHERE exception_id = ANY(CAST(:exception_id AS bigint[]))
""")
_RAISE = statement(f"""
INSERT INTO exception ({_NEW.of()}, status, assignee, decision, remark, decided_by, record_id,
    create_time, change_time)
SELECT {_NEW.of("given")}, {literal(EXCEPTION.initial)}, '', 0, '', '', 0, shoudan_now(), shoudan_now()
FROM {unnest(**types(EXCEPTION_TABLE, *_NEW.names))}
ON CONFLICT (ours_id, theirs_id) WHERE {UNDECIDED} DO NOTHING
RETURNING kind
""")

# Whether another one of the same book has settled a line already, or what settled it: who pays twice pays for
# nothing. A settler that was corrected, or parted from its lines, counts no more.
_SETTLED: Final = f"""EXISTS (
        SELECT FROM entry p WHERE p.entry_id = e.settle_id AND e.settle_id NOT IN (0, s.entry_id)
            AND p.status = {literal(EntryStatus.MATCHED)} AND (p.book = s.book OR EXISTS (
                SELECT FROM entry q WHERE q.entry_id = p.settle_id
                    AND p.settle_id NOT IN (0, s.entry_id) AND q.book = s.book
                    AND q.status = {literal(EntryStatus.MATCHED)})))"""
# The lines of a supplier that name a settlement, and the line of the bank that paid it.
_SETTLEMENTS = statement(f"""
SELECT s.entry_id, s.book, s.settle_no, s.amount_micros, s.day, s.status,
    l.lines, l.sum_micros, p.paid_id
FROM entry s
CROSS JOIN LATERAL (
    SELECT count(*) AS lines, coalesce(sum(e.amount_micros), 0)::bigint AS sum_micros FROM entry e
    WHERE e.source = s.source AND e.settle_no = s.settle_no AND e.settle_no <> ''
        AND e.book = {literal(Book.THEIRS)} AND e.kind NOT IN ({_SUMS}) AND e.{LIVE}
        AND e.outcome = {literal(Outcome.SUCCESS)} AND NOT {_SETTLED}
) l
CROSS JOIN LATERAL (
    SELECT coalesce(max(e.entry_id), 0) AS paid_id FROM entry e
    WHERE e.source = s.source AND e.settle_no = s.settle_no AND e.settle_no <> ''
        AND e.book = {literal(Book.THEIRS)} AND e.kind = {literal(EntryKind.SETTLEMENT)} AND e.{LIVE}
        AND s.book = {literal(Book.BANK)} AND abs(e.amount_micros) = abs(s.amount_micros)
        AND NOT {_SETTLED}
) p
WHERE s.source = :source AND s.entry_id > :after AND s.{UNMATCHED} AND s.match_id = 0
    AND s.kind IN ({_SUMS})
ORDER BY s.entry_id LIMIT :most
""")
# One settlement at a time: they are a few in a run, and each has the lines of a day or more.
_SETTLE_LINES = statement(f"""
UPDATE entry SET settle_id = :entry_id
WHERE source = :source AND settle_no = :settle_no AND settle_no <> ''
    AND book = {literal(Book.THEIRS)} AND kind NOT IN ({_SUMS}) AND {LIVE}
""")
_SETTLE_PAID = statement(f"""
UPDATE entry e SET settle_id = given.entry_id FROM {unnest(entry_id="bigint", paid_id="bigint")}
WHERE e.entry_id = given.paid_id
""")

# A statement is corrected: who was matched with its rows waits again, and their exceptions are void.
_PART = statement(f"""
UPDATE entry e SET status = {literal(ENTRY.target(EntryEvent.PARTED))}, match_id = 0, rule = 0
FROM entry gone
WHERE gone.statement_id = :statement_id AND gone.match_id > 0 AND gone.{LIVE}
    AND e.entry_id = gone.match_id AND e.match_id = gone.entry_id
    AND {ENTRY.where(EntryEvent.PARTED, "e.status")}
""")
_UNSETTLE = statement(f"""
UPDATE entry e SET status = {literal(ENTRY.target(EntryEvent.PARTED))}, match_id = 0, rule = 0
FROM (
    SELECT DISTINCT d.settle_id FROM entry d
    WHERE d.statement_id = :statement_id AND d.settle_id > 0 AND d.{LIVE}
) gone
WHERE e.entry_id = gone.settle_id AND {ENTRY.where(EntryEvent.PARTED, "e.status")}
""")
_WAITING = statement(f"""
SELECT count(*) FROM entry WHERE source = :source AND status = {literal(EntryStatus.WAITING)}
    AND {UNMATCHED}
""")


async def unmatched(db: AsyncConnection, source: str, after: int, most: int, file: Path) -> int:
    """Write entries of a source without a counterpart behind a number to a file, by number; how many."""
    assert isinstance(db, FastConnection), "a Database gives no other"
    return await db.copy_out(_PAGE, {"source": source, "after": after, "most": most}, file)


async def lock(db: AsyncConnection, numbers: Sequence[int]) -> dict[int, bool]:
    """Which of these are still without a counterpart, and whether that is an exception; locked to the end
    of the transaction."""
    return {row[0]: row[1] for row in await db.execute(_LOCK, {"entry_id": list(numbers)})}


async def lock_settled(
    db: AsyncConnection, source: str, numbers: Sequence[int], settle_nos: Sequence[str]
) -> None:
    """Lock settlements with the lines of the source that name them, by number."""
    binds = {"entry_id": list(numbers), "source": source, "settle_no": sorted({*settle_nos})}
    await db.execute(_LOCK_SETTLED, binds)


async def move(db: AsyncConnection, moves: Sequence[Move]) -> None:
    """Store what becomes of locked entries."""
    await db.execute(_MOVE, columns(moves, "entry_id", "status", "match_id", "rule"))


async def end_late(db: AsyncConnection, ours: Sequence[int], theirs: Sequence[int]) -> int:
    """End exceptions about entries that were alone: pairs of numbers, one of each is 0. How many ended."""
    binds = {"ours_id": list(ours), "theirs_id": list(theirs)}
    found = list((await db.execute(_OF_ENTRIES, binds)).scalars())
    await _end(db, found, ExceptionEvent.CAME_LATE)
    return len(found)


async def _end(db: AsyncConnection, locked: Sequence[int], event: ExceptionEvent) -> None:
    if locked:
        binds = {"exception_id": list(locked), "status": EXCEPTION.target(event)}
        await db.execute(_END, binds)


async def raise_exceptions(db: AsyncConnection, new: Sequence[NewException]) -> list[ExceptionKind]:
    """Store exceptions; the kinds of those that are new."""
    found = await db.execute(_RAISE, columns(new, *_NEW.names))
    return [ExceptionKind(kind) for kind in found.scalars()]


async def settlements(db: AsyncConnection, source: str, after: int, most: int) -> list[Settlement]:
    """Lines of a source that others add up to and that are not matched, by number."""
    binds = {"source": source, "after": after, "most": most}
    return Rows(Settlement).all(await db.execute(_SETTLEMENTS, binds))


async def settle(db: AsyncConnection, source: str, done: Sequence[Settlement]) -> None:
    """Store which lines each settles: those with its number, or the settlement that a bank paid."""
    lines = [one for one in done if not one.paid_id]
    paid = [one for one in done if one.paid_id]
    for one in lines:
        binds = {"source": source, "entry_id": one.entry_id, "settle_no": one.settle_no}
        await db.execute(_SETTLE_LINES, binds)
    if paid:
        await db.execute(_SETTLE_PAID, columns(paid, "entry_id", "paid_id"))


async def part(db: AsyncConnection, statement_id: int) -> None:
    """The rows of a statement will count no more: what was matched with them waits again."""
    binds = {"statement_id": statement_id}
    await db.execute(_LOCK_STATEMENT, binds)
    for one in (_PART, _UNSETTLE):
        await db.execute(one, binds)
    found = list((await db.execute(_OF_STATEMENT, binds)).scalars())
    await _end(db, found, ExceptionEvent.VOIDED)


async def waiting(db: AsyncConnection, source: str) -> int:
    """How many entries of a source wait for a counterpart that is not due."""
    return (await db.execute(_WAITING, {"source": source})).scalar_one()
