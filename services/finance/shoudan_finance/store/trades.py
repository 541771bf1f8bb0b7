"""Statements on days of trades and on trades: stored by pages, held to the ledger, read by channel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_finance.states import TRADE_DAY, DayStatus, TradeDayEvent, TradeDayStatus
from shoudan_finance.store.movements import Piece, day_number
from shoudan_finance.tables import DOWN, TRADE, TRADES_OPEN, UP
from shoudan_kit.db.columns import Rows, literal, types
from shoudan_kit.db.text_statements import columns, statement, unnest

TEXT_MAX: Final = 256


@dataclass(frozen=True, slots=True)
class TradeDay:
    """One row of trade_day."""

    day: date
    status: TradeDayStatus
    trades: int
    page_token: str
    apart: int
    what: str
    create_time: datetime
    fetch_time: datetime | None
    prove_time: datetime | None
    list_time: datetime | None


@dataclass(frozen=True, slots=True)
class Trade:
    """One row of trade."""

    day_no: int
    number: int
    kind: int
    order_id: int
    down_channel_no: str
    up_channel_no: str
    line_id: int
    their_no: str
    product_no: str
    carrier_no: str
    invoice_type: int
    face_micros: int
    num: int
    result: int
    done_face_micros: int
    amount_micros: int
    commission_micros: int
    service_micros: int
    fee_micros: int
    end_time: datetime
    supplier_no: str = ""
    account: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Money:
    """What movements about one number come to in one account."""

    trade_no: str
    about: int
    account_id: int
    amount_micros: int


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose an account is."""

    account_id: int
    groups: str
    eid: str


_DAY: Final = Rows(TradeDay)
_TRADE: Final = Rows(Trade)

_NOTE = statement(f"""
INSERT INTO trade_day (day, status, trades, page_token, apart, what, create_time)
SELECT f.day, {literal(TRADE_DAY.initial)}, 0, '', 0, '', shoudan_now() FROM finance_day f
WHERE f.day > CAST(:after AS date) ORDER BY f.day LIMIT :most
ON CONFLICT DO NOTHING RETURNING day
""")
_LAST = statement("SELECT day FROM trade_day ORDER BY day DESC LIMIT 1")
# Of each status apart, so that days that differ for long keep no new one from being fetched.
_OPEN = statement(
    " UNION ALL ".join(
        f"(SELECT day FROM trade_day WHERE status IN ({TRADES_OPEN}) AND status = {literal(one)}"
        " ORDER BY day LIMIT :most)"
        for one in sorted(TRADE_DAY.states - TRADE_DAY.final)
    )
)
_GET = statement(f"SELECT {_DAY.of()} FROM trade_day WHERE day = CAST(:day AS date)")
_PAGE = statement(f"""
SELECT {_DAY.of()} FROM trade_day WHERE day > CAST(:after AS date) ORDER BY day LIMIT :most
""")
# Only from where this page began: what a process that was held up fetched has been stored by another one.
_REACHED = statement(f"""
UPDATE trade_day SET trades = trades + :added, page_token = :to_token
WHERE day = CAST(:day AS date) AND page_token = :from_token
    AND status = {literal(TradeDayStatus.FILLING)}
RETURNING day
""")
_FETCHED = statement("""
UPDATE trade_day SET status = :status, page_token = '', fetch_time = shoudan_now()
WHERE day = CAST(:day AS date) AND status = ANY(CAST(:sources AS smallint[])) RETURNING day
""")
_PROVED = statement("""
UPDATE trade_day SET status = :status, apart = :apart, what = :what, prove_time = shoudan_now()
WHERE day = CAST(:day AS date) AND status = ANY(CAST(:sources AS smallint[])) RETURNING day
""")
# Still early: the rows agree as far as they do, and the status waits for the day after.
_LOOKED = statement(f"""
UPDATE trade_day SET apart = :apart, what = :what, prove_time = shoudan_now()
WHERE day = CAST(:day AS date) AND status = {literal(TradeDayStatus.FETCHED)}
""")
_ADD = statement(f"""
INSERT INTO trade ({_TRADE.of()}) SELECT {_TRADE.of("given")}
FROM {unnest(**types(TRADE, *_TRADE.names))}
ON CONFLICT DO NOTHING RETURNING number
""")
_BY_NUMBER = statement(f"""
SELECT {_TRADE.of()} FROM trade WHERE number = ANY(CAST(:numbers AS bigint[]))
""")
_ALL = statement(f"""
SELECT {_TRADE.of()} FROM trade WHERE day_no = :of_day AND number > :after ORDER BY number LIMIT :most
""")


