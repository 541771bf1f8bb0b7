"""Raw push to documents: either spelling, either level, one or many, and every refusal with its place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Annotated, Any, TypeVar

import orjson

from shoudan_erp_ingest import bodies
from shoudan_erp_ingest.bodies import ITEMS_MAX, Json, Object, Unreadable, joined
from shoudan_erp_ingest.refusals import Why
from shoudan_erp_ingest.tables.fields import Spec, code, known_names, specs
from shoudan_erp_ingest.tables.models import (
    Payment,
    Refund,
    RefundDocument,
    RefundLine,
    SwapLine,
    Trade,
    TradeDocument,
    TradeLine,
    untraced,
)
from shoudan_erp_ingest.values import READERS, Read

M = TypeVar("M")

# A field whose name the document ran together with its neighbour's. Source: protocols §5.1 no. 12.
DOUBLED = "swap_logistics_typeswap_logistics_name"


@dataclass(frozen=True, slots=True)
class _Message:
    """What the envelope says about itself."""

    msgid: Annotated[str | None, code("ERP message id", "msg_id")]


# Keys with a meaning of their own on the levels a model is read from: no extra of it.
_TRADE_ASIDE = frozenset({"data", "orders", "payment_lists", "msg_id", "msgid"}) | known_names(
    Payment
)
_LINE_ASIDE = frozenset({"orders_items"})
_REFUND_ASIDE = frozenset({"refund_order_list", "refund_out_goods_list"})


def trades(body: bytes) -> list[TradeDocument]:
    """The trades of a /pushData body, in its order. Raises Unreadable. Source: 001 订单接口."""
    found: list[TradeDocument] = []
    for where, envelope in _objects(bodies.read(body), ""):
        if "data" not in envelope:
            raise Unreadable(joined(where, "data"), Why.MISSING)
        for inner, data in _objects(envelope["data"], joined(where, "data")):
            found.append(_trade(envelope, where, data, inner))
    return _merged(_some(found, "data"))


def refunds(body: bytes) -> list[RefundDocument]:
    """The refunds of a /pushReturngoods body, in its order. Raises Unreadable. Source: 001 退换货接口."""
    found: list[RefundDocument] = []
    for where, envelope in _objects(bodies.read(body), ""):
        if "data" not in envelope:
            raise Unreadable(joined(where, "data"), Why.MISSING)
        for inner, data in _objects(envelope["data"], joined(where, "data")):
            if "refunds" not in data and "refund_no" not in data:
                raise Unreadable(joined(inner, "refunds"), Why.MISSING)
            listed = data["refunds"] if "refunds" in data else dict(data)
            place = joined(inner, "refunds") if "refunds" in data else inner
            found += (_refund(one, at) for at, one in _objects(listed, place))
    return _some(found, "data.refunds")


def _some(found: list[M], where: str) -> list[M]:
    if not found:
        raise Unreadable(where, Why.EMPTY)
    if len(found) > ITEMS_MAX:
        raise Unreadable(where, Why.TOO_MANY)
    return found


def _objects(value: Json, where: str) -> Iterator[tuple[str, Object]]:
    """One object or a list of them, each with its path; null and [] are none."""
    if isinstance(value, dict):
        yield where, value
    elif isinstance(value, list):
        if len(value) > ITEMS_MAX:
            raise Unreadable(where or "body", Why.TOO_MANY)
        for index, one in enumerate(value):
            if not isinstance(one, dict):
                raise Unreadable(f"{where}[{index}]", Why.WRONG_SHAPE)
            yield f"{where}[{index}]", one
    elif value is not None and value != "":
        raise Unreadable(where or "body", Why.WRONG_SHAPE)


# ------------------------------------------------------------------ trades


def _trade(envelope: Object, where: str, data: Object, inner: str) -> TradeDocument:
    head = _model(Trade, ((data, inner), (envelope, where)), _TRADE_ASIDE)
    message = _model(_Message, ((envelope, where), (data, inner)), None)
    lines: list[TradeLine] = []
    for at, order in _objects(data.get("orders"), joined(inner, "orders")):
        for item_at, item in _items(order, at):
            levels = ((order, at),) if item is order else ((item, item_at), (order, at))
            line = _model(TradeLine, levels, _LINE_ASIDE)
            lines.append(_with_trade(line, head, message))
    if len(lines) > ITEMS_MAX:
        raise Unreadable(joined(inner, "orders"), Why.TOO_MANY)
    return TradeDocument(head, _payments(data, inner), tuple(lines), message.msgid)


def _with_trade(line: TradeLine, head: Trade, message: _Message) -> TradeLine:
    """What a line lacks stands on the trade's level or the envelope's. Source: 001 example."""
    return replace(
        line,
        tid=head.tid if line.tid is None else line.tid,
        status=head.status if line.status is None else line.status,
        msgid=message.msgid if line.msgid is None else line.msgid,
    )


def _items(order: Object, at: str) -> Iterable[tuple[str, Object]]:
    """The items of an order; an order without a list of them is its own item, as in the model."""
    listed = list(_objects(order.get("orders_items"), joined(at, "orders_items")))
    return listed or [(at, order)]


def _payments(data: Object, inner: str) -> tuple[Payment, ...]:
    """payment_lists, or the same fields on the trade's own level."""
    at = joined(inner, "payment_lists")
    found = [
        _model(Payment, ((one, place),), frozenset())
        for place, one in _objects(data.get("payment_lists"), at)
    ]
    if not found:
        found = [_model(Payment, ((data, inner),), None)]
    return tuple(p for p in found if p != Payment())


