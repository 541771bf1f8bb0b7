"""Advancing the clock of a running system: what would come in minutes comes at once."""

from __future__ import annotations

from collections.abc import Sequence

from shoudan.core.v1 import operations_service_pb2 as core
from shoudan.core.v1 import operations_service_pb2_grpc as core_grpc
from shoudan_cli.system import System
from tests.poll import eventually

SERVICES = ("order", "delivery")


async def turn(system: System, seconds: int, services: Sequence[str] = SERVICES) -> None:
    """The databases' clock goes `seconds` ahead of the real one; every process has followed afterwards."""
    clients = system.clients()
    try:
        for service in services:
            stub = core_grpc.OperationsServiceStub
            request = core.AdvanceClockRequest(shift_s=seconds)
            await clients.call(service, stub, "AdvanceClock", request)
        for service in services:

            async def followed(service: str = service) -> bool:
                answer = await clients.call(
                    service, core_grpc.OperationsServiceStub, "GetClock", core.GetClockRequest()
                )
                return not any(one.sessions_behind for one in answer.clocks)

            await eventually(followed, 60)
    finally:
        await clients.close()
