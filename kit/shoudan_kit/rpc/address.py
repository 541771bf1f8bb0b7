"""The setting that says where a service is called."""

from __future__ import annotations

from typing import Any

from pydantic import Field


def address(service: str, port: int) -> Any:
    """The gRPC address of a service; the default is that of `shoudan up`."""
    return Field(
        f"127.0.0.1:{port}",
        description=f"gRPC address of the {service} service; dns:/// spreads calls over its replicas.",
        examples=[f"dns:///{service}:50051"],
    )
