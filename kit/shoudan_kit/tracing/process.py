"""What a process calls itself, and where its log lines and spans go: set once, before it opens anything."""

from __future__ import annotations

from typing import Any

from shoudan_kit import log, metrics
from shoudan_kit.tls.identity import Identity
from shoudan_kit.tracing import spans
from shoudan_kit.tracing.settings import replica_name


def observe(service: str, settings: Any) -> None:
    """Name this process in its log lines, metrics and spans; `settings` are its ProcessSettings."""
    replica = replica_name(settings.replica)
    log.setup(service, settings.log_level, masked=settings.masked, replica=replica)
    metrics.name_process(service, replica)
    files = settings.tls_files
    spans.setup(settings, service, replica, Identity(files) if files is not None else None)
