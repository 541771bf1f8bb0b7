"""Statements on parked pays and refunds."""

from __future__ import annotations

from typing import Final

from shoudan_pay.store.open_work import Queue

HISTORY_MAX: Final = 10  # newest trade records shown as evidence


def _history(mine: str) -> str:
    """The newest trade records of a row, as one text."""
    return f"""coalesce((SELECT string_agg(t.status || CASE WHEN t.result_code = '' THEN '' ELSE ' ' END
        || t.result_code || ' '
        || to_char(t.create_time AT TIME ZONE 'Asia/Shanghai', 'YYYY-MM-DD HH24:MI:SS'),
        '; ' ORDER BY t.id)
    FROM (SELECT id, status, result_code, create_time FROM trade_record
        WHERE {mine} ORDER BY id DESC LIMIT {HISTORY_MAX}) t), '') AS history"""


def _parked(table: str, client_no: str, third_no: str, mine: str) -> Queue:
    since = "coalesce(q.parked_time, q.modify_time)"
    select = f"""q.traction_no AS key, q.status AS state, q.parked_reason AS reason, {since} AS since,
    q.amount_micros, q.sent, q.{client_no} AS client_no, coalesce(q.{third_no}, '') AS third_no,
    {_history(mine)}"""
    return Queue(select, "q.traction_no", "q.parked", table, since)


PAYS: Final = _parked(
    "pay_order", "client_pay_no", "third_pay_no", "pay_uuid = q.uuid AND refund_uuid = ''"
)
REFUNDS: Final = _parked(
    "refund_order",
    "client_refund_no",
    "third_refund_no",
    "pay_uuid = q.pay_uuid AND refund_uuid = q.uuid",
)
