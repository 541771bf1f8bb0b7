"""Holds the movements of accounts, as they arrive, to what the ledger closed each account's day with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from shoudan_finance.store.days import AccountFact
from shoudan_finance.store.movements import Movement, Piece, Reached, day_number


class DayDiffers(Exception):
    """The movements of a day are not what the ledger closed it with; `what` says which first."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


class ChainCheck:
    """Each movement once, in order, every balance from the one before, the last hash as it was closed."""

    def __init__(self, facts: Sequence[AccountFact], reached: Mapping[int, Reached]) -> None:
        """`reached`: what is here already of these accounts."""
        self._left = iter([one for one in facts if _seq_reached(one, reached) < one.seq_to])
        self._reached = reached
        self._fact: AccountFact | None = None
        self._seq = self._balance = 0

    def add(self, movements: Sequence[Movement]) -> None:
        """The next movements. Raises DayDiffers."""
        for one in movements:
            self._add(one)

    def end(self) -> None:
        """Every movement has come. Raises DayDiffers."""
        missing = self._fact or next(self._left, None)
        if missing is not None:
            raise DayDiffers(
                f"account {missing.account_id}: its movements end before {missing.seq_to}"
            )

    def _add(self, one: Movement) -> None:
        if self._fact is None:
            self._begin(one)
        fact = self._fact
        if fact is None or one.account_id != fact.account_id or one.seq != self._seq + 1:
            raise DayDiffers(
                f"account {one.account_id}: {one.seq} comes in place of {self._seq + 1}"
            )
        if self._balance + one.amount_micros != one.balance_micros:
            raise DayDiffers(f"account {one.account_id}: {one.seq} does not follow the one before")
        self._seq, self._balance = one.seq, one.balance_micros
        if one.seq == fact.seq_to:
            if (one.balance_micros, one.hash) != (fact.closing_micros, fact.head_hash):
                raise DayDiffers(
                    f"account {one.account_id}: {one.seq} does not end as it was closed"
                )
            self._fact = None

    def _begin(self, one: Movement) -> None:
        self._fact = fact = next(self._left, None)
        if fact is None:
            raise DayDiffers(
                f"account {one.account_id}: {one.seq} belongs to no account of the day"
            )
        known = self._reached.get(fact.account_id)
        self._seq = fact.seq_from - 1 if known is None else known.seq
        self._balance = fact.opening_micros if known is None else known.balance_micros


def missing(facts: Sequence[AccountFact], reached: Mapping[int, Reached]) -> list[Piece]:
    """What is not here yet of these accounts' days."""
    return [
        Piece(day_number(one.day), one.account_id, low, one.seq_to)
        for one in facts
        if (low := _seq_reached(one, reached)) < one.seq_to
    ]


def parted(facts: Sequence[AccountFact], most: int) -> Iterator[list[AccountFact]]:
    """Accounts in parts of at most `most` movements together; one with more is alone."""
    part, room = list[AccountFact](), most
    for one in facts:
        size = one.seq_to - one.seq_from + 1
        if part and size > room:
            yield part
            part, room = [], most
        part.append(one)
        room -= size
    if part:
        yield part


def _seq_reached(fact: AccountFact, reached: Mapping[int, Reached]) -> int:
    known = reached.get(fact.account_id)
    return fact.seq_from - 1 if known is None else known.seq
