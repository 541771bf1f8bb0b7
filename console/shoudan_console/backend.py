"""Calls to the services as the operator of a session: rights and audit logs are theirs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.message import Message
from grpc import StatusCode, aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from shoudan_kit import log
from shoudan_kit.rpc.caller import Caller
from shoudan_kit.rpc.messages import AUTHORIZATION, BEARER, CALLED_FROM
from shoudan_kit.rpc.refusal import Refused, refused_from_rpc
from shoudan_kit.rpc.rights import right_of

SERVICES: Final = ("order", "pay", "delivery", "erp_ingest", "identity", "finance")
HEALTH_S: Final = 1.0
# What a service has said, also without a reason of its own.
ANSWERS: Final = (
    StatusCode.PERMISSION_DENIED,
    StatusCode.UNAUTHENTICATED,
    StatusCode.NOT_FOUND,
    StatusCode.INVALID_ARGUMENT,
    StatusCode.FAILED_PRECONDITION,
)

_log = log.get_logger("console")


@dataclass(frozen=True, slots=True)
class Rpc:
    """One method of a service: `Rpc("order", OrderServiceStub, "shoudan.order.v1.OrderService/GetOrder")`."""

    service: str
    stub: Callable[[aio.Channel], Any]
    path: str

    @property
    def method(self) -> str:
        return self.path.rpartition("/")[2]

    def allows(self, roles: frozenset[str], *, partner: bool = False) -> bool:
        """Whether the contract lets an operator with these roles call it, or a partner's account."""
        service, _, method = self.path.partition("/")
        kind = "partner" if partner else "operator"
        return right_of(service, method).allows(Caller(kind, roles=roles))


@dataclass(frozen=True, slots=True)
class As:
    """Who calls: an operator's token, and the address of the browser."""

    token: str = ""
    address: str = ""

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        found = ((AUTHORIZATION, BEARER + self.token),) if self.token else ()
        return (*found, (CALLED_FROM, self.address)) if self.address else found


class Away(Exception):
    """A service did not answer in time, or failed: its part of the page says so."""

    def __init__(self, service: str, what: str) -> None:
        super().__init__(f"{service}: {what}")
        self.service = service


class Backend:
    """The services, each call with an end within `call_s`."""

    def __init__(self, channel: Callable[[str], aio.Channel], call_s: float) -> None:
        self._channel, self._call_s = channel, call_s

    async def call(self, rpc: Rpc, request: Message, who: As, within_s: float | None = None) -> Any:
        """The answer, within `call_s` unless more is given.

        Raises Refused with the service's reason, Away without an answer.
        """
        method = getattr(rpc.stub(self._channel(rpc.service)), rpc.method)
        try:
            return await method(request, timeout=within_s or self._call_s, metadata=who.metadata)
        except aio.AioRpcError as error:
            raise _said(rpc, error) from None

    async def stream(
        self, rpc: Rpc, request: Message, who: As, timeout_s: float
    ) -> AsyncIterator[Any]:
        """The answers of a call with many. Raises as `call` does."""
        method = getattr(rpc.stub(self._channel(rpc.service)), rpc.method)
        try:
            async for answer in method(request, timeout=timeout_s, metadata=who.metadata):
                yield answer
        except aio.AioRpcError as error:
            raise _said(rpc, error) from None

    async def serving(self, service: str) -> bool:
        """Whether the service says that it serves."""
        stub: Any = health_pb2_grpc.HealthStub(self._channel(service))
        try:
            answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=HEALTH_S)
        except aio.AioRpcError:
            return False
        return answer.status == health_pb2.HealthCheckResponse.SERVING

    async def health(self) -> dict[str, bool]:
        """Which services serve."""
        found = await asyncio.gather(*map(self.serving, SERVICES))
        return dict(zip(SERVICES, found, strict=True))


def _said(rpc: Rpc, error: aio.AioRpcError) -> Exception:
    if (refused := refused_from_rpc(error)) is not None:
        if refused.code not in (StatusCode.UNAVAILABLE, StatusCode.DEADLINE_EXCEEDED):
            return refused
    elif error.code() in ANSWERS:
        return Refused(error.code(), rpc.service, error.code().name)
    _log.warning("service_away", service=rpc.service, method=rpc.method, code=error.code().name)
    return Away(rpc.service, error.code().name)
