"""The default supplier protocol: signed JSON both ways, described in docs/reference/supplier.md."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime
from typing import Any, cast

import msgspec

from shoudan_delivery.kinds import StatedPrice
from shoudan_delivery.protocols import answers, prices
from shoudan_delivery.protocols.messages import Call, InboundNotify, Unverified
from shoudan_delivery.store.rows import Outgoing, Reply, Supplier, Unreadable
from shoudan_kit.money import micros_to_yuan, yuan_to_micros

# Fixed by the protocol, whatever a channel's error table says: the number never arrived there.
NO_SUCH_ORDER = "R_4040"
FIELDS = frozenset({"order_no", "code", "message", "up_order_no", "amount"})
JUDGED = (b'"order_no"', b'"code"', b'"amount"')
HEADERS = {"Content-Type": "application/json; charset=utf-8"}


class _Answer(msgspec.Struct):
    order_no: str
    code: str
    message: str = ""
    up_order_no: str = ""
    amount: str = ""
    data: dict[str, str] = {}


_encode = msgspec.json.Encoder().encode
_answer = msgspec.json.Decoder(_Answer).decode
_params = msgspec.json.Decoder(dict[str, str]).decode


def request(supplier: Supplier, delivery: Outgoing, now: datetime, notify_url: str) -> Call:
    """The call that requests a delivery or a return; its result is notified to `notify_url`."""
    fields: dict[str, Any] = {
        "order_no": str(delivery.order_no),
        "channel_no": supplier.channel_no,
        "service_class": supplier.service_class,
        "order_id": delivery.order_id,
        "carrier_no": delivery.carrier_no,
        "face": micros_to_yuan(delivery.product_face_micros),
        "num": delivery.product_num,
        "amount": micros_to_yuan(delivery.amount_micros),
        "account": delivery.account,
        "params": _params(delivery.request_params) if delivery.request_params else {},
        "notify_url": notify_url,
    }
    return _call(supplier.request_url, fields, supplier.secret, now)


def query(supplier: Supplier, delivery: Outgoing, now: datetime) -> Call:
    """The call that asks how it ended."""
    fields: dict[str, Any] = {
        "order_no": str(delivery.order_no),
        "channel_no": supplier.channel_no,
    }
    return _call(supplier.query_url, fields, supplier.secret, now)


def read(status: int, headers: Mapping[str, str], body: bytes) -> Reply | Unreadable:
    """The answer to either; only HTTP 200 with JSON of one meaning is one."""
    if status != 200:
        return Unreadable(f"HTTP {status}")
    try:
        return _documented(headers, body) or _reply(answers.fields(headers, body))
    except (
        ValueError,
        RecursionError,
    ) as error:  # of the charset, the JSON, its shape or the amount
        return Unreadable(f"not the documented JSON ({type(error).__name__})")


def _documented(headers: Mapping[str, str], body: bytes) -> Reply | None:
    """The documented shape, read ten times as fast; None for any other."""
    if b"\\u00" in body or any(body.count(name) > 1 for name in JUDGED):
        return None
    if b'"cards"' in body:  # of its list every name is looked at
        return None
    if not body.isascii() and answers.charset_of(headers) != "utf-8":
        return None
    try:
        answer = _answer(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return Reply(
        order_no=answer.order_no,
        code=answer.code,
        desc=answer.message,
        up_order_no=answer.up_order_no,
        amount_micros=yuan_to_micros(answer.amount) if answer.amount else None,
        no_such_order=answer.code == NO_SUCH_ORDER,
        params=answer.data,
        data=answer.data,
    )


def _reply(outer: Mapping[str, Any]) -> Reply:
    """What an answer says whose fields stand at the top or, without a number there, in its data.

    Raises ValueError for a field that is missing, no text, or stands there twice with two values.
    """
    within: Mapping[str, Any] = {} if outer.get("order_no") is not None else answers.inner(outer)
    order_no, code, amount = (_field(outer, within, n) for n in ("order_no", "code", "amount"))
    if not order_no or not code:
        raise answers.Ambiguous("no order_no or no code")
    facts: object = outer.get("data")
    cards = outer.get("cards")
    if within:
        facts = {name: value for name, value in within.items() if name not in FIELDS}
    if cards is None and isinstance(facts, dict):  # they may stand in the data
        facts = dict(cast("dict[str, Any]", facts))
        cards = facts.pop("cards", None)
    return Reply(
        order_no=order_no,
        code=code,
        desc=_words(outer, within, "message"),
        up_order_no=_words(outer, within, "up_order_no"),
        amount_micros=yuan_to_micros(amount) if amount else None,
        no_such_order=code == NO_SUCH_ORDER,
        params=answers.flat(facts),
        cards=cards,
        data=facts,
    )


def _field(outer: Mapping[str, Any], within: Mapping[str, Any], name: str) -> str:
    """A field that is judged; empty for none. Raises Ambiguous for two values."""
    found = {answers.text_of(outer.get(name)), answers.text_of(within.get(name))} - {None, ""}
    if len(found) > 1:
        raise answers.Ambiguous(f"two values of {name}")
    return found.pop() or "" if found else ""


def _words(outer: Mapping[str, Any], within: Mapping[str, Any], name: str) -> str:
    """A field for people, which never makes an answer unreadable."""
    for value in (outer.get(name), within.get(name)):
        if value is not None and not isinstance(value, list | dict):
            return answers.text_of(value) or ""
    return ""


def read_notify(supplier: Supplier, notify: InboundNotify) -> Reply | Unverified:
    """A notify. With a secret its signature must be right; `inbound` checks tokens and networks."""
    if notify.method != "POST":
        return Unverified("not a POST")
    try:
        fields = answers.fields(notify.headers, notify.body)
        reply = _reply(fields)
    except ValueError as error:
        return Unverified(f"not the documented JSON ({type(error).__name__})")
    why = _unsigned(supplier, fields)
    return Unverified(why) if why else reply


def read_prices(
    supplier: Supplier, notify: InboundNotify, as_of: datetime
) -> list[StatedPrice] | Unverified:
    """A notify of prices and stock, verified as any other. All of it is read, or nothing."""
    if notify.method != "POST":
        return Unverified("not a POST")
    try:
        fields = answers.fields(notify.headers, notify.body)
        if why := _unsigned(supplier, fields):
            return Unverified(why)
        return prices.notified(supplier.channel_no, fields, as_of)
    except ValueError as error:
        return Unverified(f"not the documented JSON ({type(error).__name__})")


def _unsigned(supplier: Supplier, fields: Mapping[str, Any]) -> str:
    """Why a message is not believed; empty when it is, or no secret is agreed."""
    if not supplier.secret:
        return ""
    right = signature(fields, supplier.secret).encode()
    if not hmac.compare_digest(right, answers.as_signed(fields.get("sign")).encode()):
        return "wrong signature"
    return "" if fields.get("channel_no") == supplier.channel_no else "signed for another channel"


def ack_body() -> bytes:
    """The documented acknowledgement."""
    return b"success"


def signature(fields: Mapping[str, Any], secret: bytes) -> str:
    """HMAC-SHA256, hexadecimal, over `name=value` of all fields but sign, sorted, joined by `&`.

    A field of an object is named `object.field`; numbers stand as JSON writes them, null is empty, and
    what is nested deeper or in a list is compact JSON.
    """
    flat: dict[str, str] = {}
    for name, value in fields.items():
        if isinstance(value, dict):
            inner = cast("dict[str, Any]", value)
            flat.update({f"{name}.{key}": answers.as_signed(one) for key, one in inner.items()})
        elif name != "sign":
            flat[name] = answers.as_signed(value)
    text = "&".join(f"{name}={flat[name]}" for name in sorted(flat))
    return hmac.new(secret, text.encode(), hashlib.sha256).hexdigest()


def _call(url: str, fields: dict[str, Any], secret: bytes, now: datetime) -> Call:
    fields["timestamp"] = int(now.timestamp())
    if secret:
        fields["sign"] = signature(fields, secret)
    return Call("POST", url, HEADERS, _encode(fields))
