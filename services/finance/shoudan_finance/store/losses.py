"""Statements on movements that were booked at a loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_finance.store.movements import Piece
from shoudan_kit.db.columns import Rows
from shoudan_kit.db.text_statements import columns, statement, unnest

# How the order service begins the memo of a delivery that costs more than it sells for.
LOSS_MEMO: Final = "亏本"
DELIVERY: Final = 3  # 业务类型 上游发货


@dataclass(frozen=True, slots=True)
class Marked:
    """A movement whose memo says a loss."""

    account_id: int
    record_id: int
    trade_no: str
    amount_micros: int
    memo: str


_MARKED: Final = Rows(Marked)

_FIND = statement(f"""
SELECT {_MARKED.of("m")}
FROM {unnest(day_no="bigint", account_id="bigint", low="bigint", high="bigint")}
CROSS JOIN LATERAL (
    SELECT m.account_id, m.seq, m.record_id, m.trade_no, m.amount_micros, m.memo FROM movement m
    WHERE m.day_no = given.day_no AND m.account_id = given.account_id
        AND m.seq > given.low AND m.seq <= given.high
        AND m.about = {DELIVERY} AND m.memo LIKE '{LOSS_MEMO} %'
) m
ORDER BY m.account_id, m.seq
""")


async def marked(db: AsyncConnection, pieces: Sequence[Piece]) -> list[Marked]:
    """Those of the pieces; reads as many movements as they are long."""
    given = columns(pieces, "day_no", "account_id", "low", "high")
    return _MARKED.all(await db.execute(_FIND, given))
