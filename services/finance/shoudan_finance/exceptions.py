"""The queue of exceptions: shown with both sides, assigned, commented, asked about, disputed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Final

from shoudan_finance.accounts import MARK
from shoudan_finance.context import Context
from shoudan_finance.refusals import (
    DisputeNotFound,
    ExceptionDecided,
    ExceptionNotFound,
    FieldInvalid,
    FileIncomplete,
)
from shoudan_finance.states import (
    EXCEPTION,
    Decision,
    DisputeStatus,
    EntryKind,
    ExceptionEvent,
    ExceptionKind,
    ExceptionStatus,
    NoteKind,
)
from shoudan_finance.store import exceptions, statements
from shoudan_finance.store.exceptions import Dispute, Note, Noted, Row, Side, Wanted
from shoudan_kit.tasks.unit_of_work import UnitOfWork

ITEMS_MAX: Final = 1000
COMPARED: Final = ("our_no", "their_no", "account", "face_micros", "amount_micros", "outcome")
# What is usually done: what a supplier charges and we owe is cost, what is small change is written off.
SMALL_MICROS: Final = 1_000_000
SUGGESTED: Final = {
    ExceptionKind.LONG: Decision.BOOK,
    ExceptionKind.SHORT: Decision.BOOK,
    ExceptionKind.AMOUNT: Decision.ADJUST_COST,
    ExceptionKind.STATUS: Decision.BOOK,
    ExceptionKind.SETTLEMENT: Decision.BOOK,
}


@dataclass(frozen=True, slots=True)
class Shown:
    """An exception with both sides."""

    row: Row
    ours: Side | None
    theirs: Side | None

    @property
    def of_pays(self) -> bool:
        """Whether it is about what a payment component moved: no supplier's account has a part in it."""
        side = self.ours or self.theirs
        return side is not None and side.kind in {EntryKind.PAY, EntryKind.REFUND}

    @property
    def suggestion(self) -> Decision:
        """What is usually done."""
        if abs(self.row.diff_micros) < SMALL_MICROS:
            return Decision.WRITE_OFF
        if self.of_pays:
            return Decision.BOOK
        return SUGGESTED[self.row.kind]

    @property
    def differing(self) -> list[str]:
        """The fields that both sides say differently."""
        ours, theirs = self.ours, self.theirs
        if ours is None or theirs is None:
            return []
        return [
            name
            for name in COMPARED
            if getattr(theirs, name)
            and getattr(ours, name) != getattr(theirs, name)
            # What they show of an account says nothing of the rest.
            and (name != "account" or MARK in theirs.account)
        ]


# ------------------------------------------------------------ showing
async def page(context: Context, wanted: Wanted, before: int, most: int) -> list[Shown]:
    """Exceptions below a number, newest first."""
    async with context.app.db.connect() as db:
        rows = await exceptions.page(db, wanted, before, most)
    return await _with_sides(context, rows)


async def disputes_of(context: Context, exception_id: int) -> list[Dispute]:
    """The disputes that an exception is or was part of, newest first."""
    async with context.app.db.connect() as db:
        return await exceptions.disputes_of(db, exception_id)


async def get(context: Context, exception_id: int) -> tuple[Shown, list[Noted]]:
    """One exception, and what was noted about it. Refuses ExceptionNotFound."""
    async with context.app.db.connect() as db:
        row = await exceptions.get(db, exception_id)
        if row is None:
            raise ExceptionNotFound(exception_id)
        notes = await exceptions.notes(db, exception_id)
    (shown,) = await _with_sides(context, [row])
    return shown, notes


async def of_numbers(context: Context, numbers: Sequence[int]) -> list[Shown]:
    """Those of these exceptions that there are, with both sides."""
    async with context.app.db.connect() as db:
        rows = await exceptions.by_number(db, numbers)
    return await _with_sides(context, rows)


async def _with_sides(context: Context, rows: Sequence[Row]) -> list[Shown]:
    numbers = [one for row in rows for one in (row.ours_id, row.theirs_id) if one]
    async with context.app.db.connect() as db:
        sides = await exceptions.sides(db, numbers) if numbers else {}
    return [Shown(row, sides.get(row.ours_id), sides.get(row.theirs_id)) for row in rows]


# ------------------------------------------------------------ working on them
def checked(numbers: Sequence[int]) -> list[int]:
    """Numbers of exceptions, each once. Refuses FieldInvalid."""
    if not 1 <= len(numbers) <= ITEMS_MAX or len(set(numbers)) != len(numbers):
        raise FieldInvalid("exception_ids", f"are not 1 to {ITEMS_MAX}, each once")
    return list(numbers)


async def locked(
    work: UnitOfWork, numbers: Sequence[int], event: ExceptionEvent | None
) -> list[Row]:
    """Exceptions in the order asked, locked. Refuses ExceptionNotFound, ExceptionDecided."""
    found = await exceptions.lock(work.db, numbers)
    for number in numbers:
        if number not in found:
            raise ExceptionNotFound(number)
    rows = [found[number] for number in numbers]
    if event is not None:
        _check_open(rows, event)
    return rows


def _check_open(rows: Sequence[Row], event: ExceptionEvent) -> None:
    for row in rows:
        if not EXCEPTION.allows(row.status, event):
            raise ExceptionDecided(row.exception_id, row.status.name.lower())


