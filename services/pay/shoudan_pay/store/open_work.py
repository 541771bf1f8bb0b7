"""Statements on what waits for a person: parked pays and refunds, refunds at ChinaUMS, given-up notices."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import TextClause
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db.columns import literal, literals
from shoudan_kit.db.text_statements import statement
from shoudan_kit.tasks.tables import PENDING
from shoudan_pay.dingdang.states import NoticeStatus
from shoudan_pay.payserver.states import PAY, REFUND, Event, Sent
from shoudan_pay.platforms.states import REFUND_OPEN

_MAYBE, _NOT = literal(Sent.MAYBE), literal(Sent.NOT)
TOLD_MAX: Final = 10  # newest trade records shown as evidence


@dataclass(frozen=True, slots=True)
class Row:
    """One that waits, as it is read; `told` is its newest history, oldest first."""

    key: str
    state: str
    reason: str
    since: datetime
    amount_micros: int
    sent: str
    client_no: str
    third_no: str
    told: str


@dataclass(frozen=True, slots=True)
class Queue:
    """The statements of one kind: `find` by key, `page` after a key, `count` up to a bound."""

    find: TextClause
    page: TextClause
    count: TextClause


def _queue(rows: str, key: str, open_: str, table: str, since: str) -> Queue:
    """The three statements over the partial index that holds what is open."""
    typed = "CAST(:after AS bigint)" if key == "q.notice_id" else ":after"
    exact = "CAST(:key AS bigint)" if key == "q.notice_id" else ":key"
    return Queue(
        statement(f"{rows} WHERE {open_} AND {key} = {exact}"),
        statement(f"{rows} WHERE {open_} AND {key} > {typed} ORDER BY {key} LIMIT :most"),
        statement(f"""
SELECT count(*), min(w.since) FROM (
    SELECT {since} AS since FROM {table} q WHERE {open_} ORDER BY {key} LIMIT :most) w