def _of_channel(column: str, kinds: str) -> str:
    return f"""
SELECT {_TRADE.of()} FROM trade
WHERE day_no = :of_day AND {column} = :channel_no AND kind IN ({kinds})
    AND (end_time, number) > (CAST(:after_time AS timestamptz), CAST(:after AS bigint))
ORDER BY end_time, number LIMIT :most
"""


_OF_DOWN = statement(_of_channel("down_channel_no", DOWN))
_OF_UP = statement(_of_channel("up_channel_no", UP))
_MONEY = statement(f"""
SELECT given.trade_no, m.about, m.account_id, m.amount_micros
FROM {unnest(trade_no="text")}
CROSS JOIN LATERAL (
    SELECT m.about, m.account_id, sum(m.amount_micros)::bigint AS amount_micros FROM trade_money m
    WHERE m.trade_no = given.trade_no AND m.day_no >= :first GROUP BY m.about, m.account_id
) m
""")
_UNLISTED = statement(f"""
SELECT t.day FROM trade_day t JOIN finance_day f ON f.day = t.day
WHERE t.list_time IS NULL AND t.day <= CAST(:to_day AS date)
    AND f.status = {literal(DayStatus.COMPLETE)}
ORDER BY t.day LIMIT :most
""")
_LIST = statement(f"""
INSERT INTO trade_money (day_no, account_id, seq, trade_no, about, amount_micros)
SELECT m.day_no, m.account_id, m.seq, m.trade_no, m.about, m.amount_micros
FROM {unnest(day_no="bigint", account_id="bigint", low="bigint", high="bigint")}
CROSS JOIN LATERAL (
    SELECT m.day_no, m.account_id, m.seq, m.trade_no, m.about, m.amount_micros FROM movement m
    WHERE m.day_no = given.day_no AND m.account_id = given.account_id
        AND m.seq > given.low AND m.seq <= given.high AND m.about BETWEEN 1 AND 4
) m
ON CONFLICT DO NOTHING
""")
_LISTED = statement("""
UPDATE trade_day SET list_time = shoudan_now() WHERE day = CAST(:day AS date) AND list_time IS NULL
""")
_OWNERS = statement("""
SELECT DISTINCT account_id, groups, eid FROM account_fact
WHERE ident = :ident AND eid = ANY(CAST(:eids AS text[])) AND day >= CAST(:from_day AS date)
""")


async def note(db: AsyncConnection, after: date, most: int) -> list[date]:
    """Note the days behind `after` that the books have; those that are new."""
    return list((await db.execute(_NOTE, {"after": after, "most": most})).scalars())


async def last(db: AsyncConnection) -> date | None:
    """The newest day that is known."""
    return (await db.execute(_LAST)).scalar_one_or_none()


async def unproved(db: AsyncConnection, most: int) -> list[date]:
    """Days that do not agree yet, the oldest of each status, at most `most` of each."""
    return list((await db.execute(_OPEN, {"most": most})).scalars())


async def get(db: AsyncConnection, day: date) -> TradeDay | None:
    """One day."""
    return _DAY.one(await db.execute(_GET, {"day": day}))


async def page(db: AsyncConnection, after: date, most: int) -> list[TradeDay]:
    """Days behind `after`, oldest first."""
    return _DAY.all(await db.execute(_PAGE, {"after": after, "most": most}))


