"""Statements on what ended within a period: each result that a pay or a refund took, and the one before."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db.columns import Rows, literals
from shoudan_kit.db.text_statements import statement
from shoudan_pay.payserver.states import OPEN_PAYS, OPEN_REFUNDS, PayStatus, RefundStatus

# Results of either; a pay that is given back has been paid.
_RESULTS: Final = literals(
    sorted({str(one) for one in (*PayStatus, *RefundStatus)} - {*OPEN_PAYS, *OPEN_REFUNDS})
)


@dataclass(frozen=True, slots=True)
class Result:
    """A status that a pay or a refund took; `was` is the result before, empty for the first."""

    record_id: int
    trade_type: str
    traction_no: str
    pay_traction_no: str
    merchant_uuid: str
    client_no: str
    third_no: str
    mode_name: str
    method: str
    channel: str
    template_id: str
    mode_uuid: str
    amount_micros: int
    status: str
    was: str
    end_time: datetime


_RESULT: Final = Rows(Result)

# What contradicts a result is in the history, too, and is none.
_ENDED = statement(f"""
SELECT r.id AS record_id, r.trade_type, r.traction_no, o.traction_no AS pay_traction_no, r.merchant_uuid,
    coalesce(f.client_refund_no, o.client_pay_no) AS client_no,
    coalesce(CASE r.trade_type WHEN 'pay' THEN o.third_pay_no ELSE f.third_refund_no END, '') AS third_no,
    o.mode_name, o.method, coalesce(o.channel, '') AS channel, coalesce(o.template_id, '') AS template_id,
    o.mode_uuid, r.amount_micros, r.status, coalesce(p.status, '') AS was, r.create_time AS end_time
FROM trade_record r
JOIN pay_order o ON o.uuid = r.pay_uuid
LEFT JOIN refund_order f ON f.uuid = r.refund_uuid
LEFT JOIN LATERAL (
    SELECT p.status FROM trade_record p
    WHERE p.pay_uuid = r.pay_uuid AND p.refund_uuid = r.refund_uuid AND p.id < r.id
        AND p.result_code NOT LIKE 'conflict:%' AND p.status IN ({_RESULTS})
    ORDER BY p.id DESC LIMIT 1
) p ON true
WHERE r.create_time >= CAST(:start AS timestamptz) AND r.create_time < CAST(:end_ AS timestamptz)
    AND (r.create_time, r.id) > (CAST(:start AS timestamptz), CAST(:after AS bigint))
    AND r.result_code NOT LIKE 'conflict:%' AND r.status IN ({_RESULTS})
ORDER BY r.create_time, r.id LIMIT :most
""")
_NOW = statement("SELECT shoudan_now()")


async def ended(
    db: AsyncConnection, *, start: datetime, after: int, end: datetime, most: int
) -> list[Result]:
    """Results taken behind (start, after) and before `end`, by time and record."""
    binds = {"start": start, "after": after, "end_": end, "most": most}
    return _RESULT.all(await db.execute(_ENDED, binds))


async def now(db: AsyncConnection) -> datetime:
    """The database's time, which results have."""
    moment: datetime = (await db.execute(_NOW)).scalar_one()
    return moment
