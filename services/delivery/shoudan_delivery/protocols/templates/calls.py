"""Writes the calls of a template: fields filled, signed, and in the form the supplier reads."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final, cast
from urllib.parse import urlencode
from xml.etree import ElementTree as ET

import msgspec

from shoudan_delivery.protocols.messages import Call
from shoudan_delivery.protocols.templates.shape import Send, Template
from shoudan_delivery.protocols.templates.texts import filled
from shoudan_signing.recipe import BODY, sign

# Names in Python; GB18030 holds GBK, and a name outside of GBK is still written.
CODECS: Final[Mapping[str, str]] = {"utf-8": "utf-8", "gbk": "gb18030"}
_TYPES: Final[Mapping[str, str]] = {
    "json": "application/json",
    "form": "application/x-www-form-urlencoded",
    "xml": "text/xml",
}

_encode = msgspec.json.Encoder(decimal_format="number").encode


def call(template: Template, send: Send, url: str, known: Mapping[str, str], secret: bytes) -> Call:
    """The call, signed when there is a secret. ValueError for one that is no key, or a field no number."""
    codec = CODECS[template.charset]
    fields, headers = filled(send.fields, known), filled(send.headers, known)
    recipe = template.sign if secret else None
    body = _body(template, send, fields)
    if recipe is not None:
        signed = {**headers, **fields, BODY: body.decode(codec)}
        made = sign(recipe, signed if recipe.over == "listed" else fields, secret, codec)
        if recipe.header:
            headers[recipe.header] = made
        else:
            fields[recipe.field] = made
            body = _body(template, send, fields)
    if send.body == "query":
        joint = "&" if "?" in url else "?"
        return Call(send.method, f"{url}{joint}{body.decode('ascii')}", headers, b"")
    headers = {"Content-Type": f"{_TYPES[send.body]}; charset={template.charset}", **headers}
    return Call(send.method, url, headers, body)


def _body(template: Template, send: Send, fields: Mapping[str, str]) -> bytes:
    codec = CODECS[template.charset]
    if send.body in {"form", "query"}:
        return urlencode(fields, encoding=codec).encode("ascii")
    if send.body == "xml":
        root = ET.Element(send.root)
        _fill(root, _nested(fields))
        text = ET.tostring(root, encoding="unicode")
        return f'<?xml version="1.0" encoding="{template.charset}"?>{text}'.encode(codec)
    typed = {name: _number(text) if name in send.numbers else text for name, text in fields.items()}
    return _encode(_nested(typed)).decode().encode(codec)


def _number(text: str) -> Decimal:
    try:
        made = Decimal(text)
    except InvalidOperation:
        raise ValueError("a field that is to be a number is none") from None
    if not made.is_finite():
        raise ValueError("a field that is to be a number is none")
    return made


def _nested(fields: Mapping[str, object]) -> dict[str, Any]:
    """`head.user` stands in the object `head`."""
    made: dict[str, Any] = {}
    for name, value in fields.items():
        *outer, last = name.split(".")
        at = made
        for one in outer:
            at = at.setdefault(one, {})
        at[last] = value
    return made


def _fill(element: ET.Element, fields: Mapping[str, object]) -> None:
    for name, value in fields.items():
        inner = ET.SubElement(element, name)
        if isinstance(value, Mapping):
            _fill(inner, cast("Mapping[str, object]", value))
        else:
            inner.text = str(value)
