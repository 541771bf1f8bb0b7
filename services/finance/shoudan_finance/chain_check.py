"""Holds the movements of accounts, as they arrive, to what the ledger closed each account's day with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from shoudan_finance.store.days import AccountFact
from shoudan_finance.store.movements import Movement, Piece, Reached, day_number


class DayDiffers(Exception):
    """The movements of a day are not what the ledger closed it with; `what` says which first."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


@dataclass(slots=True)
class _Chain:
    """How far one account's movements have come."""

    fact: AccountFact
    seq: int
    balance_micros: int


class ChainCheck:
    """Each movement once, in order, every balance from the one before, the last hash as it was closed.

    Accounts may come in any order, as those of several shards do.
    """

    def __init__(self, facts: Sequence[AccountFact], reached: Mapping[int, Reached]) -> None:
        """`reached`: what is here already of these accounts."""
        self._open = {
            one.account_id: _chain(one, reached)
            for one in facts
            if _seq_reached(one, reached) < one.seq_to
        }

    def add(self, movements: Sequence[Movement]) -> None:
        """The next movements. Raises DayDiffers."""
        for one in movements:
            self._add(one)

    def end(self) -> None:
        """Every movement has come. Raises DayDiffers."""
        for one in self._open.values():
            raise DayDiffers(
                f"account {one.fact.account_id}: its movements end before {one.fact.seq_to}"
            )

    def _add(self, one: Movement) -> None:
        chain = self._open.get(one.account_id)
        if chain is None:
            raise DayDiffers(f"account {one.account_id}: {one.seq} is none of the day's")
        if one.seq != chain.seq + 1:
            raise DayDiffers(
                f"account {one.account_id}: {one.seq} comes in place of {chain.seq + 1}"
            )
        if chain.balance_micros + one.amount_micros != one.balance_micros:
            raise DayDiffers(f"account {one.account_id}: {one.seq} does not follow the one before")
        chain.seq, chain.balance_micros = one.seq, one.balance_micros
        fact = chain.fact
        if one.seq == fact.seq_to:
            if (one.balance_micros, one.hash) != (fact.closing_micros, fact.head_hash):
                raise DayDiffers(
                    f"account {one.account_id}: {one.seq} does not end as it was closed"
                )
            del self._open[one.account_id]


def _chain(fact: AccountFact, reached: Mapping[int, Reached]) -> _Chain:
    known = reached.get(fact.account_id)
    if known is None:
        return _Chain(fact, fact.seq_from - 1, fact.opening_micros)
    return _Chain(fact, known.seq, known.balance_micros)


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
