"""Statements on exceptions, on what is noted about them, and on disputes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_finance.states import (
    DISPUTE,
    ENTRY,
    EXCEPTION,
    Decision,
    DisputeEvent,
    DisputeStatus,
    EntryEvent,
    EntryKind,
    ExceptionEvent,
    ExceptionKind,
    ExceptionStatus,
    NoteKind,
    Outcome,
)
from shoudan_finance.tables import UNDECIDED
from shoudan_finance.tables.exceptions import DISPUTE_TABLE, NOTE
from shoudan_kit.db.columns import Rows, literal, names_of, types
from shoudan_kit.db.text_statements import columns, statement, unnest

NOTES_MAX: Final = 1000
DISPUTES_MAX: Final = 100  # that one exception shows


@dataclass(frozen=True, slots=True)
class Row:
    """One row of exception."""

    exception_id: int
    source: str
    kind: ExceptionKind
    status: ExceptionStatus
    ours_id: int
    theirs_id: int
    diff_micros: int
    day: date
    run_id: int
    assignee: str
    decision: Decision
    remark: str
    decided_by: str
    record_id: int
    create_time: datetime
    change_time: datetime
    end_time: datetime | None
    dispute_id: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which exceptions to list; what is empty does not filter."""

    source: str = ""
    undecided: bool = False
    dispute_id: int = 0


@dataclass(frozen=True, slots=True)
class Side:
    """What one book says."""

    entry_id: int
    row_no: int
    kind: EntryKind
    our_no: str
    their_no: str
    settle_no: str
    account: str
    face_micros: int
    amount_micros: int
    outcome: Outcome
    happen_time: datetime
    trade_no: int


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision about one."""

    exception_id: int
    decision: Decision
    remark: str


@dataclass(frozen=True, slots=True)
class Note:
    """One row of exception_note without its time."""

    note_id: int
    exception_id: int
    kind: NoteKind
    words: str
    sha256: bytes
    file_name: str
    noted_by: str


@dataclass(frozen=True, slots=True)
class Noted:
    """A note as it is shown."""

    kind: NoteKind
    words: str
    sha256: bytes
    file_name: str
    noted_by: str
    create_time: datetime


@dataclass(frozen=True, slots=True)
class Dispute:
    """One row of dispute."""

    dispute_id: int
    source: str
    status: DisputeStatus
    letter: str
    deadline: date
    answer: str
    answer_sha256: bytes
    exceptions: int
    diff_micros: int
    opened_by: str
    create_time: datetime
    answer_time: datetime | None


_ROW: Final = Rows(Row)
_SIDE: Final = Rows(Side)
_DISPUTE: Final = Rows(Dispute)
_NEW_DISPUTE: Final = tuple(
    one for one in names_of(Dispute) if one not in {"create_time", "answer_time"}
)

_GET = statement(f"SELECT {_ROW.of()} FROM exception WHERE exception_id = :exception_id")
_BY_NUMBER = statement(f"""
SELECT {_ROW.of()} FROM exception WHERE exception_id = ANY(CAST(:exception_id AS bigint[]))
""")
_PAGE = statement(f"""
SELECT {_ROW.of()} FROM exception WHERE exception_id < :before AND exception_id > 0
ORDER BY exception_id DESC LIMIT :most
""")
_PAGE_OF = statement(f"""
SELECT {_ROW.of()} FROM exception WHERE source = :source AND exception_id < :before
ORDER BY exception_id DESC LIMIT :most
""")
_UNDECIDED = statement(f"""
SELECT {_ROW.of()} FROM exception
WHERE exception_id < :before AND exception_id > 0 AND {UNDECIDED}
    AND (CAST(:source AS text) = '' OR source = :source)
