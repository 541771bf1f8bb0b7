"""Tries a channel's template without a call: what it would send, and how it reads recorded answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from msgspec.structs import replace as struct_with

from shoudan_delivery import interpret
from shoudan_delivery.protocols import Call, InboundNotify, Unverified, Unwritable, templates
from shoudan_delivery.protocols.templates import Templated, checks
from shoudan_delivery.states import DealCode, Source
from shoudan_delivery.store.rows import Outcome, Outgoing, Supplier, Unreadable
from shoudan_kit.http.client import Answered
from shoudan_kit.money import micros_to_yuan
from shoudan_signing.recipe import RSA_BITS_MIN

KINDS: Final = ("order", "query", "notify", "balance", "price", "price_notify")
NOTIFY_URL: Final = "https://pay.example.com/vds/notify?token=****"
# Nothing that is shown was signed with a real secret.
STAND_IN: Final = b"****"


class Mistake(ValueError):
    """The file holds no template that could be applied; in words."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """An answer or a notify as it came."""

    body: bytes
    headers: Mapping[str, str]
    status: int = 200
    query: str = ""


class _Code(msgspec.Struct):
    error_code: str
    deal_code: DealCode


class _Channel(msgspec.Struct):
    """What matters here of a supplier of the configuration file."""

    channel_no: str
    service_class: int
    request_url: str
    query_url: str = ""
    can_query: bool = False
    idempotent: bool = False
    delivers_cards: bool = False
    ext_params: dict[str, str] = {}
    error_codes: list[_Code] = []
    template: dict[str, Any] = {}


class _File(msgspec.Struct):
    suppliers: list[_Channel] = []


def channel_of(document: object, channel_no: str) -> Supplier:
    """The channel with a template that a configuration file holds; `channel_no` says which of several.

    Raises Mistake.
    """
    try:
        rows = msgspec.convert(document, _File, strict=False).suppliers
    except msgspec.ValidationError as error:
        raise Mistake(str(error)) from None
    found = [one for one in rows if one.template and channel_no in {"", one.channel_no}]
    if len(found) != 1:
        raise Mistake(f"the file has {len(found)} such channels with a template: name one of them")
    supplier = _supplier(found[0])
    if mistakes := [f"{at or 'template'}: {why}" for at, why in checks.problems(supplier)]:
        raise Mistake("; ".join(mistakes))
    recipe = templates.parsed(supplier.template).sign
    return supplier if recipe is None else replace(supplier, secret=_stand_in(recipe.is_rsa))


def _supplier(row: _Channel) -> Supplier:
    return Supplier(
        id=0,
        channel_no=row.channel_no,
        service_class=row.service_class,
        protocol=templates.NAME,
        request_url=row.request_url,
        notify_url="",
        query_url=row.query_url,
        request_replenish_time_s=1,
        first_query_time_s=1,
        query_replenish_time_s=1,
        enabled=True,
        can_query=row.can_query,
        idempotent=row.idempotent,
        concurrency_max=1,
        timeout_s=1,
        secret_name="",
        deal_codes={one.error_code: one.deal_code for one in row.error_codes},
        # They may be keys, so only their names are shown.
        ext_params={name: f"<{name}>" for name in row.ext_params},
        delivers_cards=row.delivers_cards,
        template=msgspec.json.encode(row.template).decode(),
    )


def _stand_in(is_rsa: bool) -> bytes:
    """What signs in place of the secret: a key of the right kind that is not kept."""
    if not is_rsa:
        return STAND_IN
    return rsa.generate_private_key(65537, RSA_BITS_MIN).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def sent(supplier: Supplier, kind: str, delivery: Outgoing, now: datetime) -> Iterator[str]:
    """What would be sent, line by line."""
    protocol = templates.of(supplier.template)
    calls = {
        "order": lambda: protocol.request(supplier, delivery, now, NOTIFY_URL),
        "query": lambda: protocol.query(supplier, delivery, now),
        "balance": lambda: protocol.balance(supplier, now),
        "price": lambda: protocol.price(supplier, now),
    }
    if kind not in calls:
        yield "nothing is sent: the supplier calls us"
        return
    made: Call | Unwritable = calls[kind]()
    if isinstance(made, Unwritable):
        yield f"cannot be sent: {made.why}"
        return
    yield f"{made.method} {made.url}"
    for name, value in made.headers.items():
        yield f"{name}: {value}"
    if made.body:
        yield made.body.decode(protocol.codec)


def understood(
    supplier: Supplier, kind: str, delivery: Outgoing, recorded: Recorded
) -> Iterator[str]:
    """How a recorded answer is read, line by line; cards by their number alone."""
    protocol = templates.of(supplier.template)
    given = recorded.status, recorded.headers, recorded.body
    if kind == "balance":
        left = protocol.read_balance(*given)
        yield (
            f"unreadable: {left.why}"
            if isinstance(left, Unreadable)
            else (f"balance: {micros_to_yuan(left)} yuan")
        )
    elif kind == "price":
        found = protocol.read_price_list(*given)
        if isinstance(found, Unreadable):
            yield f"unreadable: {found.why}"
            return
        for product, price, stock in found:
            yield f"product {product}: {price} yuan" + (f", stock {stock}" if stock else "")
    elif kind == "price_notify":
        yield from _stated(supplier, protocol, recorded)
    else:
        yield from _judged(_outcome(supplier, protocol, kind, delivery, recorded))


def _stated(supplier: Supplier, protocol: Templated, recorded: Recorded) -> Iterator[str]:
    """What a notify of prices states; its signature is not looked at."""
    if (shape := protocol.template.price_notify) is None:
        yield "not believed: no notify of prices"
        return
    unsigned = struct_with(protocol.template, sign=None, price_notify=struct_with(shape, sign=None))
    notify = InboundNotify(shape.method, recorded.query, recorded.body, recorded.headers, "")
    open_ = replace(supplier, secret=b"")
    found = Templated(unsigned).read_prices(open_, notify, datetime.now(UTC))
    if isinstance(found, Unverified):
        yield f"not believed: {found.why}"
        return
    for one in found:
        price = "" if one.price_micros is None else f" {micros_to_yuan(one.price_micros)} yuan"
        left = {True: ", can be bought", False: ", cannot be bought", None: ""}[one.available]
        yield f"product {one.product}: version {one.version}{price}{left}"


def _outcome(
    supplier: Supplier, protocol: Templated, kind: str, delivery: Outgoing, recorded: Recorded
) -> Outcome | str:
    if kind != "notify":
        source = Source.QUERY if kind == "query" else Source.SYNC
        answered = Answered(recorded.status, dict(recorded.headers), recorded.body)
        return interpret.of_http_result(supplier, protocol, delivery, answered, source)
    shape = protocol.template.notify
    method = shape.method if shape else "POST"
    notify = InboundNotify(method, recorded.query, recorded.body, recorded.headers, "")
    reply = protocol.said(notify)
    if isinstance(reply, Unverified):
        return f"not believed: {reply.why}"
    return interpret.of_reply(supplier, delivery, reply, Source.NOTIFY)


def _judged(outcome: Outcome | str) -> Iterator[str]:
    if isinstance(outcome, str):
        yield outcome
        return
    yield f"outcome: {outcome.verdict.value}"
    for name, value in (
        ("code", outcome.code),
        ("message", outcome.desc),
        ("up_order_no", outcome.up_order_no),
        ("why", outcome.incident),
        *((f"fact {name}", text) for name, text in sorted(outcome.params.items())),
        ("cards", str(len(outcome.cards) or "")),
    ):
        if value:
            yield f"{name}: {value}"
