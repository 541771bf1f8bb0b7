"""Statements that show orders whole, for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Select, Table, literal_column, select
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db import statement
from shoudan_order.tables import DELIVERY, NOTIFY, ORDER, REFUND

Values = Mapping[str, Any]

# Found by their key, then sorted: in the order of numbers all events of all orders would be passed.
_EVENTS = statement("""
SELECT subject, tag, text, create_time FROM event WHERE key = ANY(CAST(:keys AS text[]))
ORDER BY event_id + 0 LIMIT :most
""")


@dataclass(frozen=True, slots=True)
class OrderFilter:
    """Which orders to list; what is empty does not filter."""

    channel_no: str
    statuses: tuple[int, ...]
    start: datetime | None
    end: datetime | None
    parked: bool
    before_id: int
    most: int


@dataclass(frozen=True, slots=True)
class OrderView:
    """An order with its parts, by column name."""

    values: Values
    deliveries: Sequence[Values] = ()
    refunds: Sequence[Values] = ()
    notifies: Sequence[Values] = field(default_factory=tuple[Values, ...])

    @property
    def order_id(self) -> int:
        """Its number."""
        return int(self.values["order_id"])

    @property
    def notify_url(self) -> str:
        """Where the order's end is told."""
        return next((str(n["notify_url"]) for n in self.notifies if not n["refund_id"]), "")

    @property
    def overtime(self) -> datetime | None:
        """When it times out; None once it has ended."""
        moment: datetime = self.values["order_overtime"]
        return None if self.values["end_time"] else moment


async def _rows(db: AsyncConnection, wanted: Select[Any]) -> list[Values]:
    return [dict(row) for row in (await db.execute(wanted)).mappings()]


async def view_order(db: AsyncConnection, order_id: int, key: tuple[str, str]) -> OrderView | None:
    """One order by our number, or by the channel's when that is 0."""
    table = ORDER.c
    by = (
        table.order_id == order_id
        if order_id
        else (table.down_channel_no == key[0]) & (table.request_no == key[1])
    )
    found = await _rows(db, select(*ORDER.columns).where(by))
    if not found:
        return None
    number = found[0]["order_id"]
    return OrderView(
        found[0],
        await _parts(db, DELIVERY, DELIVERY.c.delivery_id, number),
        await _parts(db, REFUND, REFUND.c.refund_id, number),
        await _parts(db, NOTIFY, NOTIFY.c.notify_id, number),
    )


async def _parts(db: AsyncConnection, table: Table, key: Any, order_id: int) -> list[Values]:
    """The rows of one order, in the order they were made."""
    wanted = select(*table.columns).where(table.c.order_id == order_id).order_by(key)
    return await _rows(db, wanted)


async def view_orders(db: AsyncConnection, wanted: OrderFilter) -> list[OrderView]:
    """Newest first: by the primary key, which grows with time."""
    query = select(*ORDER.columns).where(ORDER.c.order_id < wanted.before_id)
    if wanted.channel_no:
        query = query.where(ORDER.c.down_channel_no == wanted.channel_no)
    if wanted.statuses:
        query = query.where(ORDER.c.order_status.in_(wanted.statuses))
    if wanted.start is not None:
        query = query.where(ORDER.c.create_time >= wanted.start)
    if wanted.end is not None:
        query = query.where(ORDER.c.create_time < wanted.end)
    if wanted.parked:
        # Spelt out: a plan that is kept uses the partial index only where it need not ask for the value.
        query = query.where(ORDER.c.parked_reason != literal_column("''"))
    query = query.order_by(ORDER.c.order_id.desc()).limit(wanted.most)
    return [OrderView(row) for row in await _rows(db, query)]


async def events_of(db: AsyncConnection, keys: Sequence[str], most: int) -> list[Any]:
    """What this service published about these keys, oldest first."""
    return list((await db.execute(_EVENTS, {"keys": keys, "most": most})).all())
