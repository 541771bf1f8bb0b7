"""Statements on movements: a day's are appended account by account, counted, and read by their key."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db.columns import Rows
from shoudan_kit.db.text_statements import FastConnection, columns, statement, unnest
from shoudan_kit.ids import first_of


@dataclass(frozen=True, slots=True)
class Movement:
    """One row of movement."""

    day_no: int
    account_id: int
    seq: int
    record_id: int
    contra_account_id: int
    trade_no: str
    ext_no: str
    change_type: int
    trade_type: int
    about: int
    amount_micros: int
    balance_micros: int
    memo: str
    source: str
    operator: str
    create_time: datetime
    hash: bytes


@dataclass(frozen=True, slots=True)
class Piece:
    """A range of one account's movements of a day: behind `low`, up to `high`."""

    day_no: int
    account_id: int
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Reached:
    """The last movement of an account that is here."""

    account_id: int
    seq: int
    balance_micros: int


@dataclass(frozen=True, slots=True)
class Sums:
    """What a piece comes to as it is here."""

    account_id: int
    movements: int
    debits_micros: int
    credits_micros: int


@dataclass(frozen=True, slots=True)
class End:
    """Where a piece ends."""

    account_id: int
    balance_micros: int
    hash: bytes


_MOVEMENT: Final = Rows(Movement)

_REACHED = statement(f"""
SELECT given.account_id, m.seq, m.balance_micros
FROM {unnest(day_no="bigint", account_id="bigint")}
CROSS JOIN LATERAL (
    SELECT m.seq, m.balance_micros FROM movement m
    WHERE m.day_no = given.day_no AND m.account_id = given.account_id ORDER BY m.seq DESC LIMIT 1
) m
""")
_SUMS = statement(f"""
SELECT given.account_id, s.movements, s.debits_micros, s.credits_micros
FROM {unnest(day_no="bigint", account_id="bigint", low="bigint", high="bigint")}
CROSS JOIN LATERAL (
    SELECT count(1) AS movements,
        -coalesce(sum(m.amount_micros) FILTER (WHERE m.amount_micros < 0), 0)::bigint AS debits_micros,
        coalesce(sum(m.amount_micros) FILTER (WHERE m.amount_micros > 0), 0)::bigint AS credits_micros
    FROM movement m
    WHERE m.day_no = given.day_no AND m.account_id = given.account_id
        AND m.seq > given.low AND m.seq <= given.high
) s
""")
_ENDS = statement(f"""
SELECT given.account_id, m.balance_micros, m.hash
FROM {unnest(day_no="bigint", account_id="bigint", high="bigint")}
JOIN LATERAL (
    SELECT m.balance_micros, m.hash FROM movement m
    WHERE m.day_no = given.day_no AND m.account_id = given.account_id AND m.seq = given.high LIMIT 1
) m ON true
""")
_PAGE = statement(f"""
SELECT {_MOVEMENT.of()} FROM movement
WHERE day_no = :of_day AND (account_id, seq) > (:after_account_id, :after_seq)
ORDER BY account_id, seq LIMIT :most
""")
_OF_ACCOUNT = statement(f"""
SELECT {_MOVEMENT.of()} FROM movement
WHERE day_no = :of_day AND account_id = :account_id AND seq > :after_seq ORDER BY seq LIMIT :most
""")


def in_parts(pieces: Iterable[Piece], most: int) -> Iterator[list[Piece]]:
    """Pieces of together at most `most` movements; a longer one is cut."""
    part, room = list[Piece](), most
    for one in pieces:
        low = one.low
        while low < one.high:
            high = min(one.high, low + room)
            part.append(Piece(one.day_no, one.account_id, low, high))
            room, low = room - (high - low), high
            if not room:
                yield part
                part, room = [], most
    if part:
        yield part


def day_number(day: date) -> int:
    """The day as movement.day_no."""
    return first_of(datetime(day.year, day.month, day.day, tzinfo=UTC))


async def reached(db: AsyncConnection, day: date, ids: Sequence[int]) -> dict[int, Reached]:
    """How far the accounts' movements of the day are here, of those that have some."""
    binds = {"day_no": [day_number(day)] * len(ids), "account_id": list(ids)}
    return {one.account_id: one for one in Rows(Reached).all(await db.execute(_REACHED, binds))}


async def append(db: AsyncConnection, movements: Sequence[Movement]) -> None:
    """Append movements that are not here; one that is fails the whole transaction."""
    assert isinstance(db, FastConnection), "a Database gives no other"
    rows = ([getattr(one, name) for name in _MOVEMENT.names] for one in movements)
    await db.copy("movement", _MOVEMENT.names, rows)


async def sums(db: AsyncConnection, pieces: Sequence[Piece]) -> list[Sums]:
    """What each piece comes to; reads as many movements as the pieces are long."""
    given = columns(pieces, "day_no", "account_id", "low", "high")
    return Rows(Sums).all(await db.execute(_SUMS, given))


async def ends(db: AsyncConnection, pieces: Sequence[Piece]) -> dict[int, End]:
    """Where each piece ends, without those whose last movement is missing."""
    given = columns(pieces, "day_no", "account_id", "high")
    return {one.account_id: one for one in Rows(End).all(await db.execute(_ENDS, given))}


async def page(
    db: AsyncConnection, day: date, *, account_id: int, after: tuple[int, int], most: int
) -> list[Movement]:
    """Movements of the day behind a key, by account and seq; of one account unless it is 0."""
    binds = {"of_day": day_number(day), "after_seq": after[1], "most": most}
    if account_id:
        found = await db.execute(_OF_ACCOUNT, binds | {"account_id": account_id})
    else:
        found = await db.execute(_PAGE, binds | {"after_account_id": after[0]})
    return _MOVEMENT.all(found)
