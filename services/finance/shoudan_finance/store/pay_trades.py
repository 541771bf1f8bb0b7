"""Statements on what ended in PayServer: stored by pages, read by merchant and by component."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_finance.store.movements import day_number
from shoudan_finance.store.trades import Trade
from shoudan_finance.tables import PAY_TRADE
from shoudan_kit.db.columns import Rows, types
from shoudan_kit.db.text_statements import columns, statement, unnest

FAILED: Final = 90  # result of a bill's row


@dataclass(frozen=True, slots=True)
class PayTrade:
    """One row of pay_trade."""

    day_no: int
    record_id: int
    kind: int
    number: int
    pay_number: int
    merchant: str
    component: str
    client_no: str
    third_no: str
    mode_name: str
    succeeded: int
    amount_micros: int
    moved_micros: int
    end_time: datetime


_PAY: Final = Rows(PayTrade)
_TRADE: Final = Rows(Trade)
# As a row of a trade bill.
_AS: Final = {
    "order_id": "pay_number",
    "down_channel_no": "merchant",
    "up_channel_no": "component",
    "line_id": "CAST(0 AS bigint)",
    "their_no": "client_no",
    "product_no": "third_no",
    "carrier_no": "mode_name",
    "invoice_type": "CAST(0 AS smallint)",
    "face_micros": "amount_micros",
    "num": "CAST(1 AS bigint)",
    "result": f"CASE succeeded WHEN 1 THEN 0 ELSE {FAILED} END",
    "done_face_micros": "moved_micros",
    "amount_micros": "moved_micros",
    **dict.fromkeys(("commission_micros", "service_micros", "fee_micros"), "CAST(0 AS bigint)"),
    **dict.fromkeys(("supplier_no", "account", "reason"), "''"),
}

_ADD = statement(f"""
INSERT INTO pay_trade ({_PAY.of()}) SELECT {_PAY.of("given")}
FROM {unnest(**types(PAY_TRADE, *_PAY.names))}
ON CONFLICT DO NOTHING
""")
_ALL_HERE = statement("""
UPDATE trade_day SET pays = (SELECT count(*) FROM pay_trade WHERE day_no = :of_day)
WHERE day = CAST(:day AS date) AND pays IS NULL
""")
_PAYS = statement("SELECT pays FROM trade_day WHERE day = CAST(:day AS date)")
_OF_MERCHANT = statement(f"""
SELECT {", ".join(f"{_AS.get(name, name)} AS {name}" for name in _TRADE.names)} FROM pay_trade
WHERE day_no = :of_day AND merchant = :merchant
    AND (end_time, number) > (CAST(:after_time AS timestamptz), CAST(:after AS bigint))
ORDER BY end_time, number LIMIT :most
""")
_OF_COMPONENT = statement(f"""
SELECT {_PAY.of()} FROM pay_trade
WHERE day_no = :of_day AND component = :component AND record_id > :after ORDER BY record_id LIMIT :most
""")
_MERCHANTS = statement("SELECT DISTINCT merchant FROM pay_trade WHERE day_no = :of_day")


async def add(db: AsyncConnection, pays: Sequence[PayTrade]) -> None:
    """Store results; those that are there stay."""
    await db.execute(_ADD, columns(pays, *_PAY.names))


async def all_here(db: AsyncConnection, day: date) -> None:
    """All results of the day are here."""
    await db.execute(_ALL_HERE, {"of_day": day_number(day), "day": day})


async def are_here(db: AsyncConnection, day: date) -> bool:
    """Whether all results of the day are here."""
    return (await db.execute(_PAYS, {"day": day})).scalar_one_or_none() is not None


async def of_merchant(
    db: AsyncConnection, day: date, merchant: str, *, after: tuple[datetime, int], most: int
) -> list[Trade]:
    """What ended for a merchant behind a key, by end_time and number."""
    binds = {
        "of_day": day_number(day),
        "merchant": merchant,
        "after_time": after[0],
        "after": after[1],
        "most": most,
    }
    return _TRADE.all(await db.execute(_OF_MERCHANT, binds))


async def of_component(
    db: AsyncConnection, day: date, component: str, *, after: int, most: int
) -> list[PayTrade]:
    """What a component moved, or did not, behind a record."""
    binds = {"of_day": day_number(day), "component": component, "after": after, "most": most}
    return _PAY.all(await db.execute(_OF_COMPONENT, binds))


async def merchants(db: AsyncConnection, day: date) -> list[str]:
    """For whom something ended."""
    return sorted((await db.execute(_MERCHANTS, {"of_day": day_number(day)})).scalars())
