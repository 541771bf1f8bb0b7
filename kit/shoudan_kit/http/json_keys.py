"""Finds a key that a JSON object has twice; parsers keep the last value, so no two readers need agree."""

from __future__ import annotations

import json
from typing import Any, Final

import msgspec

NAME_CHARS_MAX: Final = 64


class _Repeated(Exception):
    """Ends the reading at the first repeated key."""


def _object(members: list[tuple[str, Any]]) -> None:
    seen: set[str] = set()
    for name, _ in members:
        if name in seen:
            raise _Repeated(name)
        seen.add(name)


def repeated_key(document: bytes) -> str | None:
    """The first key found twice in one object at any depth, cut to 64 characters; None for none.

    Raises ValueError or RecursionError for what is no JSON.
    """
    try:
        # Numbers stay text: nothing is computed here, and no length of digits is too long.
        json.loads(document, object_pairs_hook=_object, parse_int=str, parse_float=str)
    except _Repeated as found:
        return str(found)[:NAME_CHARS_MAX]
    return None


def json_object(body: bytes) -> dict[str, Any] | None:
    """The members of a JSON object; None for anything else, and for one with a repeated key."""
    try:
        found = msgspec.json.decode(body, type=dict[str, Any])
        repeated = repeated_key(body)
    except (ValueError, RecursionError):
        return None
    return found if repeated is None else None