ORDER BY exception_id DESC LIMIT :most
""")
# Those of a dispute: as it was opened, and as the release before wrote it down.
_OF_DISPUTE = statement(f"""
SELECT {_ROW.of()} FROM exception
WHERE exception_id < :before AND exception_id = ANY(ARRAY(
    SELECT d.exception_id FROM dispute_exception d WHERE d.dispute_id = :dispute_id
    UNION
    SELECT x.exception_id FROM exception x WHERE x.dispute_id = :dispute_id AND x.dispute_id > 0
)) AND (CAST(:source AS text) = '' OR source = :source)
    AND (CAST(:undecided AS boolean) IS FALSE OR {UNDECIDED})
ORDER BY exception_id DESC LIMIT :most
""")
_SIDES = statement(f"""
SELECT {_SIDE.of()} FROM entry WHERE entry_id = ANY(CAST(:entry_id AS bigint[]))
""")
# Entries before exceptions, each by number, as runs do (store/matches.py). Which entries an exception is
# about never changes.
_LOCK_ENTRIES = statement("""
SELECT count(*) FROM (
    SELECT e.entry_id FROM (
        SELECT x.ours_id AS entry_id FROM exception x
        WHERE x.exception_id = ANY(CAST(:exception_id AS bigint[]))
        UNION
        SELECT x.theirs_id FROM exception x WHERE x.exception_id = ANY(CAST(:exception_id AS bigint[]))
    ) wanted JOIN entry e ON e.entry_id = wanted.entry_id
    ORDER BY e.entry_id FOR UPDATE OF e
) locked
""")
_LOCK = statement(f"""
SELECT {_ROW.of()} FROM exception WHERE exception_id = ANY(CAST(:exception_id AS bigint[]))
ORDER BY exception_id FOR UPDATE
""")
_MOVE = statement("""
UPDATE exception SET status = :status, change_time = shoudan_now()
WHERE exception_id = ANY(CAST(:exception_id AS bigint[]))
""")
_ASSIGN = statement("""
UPDATE exception SET assignee = :assignee, change_time = shoudan_now()
WHERE exception_id = ANY(CAST(:exception_id AS bigint[]))
""")
_DECIDE = statement(f"""
UPDATE exception x SET status = {literal(EXCEPTION.target(ExceptionEvent.DECIDED))},
    decision = given.decision, remark = given.remark, decided_by = :by, change_time = shoudan_now()
FROM {unnest(exception_id="bigint", decision="smallint", remark="text")}
WHERE x.exception_id = given.exception_id
""")
_BOOKED = statement(f"""
UPDATE exception SET status = {literal(EXCEPTION.target(ExceptionEvent.BOOKED))},
    record_id = :record_id, change_time = shoudan_now(), end_time = shoudan_now()
WHERE exception_id = :exception_id AND {EXCEPTION.where(ExceptionEvent.BOOKED)}
RETURNING exception_id
""")
_REFUSED = statement(f"""
UPDATE exception SET status = {literal(EXCEPTION.target(ExceptionEvent.REOPENED))}, decision = 0,
    remark = '', decided_by = '', change_time = shoudan_now()
WHERE exception_id = :exception_id AND {EXCEPTION.where(ExceptionEvent.BOOKED)}
RETURNING exception_id
""")
_ENTRIES = statement("""
UPDATE entry SET status = :status
WHERE entry_id = ANY(CAST(:entry_id AS bigint[])) AND status = ANY(CAST(:sources AS smallint[]))
""")
_NOTE = statement(f"""
INSERT INTO exception_note ({", ".join(names_of(Note))}, create_time)
SELECT {", ".join(f"given.{one}" for one in names_of(Note))}, shoudan_now()
FROM {unnest(**types(NOTE, *names_of(Note)))}
""")
_NOTES = statement(f"""
SELECT {", ".join(names_of(Noted))} FROM exception_note WHERE exception_id = :exception_id
ORDER BY note_id DESC LIMIT :most
""")
_OPEN_DISPUTE = statement(f"""
INSERT INTO dispute ({", ".join(_NEW_DISPUTE)}, create_time)
SELECT {", ".join(f"given.{one}" for one in _NEW_DISPUTE)}, shoudan_now()
FROM {unnest(**types(DISPUTE_TABLE, *_NEW_DISPUTE))}
RETURNING {_DISPUTE.of()}
""")
_DISPUTE_OF = statement("""
UPDATE exception SET status = :status, dispute_id = :dispute_id, change_time = shoudan_now()
WHERE exception_id = ANY(CAST(:exception_id AS bigint[]))
""")
_DISPUTED = statement("""
INSERT INTO dispute_exception (dispute_id, exception_id)
SELECT :dispute_id, n FROM unnest(CAST(:exception_id AS bigint[])) AS n
ON CONFLICT DO NOTHING
""")
_DISPUTES_OF = statement(f"""
SELECT {_DISPUTE.of()} FROM dispute WHERE dispute_id = ANY(ARRAY(
    SELECT d.dispute_id FROM dispute_exception d WHERE d.exception_id = :exception_id
    UNION
    SELECT x.dispute_id FROM exception x WHERE x.exception_id = :exception_id AND x.dispute_id > 0
)) ORDER BY dispute_id DESC LIMIT {DISPUTES_MAX}
""")
_ANSWER = statement(f"""
UPDATE dispute SET status = {literal(DISPUTE.target(DisputeEvent.ANSWERED))}, answer = :answer,
    answer_sha256 = :sha256, answer_time = shoudan_now()
