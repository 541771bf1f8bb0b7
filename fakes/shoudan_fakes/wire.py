"""What goes over the wire between us and a supplier of the default protocol, from the supplier's side."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any, cast

import msgspec


class Request(msgspec.Struct):
    """A delivery or a return, as docs/reference/supplier.md describes it."""

    order_no: str
    channel_no: str = ""
    service_class: int = 0
    order_id: str = ""
    carrier_no: str = ""
    face: str = "0"
    num: int = 1
    amount: str = "0"
    account: str = ""
    params: dict[str, str] = {}
    notify_url: str = ""
    timestamp: int = 0
    sign: str = ""


class Query(msgspec.Struct):
    """A question about one number."""

    order_no: str
    channel_no: str = ""
    timestamp: int = 0
    sign: str = ""


class Reply(msgspec.Struct, omit_defaults=True):
    """The answer to both, and the body of a notify."""

    order_no: str
    code: str
    message: str = ""
    up_order_no: str = ""
    amount: str = ""
    data: Any = {}
    channel_no: str = ""
    timestamp: int = 0
    sign: str = ""
    cards: Any = None


def signature(fields: Mapping[str, object], secret: bytes) -> str:
    """HMAC-SHA256 over `name=value` of every field but sign, sorted by name, joined by `&`."""
    flat: dict[str, str] = {}
    for name, value in fields.items():
        if isinstance(value, Mapping):
            inner = cast("Mapping[str, object]", value)
            flat.update({f"{name}.{key}": _text(one) for key, one in inner.items()})
        elif name != "sign":
            flat[name] = _text(value)
    text = "&".join(f"{name}={flat[name]}" for name in sorted(flat))
    return hmac.new(secret, text.encode(), hashlib.sha256).hexdigest()


def _text(value: object) -> str:
    """A value as it is signed: what is nested is compact JSON."""
    return msgspec.json.encode(value).decode() if isinstance(value, list | dict) else str(value)
