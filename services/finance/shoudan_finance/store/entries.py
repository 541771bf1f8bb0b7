"""Statements on entries: added by arrays, taken out of what counts with their statement."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from operator import attrgetter
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_finance.entries import Line
from shoudan_finance.states import ENTRY, Book, EntryEvent, EntryKind, Outcome
from shoudan_finance.tables import ENTRY_TABLE
from shoudan_kit.clock import BEIJING
from shoudan_kit.db.columns import Rows, names_of, types
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
    trade_no: int


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
_CLEAR = statement("""
SELECT entry_id, account FROM entry
WHERE account <> '' AND account NOT LIKE '%~%' AND account NOT LIKE '%*%'
ORDER BY entry_id LIMIT :most FOR UPDATE
""")
_HIDE = statement(f"""
UPDATE entry e SET account = given.account FROM {unnest(entry_id="bigint", account="text")}
WHERE e.entry_id = given.entry_id
""")


class Digests:
    """What tells the rows of one file apart: their content, and which of several alike each is."""

    def __init__(self, hide: Callable[[str], str]) -> None:
        self._seen, self._hide = Counter[bytes](), hide

    def hidden(self, line: Line) -> Line:
        """The line as the books have it: its account could be guessed from a digest of it in clear."""
        if not line.account:
            return line
        return replace(line, account=self._hide(line.account))

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
            line.trade_no,
        )
        for entry_id, line in zip(ids, map(digests.hidden, lines), strict=True)
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


async def hide(db: AsyncConnection, hidden: Callable[[str], str], most: int) -> int:
    """Hide accounts that lie in clear, of rows of the releases before; how many they were."""
    rows = (await db.execute(_CLEAR, {"most": most})).all()
    if rows:
        numbers = [row.entry_id for row in rows]
        accounts = [hidden(row.account) for row in rows]
        await db.execute(_HIDE, {"entry_id": numbers, "account": accounts})
    return len(rows)
