"""OpenTelemetry: spans as its libraries want them, and their exporter. Imported when an endpoint is set."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Final

import grpc
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, TraceFlags
from opentelemetry.trace.status import Status, StatusCode

from shoudan_kit import metrics
from shoudan_kit.tls.identity import Identity
from shoudan_kit.tracing.trace import Trace

_KINDS: Final = {
    "server": SpanKind.SERVER,
    "client": SpanKind.CLIENT,
    "consumer": SpanKind.CONSUMER,
}
_SCOPE: Final = InstrumentationScope("shoudan")
_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)


def exporter(endpoint: str, timeout_s: float, identity: Identity | None) -> SpanExporter:
    """To a collector: plaintext for http://, TLS for https://, with this process's certificate if any."""
    insecure = endpoint.startswith("http://")
    credentials = None
    if not insecure and identity is not None:
        files = identity.material
        credentials = grpc.ssl_channel_credentials(files.ca, files.key, files.cert)
    made = OTLPSpanExporter(
        endpoint=endpoint, insecure=insecure, credentials=credentials, timeout=timeout_s
    )
    return _Counted(made)


class _Counted(SpanExporter):
    """Counts the spans that the collector did not get."""

    def __init__(self, inner: SpanExporter) -> None:
        self._inner = inner

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """The library's interface; called in its thread."""
        result = self._inner.export(spans)
        outcome = "exported" if result is SpanExportResult.SUCCESS else "lost"
        metrics.SPANS_TOTAL(outcome).inc(len(spans))
        return result

    def shutdown(self) -> None:
        """The library's interface."""
        self._inner.shutdown()


def processor(
    to: SpanExporter, queue_max: int, export_max: int, every_ms: float
) -> BatchSpanProcessor:
    """A bounded queue with a thread that exports it; beyond the bound the oldest spans are dropped."""
    return BatchSpanProcessor(to, queue_max, every_ms, min(export_max, queue_max))


def maker(service: str, replica: str, links_max: int) -> Callable[..., ReadableSpan]:
    """What makes ended spans of this process."""
    names = {"service.name": f"shoudan-{service}", "service.instance.id": replica}
    resource = Resource(names)

    def made(
        name: str,
        kind: str,
        trace: Trace,
        parent: Trace | None,
        began_ns: int,
        batch: Iterable[Trace],
        failed: str,
        attributes: Mapping[str, Any],
    ) -> ReadableSpan:
        others = (one for one in batch if one.trace_id != trace.trace_id)
        return ReadableSpan(
            name,
            context=_context(trace),
            parent=_context(parent) if parent is not None else None,
            resource=resource,
            attributes={"shoudan.request_id": trace.request_id, **attributes},
            links=[Link(_context(one)) for one in islice(others, links_max)],
            kind=_KINDS[kind],
            status=Status(StatusCode.ERROR, failed) if failed else Status(StatusCode.OK),
            start_time=began_ns,
            end_time=time.time_ns(),
            instrumentation_scope=_SCOPE,
        )

    return made


def _context(trace: Trace) -> SpanContext:
    return SpanContext(
        int(trace.trace_id, 16), int(trace.span_id, 16), is_remote=True, trace_flags=_SAMPLED
    )
