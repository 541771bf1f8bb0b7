"""Statements on trades and refunds that go through a Dingdang platform, as its partner."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db.columns import Rows, literal
from shoudan_kit.db.text_statements import statement
from shoudan_pay.dingdang.states import TRADE, TradeState
from shoudan_pay.payserver.states import Sent
from shoudan_pay.platforms.states import REFUND
from shoudan_pay.store.open_work import Queue


class Trade(msgspec.Struct, frozen=True):
    """One row of dingdang_trade."""

    domain_id: str
    trade_no: str
    total_fen: int
    pay_traction_no: str
    channel_no: str
    request_no: str
    transaction_id: str
    status: str
    paid_time: datetime | None


class TradeRefund(msgspec.Struct, frozen=True):
    """One row of dingdang_refund."""

    domain_id: str
    refund_trade_no: str
    trade_no: str
    refund_fen: int
    traction_no: str
    refund_transaction_id: str
    status: str


REASON_CHARS_MAX: Final = 128

_TRADES: Final = Rows(Trade)
_REFUNDS: Final = Rows(TradeRefund)
_BIND = statement(f"""
INSERT INTO dingdang_trade (domain_id, trade_no, total_fen, pay_traction_no, channel_no, request_no,
    transaction_id, status, create_time)
VALUES (:domain_id, :trade_no, :total_fen, :pay_traction_no, :channel_no, :request_no, '',
    {literal(TRADE.initial)}, shoudan_now())
ON CONFLICT DO NOTHING RETURNING {_TRADES.of()}
""")
_BY_NO = f"SELECT {_TRADES.of()} FROM dingdang_trade WHERE domain_id = :domain_id AND trade_no = :trade_no"
_TRADE_BY_NO, _TRADE_LOCK = statement(_BY_NO), statement(f"{_BY_NO} FOR UPDATE")
_BY_PAY = statement(f"""
SELECT {_TRADES.of()} FROM dingdang_trade WHERE pay_traction_no = :number AND pay_traction_no <> ''
""")
_ADVANCE_TRADE = statement(f"""
UPDATE dingdang_trade SET status = CAST(:status AS text), transaction_id = :transaction_id,
    parked_reason = '', parked_time = NULL,
    paid_time = CASE WHEN CAST(:status AS text) = {literal(TradeState.SUCCESS)} THEN shoudan_now()
        ELSE paid_time END
WHERE domain_id = :domain_id AND trade_no = :trade_no AND status = :was RETURNING trade_no
""")
# What it waits for first stands: later words against it are in the log.
_PARK = statement("""
UPDATE dingdang_trade SET parked_reason = :reason, parked_time = shoudan_now()
WHERE domain_id = :domain_id AND trade_no = :trade_no AND parked_reason = ''
""")
_UNPARK = statement("""
UPDATE dingdang_trade SET parked_reason = '', parked_time = NULL
WHERE domain_id = :domain_id AND trade_no = :trade_no AND parked_reason <> '' RETURNING trade_no
""")
_ADD_REFUND = statement(f"""
INSERT INTO dingdang_refund (domain_id, refund_trade_no, trade_no, refund_fen, traction_no,
    refund_transaction_id, status, create_time, modify_time)
VALUES (:domain_id, :refund_trade_no, :trade_no, :refund_fen, :traction_no, '', {literal(REFUND.initial)},
    shoudan_now(), shoudan_now())
ON CONFLICT DO NOTHING RETURNING {_REFUNDS.of()}
""")
_REFUND_BY_NO = f"""
SELECT {_REFUNDS.of()} FROM dingdang_refund
WHERE domain_id = :domain_id AND refund_trade_no = :refund_trade_no
"""
_REFUND_READ, _REFUND_LOCK = statement(_REFUND_BY_NO), statement(f"{_REFUND_BY_NO} FOR UPDATE")
_REFUND_BY_NUMBER = statement(f"""
SELECT {_REFUNDS.of()} FROM dingdang_refund WHERE traction_no = :number AND traction_no <> ''
""")
_ADVANCE_REFUND = statement("""
UPDATE dingdang_refund SET status = :status, refund_transaction_id = :refund_transaction_id,
    modify_time = greatest(modify_time, shoudan_now())
