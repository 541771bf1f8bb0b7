"""Statements on what a run found: entries that are one movement, and exceptions, by arrays.

Who changes both locks entries first, then exceptions, each by number: runs, corrections and decisions
wait for each other, and never in a circle.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_finance.states import (
    ENTRY,
    EXCEPTION,
    EntryEvent,
    EntryKind,
    EntryStatus,
    ExceptionEvent,
    ExceptionKind,
    MatchRule,
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
SLICE: Final = 10_000  # entries that one statement changes


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
_LOCK_ALL = statement("""
SELECT count(*) FROM (
    SELECT entry_id FROM entry WHERE entry_id = ANY(CAST(:entry_id AS bigint[]))
    ORDER BY entry_id FOR UPDATE
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
_OF_THEIRS = statement(f"""
SELECT found.exception_id FROM {unnest(theirs_id="bigint")}
CROSS JOIN LATERAL (
    SELECT e.exception_id FROM exception e
    WHERE e.theirs_id = given.theirs_id AND e.theirs_id > 0 AND e.{UNDECIDED} LIMIT 1
) found
""")
_LOCK_EXCEPTIONS = statement(f"""
SELECT exception_id FROM exception
WHERE exception_id = ANY(CAST(:exception_id AS bigint[])) AND {STILL_UNDECIDED}
ORDER BY exception_id FOR UPDATE
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

# A statement is corrected: who was matched with its rows waits again, and their exceptions are void.
_OF_STATEMENT = statement(f"""
SELECT entry_id, match_id, settle_id FROM entry
WHERE statement_id = :statement_id AND entry_id > :after AND {LIVE} ORDER BY entry_id LIMIT :most
""")
_PART = statement(f"""
UPDATE entry e SET status = {literal(ENTRY.target(EntryEvent.PARTED))}, match_id = 0, rule = 0
FROM {unnest(entry_id="bigint", match_id="bigint")}
WHERE e.entry_id = given.match_id AND e.match_id = given.entry_id
    AND {ENTRY.between(EntryEvent.PARTED, "e.status")}
""")
_UNSETTLE = statement(f"""
UPDATE entry SET status = {literal(ENTRY.target(EntryEvent.PARTED))}, match_id = 0, rule = 0
WHERE entry_id = ANY(CAST(:entry_id AS bigint[])) AND {ENTRY.between(EntryEvent.PARTED)}
""")
_SUPERSEDE = statement(f"""
UPDATE entry SET status = {literal(ENTRY.target(EntryEvent.CORRECTED))}
WHERE entry_id = ANY(CAST(:entry_id AS bigint[])) AND {ENTRY.between(EntryEvent.CORRECTED)}
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


def sliced(numbers: Sequence[int]) -> Iterator[list[int]]:
    """Numbers as few at a time as one statement changes well within its time."""
    for at in range(0, len(numbers), SLICE):
        yield list(numbers[at : at + SLICE])


async def lock_all(db: AsyncConnection, numbers: Collection[int]) -> None:
    """Lock entries, by number, whatever has become of them."""
    for part in sliced(sorted(numbers)):
        await db.execute(_LOCK_ALL, {"entry_id": part})


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


async def supersede(db: AsyncConnection, statement_id: int) -> None:
    """The rows of a statement count no more, and what was matched with them waits again.

    Slice by slice, because a statement may have a million rows; all are locked first, by number.
    """
    numbers = set[int]()
    async for page in _rows_of(db, statement_id):
        numbers.update(number for row in page for number in row if number > 0)
    await lock_all(db, numbers)
    settlers, broken = set[int](), set[int]()
    async for page in _rows_of(db, statement_id):
        ids, matches, settles = map(list, zip(*page, strict=True))
        await db.execute(_PART, {"entry_id": ids, "match_id": matches})
        settlers.update(one for one in settles if one > 0)
        broken.update((await db.execute(_OF_THEIRS, {"theirs_id": ids})).scalars())
    for part in sliced(sorted(settlers)):
        await db.execute(_UNSETTLE, {"entry_id": part})
    for part in sliced(sorted(broken)):
        locked = (await db.execute(_LOCK_EXCEPTIONS, {"exception_id": part})).scalars()
        await _end(db, list(locked), ExceptionEvent.VOIDED)
    async for page in _rows_of(db, statement_id):
        await db.execute(_SUPERSEDE, {"entry_id": [row[0] for row in page]})


async def _rows_of(db: AsyncConnection, statement_id: int) -> AsyncIterator[list[tuple[int, ...]]]:
    after = 0
    while True:
        binds = {"statement_id": statement_id, "after": after, "most": SLICE}
        page = [tuple(row) for row in await db.execute(_OF_STATEMENT, binds)]
        if not page:
            return
        yield page
        after = page[-1][0]


async def waiting(db: AsyncConnection, source: str) -> int:
    """How many entries of a source wait for a counterpart that is not due."""
    return (await db.execute(_WAITING, {"source": source})).scalar_one()
