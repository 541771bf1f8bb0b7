"""The settings of what a process is called in logs and metrics, and of its spans."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from typing import ClassVar
from urllib.parse import urlsplit

from pydantic import BaseModel, Field
from pydantic_settings import SettingsConfigDict

from shoudan_kit.tls.hops import is_loopback


class TraceFields(BaseModel):
    """What every process has; a part of ProcessSettings."""

    # The library declares it the same way: its settings narrow the type of the model's.
    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict()  # pyright: ignore[reportIncompatibleVariableOverride]

    replica: str = Field(
        "",
        pattern=r"^[A-Za-z0-9._:-]{0,64}$",
        description="Name of this process in log lines and metrics; <host>:<process number> unless given.",
        examples=["order-2"],
    )
    trace_endpoint: str = Field(
        "",
        pattern=r"^(https?://[^/\s@?#]+:[0-9]{1,5})?$",
        description="OpenTelemetry collector spans are sent to (OTLP over gRPC); without it none are made.",
        examples=["https://collector:4317"],
    )
    trace_ratio: float = Field(
        0.01,
        ge=0,
        le=1,
        description="Share of requests whose spans are recorded; the gateway decides for all services.",
    )
    trace_queue_max: int = Field(
        2_048,
        ge=64,
        le=65_536,
        description="Spans waiting for the collector; more are dropped: one that is away costs nothing.",
    )


def replica_name(given: str) -> str:
    """The name of this process: as given, else of its host and number."""
    return given or f"{socket.gethostname()}:{os.getpid()}"


def endpoint_mistakes(endpoint: str, profile: str) -> Iterator[str]:
    """Spans name orders and channels: in prod they leave this machine by TLS alone."""
    host = urlsplit(endpoint).hostname or ""
    if profile == "prod" and endpoint.startswith("http://") and not is_loopback(host):
        yield f"trace_endpoint: {host} is not on this machine: write https://"
