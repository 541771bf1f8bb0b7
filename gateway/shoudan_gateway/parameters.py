"""From bytes to one flat table of parameters: query, form and JSON, repeated keys refused."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, cast
from urllib.parse import unquote_plus

from shoudan_gateway.protocol import GatewayError, Malformed, ParameterError, Problem

BODY = "body"  # what is wrong when no single parameter is; partners have words for both
QUERY = "query"
WHERE_QUERY = "请求参数"
FIELDS_MAX = 64
DEPTH_MAX = 32
FORM = "application/x-www-form-urlencoded"
_NO_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_BRACKETS = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)


def pairs(text: str) -> dict[str, str]:
    """The parameters of a query string or form. Raises Malformed on a repeated key or bad UTF-8."""
    found: dict[str, str] = {}
    if not text:
        return found
    parts = text.split("&", FIELDS_MAX + 1)
    if len(parts) > FIELDS_MAX:
        raise Malformed(QUERY, ParameterError.UNREADABLE, f"不能超过{FIELDS_MAX}个")
    for part in parts:
        name, _, value = part.partition("=")
        if not name:
            continue
        if "%" in part or "+" in part or not part.isascii():
            name, value = _decoded(name), _decoded(value)
        if name in found:
            raise Malformed(name, ParameterError.REPEATED)
        found[name] = value
    return found


def _decoded(text: str) -> str:
    if "%" not in text and "+" not in text:
        return _clean(text)
    if _NO_ESCAPE.search(text):
        raise Malformed(QUERY, ParameterError.UNREADABLE, "含有无效的%编码")
    try:
        return unquote_plus(text, errors="strict")
    except UnicodeDecodeError:
        raise Malformed(QUERY, ParameterError.UNREADABLE, "不是UTF-8编码") from None


def _clean(text: str) -> str:
    """Raw bytes beyond ASCII reach us as surrogates when they are no UTF-8."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise Malformed(QUERY, ParameterError.UNREADABLE, "不是UTF-8编码") from None
    return text


def document(body: bytes) -> Any:
    """A JSON document, numbers kept as their text. Raises Malformed: depth, repeated keys, NaN, bad UTF-8."""
    if body.count(b"[") + body.count(b"{") > DEPTH_MAX and _depth(body) > DEPTH_MAX:
        raise Malformed(BODY, ParameterError.UNREADABLE, f"的JSON嵌套不能超过{DEPTH_MAX}层")
    try:
        return json.loads(
            body.decode(),
            object_pairs_hook=_object,
            parse_int=_Number,
            parse_float=_Number,
            parse_constant=_no_constant,
        )
    except (ValueError, RecursionError):
        raise Malformed(BODY, ParameterError.UNREADABLE, "不是有效的JSON") from None


class _Number(str):
    """The text of a JSON number, so that no digit is lost on the way to an amount."""

    __slots__ = ()


def _depth(body: bytes) -> int:
    """How deep the brackets outside of strings nest."""
    depth = deepest = 0
    for token in _BRACKETS.findall(body):
        if token in (b"[", b"{"):
            depth += 1
            deepest = max(deepest, depth)
        elif token in (b"]", b"}"):
            depth -= 1
    return deepest


def _object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(members)
    if len(found) != len(members):
        names = [name for name, _ in members]
        raise Malformed(next(n for n in names if names.count(n) > 1)[:64], ParameterError.REPEATED)
    return found


def _no_constant(word: str) -> NoReturn:
    raise ValueError(word)


def table(body: bytes) -> dict[str, str]:
    """The members of a flat JSON object as text; null counts as absent. Raises Malformed."""
    whole = document(body)
    if not isinstance(whole, dict):
        raise Malformed(BODY, ParameterError.UNREADABLE, "必须是JSON对象")
    members = cast("dict[str, Any]", whole)
    if len(members) > FIELDS_MAX:
        raise Malformed(BODY, ParameterError.UNREADABLE, f"的参数不能超过{FIELDS_MAX}个")
    return {_clean(name): _flat(name, v) for name, v in members.items() if v is not None}


def _flat(name: str, value: Any) -> str:
    if isinstance(value, str):
        return _clean(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    raise Malformed(name[:64], ParameterError.UNREADABLE, "不能是对象或数组")


def _form(body: bytes) -> dict[str, str]:
    try:
        return pairs(body.decode())
    except UnicodeDecodeError:
        raise Malformed(BODY, ParameterError.UNREADABLE, "不是UTF-8编码") from None


def merged(query: str, body: bytes, content_type: str) -> Mapping[str, str]:
    """All parameters of a request. What query and body both hold must be the same in both.

    Raises Malformed, and Problem for a body of another type.
    """
    asked = pairs(query)
    if not body:
        return asked
    sent = _reader(content_type.partition(";")[0].strip().lower(), body)(body)
    for name in asked.keys() & sent.keys():
        if asked[name] != sent[name]:
            raise Malformed(name, ParameterError.CONFLICTING, WHERE_QUERY)
    return {**asked, **sent}


def _reader(kind: str, body: bytes) -> Callable[[bytes], dict[str, str]]:
    """How a body is read, by its type; without one it is JSON when it begins like an object."""
    if kind == FORM:
        return _form
    if kind == "application/json" or kind.endswith("+json"):
        return table
    if kind in {"", "application/octet-stream"}:
        return table if body.lstrip()[:1] == b"{" else _form
    raise Problem(GatewayError.MEDIA_TYPE_UNKNOWN)
