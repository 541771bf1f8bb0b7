"""The traces of what is worked on now: set where work begins, read where something is written or called.

Work on a batch belongs to many requests. What is recorded of them is found by key, such as an order's number.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar, Token
from dataclasses import dataclass
from itertools import islice
from typing import Final, TypeAlias

from shoudan_kit import log
from shoudan_kit.tracing.trace import REQUEST_ID, TRACEPARENT, Trace, begun, of_text, parsed

TRACES: Final = "shoudan-traces"  # metadata of a batch call
ITEM: Final = "#"  # before the position of an item that has no key yet
CARRIED_MAX: Final = 256  # traces of one call or task; the gateway's largest batch is smaller
TASK_TRACES_MAX: Final = 32  # sampled traces of one task that works on many keys
LOGGED_MAX: Final = 8  # request ids that a log line of a batch names
KNOWN_MAX: Final = 10_000  # sampled traces that a process remembers by key

_KEY: Final = re.compile(r"[#A-Za-z0-9._:-]{0,64}")

Metadata = tuple[tuple[str, str], ...]


class Carried:
    """The traces of one piece of work by key; `sole` when it belongs to one request alone."""

    __slots__ = ("by_key", "sole", "stored")

    def __init__(
        self, by_key: dict[str, Trace], sole: Trace | None = None, *, stored: bool = False
    ) -> None:
        """`stored`: the request's own transaction, whose rows name it whether it is sampled or not."""
        self.by_key, self.sole, self.stored = by_key, sole, stored

    def of(self, key: str | None) -> Trace | None:
        """The trace of a key, else the sole one."""
        return self.by_key.get(key, self.sole) if key else self.sole

    def sampled(self) -> dict[str, Trace]:
        """Those that are recorded."""
        found = {key: one for key, one in self.by_key.items() if one.sampled}
        if self.sole is not None and self.sole.sampled and not found:
            found[""] = self.sole
        return found


Tokens: TypeAlias = tuple[Token[Carried | None], Token[dict[str, str] | None] | None]

_carried: ContextVar[Carried | None] = ContextVar("shoudan_carried", default=None)
# Work that outlives the call or task that began it, such as a queue to a supplier: sampled ones only.
_known: Final[dict[str, Trace]] = {}


@dataclass(frozen=True, slots=True)
class Hops:
    """Work that begins: its traces, and what each came from, for the spans recorded at its end."""

    carried: Carried
    recorded: Sequence[tuple[Trace, Trace]]  # of sampled traces: where it came from, and this hop


def entered(
    by_key: Mapping[str, Trace], sole: Trace | None = None, *, stored: bool = False
) -> Hops:
    """Begin work on these: sampled traces get a hop of their own, and are remembered by their key."""
    hops: dict[Trace, Trace] = {}
    if sole is not None:
        sole = _hop(hops, sole)
    named: dict[str, Trace] = {}
    for key, parent in by_key.items():
        trace = named[key] = _hop(hops, parent)
        if trace.sampled and not key.startswith(ITEM):
            remember(key, trace)
    return Hops(Carried(named, sole, stored=stored), list(hops.items()))


def _hop(hops: dict[Trace, Trace], parent: Trace) -> Trace:
    """The hop that follows; one for all keys of the same trace, and no other where nothing is recorded."""
    if not parent.sampled:
        return parent
    trace = hops.get(parent)
    if trace is None:
        trace = hops[parent] = parent.child()
    return trace


def received(request_id: str, traceparent: str, traces: str) -> Hops | None:
    """The work of a call with this metadata; None when it carries nothing readable."""
    sole: Trace | None = None
    parent = parsed(traceparent) if traceparent else None
    if parent is not None:
        trace_id, span_id, sampled = parent
        sole = Trace(request_id or trace_id, trace_id, span_id, sampled)
    elif request_id:
        _, sole = begun((), (request_id,), sampled=False)
    by_key = unpacked(traces) if traces else {}
    return entered(by_key, sole, stored=True) if sole is not None or by_key else None


@contextmanager
def carrying(carried: Carried) -> Generator[None]:
    """Work on these for the length of a block."""
    tokens = begin(carried)
    try:
        yield
    finally:
        end(tokens)


