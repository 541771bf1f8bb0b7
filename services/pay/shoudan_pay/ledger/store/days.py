"""Statements on accounting days: fencing accounts, finding what belongs to a day, and what was closed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from operator import attrgetter
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db.columns import Rows, types
from shoudan_kit.db.text_statements import columns, statement, unnest
from shoudan_pay.ledger.store.records import Piece
from shoudan_pay.ledger.tables import ACCOUNT_DAY

# In id order, as group commits lock. Who waits for the lock reads the row anew, and with it the new day.
_FENCE = statement("""
WITH given AS MATERIALIZED (
    SELECT a.account_id FROM account_info a
    WHERE a.account_id > :after AND a.contra_account_id IS NOT NULL
    ORDER BY a.account_id LIMIT :most FOR UPDATE
), fenced AS (
    UPDATE account_info a SET open_day = greatest(a.open_day, CAST(:next AS date))
    FROM given WHERE a.account_id = given.account_id
        AND (a.open_day IS NULL OR a.open_day < CAST(:next AS date))
)
SELECT account_id FROM given ORDER BY account_id
""")

# Days of one account never go back, so halving finds the last record up to a day. Records of before there
# were days have that of their time.
_SEQ_UPTO: Final = """
WITH RECURSIVE halving(low, high) AS (
    SELECT {low}, a.seq
    UNION ALL
    SELECT CASE WHEN {day} {upto} THEN r.seq ELSE h.low END,
        CASE WHEN {day} {upto} THEN h.high ELSE r.seq - 1 END
    FROM halving h JOIN account_record r
        ON r.account_id = a.account_id AND r.seq = (h.low + h.high + 1) / 2
    WHERE h.low < h.high
)
SELECT low FROM halving WHERE low = high
"""
_DAY: Final = (
    "coalesce(r.day, (r.create_time AT TIME ZONE 'Asia/Shanghai' - CAST(:cut AS interval))::date)"
)

# Where the day begins and ends in each account: behind its last close, or behind what was posted before the
# first day that was ever closed.
_RANGES = statement(f"""
SELECT a.account_id, began.low, found.low AS high
FROM account_info a
LEFT JOIN LATERAL (
    SELECT d.seq_to FROM account_day d WHERE d.account_id = a.account_id AND d.day < CAST(:day AS date)
    ORDER BY d.day DESC LIMIT 1
) last ON true
CROSS JOIN LATERAL (
    SELECT last.seq_to AS low WHERE last.seq_to IS NOT NULL
    UNION ALL
    SELECT x.low FROM (
        SELECT coalesce(
            (SELECT l.day FROM ledger_day l ORDER BY l.day LIMIT 1), CAST(:day AS date)) AS day
    ) first
    CROSS JOIN LATERAL ({_SEQ_UPTO.format(low="0::bigint", day=_DAY, upto="< first.day")}) x
    WHERE last.seq_to IS NULL
) began
CROSS JOIN LATERAL ({_SEQ_UPTO.format(low="began.low", day=_DAY, upto="<= CAST(:day AS date)")}) found
WHERE a.account_id = ANY(CAST(:ids AS bigint[])) AND found.low > began.low
ORDER BY a.account_id
""")

_SUMS = statement(f"""
SELECT given.account_id, s.records, s.debits_micros, s.credits_micros
FROM {unnest(account_id="bigint", low="bigint", high="bigint")}
CROSS JOIN LATERAL (
    SELECT count(1) AS records,
        -coalesce(sum(r.amount_micros) FILTER (WHERE r.amount_micros < 0), 0)::bigint AS debits_micros,
        coalesce(sum(r.amount_micros) FILTER (WHERE r.amount_micros > 0), 0)::bigint AS credits_micros
    FROM account_record r
    WHERE r.account_id = given.account_id AND r.seq > given.low AND r.seq <= given.high
) s
""")
_ENDS = statement(f"""
SELECT given.account_id, coalesce(b.balance_micros, 0) AS opening_micros,
    e.balance_micros AS closing_micros, e.hash AS head_hash
