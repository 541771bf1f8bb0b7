"""The proof of a day: what is here, counted row by row, is what the ledger closed each account with."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from struct import Struct
from typing import Any, Final

from shoudan_finance import events
from shoudan_finance.chain_check import DayDiffers
from shoudan_finance.context import Context
from shoudan_finance.store import days, movements
from shoudan_finance.store.days import AccountFact, Day
from shoudan_finance.store.movements import End, Piece, Sums, day_number

ACCOUNTS_MAX: Final = 500  # of one page of the proof
COUNTED_MAX: Final = 50_000  # movements that one statement counts

_ENDS: Final = Struct(">qqqq")


@dataclass(slots=True)
class Totals:
    """What the accounts of a day come to, and the digest over where their chains ended."""

    accounts: int = 0
    movements: int = 0
    debits_micros: int = 0
    credits_micros: int = 0
    sha: Any = field(default_factory=hashlib.sha256)  # its type has no public name

    def add(self, fact: AccountFact) -> None:
        """One account more, by id."""
        self.accounts += 1
        self.movements += fact.seq_to - fact.seq_from + 1
        self.debits_micros += fact.debits_micros
        self.credits_micros += fact.credits_micros
        ends = fact.account_id, fact.seq_from, fact.seq_to, fact.closing_micros
        self.sha.update(_ENDS.pack(*ends) + fact.head_hash)

    def hold(self, day: Day) -> None:
        """Raises DayDiffers when the day was closed with other sums."""
        ours = self.accounts, self.movements, self.debits_micros, self.credits_micros
        closed = day.accounts, day.movements, day.debits_micros, day.credits_micros
        if ours != closed:
            raise DayDiffers(
                f"accounts, movements, debits, credits are {ours}, closed with {closed}"
            )


async def prove(context: Context, day: Day) -> bytes:
    """Count the day's movements; its digest, which is stored with it. Raises DayDiffers."""
    totals, after = Totals(), 0
    while True:
        async with context.app.db.connect() as db:
            facts = await days.accounts(db, day.day, after=after, most=ACCOUNTS_MAX)
        if not facts:
            break
        await _hold(context, facts)
        for one in facts:
            totals.add(one)
        after = facts[-1].account_id
    totals.hold(day)
    digest = totals.sha.digest()
    async with context.app.work("finance.proved") as work:
        if await days.proved(work.db, day.day, digest):
            events.completed(work, day, digest)
    return digest


async def disprove(context: Context, day: Day, what: str) -> None:
    """Store that the day differs, and publish it when that is news."""
    async with context.app.work("finance.disproved") as work:
        if await days.disproved(work.db, day.day, what) and what[: days.TEXT_MAX] != day.what:
            events.differs(work, day, what)


async def _hold(context: Context, facts: Sequence[AccountFact]) -> None:
    """Hold what is here of these accounts to their sums. Raises DayDiffers."""
    pieces = [
        Piece(day_number(one.day), one.account_id, one.seq_from - 1, one.seq_to) for one in facts
    ]
    found: dict[int, Sums] = {}
    for part in movements.in_parts(pieces, COUNTED_MAX):
        async with context.app.db.connect() as db:
            for one in await movements.sums(db, part):
                found[one.account_id] = _plus(found.get(one.account_id), one)
    async with context.app.db.connect() as db:
        ends = await movements.ends(db, pieces)
    for one in facts:
        _same(one, found[one.account_id], ends.get(one.account_id))


def _same(fact: AccountFact, sums: Sums, end: End | None) -> None:
    wanted = fact.seq_to - fact.seq_from + 1
    if sums.movements != wanted or end is None:
        raise DayDiffers(
            f"account {fact.account_id}: {sums.movements} movements of {wanted} are here"
        )
    if (sums.debits_micros, sums.credits_micros) != (fact.debits_micros, fact.credits_micros):
        raise DayDiffers(f"account {fact.account_id}: its movements have other sums")
    if (end.balance_micros, end.hash) != (fact.closing_micros, fact.head_hash):
        raise DayDiffers(f"account {fact.account_id}: its last movement is another one")


def _plus(known: Sums | None, more: Sums) -> Sums:
    if known is None:
        return more
    return Sums(
        more.account_id,
        known.movements + more.movements,
        known.debits_micros + more.debits_micros,
        known.credits_micros + more.credits_micros,
    )
