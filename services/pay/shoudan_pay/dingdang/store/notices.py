"""Statements on notices to partners of Dingdang."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db.columns import Rows, literal, types
from shoudan_kit.db.text_statements import columns, statement, unnest
from shoudan_pay.dingdang.states import NOTICE, NoticeEvent, NoticeStatus
from shoudan_pay.dingdang.tables import DINGDANG_NOTICE
from shoudan_pay.payserver.states import Sent
from shoudan_pay.store.open_work import Queue


class Notice(msgspec.Struct, frozen=True):
    """One row of dingdang_notice."""

    notice_id: int
    kind: str
    domain_id: str
    traction_no: str
    status: str
    count: int
    http_status: int
    answer: str


class NewNotice(msgspec.Struct, frozen=True):
    """A notice to write."""

    notice_id: int
    kind: str
    domain_id: str
    traction_no: str


class Attempt(msgspec.Struct, frozen=True):
    """What came of one attempt."""

    attempt_id: int
    notice_id: int
    status: str
    http_status: int
    answer: str
    took_ms: int


_NOTICES: Final = Rows(Notice)
_NEW: Final = NewNotice.__struct_fields__
_INSERT = statement(f"""
INSERT INTO dingdang_notice (notice_id, kind, domain_id, traction_no, status, count, http_status,
    answer, create_time, modify_time)
SELECT given.notice_id, given.kind, given.domain_id, given.traction_no, {literal(NOTICE.initial)}, 0, 0, '',
    shoudan_now(), shoudan_now() FROM {unnest(**types(DINGDANG_NOTICE, *_NEW))}
ON CONFLICT (kind, traction_no, domain_id) DO NOTHING RETURNING notice_id
""")
_READ = statement(f"SELECT {_NOTICES.of()} FROM dingdang_notice WHERE notice_id = :notice_id")
_RECORD = statement(f"""
UPDATE dingdang_notice SET status = :status, count = count + 1, http_status = :http_status,
    answer = :answer, modify_time = greatest(modify_time, shoudan_now())
WHERE notice_id = :notice_id AND status = {literal(NoticeStatus.WAITING)} RETURNING count
""")
_ATTEMPT = statement("""
INSERT INTO dingdang_notice_attempt (attempt_id, notice_id, http_status, answer, took_ms, create_time)
VALUES (:attempt_id, :notice_id, :http_status, :answer, :took_ms, shoudan_now())
""")
_NEWEST = statement(f"""
SELECT {_NOTICES.of()} FROM dingdang_notice ORDER BY notice_id DESC LIMIT :most
""")
_NEWEST_OF = statement(f"""
SELECT {_NOTICES.of()} FROM dingdang_notice WHERE domain_id = :domain_id ORDER BY notice_id DESC LIMIT :most
""")
GIVEN_UP: Final = Queue(
    f"""CAST(q.notice_id AS text) AS key, q.status AS state,
    'given up after ' || q.count || ' attempts' AS reason, q.modify_time AS since,
    CAST(0 AS bigint) AS amount_micros, {literal(Sent.MAYBE)} AS sent, q.domain_id AS client_no,
    q.traction_no AS third_no,
    q.kind || ' notice, last: HTTP ' || q.http_status || ' ' || q.answer AS history""",
    "q.notice_id",
    f"q.status = {literal(NoticeStatus.GIVEN_UP)}",
    "dingdang_notice",
    "q.modify_time",
    numbered=True,
)
_ADVANCE_GIVEN_UP = statement(f"""
UPDATE dingdang_notice SET status = :status, count = 0, modify_time = greatest(modify_time, shoudan_now())
WHERE notice_id = :notice_id AND status = {literal(NoticeStatus.GIVEN_UP)} RETURNING notice_id
""")


async def insert(db: AsyncConnection, new: Sequence[NewNotice]) -> set[int]:
    """Write notices; each once per partner and order. The ids of those written."""
    found = await db.execute(_INSERT, columns(new, *_NEW))
    return {row[0] for row in found}


async def by_id(db: AsyncConnection, notice_id: int) -> Notice | None:
    """One notice."""
    return _NOTICES.one(await db.execute(_READ, {"notice_id": notice_id}))


async def record(db: AsyncConnection, attempt: Attempt) -> None:
    """Write an attempt and what it made of its notice."""
    binds: dict[str, Any] = msgspec.structs.asdict(attempt)
    await db.execute(_ATTEMPT, {name: binds[name] for name in binds if name != "status"})
    await db.execute(_RECORD, {name: binds[name] for name in binds if name not in _ONLY_ATTEMPT})


async def advance_given_up(db: AsyncConnection, notice_id: int, event: NoticeEvent) -> bool:
    """Move a given-up notice and count its attempts from zero; whether it moved."""
    binds = {"notice_id": notice_id, "status": NOTICE.next(NoticeStatus.GIVEN_UP, event)}
    return (await db.execute(_ADVANCE_GIVEN_UP, binds)).one_or_none() is not None


async def newest(db: AsyncConnection, domain_id: str, most: int) -> list[Notice]:
    """The newest notices, of one domain or of all."""
    sql = _NEWEST_OF if domain_id else _NEWEST
    binds = {"domain_id": domain_id, "most": most}
    return _NOTICES.all(await db.execute(sql, binds))


_ONLY_ATTEMPT: Final = frozenset({"attempt_id", "took_ms"})
