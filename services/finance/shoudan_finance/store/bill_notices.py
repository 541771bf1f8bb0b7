"""Statements on the notices of bills."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db.columns import Rows
from shoudan_kit.db.text_statements import statement


@dataclass(frozen=True, slots=True)
class Notice:
    """A bill that a channel is notified of."""

    bill_id: int
    channel_no: str
    tries: int
    answer: str
    create_time: datetime
    try_time: datetime | None
    end_time: datetime | None


_NOTICE: Final = Rows(Notice)

_ADD = statement("""
INSERT INTO bill_notice (bill_id, channel_no, tries, answer, create_time)
VALUES (:bill_id, :channel_no, 0, '', shoudan_now()) ON CONFLICT DO NOTHING
""")
_GET = statement(f"SELECT {_NOTICE.of()} FROM bill_notice WHERE bill_id = :bill_id")
_ENDED = statement("""
UPDATE bill_notice SET answer = :answer, try_time = shoudan_now(), end_time = shoudan_now()
WHERE bill_id = :bill_id AND end_time IS NULL
""")
_REFUSED = statement("""
UPDATE bill_notice SET tries = tries + 1, answer = :answer, try_time = shoudan_now()
WHERE bill_id = :bill_id AND end_time IS NULL
""")
_PAGE = statement(f"""
SELECT {_NOTICE.of()} FROM bill_notice WHERE bill_id < :before ORDER BY bill_id DESC LIMIT :most
""")


async def add(db: AsyncConnection, bill_id: int, channel_no: str) -> None:
    """Have a notice; one that is there stays."""
    await db.execute(_ADD, {"bill_id": bill_id, "channel_no": channel_no})


async def get(db: AsyncConnection, bill_id: int) -> Notice | None:
    """The notice of a bill."""
    return _NOTICE.one(await db.execute(_GET, {"bill_id": bill_id}))


async def ended(db: AsyncConnection, bill_id: int, answer: str) -> None:
    """It was acknowledged, or given up: `answer` says why."""
    await db.execute(_ENDED, {"bill_id": bill_id, "answer": answer})


async def refused(db: AsyncConnection, bill_id: int, answer: str) -> None:
    """An attempt was not acknowledged."""
    await db.execute(_REFUSED, {"bill_id": bill_id, "answer": answer})


async def page(db: AsyncConnection, before: int, most: int) -> list[Notice]:
    """Notices of bills below a number, newest first."""
    return _NOTICE.all(await db.execute(_PAGE, {"before": before, "most": most}))
