"""One page of a collection, by conditions and orders from an allow-list; values are bound, never written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

import msgspec
from sqlalchemy import (
    Boolean,
    ColumnElement,
    DateTime,
    Integer,
    Table,
    and_,
    func,
    literal_column,
    not_,
    or_,
    select,
)
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql import Select

from shoudan_kit.clock import from_beijing
from shoudan_kit.db import pages
from shoudan_kit.db.columns import Rows
from shoudan_kit.money import FEN
from shoudan_pay.payserver.store import modes, pays, refunds
from shoudan_pay.payserver.tables import (
    PAY_MODE,
    PAY_MODE_TEMPLATE,
    PAY_ORDER,
    REFUND_ORDER,
    TRADE_RECORD,
)

Row = Any
VALUE_CHARS_MAX: Final = 256


class Collection(StrEnum):
    """What can be listed."""

    TEMPLATES = "templates"
    MODES = "modes"
    PAYS = "pays"
    REFUNDS = "refunds"
    TRADES = "trades"


class Operator(StrEnum):
    """How a condition compares."""

    IN = "in"
    NOT_IN = "not_in"
    LIKE = "like"
    FROM = "from"
    ABOVE = "above"
    TO = "to"
    BELOW = "below"


class UnknownField(ValueError):
    """An attribute that this collection cannot be filtered or sorted by, or a value that does not fit it."""


class PageTooFar(ValueError):
    """The page is not among the first `rows_max` rows of the list."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One filter, in the documented names."""

    name: str
    operator: Operator
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ordering:
    """One key to sort by, in the documented names."""

    name: str
    descending: bool


@dataclass(frozen=True, slots=True)
class Wanted:
    """One page."""

    collection: Collection
    merchant_uuid: str = ""
    uuid: str = ""
    scope: tuple[str, str] | None = None  # column and uuid of the resource it belongs to
    conditions: Sequence[Condition] = ()
    orderings: Sequence[Ordering] = ()
    offset: int = 0
    limit: int = 10
    rows_max: int = pages.NUMBERED_MAX  # looked through for a page by number


_TERMS: Final = {
    "id": "id",
    "uuid": "uuid",
    "name": "name",
    "description": "description",
    "payTemplateId": "template_id",
    "orderValidTime": "valid_h",
    "isOnline": "online",
    "isSignAccount": "sign_account",
    "isAsyncNotify": "async_notify",
    "isThridPay": "third_party",
    "payChannel": "channel",
    "payWay": "way",
    "createdAt": "create_time",
    "modifiedAt": "modify_time",
}
_ORDER: Final = {
    "id": "id",
    "uuid": "uuid",
    "tractionNo": "traction_no",
    "status": "status",
    "resultCode": "result_code",
    "createdAt": "create_time",
    "modifiedAt": "modify_time",
}


@dataclass(frozen=True, slots=True)
class Listed:
    """How one collection is read: its table, the names it may be filtered and sorted by, its rows."""

    table: Table
    names: Mapping[str, str]
    columns: Sequence[str]
    read: Callable[[Any], Any]  # of the columns by name
    scoped: bool = True
    along: str = "id"  # what a long list is walked along
    indexed_scope: str = ""  # the scope whose index holds that, too
    found_by: frozenset[str] = frozenset({"uuid"})  # columns whose index holds few rows of a value


class TradeRecord(msgspec.Struct, frozen=True):
    """One row of trade_record."""

    id: int
    uuid: str
    traction_no: str
    trade_type: str
    amount_micros: int
    status: str
    result_code: str
    pay_uuid: str
    refund_uuid: str
    create_time: datetime


_TRADES: Final = Rows(TradeRecord)

