"""A request as it is followed: its id and its W3C trace context, read from headers or made."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from typing import Final

import msgspec

TRACEPARENT: Final = "traceparent"
REQUEST_ID: Final = "x-request-id"
REQUEST_ID_CHARS_MAX: Final = 64
TEXT_CHARS_MAX: Final = 55 + 1 + REQUEST_ID_CHARS_MAX
SAMPLED: Final = 1  # the flag

_PARENT: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_COMMON: Final = re.compile("00-([0-9a-f]{32})-([0-9a-f]{16})-0([01])")
_NOT_IN_AN_ID: Final = re.compile(r"[^A-Za-z0-9._-]+")
_NO_TRACE: Final = "0" * 32
_NO_SPAN: Final = "0" * 16
_LOOKED_AT_MAX: Final = (
    256  # characters of a header; what a caller writes may be as long as it likes
)


class Trace(msgspec.Struct, frozen=True, gc=False):
    """One hop of a request: which request, which trace, which span, and whether spans are recorded."""

    request_id: str
    trace_id: str
    span_id: str
    sampled: bool = False

    @property
    def traceparent(self) -> str:
        """The W3C header."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"

    @property
    def text(self) -> str:
        """The header, and the request id where it is another than the trace's; `of_text` reads it."""
        if self.request_id == self.trace_id:
            return self.traceparent
        return f"{self.traceparent};{self.request_id}"

    def child(self) -> Trace:
        """The next hop; the same when nothing is recorded, so that following costs nothing."""
        if not self.sampled:
            return self
        return Trace(self.request_id, self.trace_id, secrets.token_hex(8), True)


def begun(
    traceparents: Sequence[str], request_ids: Sequence[str], *, sampled: bool
) -> tuple[Trace | None, Trace]:
    """The trace of a request from outside: the caller's hop where it gave one, and ours.

    A `traceparent` that is malformed, or given twice, is ignored, and so is every flag: what is recorded is
    decided here, not by callers. A request id is cut to 64 characters of A-Za-z0-9._-; without one it is
    the trace's.
    """
    parent = parsed(traceparents[0]) if len(traceparents) == 1 else None
    if parent is None and not request_ids:
        made = secrets.token_hex(24)  # the common case: both ids of one reading
        return None, Trace(made[:32], made[:32], made[32:], sampled)
    trace_id = parent[0] if parent else secrets.token_hex(16)
    request_id = (cleaned(request_ids[0]) if request_ids else "") or trace_id
    caller = Trace(request_id, trace_id, parent[1]) if parent else None
    if caller is not None and not sampled:
        return caller, caller
    return caller, Trace(request_id, trace_id, secrets.token_hex(8), sampled)


def parsed(header: str) -> tuple[str, str, bool] | None:
    """Trace id, span id and flag of a `traceparent`; None when it is none (W3C Trace Context 2, §3.2)."""
    common = _COMMON.fullmatch(header)  # version 00 and one of our flags: four times as fast
    if common is not None:
        trace_id, span_id, flag = common.groups()
        return (
            None
            if trace_id == _NO_TRACE or span_id == _NO_SPAN
            else (trace_id, span_id, flag == "1")
        )
    found = _PARENT.fullmatch(header) if len(header) <= _LOOKED_AT_MAX else None
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == "ff" or trace_id == _NO_TRACE or span_id == _NO_SPAN:
        return None
    if version == "00" and more is not None:
        return None
    return trace_id, span_id, bool(int(flags, 16) & SAMPLED)


def cleaned(request_id: str) -> str:
    """A caller's request id as it may be logged and stored; empty when nothing of it is left."""
    return _NOT_IN_AN_ID.sub("", request_id[:_LOOKED_AT_MAX])[:REQUEST_ID_CHARS_MAX]


def of_text(text: str) -> Trace | None:
    """What `Trace.text` wrote; None for anything else."""
    header, _, request_id = text.partition(";")
    parent = parsed(header)
    if parent is None or (request_id and cleaned(request_id) != request_id):
        return None
    trace_id, span_id, sampled = parent
    return Trace(request_id or trace_id, trace_id, span_id, sampled)


def trace_id_of(text: str | None) -> str:
    """The trace id of a stored `Trace.text`; empty without one."""
    trace = of_text(text) if text else None
    return "" if trace is None else trace.trace_id