FROM {unnest(account_id="bigint", low="bigint", high="bigint")}
LEFT JOIN LATERAL (
    SELECT r.balance_micros FROM account_record r
    WHERE r.account_id = given.account_id AND r.seq = given.low LIMIT 1
) b ON true
JOIN LATERAL (
    SELECT r.balance_micros, r.hash FROM account_record r
    WHERE r.account_id = given.account_id AND r.seq = given.high LIMIT 1
) e ON true
""")

_INSERT = statement(f"""
INSERT INTO account_day (account_id, day, seq_from, seq_to, opening_micros, debits_micros,
    credits_micros, closing_micros, head_hash)
SELECT given.account_id, given.day, given.seq_from, given.seq_to, given.opening_micros,
    given.debits_micros, given.credits_micros, given.closing_micros, given.head_hash
FROM {
    unnest(
        **types(
            ACCOUNT_DAY,
            "account_id",
            "day",
            "seq_from",
            "seq_to",
            "opening_micros",
            "debits_micros",
            "credits_micros",
            "closing_micros",
            "head_hash",
        )
    )
}
ON CONFLICT DO NOTHING
""")
_CLOSE = statement("""
INSERT INTO ledger_day (day, accounts, records, debits_micros, credits_micros, create_time)
SELECT CAST(:day AS date), count(1), coalesce(sum(d.seq_to - d.seq_from + 1), 0)::bigint,
    coalesce(sum(d.debits_micros), 0)::bigint, coalesce(sum(d.credits_micros), 0)::bigint,
    shoudan_now()
FROM account_day d WHERE d.day = CAST(:day AS date)
ON CONFLICT DO NOTHING
RETURNING day, accounts, records, debits_micros, credits_micros, create_time
""")

_LAST = statement("SELECT day FROM ledger_day ORDER BY day DESC LIMIT 1")
_NOW = statement("SELECT shoudan_now()")
_DAYS = statement("""
SELECT day, accounts, records, debits_micros, credits_micros, create_time FROM ledger_day
WHERE day > CAST(:after AS date) ORDER BY day LIMIT :most
""")
_ACCOUNTS = statement("""
SELECT d.account_id, d.day, d.seq_from, d.seq_to, d.opening_micros, d.debits_micros,
    d.credits_micros, d.closing_micros, d.head_hash, a.ident, a.groups, a.eid, a.account_name
FROM account_day d JOIN account_info a ON a.account_id = d.account_id
WHERE d.day = CAST(:day AS date) AND d.account_id > :after ORDER BY d.account_id LIMIT :most
""")


# The oldest and the newest closed day, from both ends of the key.
_CLOSED = statement("""
SELECT (SELECT l.day FROM ledger_day l ORDER BY l.day LIMIT 1),
    (SELECT l.day FROM ledger_day l ORDER BY l.day DESC LIMIT 1)
""")
_PERIOD = statement("""
SELECT d.account_id, d.day, d.seq_from, d.seq_to, d.opening_micros, d.debits_micros,
    d.credits_micros, d.closing_micros, d.head_hash
FROM account_day d WHERE d.account_id = :account_id
    AND d.day >= CAST(:from_day AS date) AND d.day <= CAST(:to_day AS date)
ORDER BY d.day
""")
# What the days before left, or the next one began with; else what was there before days were closed, or what
# is before the records of a day that is open.
_OPENING = statement(f"""
SELECT coalesce(
    (SELECT d.closing_micros FROM account_day d
        WHERE d.account_id = a.account_id AND d.day < CAST(:day AS date)
        ORDER BY d.day DESC LIMIT 1),
    (SELECT d.opening_micros FROM account_day d
        WHERE d.account_id = a.account_id AND d.day >= CAST(:day AS date)
        ORDER BY d.day LIMIT 1),
    (SELECT r.balance_micros
        FROM ({_SEQ_UPTO.format(low="0::bigint", day=_DAY, upto="< CAST(:day AS date)")}) found
        JOIN account_record r ON r.account_id = a.account_id AND r.seq = found.low),
    0)