def begin(carried: Carried) -> Tokens:
    """Work on these until `end`; log lines carry the request id of a sole one, of a batch the first ids."""
    sole, bound = carried.sole, None
    if sole is not None:
        bound = log.bind(request_id=sole.request_id)
    elif carried.by_key:
        first = dict.fromkeys(one.request_id for one in islice(carried.by_key.values(), LOGGED_MAX))
        bound = log.bind(request_ids=" ".join(first))
    return _carried.set(carried), bound


def end(tokens: Tokens) -> None:
    """Undo one `begin`."""
    token, bound = tokens
    if bound is not None:
        log.unbind(bound)
    _carried.reset(token)


def remember(key: str, trace: Trace) -> None:
    """Find a sampled trace by its key in this process; at the bound the oldest is forgotten."""
    if trace.sampled and key:
        _known.pop(key, None)
        if len(_known) >= KNOWN_MAX:
            _known.pop(next(iter(_known)))
        _known[key] = trace


def current() -> Trace | None:
    """The trace of what is worked on, when that is one request alone."""
    carried = _carried.get()
    return carried.sole if carried is not None else None


def name_item(index: int, key: str) -> None:
    """An item of the batch in work has got its key: from now on its trace is found by it."""
    carried = _carried.get()
    if carried is None:
        return
    trace = carried.of(f"{ITEM}{index}")
    if trace is not None:
        carried.by_key[key] = trace
        remember(key, trace)


def trace_of(key: str | None) -> Trace | None:
    """The trace of a key: of what is worked on, else one that this process remembers."""
    carried = _carried.get()
    found = carried.of(key) if carried is not None else None
    return found or (_known.get(key) if key else None)


def stored_of(key: str | None) -> str | None:
    """What a row about a key stores; None without a trace.

    One that is not sampled is stored by the request's own transaction alone: later steps would repeat it in
    every row, which is a tenth of an order's bytes.
    """
    trace = trace_of(key)
    return None if trace is None else _stored(trace)


def _stored(trace: Trace) -> str | None:
    carried = _carried.get()
    return trace.text if trace.sampled or (carried is not None and carried.stored) else None


def packed(traces: Mapping[str, Trace], most: int = CARRIED_MAX) -> str:
    """Traces by key as one text, at most `most`; `unpacked` reads it.

    A key that a header cannot hold is left out.
    """
    named = ((key, one) for key, one in traces.items() if _KEY.fullmatch(key))
    return ",".join(f"{key}={one.text}" for key, one in islice(named, most))


def unpacked(text: str) -> dict[str, Trace]:
    """What `packed` or `Trace.text` wrote, the latter under an empty key; what is unreadable is left out."""
    found: dict[str, Trace] = {}
    for part in text.split(",", CARRIED_MAX)[:CARRIED_MAX]:
        key, separator, rest = part.rpartition("=")
        trace = of_text(rest if separator else part)
        if trace is not None:
            found[key] = trace
    return found


def of_new_task(
    order_no: str | None, keys: Iterable[str] | None = None
) -> tuple[Mapping[str, Trace], str | None]:
    """The traces of a task about `order_no`, or about many `keys`, and what its row stores of them."""
    if keys is not None:
        found = {key: one for key in keys if (one := trace_of(key)) is not None and one.sampled}
        if found:
            return found, packed(found, TASK_TRACES_MAX)
    trace = trace_of(order_no)
    return ({}, None) if trace is None else ({order_no or "": trace}, _stored(trace))


def call_metadata() -> Metadata:
    """What a call made now carries: all of a sole request, of a batch the sampled ones."""
    carried = _carried.get()
    if carried is None:
        request_id = log.context("request_id")
        return ((REQUEST_ID, request_id),) if request_id else ()
    if carried.sole is not None:
        return metadata_of(carried.by_key, carried.sole)
    sampled = carried.sampled()
    return ((TRACES, packed(sampled, TASK_TRACES_MAX)),) if sampled else ()


def metadata_of(by_key: Mapping[str, Trace], sole: Trace | None) -> Metadata:
    """The metadata of a call for one request, or for the items of a batch."""
    if sole is None:
        return ((TRACES, packed(by_key)),) if by_key else ()
    lone: Metadata = ((REQUEST_ID, sole.request_id), (TRACEPARENT, sole.traceparent))
    named = {key: one for key, one in by_key.items() if key and one.sampled}
    return (*lone, (TRACES, packed(named, TASK_TRACES_MAX))) if named else lone