async def add(db: AsyncConnection, trades: Sequence[Trade]) -> int:
    """Store trades; those that are there stay. How many were not."""
    return len((await db.execute(_ADD, columns(trades, *_TRADE.names))).all())


async def reached(
    db: AsyncConnection, day: date, added: int, *, from_token: str, to_token: str
) -> bool:
    """The day goes on behind a page; False when another process has stored it."""
    binds = {"day": day, "added": added, "from_token": from_token, "to_token": to_token}
    return (await db.execute(_REACHED, binds)).first() is not None


async def fetched(db: AsyncConnection, day: date) -> None:
    """All trades of the day are here."""
    event = TradeDayEvent.FETCHED
    binds = {
        "day": day,
        "status": TRADE_DAY.target(event),
        "sources": list(TRADE_DAY.sources(event)),
    }
    await db.execute(_FETCHED, binds)


async def proved(
    db: AsyncConnection, day: date, event: TradeDayEvent, apart: int, what: str
) -> bool:
    """The day agrees or differs; False when it agreed before."""
    binds = {
        "day": day,
        "status": TRADE_DAY.target(event),
        "sources": list(TRADE_DAY.sources(event)),
        "apart": apart,
        "what": what[:TEXT_MAX],
    }
    return (await db.execute(_PROVED, binds)).first() is not None


async def looked_at(db: AsyncConnection, day: date, apart: int, what: str) -> None:
    """How far the day agrees, while the money of its last trades may be to come."""
    await db.execute(_LOOKED, {"day": day, "apart": apart, "what": what[:TEXT_MAX]})


async def trades(db: AsyncConnection, day: date, *, after: int, most: int) -> list[Trade]:
    """Trades of the day behind a number, by number."""
    binds = {"of_day": day_number(day), "after": after, "most": most}
    return _TRADE.all(await db.execute(_ALL, binds))


async def by_number(db: AsyncConnection, numbers: Sequence[int]) -> dict[int, Trade]:
    """Trades by number, of whatever day."""
    found = _TRADE.all(await db.execute(_BY_NUMBER, {"numbers": list(numbers)}))
    return {one.number: one for one in found}


async def of_channel(
    db: AsyncConnection,
    day: date,
    channel_no: str,
    *,
    up: bool,
    after: tuple[datetime, int],
    most: int,
) -> list[Trade]:
    """Trades of the day of a down channel or a supplier behind a key, by end_time and number."""
    binds = {
        "of_day": day_number(day),
        "channel_no": channel_no,
        "after_time": after[0],
        "after": after[1],
        "most": most,
    }
    return _TRADE.all(await db.execute(_OF_UP if up else _OF_DOWN, binds))


async def money(db: AsyncConnection, numbers: Sequence[str], from_day: date) -> list[Money]:
    """What the movements since a day about these numbers come to, account by account."""
    binds = {"trade_no": list(numbers), "first": day_number(from_day)}
    return Rows(Money).all(await db.execute(_MONEY, binds))


async def unlisted(db: AsyncConnection, to_day: date, most: int) -> list[date]:
    """Complete accounting days up to one whose movements are not listed by number, oldest first."""
    found = await db.execute(_UNLISTED, {"to_day": to_day, "most": most})
    return list(found.scalars())


async def list_money(db: AsyncConnection, pieces: Sequence[Piece]) -> None:
    """List movements about trades by their number; those that are listed stay."""
    await db.execute(_LIST, columns(pieces, "day_no", "account_id", "low", "high"))


async def listed(db: AsyncConnection, day: date) -> None:
    """All movements of the day are listed."""
    await db.execute(_LISTED, {"day": day})


async def owners(
    db: AsyncConnection, ident: str, eids: Sequence[str], from_day: date
) -> list[Owner]:
    """The accounts of channels that moved since a day."""
    binds = {"ident": ident, "eids": list(eids), "from_day": from_day}
    return Rows(Owner).all(await db.execute(_OWNERS, binds))
