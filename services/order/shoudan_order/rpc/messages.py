"""What the servicers share: messages from rows by name, and the checks of a message's shape."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, Final, TypeVar

from google.protobuf.message import Message

from shoudan_order.refusals import FieldInvalid

M = TypeVar("M", bound=Message)
NUM_MAX: Final = 1_000
KEY_CHARS_MAX: Final = 64
URL_CHARS_MAX: Final = 2_048


def filled(made: type[M], row: Any, **more: Any) -> M:
    """A message of what `row`, a mapping or a dataclass, has under the names of its fields, and of `more`."""
    there: dict[str, Any]
    if isinstance(row, Mapping):
        there = {name: row[name] for name in _fields(made) if name in row}
    else:
        there = {name: getattr(row, name) for name in _fields(made) if hasattr(row, name)}
    return made(**(there | more))


@cache
def _fields(made: type[Message]) -> tuple[str, ...]:
    return tuple(made.DESCRIPTOR.fields_by_name)


def text_problem(
    texts: Iterable[tuple[str, str, int, int]], notify_url: str
) -> FieldInvalid | None:
    """The first (name, text, least, most) out of bounds or not printable, or a URL that is none."""
    for name, text, least, most in (*texts, ("notify_url", notify_url, 0, URL_CHARS_MAX)):
        if not least <= len(text) <= most or not text.isprintable():
            return FieldInvalid(name, f"{least} to {most} printable characters")
    if notify_url and not notify_url.lower().startswith(("http://", "https://")):
        return FieldInvalid("notify_url", "an http or https URL")
    return None