LISTS: Final[Mapping[Collection, Listed]] = {
    Collection.TEMPLATES: Listed(
        PAY_MODE_TEMPLATE,
        {**_TERMS, "status": "status"},
        (*modes.TEMPLATE_HEAD, *modes.TERMS),
        modes.template_of,
        scoped=False,
    ),
    Collection.MODES: Listed(
        PAY_MODE,
        {
            **_TERMS,
            "isFastPay": "fast",
            "isOpened": "opened",
            "uiOrder": "ui_order",
            "merchantUUID": "merchant_uuid",
        },
        (*modes.MODE_HEAD, *modes.TERMS),
        modes.mode_of,
    ),
    Collection.PAYS: Listed(
        PAY_ORDER,
        {
            **_ORDER,
            "payer": "payer",
            "payee": "payee",
            "payAmount": "amount_micros",
            "refundAmount": "refunded_micros",
            "clientPayNo": "client_pay_no",
            "thirdPayNo": "third_pay_no",
            "payModeName": "mode_name",
            "payModeUUID": "mode_uuid",
            "payTemplateId": "template_id",
            "payChannel": "channel",
            "payWay": "way",
            "orderStartAt": "start_time",
            "orderExpiredAt": "expire_time",
            "payStartAt": "pay_start_time",
            "payFinishAt": "finish_time",
            "lastRefundAt": "last_refund_time",
        },
        pays.ORDERS.rows.names,
        pays.ORDERS.rows.read,
        along="create_time",
        indexed_scope="mode_uuid",
        found_by=frozenset({"uuid", "traction_no", "client_pay_no", "third_pay_no"}),
    ),
    Collection.REFUNDS: Listed(
        REFUND_ORDER,
        {
            **_ORDER,
            "refundAmount": "amount_micros",
            "clientRefundNo": "client_refund_no",
            "thirdRefundNo": "third_refund_no",
            "payOrderUUID": "pay_uuid",
            "refundStartAt": "start_time",
            "refundFinishAt": "finish_time",
        },
        refunds.ORDERS.rows.names,
        refunds.ORDERS.rows.read,
        along="create_time",
        found_by=frozenset(
            {"uuid", "traction_no", "client_refund_no", "third_refund_no", "pay_uuid"}
        ),
    ),
    Collection.TRADES: Listed(
        TRADE_RECORD,
        {
            "id": "id",
            "uuid": "uuid",
            "tractionNo": "traction_no",
            "tradeType": "trade_type",
            "tradeAmount": "amount_micros",
            "status": "status",
            "resultCode": "result_code",
            "payOrderUUID": "pay_uuid",
            "refundOrderUUID": "refund_uuid",
            "createdAt": "create_time",
        },
        _TRADES.names,
        _TRADES.read,
        along="create_time",
        found_by=frozenset({"uuid", "pay_uuid", "refund_uuid"}),
    ),
}


_RANGES: Final = frozenset({Operator.FROM, Operator.ABOVE, Operator.TO, Operator.BELOW})
_FEW: Final = frozenset({"pay_uuid", "refund_uuid"})


async def page(
    db: AsyncConnection, wanted: Wanted, *, counted: bool = True
) -> tuple[list[Any], int]:
    """The rows of one page, and how many there are: counted only when the page does not say it, and up
    to `rows_max`. Raises UnknownField, PageTooFar.
    """
    listed = LISTS[wanted.collection]
    rising = bool(wanted.orderings) and not wanted.orderings[0].descending
    in_order = not wanted.orderings or wanted.orderings[0].name == "createdAt"
    where, cut = _where(listed, wanted), False
    if not _few(listed, wanted):
        edge = (await db.execute(edge_query(wanted, rising=in_order and rising))).first()
        if edge is not None:
            cut = True
            along = listed.table.c[listed.along]
            where = and_(where, along <= edge[0] if in_order and rising else along >= edge[0])
    found = (await db.execute(page_query(wanted, where))).mappings().all()
    full = len(found) == wanted.limit
    if cut and not (full and in_order):
        raise PageTooFar
    rows = [listed.read(row) for row in found]
    if wanted.uuid or not counted or (not full and (rows or not wanted.offset)):
        return rows, wanted.offset + len(rows)
    size = select(func.count()).select_from(listed.table).where(where)
    return rows, (await db.execute(size)).scalar_one()


def page_query(wanted: Wanted, where: ColumnElement[bool] | None = None) -> Select[Any]:
    """The rows of one page."""
    listed = LISTS[wanted.collection]
    columns = [listed.table.c[name] for name in listed.columns]
    rows: Select[Any] = select(*columns).order_by(*_orders(listed, wanted))
    rows = rows.where(_where(listed, wanted) if where is None else where)
    return rows.offset(wanted.offset).limit(wanted.limit)


