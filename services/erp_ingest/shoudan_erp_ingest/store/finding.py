"""Documents read back: found by number or filter, page by page, their personal data opened."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Select, Table, and_, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_erp_ingest.store.bulk import EXTRA
from shoudan_erp_ingest.store.trades import line_key
from shoudan_erp_ingest.tables import schema
from shoudan_erp_ingest.tables.fields import Kind, clear_specs
from shoudan_erp_ingest.tables.models import (
    Document,
    Payment,
    Refund,
    RefundDocument,
    RefundLine,
    SwapLine,
    Trade,
    TradeDocument,
    TradeLine,
)
from shoudan_erp_ingest.tables.schema import REFUND, TRADE
from shoudan_kit.db import pages
from shoudan_kit.secrets.sealing import KeyRing

M = TypeVar("M")
Place = tuple[datetime, int]


@dataclass(frozen=True, slots=True)
class Filter:
    """What to find; empty fields do not filter."""

    sender: str = ""
    tid: str = ""
    refund_no: str = ""
    phone_mac: bytes = b""
    status: str = ""
    shop: str = ""
    start_time: datetime | None = None
    end_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """One document as it is now."""

    kind: int
    document_id: int
    sender: str
    document: Document
    version: int
    push_id: int
    create_time: datetime
    update_time: datetime
    erase_time: datetime | None

    @property
    def place(self) -> Place:
        """Where it stands in the order of changes."""
        return self.update_time, self.document_id


async def by_number(
    db: AsyncConnection, ring: KeyRing, kind: int, sender: str, no: str
) -> Found | None:
    """The document with this natural key."""
    table = _head(kind)
    natural = and_(
        _sender(table, kind) == sender,
        table.c.tid == no if kind == TRADE else table.c.refund_no == no,
    )
    found = await _documents(db, ring, kind, _heads(kind).where(natural))
    return found[0] if found else None


async def by_id(db: AsyncConnection, ring: KeyRing, kind: int, document_id: int) -> Found | None:
    """The document with our number."""
    wanted = _heads(kind).where(_head(kind).c.document_id == document_id)
    found = await _documents(db, ring, kind, wanted)
    return found[0] if found else None


async def page(
    db: AsyncConnection,
    ring: KeyRing,
    kind: int,
    wanted: Filter,
    *,
    after: Place | None,
    most: int,
    newest_first: bool,
) -> tuple[list[Found], Place | None]:
    """Documents in order of change, from behind `after` on, and where to go on; None at the end.

    A number or a phone finds its few documents; anything else is looked for along <table>_changed, a
    bounded part at a time.
    """
    edge: Place | None = None
    if not (wanted.tid or wanted.refund_no or wanted.phone_mac):
        ask = edge_query(kind, wanted, after, newest_first=newest_first)
        row: Any = (await db.execute(ask)).first()
        edge = None if row is None else (row[0], row[1])
    query = page_query(kind, wanted, after, edge, most=most + 1, newest_first=newest_first)
    found = await _documents(db, ring, kind, query)
    if len(found) > most:
        return found[:most], found[most - 1].place
    return found, edge


def page_query(
    kind: int,
    wanted: Filter,
    after: Place | None,
    edge: Place | None,
    *,
    most: int,
    newest_first: bool,
) -> Select[Any]:
    """The heads of one page, up to the edge."""
    query = _heads(kind).where(*_conditions(kind, _head(kind), wanted))
    query = query.where(*_between(kind, after, edge, newest_first=newest_first))
    return query.order_by(*_order(kind, newest_first=newest_first)).limit(most)


def edge_query(
    kind: int, wanted: Filter, after: Place | None, *, newest_first: bool
) -> Select[Any]:
    """The place at which a page stops looking."""
    table = _head(kind)
    query: Any = select(table.c.update_time, table.c.document_id)
    query = query.where(*_period(table, wanted))
    query = query.where(*_between(kind, after, None, newest_first=newest_first))
    query = query.order_by(*_order(kind, newest_first=newest_first))
    return query.offset(pages.WALK_MAX - 1).limit(1)


def _order(kind: int, *, newest_first: bool) -> list[Any]:
    columns = (_head(kind).c.update_time, _head(kind).c.document_id)
    return [one.desc() if newest_first else one.asc() for one in columns]


def _between(
    kind: int, after: Place | None, edge: Place | None, *, newest_first: bool
) -> Iterable[ColumnElement[bool]]:
    """Behind `after`, up to and with `edge`."""
    here: Any = tuple_(_head(kind).c.update_time, _head(kind).c.document_id)
    if after is not None:
        yield here < tuple_(*after) if newest_first else here > tuple_(*after)
    if edge is not None:
        yield here >= tuple_(*edge) if newest_first else here <= tuple_(*edge)


def _head(kind: int) -> Table:
    return schema.trade if kind == TRADE else schema.refund


def _sender(table: Table, kind: int) -> ColumnElement[str]:
    return table.c.customerid if kind == TRADE else table.c.app_key


def _heads(kind: int) -> Select[Any]:
    return select(*_head(kind).columns)


def _conditions(kind: int, table: Table, wanted: Filter) -> Iterable[ColumnElement[bool]]:
    if wanted.sender:
        yield _sender(table, kind) == wanted.sender
    if wanted.tid:
        yield table.c.tid == wanted.tid
    if wanted.refund_no and kind == REFUND:
        yield table.c.refund_no == wanted.refund_no
    if wanted.phone_mac:
        index = schema.phone_index
        numbers = select(index.c.document_id).where(
            index.c.mac == wanted.phone_mac, index.c.kind == kind
        )
        yield table.c.document_id.in_(numbers)
    if wanted.status:
        yield _status(kind, table, wanted.status)
    if wanted.shop and kind == TRADE:
        yield table.c.seller_uname == wanted.shop
    elif wanted.shop:
        yield or_(table.c.shop_no == wanted.shop, table.c.shop_name == wanted.shop)
    yield from _period(table, wanted)


def _period(table: Table, wanted: Filter) -> Iterable[ColumnElement[bool]]:
    if wanted.start_time:
        yield table.c.update_time >= wanted.start_time
    if wanted.end_time:
        yield table.c.update_time < wanted.end_time


def _status(kind: int, table: Table, status: str) -> ColumnElement[bool]:
    if kind == TRADE:
        return table.c.status == status
    return table.c.status == int(status)


async def _documents(
    db: AsyncConnection, ring: KeyRing, kind: int, heads: Select[Any]
) -> list[Found]:
    """Heads with their parts: one statement per table, however many there are."""
    rows = (await db.execute(heads)).all()
    ids = [row.document_id for row in rows]
    if not ids:
        return []
    if kind == TRADE:
        payments = await _parts(db, ring, schema.payment, Payment, ids)
        lines = await _parts(db, ring, schema.trade_line, TradeLine, ids)
        return [
            _found(
                kind,
                row,
                row.customerid,
                TradeDocument(
                    _model(ring, Trade, "trade", str(row.document_id), row),
                    tuple(payments.get(row.document_id, ())),
                    tuple(lines.get(row.document_id, ())),
                    row.msg_id,
                ),
            )
            for row in rows
        ]
    backs = await _parts(db, ring, schema.refund_line, RefundLine, ids)
    swaps = await _parts(db, ring, schema.swap_line, SwapLine, ids)
    return [
        _found(
            kind,
            row,
            row.app_key,
            RefundDocument(
                _model(ring, Refund, "refund", str(row.document_id), row),
                tuple(backs.get(row.document_id, ())),
                tuple(swaps.get(row.document_id, ())),
            ),
        )
        for row in rows
    ]


def _found(kind: int, row: Any, sender: str, document: Document) -> Found:
    return Found(
        kind,
        row.document_id,
        sender,
        document,
        row.version,
        row.push_id,
        row.create_time,
        row.update_time,
        row.erase_time,
    )


async def _parts(
    db: AsyncConnection, ring: KeyRing, table: Table, model: type[M], ids: Sequence[int]
) -> dict[int, list[M]]:
    query = select(*table.columns).where(table.c.document_id.in_(ids)).order_by(*table.primary_key)
    found: dict[int, list[M]] = {}
    for row in await db.execute(query):
        one = _model(ring, model, table.name, _part_key(table.name, row), row)
        found.setdefault(row.document_id, []).append(one)
    return found


def _part_key(table: str, row: Any) -> str:
    if table == "trade_line":
        return line_key(row.document_id, row.line_oid, row.item_no)
    number = row.payment_no if table == "payment" else row.line_no
    return f"{row.document_id}.{number}"


def _model(ring: KeyRing, model: type[M], table: str, key: str, row: Any) -> M:
    values = {s.attribute: getattr(row, s.attribute) for s in clear_specs(model)}
    for spec in clear_specs(model):
        value = values[spec.attribute]
        if spec.wire.kind is Kind.QUANTITY and value is not None:
            values[spec.attribute] = _quantity(value)
    hidden = ring.open_fields(table, key, row.sealed)
    made: Any = model
    return made(**values, extra=hidden.pop(EXTRA, ""), **hidden)


def _quantity(value: Decimal) -> str:
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
