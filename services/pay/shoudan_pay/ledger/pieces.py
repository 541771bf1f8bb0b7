"""Pieces of chains in portions that one statement reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from shoudan_pay.ledger.store.records import Piece


def portions(pieces: Iterable[Piece], most: int) -> Iterator[list[Piece]]:
    """The pieces in portions of at most `most` records; a longer one is cut."""
    portion, room = list[Piece](), most
    for one in pieces:
        low = one.low
        while low < one.high:
            high = min(one.high, low + room)
            portion.append(Piece(one.account_id, low, high))
            room, low = room - (high - low), high
            if not room:
                yield portion
                portion, room = [], most
    if portion:
        yield portion
