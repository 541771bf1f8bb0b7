"""Reads the answers and notifies of a template: values by path; what a path does not find is not there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, cast
from urllib.parse import parse_qsl
from xml.etree.ElementTree import Element, ParseError

from defusedxml import ElementTree
from jmespath.exceptions import JMESPathError
from jmespath.parser import ParsedResult, Parser

from shoudan_delivery.kinds import StatedPrice
from shoudan_delivery.protocols import answers
from shoudan_delivery.protocols.answers import Ambiguous, text_of
from shoudan_delivery.protocols.prices import PRODUCTS_MAX, VERSION_MAX, stated_price, whole
from shoudan_delivery.protocols.templates.shape import Money, Price, PriceNotifyRead, Read, Template
from shoudan_delivery.store.rows import Reply
from shoudan_kit.money import fen_to_micros, micros_to_yuan, yuan_to_micros

FIELDS_MAX: Final = 200
# Names, names within names, and places in a list: no choice, no function, nothing that makes a value.
_SIMPLE: Final = frozenset({"field", "subexpression", "index", "index_expression"})


@lru_cache(maxsize=4_096)
def path(text: str) -> ParsedResult:
    """A path as it is searched by. ValueError for what is none, or more than one."""
    try:
        found = Parser().parse(text)
    except JMESPathError:
        raise ValueError("no path such as data.order_no or list[0].code") from None
    if not all(kind in _SIMPLE for kind in _kinds(found.parsed)):
        raise ValueError("more than a path: only names, dots and places such as [0]")
    return found


def is_one_name(text: str) -> bool:
    """Whether a path is a single name, the only kind that a flat form can hold."""
    return path(text).parsed["type"] == "field"


def _kinds(node: Mapping[str, Any]) -> Iterator[str]:
    yield node["type"]
    for one in node["children"]:
        yield from _kinds(one)


def fields(kind: str, codec: str, headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
    """What a message holds, texts by name. ValueError for what is no single message of its kind."""
    if kind == "json":
        return answers.fields(_with_charset(headers, codec), body)
    if kind == "xml":
        return xml_fields(answers.decoded(_with_charset(headers, codec), body))
    return form_fields(answers.decoded(_with_charset(headers, codec), body).strip(), codec)


def _with_charset(headers: Mapping[str, str], codec: str) -> Mapping[str, str]:
    """The template's charset stands above what the server calls it."""
    return {**headers, "Content-Type": f"text/plain; charset={codec}"}


def form_fields(text: str, codec: str) -> dict[str, Any]:
    """The pairs of a form or a query, each name once."""
    pairs = parse_qsl(
        text,
        keep_blank_values=True,
        strict_parsing=True,
        encoding=codec,
        errors="strict",
        max_num_fields=FIELDS_MAX,
    )
    made = dict(pairs)
    if len(made) != len(pairs):
        raise Ambiguous("a name stands twice")
    return cast("dict[str, Any]", made)


def xml_fields(text: str) -> dict[str, Any]:
    """What stands in the root element: texts, objects, lists of what is repeated; attributes as `@name`.

    No document type, so neither entities nor anything outside of the message.
    """
    if text.startswith("<?xml"):  # it is decoded already, whatever it says of itself
        text = text.partition("?>")[2]
    try:
        root = ElementTree.fromstring(text, forbid_dtd=True)
    except (ParseError, RecursionError):
        raise Ambiguous("no XML") from None
    made = _element(root, 0)
    if not isinstance(made, dict):
        raise Ambiguous("no element within the root")
    return made


def _element(element: Element, depth: int) -> dict[str, Any] | str:
    if depth > answers.DEPTH_MAX:
        raise Ambiguous("nested too deep")
    made: dict[str, Any] = {f"@{name}": text for name, text in element.attrib.items()}
    inner: dict[str, list[Any]] = {}
    for one in element:
        inner.setdefault(one.tag.rpartition("}")[2], []).append(_element(one, depth + 1))
    made |= {name: many[0] if len(many) == 1 else many for name, many in inner.items()}
    text = (element.text or "").strip()
    if made and text:
        made["#text"] = text
    return made or text


# ---------------------------------------------------------------- meaning
def found(where: str, message: object) -> object:
    """What stands at a path; None for nothing, and for a template without it."""
    return path(where).search(message) if where else None