"""),
    )


def _told(mine: str) -> str:
    """The newest trade records of a row, as one text."""
    return f"""(SELECT string_agg(t.status || CASE WHEN t.result_code = '' THEN '' ELSE ' ' END
        || t.result_code || ' '
        || to_char(t.create_time AT TIME ZONE 'Asia/Shanghai', 'YYYY-MM-DD HH24:MI:SS'),
        '; ' ORDER BY t.id)
    FROM (SELECT id, status, result_code, create_time FROM trade_record
        WHERE {mine} ORDER BY id DESC LIMIT {TOLD_MAX}) t)"""


PAYS: Final = _queue(
    f"""SELECT q.traction_no, q.status, q.parked_reason, coalesce(q.parked_time, q.modify_time),
    q.amount_micros, q.sent, q.client_pay_no, coalesce(q.third_pay_no, ''),
    coalesce({_told("pay_uuid = q.uuid AND refund_uuid = ''")}, '') FROM pay_order q""",
    "q.traction_no",
    "q.parked",
    "pay_order",
    "coalesce(q.parked_time, q.modify_time)",
)
REFUNDS: Final = _queue(
    f"""SELECT q.traction_no, q.status, q.parked_reason, coalesce(q.parked_time, q.modify_time),
    q.amount_micros, q.sent, q.client_refund_no, coalesce(q.third_refund_no, ''),
    coalesce({_told("pay_uuid = q.pay_uuid AND refund_uuid = q.uuid")}, '') FROM refund_order q""",
    "q.traction_no",
    "q.parked",
    "refund_order",
    "coalesce(q.parked_time, q.modify_time)",
)
# No task asks any more: past its deadline, or asked as often as it may be. OFFSET 0: looked up one by one.
UMS_REFUNDS: Final = _queue(
    f"""SELECT q.traction_no, q.status, 'ChinaUMS is not asked any more', q.create_time,
    q.refund_fen * 10000, CASE WHEN q.sent THEN {_MAYBE} ELSE {_NOT} END, q.refund_order_id, q.mer_order_id,
    'asked ' || q.asked || ' times, last: ' || q.last_code FROM ums_refund q""",
    "q.traction_no",
    f"q.status IN ({literals(REFUND_OPEN)}) AND NOT EXISTS (SELECT 1 FROM task t"
    " WHERE t.order_no = q.traction_no AND t.name IN ('chinaums.ask', 'chinaums.ask_now')"
    f" AND t.exclusive AND t.{PENDING} OFFSET 0)",
    "ums_refund",
    "q.create_time",
)
NOTICES: Final = _queue(
    f"""SELECT CAST(q.notice_id AS text), q.status, 'given up after ' || q.count || ' attempts',
    q.modify_time, CAST(0 AS bigint), {_MAYBE}, q.domain_id, q.traction_no,
    q.kind || ' notice, last: HTTP ' || q.http_status || ' ' || q.answer FROM dingdang_notice q""",
    "q.notice_id",
    f"q.status = {literal(NoticeStatus.GIVEN_UP)}",
    "dingdang_notice",
    "q.modify_time",
)
# A trade that pays a pay order waits with that.
TRADES: Final = _queue(
    f"""SELECT q.domain_id || ':' || q.trade_no, q.status, q.parked_reason, q.parked_time,
    q.total_fen * 10000, {_NOT}, 'order ' || q.request_no || ' of ' || q.channel_no, q.transaction_id,
    'bound ' || to_char(q.create_time AT TIME ZONE 'Asia/Shanghai', 'YYYY-MM-DD HH24:MI:SS')
    FROM dingdang_trade q""",
    "(q.domain_id || ':' || q.trade_no)",
    "q.parked_reason <> ''",
    "dingdang_trade",
    "q.parked_time",
)

_KEEP_PAY = statement(f"""
UPDATE pay_order SET parked = false, parked_reason = '', modify_time = greatest(modify_time, shoudan_now())
WHERE traction_no = :number AND parked AND status NOT IN ({literals(PAY.sources(Event.SUCCEEDED))})
RETURNING traction_no
""")
_KEEP_REFUND = statement(f"""
UPDATE refund_order SET parked = false, parked_reason = '', modify_time = greatest(modify_time, shoudan_now())
WHERE traction_no = :number AND parked AND status NOT IN ({literals(REFUND.sources(Event.SUCCEEDED))})
RETURNING traction_no
""")
_MOVE_NOTICE = statement(f"""
UPDATE dingdang_notice SET status = :status, count = 0, modify_time = greatest(modify_time, shoudan_now())
WHERE notice_id = :notice_id AND status = {literal(NoticeStatus.GIVEN_UP)} RETURNING notice_id
""")


async def page(db: AsyncConnection, queue: Queue, after: str, most: int) -> list[Row]:
    """Those after this key, by key."""
    binds: dict[str, Any] = {"after": after or ("0" if queue is NOTICES else ""), "most": most}
    if queue is NOTICES:
        binds["after"] = int(binds["after"])
    return [Row(*row) for row in await db.execute(queue.page, binds)]


async def find(db: AsyncConnection, queue: Queue, key: str) -> Row | None:
    """The one that waits under this key."""
    if queue is NOTICES and not (key.isdecimal() and len(key) <= 18):
        return None
    binds: dict[str, Any] = {"key": int(key) if queue is NOTICES else key}
    row = (await db.execute(queue.find, binds)).one_or_none()
    return None if row is None else Row(*row)


async def count(db: AsyncConnection, queue: Queue, most: int) -> tuple[int, datetime | None]:
    """How many wait, up to `most`, and since when the oldest of these does."""
    row = (await db.execute(queue.count, {"most": most})).one()
    return row[0], row[1]


async def keep_pay(db: AsyncConnection, number: str) -> bool:
    """An ended pay that was contradicted waits no more."""
    return (await db.execute(_KEEP_PAY, {"number": number})).one_or_none() is not None


async def keep_refund(db: AsyncConnection, number: str) -> bool:
    """The same for a refund."""
    return (await db.execute(_KEEP_REFUND, {"number": number})).one_or_none() is not None


async def move_notice(db: AsyncConnection, notice_id: int, status: str) -> bool:
    """A given-up notice is owed again, counted from zero, or dropped."""
    binds = {"notice_id": notice_id, "status": status}
    return (await db.execute(_MOVE_NOTICE, binds)).one_or_none() is not None
