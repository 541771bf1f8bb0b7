"""A small OTLP receiver: what a collector gets over gRPC, kept by trace."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from grpc import aio
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as pb
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as pb_grpc


@dataclass(frozen=True)
class Span:
    """One span, and the process it came from."""

    service: str
    replica: str
    name: str
    span_id: str
    parent_id: str
    links: tuple[str, ...]
    attributes: dict[str, Any]


@dataclass
class Receiver:
    """What was exported so far."""

    endpoint: str = ""
    traces: dict[str, list[Span]] = field(default_factory=lambda: defaultdict(list))

    async def Export(self, request: pb.ExportTraceServiceRequest, context: Any) -> Any:
        """The collector's only call."""
        for of_process in request.resource_spans:
            resource = _facts(of_process.resource.attributes)
            for span in (one for scope in of_process.scope_spans for one in scope.spans):
                self.traces[span.trace_id.hex()].append(
                    Span(
                        resource["service.name"],
                        resource["service.instance.id"],
                        span.name,
                        span.span_id.hex(),
                        span.parent_span_id.hex(),
                        tuple(link.trace_id.hex() for link in span.links),
                        _facts(span.attributes),
                    )
                )
        return pb.ExportTraceServiceResponse()


def _facts(attributes: Any) -> dict[str, Any]:
    return {one.key: one.value.string_value or one.value.int_value for one in attributes}


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """A receiver on a free port of this machine."""
    receiver, server = Receiver(), aio.server()
    pb_grpc.add_TraceServiceServicer_to_server(receiver, server)
    port = server.add_insecure_port("127.0.0.1:0")
    receiver.endpoint = f"http://127.0.0.1:{port}"
    await server.start()
    try:
        yield receiver
    finally:
        await server.stop(None)
