"""The default supplier protocol: signed JSON both ways, described in docs/reference/supplier.md."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from shoudan_delivery.channels.wire import Call, Heard, Unverified
from shoudan_delivery.store.rows import Outgoing, Reply, Supplier, Unreadable
from shoudan_kit.money import micros_to_yuan, yuan_to_micros

# Fixed by the protocol, whatever a channel's error table says: the number never arrived there.
NO_SUCH_ORDER = "R_4040"
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
    """The call that asks for a delivery or a return, to be told of at `notify_url`."""
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


def read(status: int, body: bytes) -> Reply | Unreadable:
    """The answer to either; only HTTP 200 with the documented JSON is one."""
    if status != 200:
        return Unreadable(f"HTTP {status}")
    try:
        answer = _answer(body)
        amount_micros = yuan_to_micros(answer.amount) if answer.amount else None
    except (
        msgspec.DecodeError,
        ValueError,
    ) as error:  # RecursionError cannot be: the depth is fixed
        return Unreadable(f"not the documented JSON ({type(error).__name__})")
    return Reply(
        order_no=answer.order_no,
        code=answer.code,
        desc=answer.message,
        up_order_no=answer.up_order_no,
        amount_micros=amount_micros,
        no_such_order=answer.code == NO_SUCH_ORDER,
        params=answer.data,
    )


def hear(supplier: Supplier, heard: Heard) -> Reply | Unverified:
    """A notify. With a secret its signature must be right; tokens and networks are judged elsewhere."""
    if heard.method != "POST":
        return Unverified("not a POST")
    reply = read(200, heard.body)
    if isinstance(reply, Unreadable):
        return Unverified(reply.why)
    if supplier.secret:
        fields: dict[str, Any] = msgspec.json.decode(heard.body)
        right = signature(fields, supplier.secret).encode()
        if not hmac.compare_digest(right, str(fields.get("sign", "")).encode()):
            return Unverified("wrong signature")
        if fields.get("channel_no") != supplier.channel_no:
            return Unverified("signed for another channel")
    return reply


def thank() -> bytes:
    """The documented word."""
    return b"success"


def signature(fields: Mapping[str, Any], secret: bytes) -> str:
    """HMAC-SHA256, hexadecimal, over `name=value` of all fields but sign, sorted, joined by `&`.

    A field of an object is named `object.field`; numbers stand as JSON writes them.
    """
    flat: dict[str, str] = {}
    for name, value in fields.items():
        if isinstance(value, dict):
            inner: dict[str, Any] = value  # pyright: ignore[reportUnknownVariableType]
            flat.update({f"{name}.{key}": str(text) for key, text in inner.items()})
        elif name != "sign":
            flat[name] = str(value)
    text = "&".join(f"{name}={flat[name]}" for name in sorted(flat))
    return hmac.new(secret, text.encode(), hashlib.sha256).hexdigest()


def _call(url: str, fields: dict[str, Any], secret: bytes, now: datetime) -> Call:
    fields["timestamp"] = int(now.timestamp())
    if secret:
        fields["sign"] = signature(fields, secret)
    return Call("POST", url, HEADERS, _encode(fields))
