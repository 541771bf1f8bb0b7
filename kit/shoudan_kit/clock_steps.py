"""Letting time pass in a test system, step by step, for the callers of its services. Decision 0075."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from shoudan.core.v1 import operations_service_pb2 as core
from shoudan_kit.process.polling import until

LONG_S: Final = 3_600
TAIL_S: Final = 1_800  # longer than anything looks for what another service has done
TAIL_STEP_S: Final = 360
FOLLOW_S_MAX: Final = 60.0
LOOK_S: Final = 0.1
SETTLE_S_MAX: Final = 20.0  # for what is due at a step
TASKS_SHOWN: Final = 1_000
UNITS_S: Final = {"w": 7 * 86_400, "d": 86_400, "h": 3_600, "m": 60, "s": 1}

# Calls a method of a service's OperationsService: service, method, request.
Call = Callable[[str, str, Any], Awaitable[Any]]


class Behind(Exception):
    """Processes of these services do not follow the clock."""

    def __init__(self, services: Sequence[str]) -> None:
        super().__init__(", ".join(services))
        self.services = tuple(services)


def span(seconds: int) -> str:
    """`1d 2h`, for people."""
    words: list[str] = []
    for unit in "dhms":
        count, seconds = divmod(seconds, UNITS_S[unit])
        words += [f"{count}{unit}"] if count else []
    return " ".join(words) or "0s"


def moments(from_s: int, by_s: int, step_s: int = 0) -> list[int]:
    """How far ahead the clock is after each step; `step_s` 0: one jump, the last half hour in small steps."""
    end_s = from_s + by_s
    if step_s:
        return [*range(from_s + step_s, end_s, step_s), *([end_s] if by_s else [])]
    if by_s < LONG_S:
        return [end_s] if by_s else []
    return list(range(end_s - TAIL_S, end_s + 1, TAIL_STEP_S))


def ahead_s(clocks: Mapping[str, Sequence[core.Clock]]) -> set[int]:
    """How far the clocks are ahead; more than one when an advance was interrupted."""
    return {one.shift_s for ones in clocks.values() for one in ones}


class Clocks:
    """The clocks of some services, which go together."""

    def __init__(self, services: Sequence[str], call: Call) -> None:
        self._services, self._call = tuple(services), call

    async def look(self) -> Mapping[str, list[core.Clock]]:
        """How far each is ahead. Raises what a call raises."""
        request = core.GetClockRequest()
        asked = (self._call(name, "GetClock", request) for name in self._services)
        found = await asyncio.gather(*asked)
        return {name: list(one.clocks) for name, one in zip(self._services, found, strict=True)}

    async def to(self, shift_s: int) -> None:
        """All services at once, and until each of their processes has followed. Raises Behind."""
        request = core.AdvanceClockRequest(shift_s=shift_s)
        calls = (self._call(name, "AdvanceClock", request) for name in self._services)
        await asyncio.gather(*calls)
        behind: list[str] = []

        async def followed() -> bool:
            behind[:] = [
                name
                for name, ones in (await self.look()).items()
                if any(one.sessions_behind for one in ones)
            ]
            return not behind

        if not await until(followed, FOLLOW_S_MAX, every_s=LOOK_S):
            raise Behind(behind)

    async def settled(self, shift_s: int) -> None:
        """Until nothing is due, SETTLE_S_MAX at most: what waits for an outside party may stay so."""

        async def nothing_due() -> bool:
            return not await self._due(shift_s)

        await until(nothing_due, SETTLE_S_MAX, every_s=LOOK_S)

    async def _due(self, shift_s: int) -> bool:
        now = datetime.now(UTC) + timedelta(seconds=shift_s)
        statuses = [core.TASK_STATUS_WAITING]
        request = core.ListTasksRequest(statuses=statuses, page_size=TASKS_SHOWN)
        for name in self._services:
            answer = await self._call(name, "ListTasks", request)
            for task in answer.tasks:
                due = task.next_execute_time
                if task.HasField("next_execute_time") and due.ToDatetime(UTC) <= now:
                    return True
        return False