async def assign(context: Context, numbers: Sequence[int], assignee: str) -> None:
    """Give exceptions to a person, or to none. Refuses ExceptionNotFound."""
    async with context.app.work("finance.assign") as work:
        await locked(work, numbers, None)
        await exceptions.assign(work.db, numbers, assignee)


async def comment(
    context: Context, number: int, words: str, sha256: bytes, file_name: str, by: str
) -> None:
    """Note something, with a file. Refuses ExceptionNotFound, FileIncomplete."""
    async with context.app.work("finance.comment") as work:
        await locked(work, [number], None)
        await _check_file(work, sha256)
        kind = NoteKind.COMMENT
        note = Note(context.app.ids.next(), number, kind, words, sha256, file_name, by)
        await exceptions.note(work.db, [note])


async def noted(
    context: Context, work: UnitOfWork, numbers: Sequence[int], kind: NoteKind, words: str, by: str
) -> None:
    """Note the same about each."""
    await noted_each(context, work, dict.fromkeys(numbers, words), kind, by)


async def noted_each(
    context: Context, work: UnitOfWork, words: Mapping[int, str], kind: NoteKind, by: str
) -> None:
    """Note of each exception its own words."""
    ids = context.app.ids.take(len(words))
    notes = [
        Note(note_id, number, kind, said, b"", "", by)
        for note_id, (number, said) in zip(ids, words.items(), strict=True)
    ]
    await exceptions.note(work.db, notes)


async def _check_file(work: UnitOfWork, sha256: bytes) -> None:
    if sha256 and await statements.part(work.db, sha256, 0) is None:
        raise FileIncomplete("no part of the file is here")


# ------------------------------------------------------------ disputes
async def open_dispute(
    context: Context, source: str, numbers: Sequence[int], letter: str, deadline: date, by: str
) -> Dispute:
    """Put exceptions of a source into a dispute with it; a repeat gives what the first one opened.

    Refuses ExceptionNotFound, ExceptionDecided.
    """
    async with context.app.work("finance.dispute") as work:
        rows = await locked(work, numbers, None)
        there = await _opened(work, rows)
        if there is not None and (there.letter, there.deadline) == (letter, deadline):
            return there
        _check_open(rows, ExceptionEvent.DISPUTED)
        if {row.source for row in rows} != {source}:
            raise FieldInvalid("exception_ids", "are not all of the source")
        one = Dispute(
            dispute_id=context.app.ids.next(),
            source=source,
            status=DisputeStatus.OPEN,
            letter=letter,
            deadline=deadline,
            answer="",
            answer_sha256=b"",
            exceptions=len(rows),
            diff_micros=sum(row.diff_micros for row in rows),
            opened_by=by,
            create_time=datetime.now(UTC),
            answer_time=None,
        )
        stored = await exceptions.open_dispute(work.db, one, numbers)
        await noted(context, work, numbers, NoteKind.DISPUTED, letter, by)
    return stored


async def _opened(work: UnitOfWork, rows: Sequence[Row]) -> Dispute | None:
    """The dispute that waits for an answer about these exceptions, and about no others."""
    disputed = ExceptionStatus.DISPUTED
    disputes = {row.dispute_id if row.status is disputed else 0 for row in rows}
    if len(disputes) != 1:
        return None
    there = await exceptions.get_dispute(work.db, disputes.pop())
    return there if there is not None and there.exceptions == len(rows) else None


async def answer_dispute(
    context: Context, dispute_id: int, words: str, sha256: bytes, by: str
) -> Dispute:
    """Note an answer; a repeat gives the first one. Refuses DisputeNotFound, FileIncomplete."""
    async with context.app.work("finance.answer") as work:
        await _check_file(work, sha256)
        found = await exceptions.answer(work.db, dispute_id, words, sha256)
        if found is None:
            found = await exceptions.get_dispute(work.db, dispute_id)
            if found is None:
                raise DisputeNotFound(dispute_id)
            return found
        there = await exceptions.lock(work.db, await exceptions.in_dispute(work.db, found))
        # One that was decided while its lock was waited for is being booked, and stays that.
        numbers = [one for one in there if there[one].status is ExceptionStatus.DISPUTED]
        await exceptions.move(work.db, numbers, ExceptionEvent.REOPENED)
        if numbers:
            await noted(context, work, numbers, NoteKind.ANSWERED, words, by)
    return found


async def answer_of_source(context: Context, dispute_id: int, words: str, source: str) -> Dispute:
    """Note what the source itself answers; another's dispute is none. Refuses DisputeNotFound."""
    async with context.app.db.connect() as db:
        found = await exceptions.get_dispute(db, dispute_id)
    if found is None or found.source != source:
        raise DisputeNotFound(dispute_id)
    return await answer_dispute(context, dispute_id, words, b"", f"supplier {source}")


async def get_dispute(context: Context, dispute_id: int) -> Dispute:
    """One dispute. Refuses DisputeNotFound."""
    async with context.app.db.connect() as db:
        found = await exceptions.get_dispute(db, dispute_id)
    if found is None:
        raise DisputeNotFound(dispute_id)
    return found


async def disputes(context: Context, before: int, most: int) -> list[Dispute]:
    """Disputes below a number, newest first."""
    async with context.app.db.connect() as db:
        return await exceptions.disputes(db, before, most)
