"""Reading a supplier's JSON answer in the shapes such answers come in; what could mean two things is none."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

import msgspec

DEPTH_MAX: Final = 8
FACTS_MAX: Final = 500
# What a server calls a charset, and how we read it. GB18030 holds GBK and GB2312.
CHARSETS: Final = {
    "utf-8": "utf-8",
    "utf8": "utf-8",
    "us-ascii": "utf-8",
    "gbk": "gb18030",
    "cp936": "gb18030",
    "gb2312": "gb18030",
    "gb18030": "gb18030",
    "big5": "big5",
    "utf-16": "utf-16",
    "utf-16le": "utf-16-le",
    "utf-16be": "utf-16-be",
}
BOMS: Final = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))


class Ambiguous(ValueError):
    """The answer cannot be read in one way only."""


def fields(headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
    """The object an answer holds: texts, None, objects and lists; numbers as they are written.

    Raises ValueError (Ambiguous among them) for what is no single JSON object.
    """
    text = decoded(headers, body).strip()
    try:
        value = json.loads(
            text,
            object_pairs_hook=_once,
            parse_int=str,
            parse_float=str,
            parse_constant=_no_constant,
        )
    except RecursionError:
        raise Ambiguous("nested too deep") from None
    return _object(value)


def flat(value: object) -> dict[str, str]:
    """Further facts as texts: inner names after a dot, of a list of several after their number."""
    facts: dict[str, str] = {}
    only = _only(value)
    if isinstance(only, Mapping | list):
        _flatten("", cast("object", only), facts, 0)
    elif (alone := text_of(only)) not in {None, ""}:
        facts["data"] = alone or ""
    return facts


def text_of(value: object) -> str | None:
    """A scalar as JSON writes it; None for null. Raises Ambiguous for an object or a list."""
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()  # half a surrogate pair is no text
    raise Ambiguous("an object or list where a text is due")


def decoded(headers: Mapping[str, str], body: bytes) -> str:
    """The text: as its byte order mark, else its header says, else UTF-8, else GB18030."""
    for mark, charset in BOMS:
        if body.startswith(mark):
            return body[len(mark) :].decode(charset)
    named = charset_of(headers)
    # Every field that is judged is ASCII, which all of these but UTF-16 spell alike.
    for charset in dict.fromkeys((named, "utf-8", "gb18030")):
        try:
            return body.decode(charset)
        except UnicodeDecodeError:
            continue
    raise Ambiguous("no known charset")


def charset_of(headers: Mapping[str, str]) -> str:
    """The codec that the Content-Type names; UTF-8 for none and for an unknown one."""
    content_type = next((v for k, v in headers.items() if k.lower() == "content-type"), "")
    for part in content_type.split(";")[1:]:
        name, _, value = part.partition("=")
        if name.strip().lower() == "charset":
            return CHARSETS.get(value.strip().strip("\"'").lower(), "utf-8")
    return "utf-8"


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise Ambiguous("a name stands twice")
    return made


def _no_constant(name: str) -> object:
    raise Ambiguous(f"{name} is no JSON")


def _object(value: object) -> dict[str, Any]:
    only = _only(value)
    if not isinstance(only, dict):
        raise Ambiguous("not one object")
    return cast("dict[str, Any]", only)


def _only(value: object) -> object:
    """The element of a list of one; anything else as it is."""
    if not isinstance(value, list):
        return value
    elements = cast("list[object]", value)
    return elements[0] if len(elements) == 1 else elements or None


def inner(outer: Mapping[str, Any]) -> Mapping[str, Any]:
    """The object in `data`; empty when it holds none."""
    only = _only(outer.get("data"))
    return cast("Mapping[str, Any]", only) if isinstance(only, dict) else {}


def _flatten(name: str, value: object, facts: dict[str, str], depth: int) -> None:
    if depth > DEPTH_MAX or len(facts) > FACTS_MAX:
        raise Ambiguous("too many further facts")
    items: Sequence[tuple[object, object]] = ()
    if isinstance(value, dict):
        items = list(cast("dict[object, object]", value).items())
    elif isinstance(value, list):
        items = list(enumerate(cast("list[object]", value), 1))
    elif (text := text_of(value)) is not None:
        facts[name] = text
    for key, one in items:
        _flatten(f"{name}.{key}" if name else str(key), one, facts, depth + 1)


def as_signed(value: object) -> str:
    """A value as it stands in the text that is signed: null is empty, what is nested is compact JSON."""
    if isinstance(value, list | dict):
        return msgspec.json.encode(value).decode()
    return (
        str(value)
        if isinstance(value, int) and not isinstance(value, bool)
        else text_of(value) or ""
    )
