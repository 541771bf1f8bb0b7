"""Spans: recorded when they end, exported over OTLP by a thread of their own."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Sequence
from typing import Any, Final, Literal, Protocol

from shoudan_kit.tls.identity import Identity
from shoudan_kit.tracing.trace import Trace

Kind = Literal["server", "client", "consumer"]

LINKS_MAX: Final = 8  # others of the same batch
EXPORT_S: Final = 5.0  # of one export; a collector that is away holds up its own thread alone
EXPORT_MAX: Final = 512  # spans of one export
EVERY_MS: Final = 1_000


class TraceSettings(Protocol):
    """The knobs; ProcessSettings has them."""

    @property
    def trace_endpoint(self) -> str: ...
    @property
    def trace_ratio(self) -> float: ...
    @property
    def trace_queue_max(self) -> int: ...


class _Recorder:
    """The processor that spans are handed to, and the share of requests that is recorded."""

    def __init__(self) -> None:
        self.processor: Any = None
        self.made: Any = None
        self.ratio = 0.0


_recorder: Final = _Recorder()


def sampled() -> bool:
    """Whether the spans of a request that begins now are recorded."""
    return _recorder.processor is not None and random.random() < _recorder.ratio


def now_ns() -> int:
    """When a span begins."""
    return time.time_ns()


def record(
    name: str,
    kind: Kind,
    hops: Sequence[tuple[Trace | None, Trace]],
    began_ns: int,
    *,
    failed: str = "",
    **attributes: str | int,
) -> None:
    """Record work that ends now: in each of its traces a span, linked to the others of the same batch."""
    processor = _recorder.processor
    if processor is None or not hops:
        return
    batch = [trace for _, trace in hops]
    for parent, trace in hops:
        if trace.sampled:
            made = _recorder.made(name, kind, trace, parent, began_ns, batch, failed, attributes)
            processor.on_end(made)


def setup(
    settings: TraceSettings, service: str, replica: str, identity: Identity | None = None
) -> None:
    """Export spans from now on, when an endpoint is set; the libraries are imported only then."""
    if not settings.trace_endpoint:
        return
    from shoudan_kit.tracing import otlp

    # The library logs each try; what could not be exported is counted instead.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    exporter = otlp.exporter(settings.trace_endpoint, EXPORT_S, identity)
    use(otlp.processor(exporter, settings.trace_queue_max, EXPORT_MAX, EVERY_MS), service, replica)
    _recorder.ratio = settings.trace_ratio


def use(processor: Any, service: str, replica: str) -> None:
    """Hand spans to this processor, every request's."""
    from shoudan_kit.tracing import otlp

    _recorder.made = otlp.maker(service, replica, LINKS_MAX)
    _recorder.processor, _recorder.ratio = processor, 1.0


def close() -> None:
    """Export what is queued, within EXPORT_S, and record nothing more."""
    processor, _recorder.processor = _recorder.processor, None
    if processor is not None:
        processor.shutdown()