FROM account_info a WHERE a.account_id = :account_id
""")


@dataclass(frozen=True, slots=True)
class LedgerDay:
    """One row of ledger_day."""

    day: date
    accounts: int
    records: int
    debits_micros: int
    credits_micros: int
    create_time: datetime


@dataclass(frozen=True, slots=True)
class AccountDay:
    """One row of account_day."""

    account_id: int
    day: date
    seq_from: int
    seq_to: int
    opening_micros: int
    debits_micros: int
    credits_micros: int
    closing_micros: int
    head_hash: bytes


@dataclass(frozen=True, slots=True)
class Sums:
    """What a piece of a chain comes to."""

    account_id: int
    records: int
    debits_micros: int
    credits_micros: int


@dataclass(frozen=True, slots=True)
class Ends:
    """The balances before and after a piece of a chain, and its last hash."""

    account_id: int
    opening_micros: int
    closing_micros: int
    head_hash: bytes


@dataclass(frozen=True, slots=True)
class NamedDay:
    """An account's day with the key and the name of the account."""

    day: AccountDay
    account: tuple[str, str, str]
    account_name: str


_day_row: Final = attrgetter(*AccountDay.__slots__)


async def fence(db: AsyncConnection, *, after: int, upto: date, most: int) -> list[int]:
    """The next accounts by id; from now on they get no record of `upto` or a day before it."""
    binds = {"after": after, "next": upto + timedelta(days=1), "most": most}
    return list((await db.execute(_FENCE, binds)).scalars())


async def ranges(db: AsyncConnection, ids: Sequence[int], day: date, cut: timedelta) -> list[Piece]:
    """The records of the day, of those accounts that have some."""
    binds = {"ids": ids, "day": day, "cut": cut}
    return Rows(Piece).all(await db.execute(_RANGES, binds))


async def sums(db: AsyncConnection, pieces: Sequence[Piece]) -> list[Sums]:
    """What each piece comes to; reads as many records as the pieces are long."""
    return Rows(Sums).all(await db.execute(_SUMS, columns(pieces, "account_id", "low", "high")))


async def ends(db: AsyncConnection, pieces: Sequence[Piece]) -> list[Ends]:
    """Where each piece begins and ends; without those whose last record is missing."""
    return Rows(Ends).all(await db.execute(_ENDS, columns(pieces, "account_id", "low", "high")))


async def insert(db: AsyncConnection, days: Sequence[AccountDay]) -> None:
    """Store days of accounts; those that are there stay."""
    await db.execute(_INSERT, columns(days, *AccountDay.__slots__))


async def close(db: AsyncConnection, day: date) -> LedgerDay | None:
    """The day as it is closed now; None when it was closed before."""
    found = Rows(LedgerDay).all(await db.execute(_CLOSE, {"day": day}))
    return found[0] if found else None


async def last_closed(db: AsyncConnection) -> date | None:
    """The newest day that is closed."""
    return (await db.execute(_LAST)).scalar_one_or_none()


async def now(db: AsyncConnection) -> datetime:
    """The database's time, which records have."""
    moment: datetime = (await db.execute(_NOW)).scalar_one()
    return moment


async def closed(db: AsyncConnection, after: date, most: int) -> list[LedgerDay]:
    """Closed days behind `after`, oldest first."""
    return Rows(LedgerDay).all(await db.execute(_DAYS, {"after": after, "most": most}))


async def closed_ends(db: AsyncConnection) -> tuple[date, date] | None:
    """The oldest and the newest closed day."""
    first, last = (await db.execute(_CLOSED)).one()
    return None if first is None else (first, last)


async def period(db: AsyncConnection, account_id: int, first: date, last: date) -> list[AccountDay]:
    """The account's closed days of a period, oldest first."""
    binds = {"account_id": account_id, "from_day": first, "to_day": last}
    return Rows(AccountDay).all(await db.execute(_PERIOD, binds))


async def opening(db: AsyncConnection, account_id: int, day: date, cut: timedelta) -> int:
    """What the account held when the day began."""
    binds = {"account_id": account_id, "day": day, "cut": cut}
    micros: int = (await db.execute(_OPENING, binds)).scalar_one()
    return micros


async def of_day(db: AsyncConnection, day: date, *, after: int, most: int) -> list[NamedDay]:
    """What the day came to in accounts behind `after`, by id."""
    rows = (await db.execute(_ACCOUNTS, {"day": day, "after": after, "most": most})).all()
    return [NamedDay(AccountDay(*row[:9]), (row[9], row[10], row[11]), row[12]) for row in rows]