WHERE dispute_id = :dispute_id AND {DISPUTE.where(DisputeEvent.ANSWERED)}
RETURNING {_DISPUTE.of()}
""")
_GET_DISPUTE = statement(f"SELECT {_DISPUTE.of()} FROM dispute WHERE dispute_id = :dispute_id")
_IN_DISPUTE = statement(f"""
SELECT exception_id FROM exception
WHERE source = :source AND dispute_id = :dispute_id
    AND status = {literal(ExceptionStatus.DISPUTED)} ORDER BY exception_id
""")
_DISPUTES = statement(f"""
SELECT {_DISPUTE.of()} FROM dispute WHERE dispute_id < :before AND dispute_id > 0
ORDER BY dispute_id DESC LIMIT :most
""")


async def get(db: AsyncConnection, exception_id: int) -> Row | None:
    """One exception."""
    return _ROW.one(await db.execute(_GET, {"exception_id": exception_id}))


async def by_number(db: AsyncConnection, numbers: Sequence[int]) -> list[Row]:
    """Those of these numbers that there are."""
    return _ROW.all(await db.execute(_BY_NUMBER, {"exception_id": list(numbers)}))


async def page(db: AsyncConnection, wanted: Wanted, before: int, most: int) -> list[Row]:
    """Exceptions below a number, newest first."""
    binds = {"source": wanted.source, "before": before, "most": most}
    if wanted.dispute_id:
        more = {"dispute_id": wanted.dispute_id, "undecided": wanted.undecided}
        return _ROW.all(await db.execute(_OF_DISPUTE, binds | more))
    if wanted.undecided:
        return _ROW.all(await db.execute(_UNDECIDED, binds))
    return _ROW.all(await db.execute(_PAGE_OF if wanted.source else _PAGE, binds))


async def sides(db: AsyncConnection, numbers: Sequence[int]) -> dict[int, Side]:
    """Entries by number."""
    found = _SIDE.all(await db.execute(_SIDES, {"entry_id": list(numbers)}))
    return {one.entry_id: one for one in found}


async def lock(db: AsyncConnection, numbers: Sequence[int]) -> dict[int, Row]:
    """Exceptions by number, locked to the end of the transaction."""
    found = _ROW.all(await db.execute(_LOCK, {"exception_id": list(numbers)}))
    return {one.exception_id: one for one in found}


async def lock_entries(db: AsyncConnection, numbers: Sequence[int]) -> None:
    """Lock the entries that exceptions are about: before the exceptions, by who changes both."""
    await db.execute(_LOCK_ENTRIES, {"exception_id": list(numbers)})


async def move(db: AsyncConnection, numbers: Sequence[int], event: ExceptionEvent) -> None:
    """Move locked exceptions."""
    binds = {"exception_id": list(numbers), "status": EXCEPTION.target(event)}
    await db.execute(_MOVE, binds)


async def assign(db: AsyncConnection, numbers: Sequence[int], assignee: str) -> None:
    """Give locked exceptions to a person, or to none."""
    await db.execute(_ASSIGN, {"exception_id": list(numbers), "assignee": assignee})


async def decide(
    db: AsyncConnection, decided: Sequence[Decided], entries: Sequence[int], by: str
) -> None:
    """Store decisions about locked exceptions; their entries are settled."""
    binds = columns(decided, "exception_id", "decision", "remark")
    await db.execute(_DECIDE, {**binds, "by": by})
    await _move_entries(db, entries, EntryEvent.SETTLED)


async def booked(db: AsyncConnection, exception_id: int, record_id: int) -> bool:
    """Its posting is made; False when that was stored before."""
    binds = {"exception_id": exception_id, "record_id": record_id}
    return (await db.execute(_BOOKED, binds)).first() is not None


async def refused(db: AsyncConnection, exception_id: int, entries: Sequence[int]) -> bool:
    """The ledger refuses its posting: it is open again; False when it was not being booked."""
    if (await db.execute(_REFUSED, {"exception_id": exception_id})).first() is None:
        return False
    await _move_entries(db, entries, EntryEvent.REOPENED)
    return True


async def _move_entries(db: AsyncConnection, numbers: Sequence[int], event: EntryEvent) -> None:
    binds = {
        "entry_id": [one for one in numbers if one],
        "status": ENTRY.target(event),
        "sources": list(ENTRY.sources(event)),
    }
    await db.execute(_ENTRIES, binds)


async def note(db: AsyncConnection, notes: Sequence[Note]) -> None:
    """Store what is noted."""
    await db.execute(_NOTE, columns(notes, *names_of(Note)))


async def notes(db: AsyncConnection, exception_id: int) -> list[Noted]:
    """The last notes about an exception, oldest first."""
    binds = {"exception_id": exception_id, "most": NOTES_MAX}
    return Rows(Noted).all(await db.execute(_NOTES, binds))[::-1]


# ------------------------------------------------------------ disputes
async def open_dispute(db: AsyncConnection, one: Dispute, numbers: Sequence[int]) -> Dispute:
    """Store a dispute and put locked exceptions into it."""
    stored = _DISPUTE.read((await db.execute(_OPEN_DISPUTE, columns([one], *_NEW_DISPUTE))).one())
    binds = {
        "exception_id": list(numbers),
        "dispute_id": one.dispute_id,
        "status": EXCEPTION.target(ExceptionEvent.DISPUTED),
    }
    await db.execute(_DISPUTE_OF, binds)
    await db.execute(
        _DISPUTED, {"dispute_id": one.dispute_id, "exception_id": binds["exception_id"]}
    )
    return stored


async def answer(db: AsyncConnection, dispute_id: int, words: str, sha256: bytes) -> Dispute | None:
    """Store an answer; None when it was answered before, or there is no such dispute."""
    binds = {"dispute_id": dispute_id, "answer": words, "sha256": sha256}
    return _DISPUTE.one(await db.execute(_ANSWER, binds))


async def get_dispute(db: AsyncConnection, dispute_id: int) -> Dispute | None:
    """One dispute."""
    return _DISPUTE.one(await db.execute(_GET_DISPUTE, {"dispute_id": dispute_id}))


async def disputes_of(db: AsyncConnection, exception_id: int) -> list[Dispute]:
    """The disputes that an exception is or was part of, newest first."""
    return _DISPUTE.all(await db.execute(_DISPUTES_OF, {"exception_id": exception_id}))


async def in_dispute(db: AsyncConnection, one: Dispute) -> list[int]:
    """The exceptions that are still disputed in it."""
    binds = {"source": one.source, "dispute_id": one.dispute_id}
    return list((await db.execute(_IN_DISPUTE, binds)).scalars())


async def disputes(db: AsyncConnection, before: int, most: int) -> list[Dispute]:
    """Disputes below a number, newest first."""
    return _DISPUTE.all(await db.execute(_DISPUTES, {"before": before, "most": most}))
