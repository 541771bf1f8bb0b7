"""How far the clock of the services was advanced, as they say themselves."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any, Final

from shoudan.core.v1 import operations_service_pb2 as pb
from shoudan.core.v1.operations_service_pb2_grpc import OperationsServiceStub
from shoudan_console.backend import As, Away, Backend, Rpc
from shoudan_console.system_time import keep_ahead
from shoudan_kit.rpc.refusal import Refused

KEEP_S: Final = 2.0
REFUSED_S: Final = 0.2
KEEP_FIXED_S: Final = 60.0  # a machine's clock stays one
ASK_S: Final = 0.5  # a page does not wait longer for it
ASKED: Final = "order"  # stands for all: they are advanced together


def get_clock(service: str) -> Rpc:
    """GetClock of a service."""
    return Rpc(service, OperationsServiceStub, "shoudan.core.v1.OperationsService/GetClock")


@dataclass(frozen=True, slots=True)
class Seen:
    """What the services said last. `turnable`: it is a test system."""

    turnable: bool = False
    shift_s: int = 0


class SystemClock:
    """Asks now and then, as the one who visits; a page that comes meanwhile shows what was said last."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._again_at = 0.0
        self._one_at_a_time = asyncio.Lock()
        self.seen, self.known = Seen(), False

    async def follow(self, who: As) -> None:
        """From here on this request has the system's time. Raises nothing."""
        if time.monotonic() >= self._again_at:
            async with self._one_at_a_time:
                if time.monotonic() >= self._again_at:
                    await self._look(who)
        keep_ahead(self.seen.shift_s)

    async def _look(self, who: As) -> None:
        self._again_at = time.monotonic() + KEEP_S
        try:
            await self.ask(who, ASK_S)
        except Away:
            return
        except Refused:  # it does not know this operator yet, or gives it nothing: another may know
            self._again_at = time.monotonic() + REFUSED_S

    async def ask(self, who: As, within_s: float | None = None) -> Seen:
        """What the services say now. Raises Refused, Away."""
        request = pb.GetClockRequest()
        answer: Any = await self._backend.call(get_clock(ASKED), request, who, within_s)
        clocks = list(answer.clocks)
        turnable = any(one.turnable for one in clocks)
        self.seen = Seen(turnable, max((one.shift_s for one in clocks), default=0))
        self._again_at = time.monotonic() + (KEEP_S if turnable else KEEP_FIXED_S)
        self.known = True
        return self.seen

    def forget(self) -> None:
        """Ask anew at the next page: it was advanced from here."""
        self._again_at = 0.0
