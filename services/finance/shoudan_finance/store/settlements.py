"""Statements on settlements: lines that others add up to, however many these are, slice by slice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_finance.states import Book, EntryKind, EntryStatus, Outcome
from shoudan_finance.store.matches import SLICE, lock_all, sliced
from shoudan_finance.tables import LIVE, UNMATCHED
from shoudan_kit.db.columns import Rows, literal, literals
from shoudan_kit.db.text_statements import FastConnection, statement, unnest

SUMS: Final = (EntryKind.SETTLEMENT, EntryKind.TRANSFER)


@dataclass(frozen=True, slots=True)
class Head:
    """A line that others add up to."""

    entry_id: int
    book: int
    settle_no: str
    amount_micros: int
    day: date
    status: int


@dataclass(slots=True)
class Settlement:
    """One with what names it: what that comes to, how many lines it is, which settlement a bank paid."""

    head: Head
    lines: int = 0
    sum_micros: int = 0
    paid_id: int = 0
    named: list[int] = field(default_factory=list[int])


_HEADS = statement(f"""
SELECT {Rows(Head).of("s")} FROM entry s
WHERE s.source = :source AND s.entry_id > :after AND s.{UNMATCHED} AND s.match_id = 0
    AND s.kind IN ({literals(SUMS)})
ORDER BY s.entry_id LIMIT :most
""")
# Whether another one of the same book has settled a line already, or what settled it: who pays twice pays for
# nothing. A settler that was corrected, or parted from its lines, counts no more.
_LINES = statement(f"""
SELECT e.entry_id, e.kind, e.amount_micros, e.outcome, e.settle_id NOT IN (0, :settling) AND EXISTS (
        SELECT FROM entry p WHERE p.entry_id = e.settle_id
            AND p.status = {literal(EntryStatus.MATCHED)} AND (p.book = :settled_in OR EXISTS (
                SELECT FROM entry q WHERE q.entry_id = p.settle_id
                    AND p.settle_id NOT IN (0, :settling) AND q.book = :settled_in
                    AND q.status = {literal(EntryStatus.MATCHED)}))) AS settled
FROM entry e
WHERE e.source = :source AND e.settle_no = :settle_no AND e.settle_no <> ''
    AND e.book = {literal(Book.THEIRS)} AND e.{LIVE}
""")
_SETTLE = statement("""
UPDATE entry SET settle_id = :settling WHERE entry_id = ANY(CAST(:entry_id AS bigint[]))
""")
_SETTLE_PAID = statement(f"""
UPDATE entry e SET settle_id = given.entry_id FROM {unnest(entry_id="bigint", paid_id="bigint")}
WHERE e.entry_id = given.paid_id
""")


async def heads(db: AsyncConnection, source: str, after: int, most: int) -> list[Head]:
    """Lines of a source that others add up to and that are not matched, by number."""
    binds = {"source": source, "after": after, "most": most}
    return Rows(Head).all(await db.execute(_HEADS, binds))


async def whole(db: AsyncConnection, source: str, head: Head) -> Settlement:
    """A settlement with its lines, inside a transaction that nothing of the source is settled beside."""
    assert isinstance(db, FastConnection), "a Database gives no other"
    found = Settlement(head)
    binds = {
        "source": source,
        "settle_no": head.settle_no,
        "settling": head.entry_id,
        "settled_in": head.book,
    }
    async for page in db.pages(_LINES, binds, SLICE):
        for entry_id, kind, amount_micros, outcome, settled in page:
            if kind not in SUMS:
                found.named.append(entry_id)
                if outcome == Outcome.SUCCESS and not settled:
                    found.lines += 1
                    found.sum_micros += amount_micros
            elif (
                kind == EntryKind.SETTLEMENT
                and head.book == Book.BANK
                and abs(amount_micros) == abs(head.amount_micros)
                and not settled
            ):
                found.paid_id = max(found.paid_id, entry_id)
    return found


async def lock(db: AsyncConnection, found: Sequence[Settlement]) -> None:
    """Lock settlements with what names them, by number: it is changed with them."""
    numbers = {one.head.entry_id for one in found} | {one.paid_id for one in found if one.paid_id}
    await lock_all(db, numbers.union(*(one.named for one in found)))


async def settle(db: AsyncConnection, done: Sequence[Settlement]) -> None:
    """Store which lines each settles: those with its number, or the settlement that a bank paid."""
    for one in done:
        if not one.paid_id:
            for part in sliced(one.named):
                await db.execute(_SETTLE, {"settling": one.head.entry_id, "entry_id": part})
    paid = [one for one in done if one.paid_id]
    if paid:
        pairs = [(one.head.entry_id, one.paid_id) for one in paid]
        ids, paid_ids = map(list, zip(*pairs, strict=True))
        await db.execute(_SETTLE_PAID, {"entry_id": ids, "paid_id": paid_ids})
