"""Statements on oms_order_hold."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db.columns import Rows
from shoudan_kit.db.text_statements import statement


@dataclass(frozen=True, slots=True)
class Hold:
    """Orders that stay whatever their age: one of 0 or a channel of "" are any; a period may be open."""

    hold_no: str
    order_id: int
    down_channel_no: str
    start_time: datetime | None
    end_time: datetime | None
    reason: str
    made_by: str


_HOLDS: Final = Rows(Hold)

_LIST = statement(f"""
SELECT {_HOLDS.of()} FROM oms_order_hold WHERE hold_no > :after ORDER BY hold_no LIMIT :most
""")
_COUNT = statement("SELECT count(*) FROM oms_order_hold")
_FIND = statement(f"SELECT {_HOLDS.of()} FROM oms_order_hold WHERE hold_no = :hold_no FOR UPDATE")
_SET = statement("""
INSERT INTO oms_order_hold (hold_no, order_id, down_channel_no, start_time, end_time, reason, made_by)
VALUES (:hold_no, :order_id, :down_channel_no, CAST(:start_time AS timestamptz),
    CAST(:end_time AS timestamptz), :reason, :made_by)
ON CONFLICT (hold_no) DO UPDATE SET order_id = excluded.order_id,
    down_channel_no = excluded.down_channel_no, start_time = excluded.start_time,
    end_time = excluded.end_time, reason = excluded.reason, made_by = excluded.made_by
""")
_LIFT = statement("DELETE FROM oms_order_hold WHERE hold_no = :hold_no")


async def holds(db: AsyncConnection, after: str, most: int) -> list[Hold]:
    """A page of them, by name."""
    return _HOLDS.all(await db.execute(_LIST, {"after": after, "most": most}))


async def count_holds(db: AsyncConnection) -> int:
    """How many there are."""
    return int((await db.execute(_COUNT, {})).scalar_one())


async def find_hold(db: AsyncConnection, hold_no: str) -> Hold | None:
    """The one of this name, locked."""
    found = _HOLDS.all(await db.execute(_FIND, {"hold_no": hold_no}))
    return found[0] if found else None


async def set_hold(db: AsyncConnection, hold: Hold) -> None:
    """Make it exactly so."""
    await db.execute(_SET, asdict(hold))


async def lift_hold(db: AsyncConnection, hold_no: str) -> None:
    """Take it away."""
    await db.execute(_LIFT, {"hold_no": hold_no})
