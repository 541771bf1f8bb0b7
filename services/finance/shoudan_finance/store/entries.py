"""Statements on entries: added by arrays, taken out of what counts with their statement."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from operator import attrgetter
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_finance.entries import Line
from shoudan_finance.states import ENTRY, Book, EntryEvent, EntryKind, Outcome
from shoudan_finance.tables import ENTRY_TABLE, LIVE
from shoudan_kit.clock import BEIJING
from shoudan_kit.db.columns import Rows, literal, names_of, types
from shoudan_kit.db.text_statements import FastConnection, columns, statement, unnest

DIGEST_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class New:
    """An entry that is added."""

    entry_id: int
    source: str
    book: Book
    statement_id: int
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
    day: date
    digest: bytes


_NEW: Final = Rows(New)
_SPACE: Final = 0x0F1B  # of advisory locks; any number, the same in every process
_values: Final = attrgetter(*names_of(New))

_COPIED: Final = (*_NEW.names, "status", "match_id", "settle_id", "create_time")
_LOCK = statement("SELECT pg_advisory_xact_lock(:space, hashtext(:whose)), shoudan_now()")
_KNOWN = statement(f"""
SELECT given.source, given.digest
FROM {unnest(**types(ENTRY_TABLE, "source", "book", "digest"))}
CROSS JOIN LATERAL (
    SELECT e.entry_id FROM entry e
    WHERE e.source = given.source AND e.book = given.book AND e.digest = given.digest
        AND {ENTRY.where(EntryEvent.CORRECTED, "e.status")} LIMIT 1
) known
""")
_SUPERSEDE = statement(f"""
UPDATE entry SET status = {literal(ENTRY.target(EntryEvent.CORRECTED))}
WHERE statement_id = :statement_id AND {LIVE}
""")


class Digests:
    """What tells the rows of one file apart: their content, and which of several alike each is."""

    def __init__(self) -> None:
        self._seen = Counter[bytes]()

    def of(self, line: Line) -> bytes:
        """The digest of the next line."""
        plain = hashlib.blake2b(line.content.encode(), digest_size=DIGEST_BYTES).digest()
        self._seen[plain] += 1
        if self._seen[plain] == 1:
            return plain
        again = f"{line.content}\x1f#{self._seen[plain]}"
        return hashlib.blake2b(again.encode(), digest_size=DIGEST_BYTES).digest()


def made(
    lines: Sequence[Line], ids: Sequence[int], digests: Digests, book: Book, statement_id: int
) -> list[New]:
    """Lines as entries."""
    return [
        New(
            entry_id,
            line.source,
            book,
            statement_id,
            line.row_no,
            line.kind,
            line.our_no,
            line.their_no,
            line.settle_no,
            line.account,
            line.face_micros,
            line.amount_micros,
            line.outcome,
            line.happen_time,
            line.happen_time.astimezone(BEIJING).date(),
            digests.of(line),
        )
        for entry_id, line in zip(ids, lines, strict=True)
    ]


async def lock(db: AsyncConnection, source: str, book: Book) -> datetime:
    """Have the source's book alone to the end of the transaction; the moment."""
    binds = {"space": _SPACE, "whose": f"{book:d} {source}"}
    return (await db.execute(_LOCK, binds)).one()[1]


async def add(db: AsyncConnection, new: Sequence[New], now: datetime) -> int:
    """Add entries of locked books; how many were not here before.

    A row that is here already, of another file or of another run, stays as it is. The rest is copied: an
    INSERT that looks for conflicts row by row costs twice as much.
    """
    assert isinstance(db, FastConnection), "a Database gives no other"
    here = await known(db, new)
    added = [one for one in new if (one.source, one.digest) not in here] if here else new
    more = (ENTRY.initial, 0, 0, now)
    rows = ((*get, *more) for get in map(_values, added))
    await db.copy("entry", _COPIED, rows)
    return len(added)


async def known(db: AsyncConnection, new: Sequence[New]) -> set[tuple[str, bytes]]:
    """Which of them are here already: source and digest."""
    binds = columns(new, "source", "book", "digest")
    return {(row[0], row[1]) for row in await db.execute(_KNOWN, binds)}


async def supersede(db: AsyncConnection, statement_id: int) -> None:
    """The rows of a statement count no more."""
    await db.execute(_SUPERSEDE, {"statement_id": statement_id})
