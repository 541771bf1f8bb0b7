"""What the servicers share: messages from rows by name, and the checks of a message's shape."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, Final, TypeVar

from google.protobuf.message import Message

from shoudan_order.refusals import FieldInvalid
from shoudan_order.store.nonces import CallNonce

M = TypeVar("M", bound=Message)
NUM_MAX: Final = 1_000
KEY_CHARS_MAX: Final = 64
URL_CHARS_MAX: Final = 2_048
NONCE_CHARS_MIN: Final = 16
NONCE_KEEP_S_MAX: Final = 7 * 86_400


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


def call_nonce(channel_no: str, given: Any) -> CallNonce | FieldInvalid | None:
    """The nonce of a write, None of an unsigned one, or why it is none."""
    if not given.call_id and not given.nonce:
        return None
    if problem := text_problem((("nonce", given.nonce, NONCE_CHARS_MIN, KEY_CHARS_MAX),), ""):
        return problem
    if given.call_id < 1 or not 1 <= given.keep_s <= NONCE_KEEP_S_MAX:
        return FieldInvalid("nonce", f"a call_id, and keep_s of 1 to {NONCE_KEEP_S_MAX}")
    return CallNonce(channel_no, given.nonce, given.call_id, given.keep_s)


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