WHERE domain_id = :domain_id AND refund_trade_no = :refund_trade_no AND status = :was
RETURNING refund_trade_no
""")
# A trade that pays a pay order is parked with that.
PARKED: Final = Queue(
    f"""q.domain_id || ':' || q.trade_no AS key, q.status AS state, q.parked_reason AS reason,
    q.parked_time AS since, q.total_fen * 10000 AS amount_micros, {literal(Sent.NOT)} AS sent,
    'order ' || q.request_no || ' of ' || q.channel_no AS client_no, q.transaction_id AS third_no,
    'bound ' || to_char(q.create_time AT TIME ZONE 'Asia/Shanghai', 'YYYY-MM-DD HH24:MI:SS') AS history""",
    "(q.domain_id || ':' || q.trade_no)",
    "q.parked_reason <> ''",
    "dingdang_trade",
    "q.parked_time",
)


async def bind(db: AsyncConnection, trade: Trade) -> Trade | None:
    """Write a new trade; None when its number is there, or its pay has a trade already."""
    return _TRADES.one(await db.execute(_BIND, msgspec.structs.asdict(trade)))


async def by_no(
    db: AsyncConnection, domain_id: str, trade_no: str, *, lock: bool = False
) -> Trade | None:
    """The trade of a domain."""
    binds = {"domain_id": domain_id, "trade_no": trade_no}
    return _TRADES.one(await db.execute(_TRADE_LOCK if lock else _TRADE_BY_NO, binds))


async def by_pay(db: AsyncConnection, traction_no: str) -> Trade | None:
    """The trade that pays this pay order."""
    return _TRADES.one(await db.execute(_BY_PAY, {"number": traction_no}))


async def advance_trade(
    db: AsyncConnection, trade: Trade, status: str, transaction_id: str
) -> bool:
    """Store the reported state of a trade, if its status is still as read."""
    binds = {
        "domain_id": trade.domain_id,
        "trade_no": trade.trade_no,
        "was": trade.status,
        "status": status,
        "transaction_id": transaction_id or trade.transaction_id,
    }
    return (await db.execute(_ADVANCE_TRADE, binds)).one_or_none() is not None


async def park(db: AsyncConnection, domain_id: str, trade_no: str, reason: str) -> None:
    """Let it wait for a person."""
    binds = {"domain_id": domain_id, "trade_no": trade_no, "reason": reason[:REASON_CHARS_MAX]}
    await db.execute(_PARK, binds)


async def unpark(db: AsyncConnection, domain_id: str, trade_no: str) -> bool:
    """It waits no more; whether it did."""
    binds = {"domain_id": domain_id, "trade_no": trade_no}
    return (await db.execute(_UNPARK, binds)).one_or_none() is not None


async def add_refund(db: AsyncConnection, refund: TradeRefund) -> TradeRefund | None:
    """Write a refund before it is sent; None when its number is there already."""
    return _REFUNDS.one(await db.execute(_ADD_REFUND, msgspec.structs.asdict(refund)))


async def refund_by_no(
    db: AsyncConnection, domain_id: str, refund_trade_no: str, *, lock: bool = False
) -> TradeRefund | None:
    """The refund of a domain."""
    binds = {"domain_id": domain_id, "refund_trade_no": refund_trade_no}
    return _REFUNDS.one(await db.execute(_REFUND_LOCK if lock else _REFUND_READ, binds))


async def refund_by_number(db: AsyncConnection, traction_no: str) -> TradeRefund | None:
    """The refund that belongs to one of ours."""
    return _REFUNDS.one(await db.execute(_REFUND_BY_NUMBER, {"number": traction_no}))


async def advance_refund(
    db: AsyncConnection, refund: TradeRefund, status: str, refund_transaction_id: str
) -> bool:
    """Store the reported state of a refund, if its status is still as read."""
    binds = {
        "domain_id": refund.domain_id,
        "refund_trade_no": refund.refund_trade_no,
        "was": refund.status,
        "status": status,
        "refund_transaction_id": refund_transaction_id or refund.refund_transaction_id,
    }
    return (await db.execute(_ADVANCE_REFUND, binds)).one_or_none() is not None
