"""Advancing the clock of a test system from the console: one at a time, as the operator who asked for it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, Final

from google.protobuf.message import Message

from shoudan.core.v1.operations_service_pb2_grpc import OperationsServiceStub
from shoudan_console.backend import SERVICES, As, Away, Backend, Rpc
from shoudan_console.sessions import Session, Sessions
from shoudan_console.system_clock import SystemClock
from shoudan_kit import log
from shoudan_kit.clock_steps import Behind, Clocks, ahead_s, moments
from shoudan_kit.rpc.refusal import Refused

TURNED: Final = tuple(name for name in SERVICES if name != "identity")  # tokens are of real time
CALL_S: Final = 10.0  # a process lets calls of the old time end first

_log = log.get_logger("console")


def operation(service: str, method: str) -> Rpc:
    """A method of a service's OperationsService."""
    return Rpc(service, OperationsServiceStub, f"shoudan.core.v1.OperationsService/{method}")


ADVANCE: Final = operation("order", "AdvanceClock")


class Advances:
    """What this process advances now. Any replica sees it go on: the clock itself says how far it is."""

    def __init__(self, backend: Backend, sessions: Sessions, clock: SystemClock) -> None:
        self._backend, self._sessions, self._clock = backend, sessions, clock
        self._task: asyncio.Task[None] | None = None
        self.failed = ""  # why the last one stopped on its way

    @property
    def running(self) -> bool:
        """Whether one is on its way here."""
        return self._task is not None and not self._task.done()

    async def begin(self, session: Session, address: str, from_s: int, by_s: int) -> bool:
        """Let time pass from so far ahead; False when one is on its way, or the clock is elsewhere by now.

        The first step is made before this returns, so that what may not be done is refused here. Raises
        Refused, Away, Behind.
        """
        if self.running:
            return False
        steps = moments(from_s, by_s)
        clocks = Clocks(TURNED, self._caller(session, address))
        there = ahead_s(await clocks.look())
        if max(there, default=0) != from_s or not steps:
            return False  # this form was sent before, or another operator was faster
        self.failed = ""
        if len(there) > 1:
            await clocks.to(from_s)  # completes one that was interrupted
        await clocks.to(steps[0])
        self._clock.forget()
        self._task = asyncio.create_task(self._go(clocks, steps), name="advance clock")
        return True

    async def stop(self) -> None:
        """Leave the clock where it is."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _go(self, clocks: Clocks, steps: list[int]) -> None:
        try:
            for at, shift_s in enumerate(steps):
                if at:
                    await clocks.to(shift_s)
                    self._clock.forget()
                await clocks.settled(shift_s)
        except (Away, Refused, Behind) as error:
            self.failed = str(error)
            _log.warning("advance_stopped", why=self.failed)

    def _caller(self, session: Session, address: str) -> Any:
        """Calls with the session's own token, which is renewed on the way; they end with the session."""

        async def call(service: str, method: str, request: Message) -> Any:
            known = await self._sessions.find(session.cookie, address, use=False)
            token = known.tokens.access if known is not None else ""
            who, rpc = As(token, address), operation(service, method)
            return await self._backend.call(rpc, request, who, CALL_S)

        return call
