"""Statements on refunds sent through ChinaUMS, and on the refunds that cash desks query."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db.columns import Rows, literal, literals
from shoudan_kit.db.text_statements import statement
from shoudan_kit.tasks.tables import PENDING
from shoudan_pay.payserver.states import Sent
from shoudan_pay.platforms.states import REFUND, REFUND_OPEN
from shoudan_pay.store.open_work import Queue


class UmsRefund(msgspec.Struct, frozen=True):
    """One row of ums_refund."""

    traction_no: str
    app_id: str
    mer_order_id: str
    refund_order_id: str
    refund_fen: int
    status: str
    sent: bool
    asked: int
    last_code: str
    detail: str
    age_s: float


@dataclass(frozen=True, slots=True)
class Asked:
    """A refund of ours that a cash desk queries, with its pay and the detail ChinaUMS gave."""

    traction_no: str
    client_refund_no: str
    status: str
    refund_micros: int
    third_refund_no: str | None
    client_pay_no: str
    pay_status: str
    pay_micros: int
    third_pay_no: str | None
    pay_finish_time: datetime | None
    detail: str | None
    refund_order_id: str | None


_REFUNDS: Final = Rows(UmsRefund)
_ASKED_ROWS: Final = Rows(Asked)
# age_s is no column.
_ROW: Final = _REFUNDS.of("r").replace(
    "r.age_s", "CAST(extract(epoch FROM shoudan_now() - r.create_time) AS float8) AS age_s"
)
_INSERT = statement(f"""
INSERT INTO ums_refund AS r (traction_no, app_id, mer_order_id, refund_order_id, refund_fen, status,
    sent, asked, last_code, detail, create_time, modify_time)
VALUES (:traction_no, :app_id, :mer_order_id, :refund_order_id, :refund_fen, {literal(REFUND.initial)},
    true, 0, '', '', shoudan_now(), shoudan_now())
ON CONFLICT (traction_no) DO NOTHING RETURNING {_ROW}
""")
_BY_NUMBER = statement(f"SELECT {_ROW} FROM ums_refund r WHERE r.traction_no = :number")
_LOCK = statement(f"""
SELECT {_ROW} FROM ums_refund r WHERE r.traction_no = :number FOR UPDATE
""")
_BY_ORDER = statement(f"""
SELECT {_ROW} FROM ums_refund r WHERE r.app_id = :app_id AND r.refund_order_id = :refund_order_id
""")
_MARK_SENT = statement(f"""
UPDATE ums_refund SET sent = true, modify_time = greatest(modify_time, shoudan_now())
WHERE traction_no = :number AND NOT sent AND status IN ({literals(REFUND_OPEN)})
RETURNING traction_no
""")
_ADVANCE = statement("""
UPDATE ums_refund SET status = :status, sent = :sent, asked = asked + 1, last_code = :last_code,
    detail = CASE WHEN :detail = '' THEN detail ELSE :detail END,
    modify_time = greatest(modify_time, shoudan_now())
WHERE traction_no = :number AND status = :was RETURNING traction_no
""")
# The refund's own number first, in either spelling; then the newest refund of the pay of that number.
_ASKED = statement("""
SELECT f.traction_no, f.client_refund_no, f.status, f.amount_micros AS refund_micros, f.third_refund_no,
    p.client_pay_no, p.status AS pay_status, p.amount_micros AS pay_micros, p.third_pay_no,
    p.finish_time AS pay_finish_time, u.detail, u.refund_order_id
FROM (
    SELECT id, 0 AS rank FROM refund_order
    WHERE merchant_uuid = :merchant AND client_refund_no = :number
    UNION ALL SELECT id, 0 FROM refund_order WHERE merchant_uuid = :merchant AND traction_no = :number
    UNION ALL SELECT r.id, 0 FROM ums_refund x JOIN refund_order r ON r.traction_no = x.traction_no
    WHERE x.app_id = :app_id AND x.refund_order_id = :number AND r.merchant_uuid = :merchant
    UNION ALL SELECT r.id, 1 FROM pay_order o JOIN refund_order r ON r.pay_id = o.id
    WHERE o.merchant_uuid = :merchant AND o.client_pay_no = :number
    UNION ALL SELECT r.id, 1 FROM pay_order o JOIN refund_order r ON r.pay_id = o.id
    WHERE o.merchant_uuid = :merchant AND o.traction_no = :number
) found
JOIN refund_order f ON f.id = found.id
JOIN pay_order p ON p.id = f.pay_id
LEFT JOIN ums_refund u ON u.traction_no = f.traction_no
WHERE p.template_id = :template_id OR u.traction_no IS NOT NULL
ORDER BY found.rank, f.id DESC LIMIT 1
""")
# No task queries any longer: past its deadline, or queried as often as it may be. OFFSET 0: one by one.
UNASKED: Final = Queue(
    f"""q.traction_no AS key, q.status AS state, 'ChinaUMS is not asked any more' AS reason,
    q.create_time AS since, q.refund_fen * 10000 AS amount_micros,
    CASE WHEN q.sent THEN {literal(Sent.MAYBE)} ELSE {literal(Sent.NOT)} END AS sent,
    q.refund_order_id AS client_no, q.mer_order_id AS third_no,
    'asked ' || q.asked || ' times, last: ' || q.last_code AS history""",
    "q.traction_no",
    f"q.status IN ({literals(REFUND_OPEN)}) AND NOT EXISTS (SELECT 1 FROM task t"
    " WHERE t.order_no = q.traction_no AND t.name IN ('chinaums.ask', 'chinaums.ask_now')"
    f" AND t.exclusive AND t.{PENDING} OFFSET 0)",
    "ums_refund",
    "q.create_time",
)


async def insert(db: AsyncConnection, row: UmsRefund) -> UmsRefund | None:
    """Write a refund about to be sent; None when it is there already."""
    return _REFUNDS.one(await db.execute(_INSERT, msgspec.structs.asdict(row)))


async def by_number(db: AsyncConnection, number: str, *, lock: bool = False) -> UmsRefund | None:
    """The row of a refund."""
    return _REFUNDS.one(await db.execute(_LOCK if lock else _BY_NUMBER, {"number": number}))


async def by_order(db: AsyncConnection, app_id: str, refund_order_id: str) -> UmsRefund | None:
    """The row with this refundOrderId."""
    binds = {"app_id": app_id, "refund_order_id": refund_order_id}
    return _REFUNDS.one(await db.execute(_BY_ORDER, binds))


async def mark_sent(db: AsyncConnection, number: str) -> bool:
    """Mark the call as sent before it is; False when another process has marked it."""
    return (await db.execute(_MARK_SENT, {"number": number})).one_or_none() is not None


async def advance_refund(
    db: AsyncConnection,
    number: str,
    was: str,
    status: str,
    *,
    sent: bool,
    last_code: str,
    detail: str = "",
) -> bool:
    """Store the result of a call, if the status is still `was`."""
    binds = {
        "number": number,
        "was": was,
        "status": status,
        "sent": sent,
        "last_code": last_code,
        "detail": detail,
    }
    return (await db.execute(_ADVANCE, binds)).one_or_none() is not None


async def asked(
    db: AsyncConnection, *, merchant: str, app_id: str, number: str, template_id: str
) -> Asked | None:
    """The refund a cash desk means by `number`, among its merchant's refunds of 银联 pays."""
    binds = {"merchant": merchant, "app_id": app_id, "number": number, "template_id": template_id}
    return _ASKED_ROWS.one(await db.execute(_ASKED, binds))
