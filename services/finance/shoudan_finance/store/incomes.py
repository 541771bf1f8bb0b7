"""Statements that sum trades of a day, and find those that are invoiced."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_finance.store.movements import day_number
from shoudan_finance.store.trades import Trade
from shoudan_kit.db.columns import Rows
from shoudan_kit.db.text_statements import statement

KEYS: Final = {"line": "line_id", "channel": "down_channel_no", "supplier": "up_channel_no"}
NEEDED: Final = 2  # 需要发票


@dataclass(frozen=True, slots=True)
class KindSum:
    """What the trades of one kind come to under a key."""

    key: str
    kind: int
    trades: int
    amount_micros: int
    commission_micros: int
    service_micros: int
    fee_micros: int


def _sums(column: str) -> str:
    return f"""
SELECT {column}::text AS key, kind, count(1) AS trades, sum(amount_micros)::bigint AS amount_micros,
    sum(commission_micros)::bigint AS commission_micros,
    sum(service_micros)::bigint AS service_micros, sum(fee_micros)::bigint AS fee_micros
FROM trade WHERE day_no = :of_day GROUP BY {column}, kind
"""


_SUMS: Final = {by: statement(_sums(column)) for by, column in KEYS.items()}
_TRADE: Final = Rows(Trade)
_INVOICED = statement(f"""
SELECT {_TRADE.of()} FROM trade
WHERE day_no = :of_day AND number > :after AND (
    kind = 1 AND invoice_type = {NEEDED} AND amount_micros > 0
    OR kind = 2 AND amount_micros > 0 AND EXISTS (
        SELECT FROM trade o WHERE o.number = trade.order_id AND o.kind = 1
            AND o.invoice_type = {NEEDED}))
ORDER BY number LIMIT :most
""")


async def sums(db: AsyncConnection, day: date, by: str) -> list[KindSum]:
    """The trades of a day by line, channel or supplier, and kind."""
    return Rows(KindSum).all(await db.execute(_SUMS[by], {"of_day": day_number(day)}))


async def invoiced(db: AsyncConnection, day: date, after: int, most: int) -> list[Trade]:
    """Orders of a day that need an invoice and refunds of such orders, behind a number."""
    binds = {"of_day": day_number(day), "after": after, "most": most}
    return _TRADE.all(await db.execute(_INVOICED, binds))
