"""Cards in a supplier's answer: checked against what was ordered, and cut out of everything else it says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, cast

import msgspec

from shoudan_delivery.protocols import cards
from shoudan_delivery.protocols.answers import Ambiguous
from shoudan_delivery.states import ServiceClass
from shoudan_delivery.store.rows import Card, Delivery, Outgoing, Reply, Supplier
from shoudan_kit.money import yuan_to_micros
from shoudan_kit.secrets.sealing import HIDDEN_MIN

# Further facts of an answer about vouchers that are kept; any other could be a code.
KEPT: Final = frozenset({"cost_amount"})
HIDDEN: Final = "****"
# Of an answer that could not be used these names are kept, and those of a card; any other could be a code.
SHOWN_NAMES: Final = frozenset(
    {"order_no", "code", "message", "msg", "up_order_no", "amount", "data", "cards", "cost_amount"}
)
SHAPE_DEPTH_MAX: Final = 6
SHAPE_ITEMS_MAX: Final = 20  # of a list
SHAPE_CHARS_MAX: Final = 1_000

_params = msgspec.json.Decoder(dict[str, str]).decode


def may_hold(supplier: Supplier) -> bool:
    """Whether answers of this channel may hold cards: those about vouchers, delivered or returned."""
    return supplier.service_class in {ServiceClass.COUPON, ServiceClass.COUPON_RETURN}


def without_cards(supplier: Supplier, reply: Reply) -> Reply:
    """What of a reply may be stored and logged: no text that stands in its cards or further facts."""
    data = _facts(reply.data)
    words = {text for text in cards.texts_in([reply.cards, data]) if len(text) >= HIDDEN_MIN}
    words.discard(reply.order_no)
    return replace(
        reply,
        code=reply.code if reply.code in supplier.deal_codes else _hidden(reply.code, words),
        desc=_hidden(reply.desc, words),
        up_order_no=_hidden(reply.up_order_no, words),
        params={name: text for name, text in reply.params.items() if name in KEPT},
    )


def read(supplier: Supplier, delivery: Outgoing, reply: Reply) -> tuple[Sequence[Card], str]:
    """The cards of a success, or why they cannot be issued, in words without any of them.

    Neither, of a channel that need not deliver cards and has sent nothing that could be one.
    """
    given = reply.cards if reply.cards is not None else _facts(reply.data)
    try:
        found = cards.of_value(given)
    except Ambiguous as error:
        return (), str(error)
    if not found and not supplier.delivers_cards:
        return (), ""
    wrong = problem(found, delivery)
    return ((), wrong) if wrong else (found, "")


def problem(found: Sequence[Card], delivery: Outgoing | Delivery) -> str:
    """Why these are not the cards of this delivery; empty when they are."""
    if len(found) != delivery.product_num:
        return f"{len(found)} of {delivery.product_num} cards"
    if len({tuple(one.secrets.items()) for one in found}) != len(found):
        return "a card stands there twice"
    products = {delivery.carrier_no, _product(delivery)}
    for one in found:
        if one.order_no and one.order_no != str(delivery.order_no):
            return "a card is of another order"
        if one.face and not _same_face(one.face, delivery.product_face_micros):
            return "a card has another face"
        if one.product and one.product not in products:
            return "a card is of another product"
    return ""


def shape(supplier: Supplier, body: bytes) -> str:
    """An answer without a value of it: its known names, and how long each value is."""
    try:
        whole = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return f"{len(body)} bytes that are no JSON, not kept"
    made = _shape(supplier, "", whole, SHAPE_DEPTH_MAX)
    return msgspec.json.encode(made).decode()[:SHAPE_CHARS_MAX]


def _shape(supplier: Supplier, name: str, value: object, depth: int) -> object:
    if isinstance(value, dict | list) and not depth:
        return "…"
    if isinstance(value, list):
        listed = cast("list[object]", value)
        return [_shape(supplier, "", one, depth - 1) for one in listed[:SHAPE_ITEMS_MAX]]
    if isinstance(value, dict):
        shown: dict[str, object] = {}
        for at, (one, inner) in enumerate(cast("dict[str, object]", value).items(), 1):
            known = one in SHOWN_NAMES or cards.is_field(one)
            shown[one if known else f"?{at}"] = _shape(supplier, one, inner, depth - 1)
        return shown
    if isinstance(value, bool) or value is None:
        return value
    text = str(value)
    return text if name == "code" and text in supplier.deal_codes else f"{len(text)} characters"


def _same_face(text: str, face_micros: int) -> bool:
    try:
        return yuan_to_micros(text) == face_micros
    except ValueError:
        return False


def _product(delivery: Outgoing | Delivery) -> str:
    if not delivery.request_params:
        return delivery.carrier_no
    return _params(delivery.request_params).get("ext_product_no", delivery.carrier_no)


def _facts(data: object) -> object:
    """The further facts that could be cards."""
    if not isinstance(data, Mapping):
        return data
    facts = cast("Mapping[str, Any]", data)
    return {name: value for name, value in facts.items() if name not in KEPT}


def _hidden(text: str, words: set[str]) -> str:
    """`text` without these; the longest first, as one may stand within another."""
    for word in sorted(words, key=len, reverse=True):
        text = text.replace(word, HIDDEN)
    return text
