"""Statements that show orders whole, for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Select, Table, literal_column, select
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db import pages
from shoudan_kit.db.text_statements import statement
from shoudan_order.states import OrderStatus
from shoudan_order.tables import DELIVERY, NOTIFY, ORDER, REFUND

Values = Mapping[str, Any]

# Found by their key, then sorted: in the order of numbers all events of all orders would be passed.
_EVENTS = statement("""
SELECT subject, tag, text, create_time, trace FROM event WHERE key = ANY(CAST(:keys AS text[]))
ORDER BY event_id + 0 LIMIT :most
""")

# The last ones up to a moment: those of one key are sorted, however many they are.
_LAST_EVENTS = statement("""
SELECT subject, tag, text, create_time, trace FROM event
WHERE key = ANY(CAST(:keys AS text[])) AND create_time <= coalesce(CAST(:until AS timestamptz), 'infinity')
ORDER BY create_time DESC, event_id DESC LIMIT :most
""")


_OPEN: Final = frozenset({int(OrderStatus.PAYING), int(OrderStatus.DELIVERING)})
_TABLE: Final = "oms_order_info"
_EDGES: Final = {
    "all": pages.edge(_TABLE, "order_id"),
    "open": pages.edge(_TABLE, "order_id", "end_time IS NULL"),
    "parked": pages.edge(_TABLE, "order_id", "parked_reason <> ''"),
}
_REFUND_EDGE: Final = pages.edge("oms_refund_info", "refund_id")


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
    account: str = ""  # how the sealed text of the account begins
    account_in_clear: tuple[str, ...] = ()  # as rows may have it that are not sealed yet


@dataclass(frozen=True, slots=True)
class RefundFilter:
    """Which refunds to list; what is empty does not filter."""

    channel_no: str
    statuses: tuple[int, ...]
    start: datetime | None
    end: datetime | None
    before_id: int
    most: int


@dataclass(frozen=True, slots=True)
class OrderView:
    """An order with its parts, by column name."""

    values: Values
    deliveries: Sequence[Values] = ()
    refunds: Sequence[Values] = ()
    notifies: Sequence[Values] = field(default_factory=tuple[Values, ...])
    archived: str = ""  # the lot it was read from; empty for the database

    @property
    def order_id(self) -> int:
        """Its number."""
        return int(self.values["order_id"])

    @property
    def notify_url(self) -> str:
        """Where the order's end is notified."""
        return next((str(n["notify_url"]) for n in self.notifies if not n["refund_id"]), "")

    @property
    def timeout(self) -> datetime | None:
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


async def view_orders(db: AsyncConnection, wanted: OrderFilter) -> tuple[list[OrderView], str]:
    """One page, newest first, and the token of the next."""
    since = pages.first_id(wanted.start)
    before = min(wanted.before_id, pages.end_id(wanted.end))
    edge = _EDGES[_index(wanted)]
    reached = await pages.walk_end(db, edge, before, since)
    query = orders_query(wanted, before, reached)
    found = [OrderView(row) for row in await _rows(db, query)]
    numbers = [one.order_id for one in found]
    return found, pages.next_token(numbers, wanted.most, reached, since)


def orders_query(wanted: OrderFilter, before: int, since: int) -> Select[Any]:
    """The rows of one page: a bounded range of the index that fits best, and the rest as filters.

    Conditions of partial indexes are spelt out: a plan that is kept uses such an index only where it need
    not ask for a value.
    """
    query = select(*ORDER.columns).where(ORDER.c.order_id < before, ORDER.c.order_id >= since)
    if wanted.parked:
        query = query.where(ORDER.c.parked_reason != literal_column("''"))
    if _open(wanted):
        query = query.where(ORDER.c.end_time.is_(None))
    if wanted.account:
        stored = ORDER.c.rechage_account
        sealed = stored.startswith(wanted.account, autoescape=True)
        query = query.where(sealed | stored.in_(wanted.account_in_clear))
    if wanted.channel_no:
        query = query.where(ORDER.c.down_channel_no == wanted.channel_no)
    if wanted.statuses:
        query = query.where(ORDER.c.order_status.in_(wanted.statuses))
    if wanted.start is not None:
        query = query.where(ORDER.c.create_time >= wanted.start)
    if wanted.end is not None:
        query = query.where(ORDER.c.create_time < wanted.end)
    return query.order_by(ORDER.c.order_id.desc()).limit(wanted.most)


def _open(wanted: OrderFilter) -> bool:
    return bool(wanted.statuses) and _OPEN.issuperset(wanted.statuses)


def _index(wanted: OrderFilter) -> str:
    """The index to walk: of those that the filter allows, the one with the fewest orders."""
    if wanted.parked:
        return "parked"
    return "open" if _open(wanted) else "all"


async def view_refunds(db: AsyncConnection, wanted: RefundFilter) -> tuple[list[Values], str]:
    """One page of refunds, newest first, and the token of the next."""
    since = pages.first_id(wanted.start)
    before = min(wanted.before_id, pages.end_id(wanted.end))
    reached = await pages.walk_end(db, _REFUND_EDGE, before, since)
    query = select(*REFUND.columns).where(
        REFUND.c.refund_id < before, REFUND.c.refund_id >= reached
    )
    if wanted.channel_no:
        query = query.where(REFUND.c.down_channel_no == wanted.channel_no)
    if wanted.statuses:
        query = query.where(REFUND.c.refund_status.in_(wanted.statuses))
    if wanted.start is not None:
        query = query.where(REFUND.c.create_time >= wanted.start)
    if wanted.end is not None:
        query = query.where(REFUND.c.create_time < wanted.end)
    found = await _rows(db, query.order_by(REFUND.c.refund_id.desc()).limit(wanted.most))
    numbers = [int(row["refund_id"]) for row in found]
    return found, pages.next_token(numbers, wanted.most, reached, since)


async def last_events_of(
    db: AsyncConnection, keys: Sequence[str], until: datetime | None, most: int
) -> list[Any]:
    """The newest of what this service published about these keys, up to a moment; oldest first."""
    bound = {"keys": keys, "until": until, "most": most}
    return list((await db.execute(_LAST_EVENTS, bound)).all())[::-1]


async def events_of(db: AsyncConnection, keys: Sequence[str], most: int) -> list[Any]:
    """What this service published about these keys, oldest first."""
    return list((await db.execute(_EVENTS, {"keys": keys, "most": most})).all())