def text_at(where: str, message: object) -> str:
    """The text at a path; empty for none. Raises Ambiguous for what is no text."""
    return (text_of(found(where, message)) or "").strip()


def reply(template: Template, read: Read, message: Mapping[str, Any]) -> Reply:
    """What a message says. ValueError for one in which what must be there is not, or is no text."""
    parts = [text for where in read.codes if (text := text_at(where, message))]
    if not parts:
        raise Ambiguous("no code")
    code = read.prefix + "/".join(parts)
    order_no = text_at(read.order_no, message)
    if read.order_no and not order_no:
        raise Ambiguous("no order number")
    amount, cost = text_at(read.amount, message), text_at(read.cost, message)
    facts = {name: text for name, at in read.facts.items() if (text := text_at(at, message))}
    if cost:
        facts["cost_amount"] = micros_to_yuan(micros(template.money, cost))
    raw_cards = found(read.cards, message)
    return Reply(
        order_no=order_no,
        code=code,
        desc=_words(read.message, message),
        up_order_no=text_at(read.up_order_no, message),
        amount_micros=micros(template.money, amount) if amount else None,
        no_such_order=code in read.absent,
        params=facts,
        # None would be looked for in the further facts.
        cards=_cards(read, raw_cards) if read.cards else None,
        data=raw_cards,
        names_order=bool(read.order_no),
        states_amount=bool(read.amount),
    )


def as_signed(value: object) -> str:
    """A value of a notify as it stands in the text that is signed."""
    return answers.as_signed(value)


def _words(where: str, message: object) -> str:
    """A text for people, which never makes an answer unreadable."""
    value = found(where, message)
    return "" if isinstance(value, dict | list) else text_of(value) or ""


def _cards(read: Read, value: object) -> list[object]:
    many = cast("list[object]", value) if isinstance(value, list) else [value]
    items = [one for one in many if one not in (None, "", [], {})]
    if not read.card:
        return items
    return [{name: found(where, one) for name, where in read.card.items()} for one in items]


def micros(money: Money, text: str) -> int:
    """An amount in the template's unit. ValueError for what is none."""
    if money == "yuan":
        return yuan_to_micros(text)
    if not (text.isascii() and text.isdecimal()):
        raise ValueError("no whole number of fen")
    return fen_to_micros(int(text))


def stated(
    template: Template,
    read: PriceNotifyRead,
    channel_no: str,
    message: Mapping[str, Any],
    as_of: datetime,
) -> list[StatedPrice]:
    """The products of a notify of prices. ValueError unless every one of them can be read."""
    value: object = found(read.products, message) if read.products else message
    many = cast("list[object]", value) if isinstance(value, list) else [value]
    if not 1 <= len(many) <= PRODUCTS_MAX or None in many:
        raise Ambiguous("no products, or too many")
    return [_stated(template, read, channel_no, one, as_of) for one in many]


def _stated(
    template: Template, read: PriceNotifyRead, channel_no: str, one: object, as_of: datetime
) -> StatedPrice:
    version = whole(text_at(read.version, one), VERSION_MAX)
    if not version:
        raise Ambiguous("a version that is not above zero")
    amount, status = text_at(read.price, one), text_at(read.status, one)
    if status and status not in {*read.on, *read.off}:
        raise Ambiguous("a status that is neither on nor off")
    return stated_price(
        channel_no,
        text_at(read.product, one),
        as_of,
        version=version,
        price=micros_to_yuan(micros(template.money, amount)) if amount else "",
        stock=text_at(read.stock, one),
        status="" if not status else "1" if status in read.on else "0",
        start=text_at(read.effective_time, one),
    )


def prices(template: Template, price: Price, message: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Products with their price in yuan and their stock as it stands. ValueError for a product without."""
    value = found(price.read.products, message)
    many = (
        cast("list[object]", value) if isinstance(value, list) else [] if value is None else [value]
    )
    made: list[tuple[str, ...]] = []
    for one in many:
        product, amount = text_at(price.read.product, one), text_at(price.read.price, one)
        if not product or not amount:
            raise Ambiguous("a product without number or price")
        stock = text_at(price.read.stock, one)
        made.append((product, micros_to_yuan(micros(template.money, amount)), stock))
    return made
