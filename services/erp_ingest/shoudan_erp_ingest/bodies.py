"""Reads the JSON of a push: forgiving about shapes, strict about what is ambiguous or unbounded."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import NoReturn, TypeAlias

from shoudan_erp_ingest.refusals import Why

BYTES_MAX = 2 * 2**20
DEPTH_MAX = 32
OBJECTS_MAX = 50_000  # 1 000 documents with 50 lines each
ITEMS_MAX = 1_000


class Literal(str):
    """A JSON number as it was written, so that no digit is lost on the way."""

    __slots__ = ()


Json: TypeAlias = "str | bool | list[Json] | dict[str, Json] | None"
Object: TypeAlias = Mapping[str, Json]


class Unreadable(ValueError):
    """What is wrong with a push, and where: a path of documented names and indices."""

    def __init__(self, where: str, why: Why) -> None:
        super().__init__(f"{where}: {why}")
        self.where, self.why = where, why


# A text without an end takes everything to the end: no second look, so time stays linear.
_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)
_SAFE_KEY = re.compile(r"[A-Za-z][A-Za-z_]{0,63}")


def read(body: bytes) -> Json:
    """The value of a body. Numbers come as Literal. Raises Unreadable."""
    if len(body) > BYTES_MAX:
        raise Unreadable("body", Why.TOO_LARGE)
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unreadable(f"byte {error.start}", Why.NOT_UTF8) from None
    # Counting is cheap, the exact look is not: only bodies with many brackets can be too deep.
    brackets = text.count("{") + text.count("[")
    if brackets > DEPTH_MAX:
        _check_depth(text)
    if brackets > OBJECTS_MAX:
        raise Unreadable("body", Why.TOO_MANY)
    value = _parse(text)
    if "\\u" in text:
        _check_texts(value)
    return value


def _parse(text: str) -> Json:
    try:
        value: Json = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise Unreadable(f"char {error.pos}", Why.NOT_JSON) from None
    except RecursionError:
        raise Unreadable("body", Why.TOO_DEEP) from None
    return value


def _check_depth(text: str) -> None:
    """Depth and number of objects, before the parser would recurse."""
    depth = 0
    for found in _BRACKETS.finditer(text):
        mark = found[0]
        if mark in "[{":
            depth += 1
            if depth > DEPTH_MAX:
                raise Unreadable(f"char {found.start()}", Why.TOO_DEEP)
        elif mark in "]}":
            depth -= 1


def _check_texts(value: Json) -> None:
    """Escapes may hide what UTF-8 or PostgreSQL cannot hold. Only called when there are escapes."""
    for where, text in _texts(value, ""):
        if "\0" in text:
            raise Unreadable(where or "body", Why.NUL)
        try:
            text.encode()
        except UnicodeEncodeError:
            raise Unreadable(where or "body", Why.LONE_SURROGATE) from None


def _texts(value: Json, where: str) -> Iterator[tuple[str, str]]:
    """Every text with its path, keys included. The depth is bounded by read()."""
    if isinstance(value, str):
        yield where, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            path = joined(where, key)
            yield path, key
            yield from _texts(inner, path)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _texts(inner, f"{where}[{index}]")


def _pairs(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise Unreadable(shown(key), Why.DUPLICATE_KEY)
            seen.add(key)
    return made


def _not_finite(text: str) -> NoReturn:
    raise Unreadable(text.lstrip("-"), Why.NOT_JSON)


_DECODER = json.JSONDecoder(
    object_pairs_hook=_pairs, parse_float=Literal, parse_int=Literal, parse_constant=_not_finite
)


def shown(key: str) -> str:
    """A key fit for answers and logs: a plain name, or `?`, because keys may hold anything."""
    return key if _SAFE_KEY.fullmatch(key) else "?"


def joined(where: str, key: str) -> str:
    """The path one level down."""
    return f"{where}.{shown(key)}" if where else shown(key)