def edge_query(wanted: Wanted, *, rising: bool = False) -> Select[Any]:
    """Where a page stops looking: so many rows down the index of the mode, the merchant, or all."""
    listed = LISTS[wanted.collection]
    along = listed.table.c[listed.along]
    query = select(along)
    if wanted.scope is not None and wanted.scope[0] == listed.indexed_scope:
        query = query.where(listed.table.c[wanted.scope[0]] == wanted.scope[1])
    elif wanted.merchant_uuid and listed.scoped:
        query = query.where(listed.table.c.merchant_uuid == wanted.merchant_uuid)
    for one in wanted.conditions:
        if listed.names.get(one.name) == listed.along and one.operator in _RANGES:
            query = query.where(_condition(listed, one))
    query = query.order_by(along.asc() if rising else along.desc())
    return query.offset(wanted.rows_max - 1).limit(1)


def _few(listed: Listed, wanted: Wanted) -> bool:
    """Whether an index holds the few rows that are wanted."""
    if wanted.uuid or (wanted.scope is not None and wanted.scope[0] in _FEW):
        return True
    return any(
        one.operator is Operator.IN and listed.names.get(one.name) in listed.found_by
        for one in wanted.conditions
    )


def _where(listed: Listed, wanted: Wanted) -> ColumnElement[bool]:
    table = listed.table
    parts: list[ColumnElement[bool]] = [table.c.id > 0]
    if wanted.merchant_uuid and listed.scoped:
        parts.append(table.c.merchant_uuid == wanted.merchant_uuid)
    if wanted.uuid:
        parts.append(table.c.uuid == wanted.uuid)
    if wanted.scope is not None:
        column = table.c[wanted.scope[0]]
        parts += [column == wanted.scope[1], column != literal_column("''")]
    parts += [_condition(listed, one) for one in wanted.conditions]
    return and_(*parts)


def _column(listed: Listed, name: str) -> Any:
    if name not in listed.names:
        raise UnknownField(name)
    return listed.table.c[listed.names[name]]


def _condition(listed: Listed, one: Condition) -> ColumnElement[bool]:
    column = _column(listed, one.name)
    if one.operator is Operator.LIKE:
        return or_(*(_text(column).like(_pattern(value), escape="\\") for value in one.values))
    values = [_value(column, one.name, text) for text in one.values]
    if one.operator is Operator.IN:
        return column.in_(values)
    if one.operator is Operator.NOT_IN:
        return or_(column.is_(None), not_(column.in_(values)))
    value = values[0]
    return {
        Operator.FROM: column >= value,
        Operator.ABOVE: column > value,
        Operator.TO: column <= value,
        Operator.BELOW: column < value,
    }[one.operator]


def _text(column: Any) -> Any:
    """Patterns are for texts."""
    if isinstance(column.type, Boolean | Integer | DateTime):
        raise UnknownField(column.name)
    return column


def _pattern(value: str) -> str:
    """A LIKE pattern in which only * stands for anything."""
    for special in ("\\", "%", "_"):
        value = value.replace(special, f"\\{special}")
    return value.replace("*", "%")


def _value(column: Any, name: str, text: str) -> Any:
    """The text as the column's type has it. Raises UnknownField."""
    if len(text) > VALUE_CHARS_MAX or "\0" in text:
        raise UnknownField(name)
    kind = column.type
    try:
        if isinstance(kind, Boolean):
            return {"0": False, "1": True}[text]
        if isinstance(kind, DateTime):
            return _moment(text)
        if isinstance(kind, Integer):
            number = int(text) if text.isascii() and text.lstrip("-").isdigit() else None
            if number is None or abs(number) >= 2**31:
                raise ValueError(text)
            return number * FEN if column.name.endswith("_micros") else number
    except (ValueError, KeyError):
        raise UnknownField(name) from None
    return text


def _moment(text: str) -> datetime:
    return from_beijing(text if len(text) > len("2018-07-11") else f"{text} 00:00:00")


def _orders(listed: Listed, wanted: Wanted) -> list[Any]:
    """The requested sorting, and the id, so that pages never overlap."""
    keys = [(_column(listed, one.name), one.descending) for one in wanted.orderings]
    if not keys:
        keys = [(listed.table.c.create_time, True)]
    keys.append((listed.table.c.id, keys[-1][1]))
    return [column.desc() if descending else column.asc() for column, descending in keys]