def _merged(documents: list[TradeDocument]) -> list[TradeDocument]:
    """Neighbours that are one trade sent line by line become one document; copies become one, too."""
    made = documents[:1]
    for one in documents[1:]:
        last = made[-1]
        if (one.head, one.payments) != (last.head, last.payments):
            made.append(one)
        elif not {line.oid for line in one.lines} & {line.oid for line in last.lines}:
            made[-1] = replace(last, lines=last.lines + one.lines)
        elif untraced(one.lines) != untraced(last.lines):
            made.append(one)
    return made


# ----------------------------------------------------------------- refunds


def _refund(one: Object, at: str) -> RefundDocument:
    one = _undoubled(one)
    head = _model(Refund, ((one, at),), _REFUND_ASIDE)
    if head.swap_trade_id == 0:  # decimal in the document, an id in truth: 0 is none
        head = replace(head, swap_trade_id=None)
    return RefundDocument(
        head,
        _lines(RefundLine, one, at, "refund_order_list"),
        _lines(SwapLine, one, at, "refund_out_goods_list"),
    )


def _lines(model: type[M], one: Object, at: str, name: str) -> tuple[M, ...]:
    found = _objects(one.get(name), joined(at, name))
    return tuple(_model(model, ((line, place),), frozenset()) for place, line in found)


def _undoubled(one: Object) -> Object:
    """Two names written as one: a number is the type, a word is the name."""
    value = one.get(DOUBLED)
    if value is None:
        return one
    digits = isinstance(value, str) and value.isascii() and value.isdigit()
    name = "swap_logistics_type" if digits else "swap_logistics_name"
    return {name: value, **{k: v for k, v in one.items() if k != DOUBLED}}


# ------------------------------------------------------------------ models


@cache
def _plan(model: type[Any]) -> tuple[tuple[str, tuple[str, ...], Read, Spec], ...]:
    return tuple((s.name, s.wire.also, READERS[s.wire.kind], s) for s in specs(model))


def _model(
    model: type[M], levels: tuple[tuple[Object, str], ...], aside: frozenset[str] | None
) -> M:
    """A model from the first level that has each field. Other keys of the first levels are kept as
    extra, but for those `aside`; None keeps nothing.
    """
    make: Any = model
    values: list[Any] = []
    for name, also, read, spec in _plan(model):
        value, where, key = _find(levels, name, also)
        if value is None:
            got = None
        else:
            try:
                got = read(value, spec)
            except Unreadable as error:
                raise Unreadable(joined(where, key), error.why) from None
        if got is None and spec.wire.required:
            raise Unreadable(joined(where, name), Why.MISSING)
        values.append(got)
    if aside is None:
        return make(*values)
    return make(*values, _extra(levels, known_names(model) | aside))


def _find(
    levels: tuple[tuple[Object, str], ...], name: str, also: tuple[str, ...]
) -> tuple[Json, str, str]:
    """The nearest value that is there, under whichever name, with its place."""
    for level, where in levels:
        value = level.get(name)
        if value is not None:
            return value, where, name
    for other in also:
        for level, where in levels:
            value = level.get(other)
            if value is not None:
                return value, where, other
    return None, levels[0][1], name


def _extra(levels: tuple[tuple[Object, str], ...], known: frozenset[str]) -> str:
    """Undocumented keys, as JSON; numbers as the text they were."""
    kept: dict[str, Json] = {}
    for level, _ in levels:
        if not (level.keys() <= known):
            kept = {**{k: v for k, v in level.items() if k not in known}, **kept}
    return orjson.dumps(kept, option=orjson.OPT_SORT_KEYS).decode() if kept else ""
