"""Every process of a test system follows the database's clock when it is advanced. Decision 0075.

A process that has a session of the old time is seen by all others, and none claims tasks before the last of
them has gone. A process lets its last one go only after its own leases hold by the new time.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Any, Final

from shoudan_kit import log, metrics
from shoudan_kit.clock import ShiftedClock
from shoudan_kit.db import clock_shift
from shoudan_kit.db.node_lease import NodeLease
from shoudan_kit.db.pool import Database
from shoudan_kit.tasks.worker import Worker

LOOK_EVERY_S: Final = 1.0
HURRY_S: Final = 0.05  # between looks while others are behind
BEHIND_S_MAX: Final = 30.0  # a process that has not followed by then has lost its leases, too

SHIFT: Final = metrics.gauge(
    "clock_shift_seconds", "How far the clock of a test system was advanced; absent in prod."
)

_log = log.get_logger("clock")


class ClockWatch:
    """Keeps the sessions, the clock and the leases of one shard of a process at the database's time."""

    def __init__(self, database: Database, clock: ShiftedClock, lease: NodeLease) -> None:
        self._database, self._clock, self._lease = database, clock, lease
        self._worker: Worker[Any] | None = None
        self._one_at_a_time = asyncio.Lock()
        self._turned_at = float("-inf")
        self.turnable = False

    async def begin(self) -> None:
        """Before anything else: a process that starts has the time of the others."""
        self.turnable = await clock_shift.turnable(self._database)
        if self.turnable:
            await self.follow()

    def serve(self, worker: Worker[Any]) -> None:
        """From now on its claims wait for processes that are behind."""
        self._worker = worker
        worker.claims = self._turned_at == float("-inf")

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            behind = await self.follow()
            await asyncio.sleep(HURRY_S if behind else LOOK_EVERY_S)

    async def follow(self) -> bool:
        """Take the database's time over; whether sessions of this service are still behind."""
        async with self._one_at_a_time:
            seen = await clock_shift.look(self._database)
            if seen.shift_s != self._clock.shift_s:
                await self._turn(seen.shift_s)
                seen = await clock_shift.look(self._database)
            waits = seen.behind > 0 and time.monotonic() < self._turned_at + BEHIND_S_MAX
            if self._worker is not None and not self._worker.claims and not waits:
                self._worker.claims = True
                self._worker.wake()
            return waits

    async def _turn(self, to_s: int) -> None:
        """Repeated when it fails half way."""
        jump_s = to_s - self._clock.shift_s
        if self._worker is not None:
            self._worker.claims = False
        if self._lease.node is not None:
            await self._lease.renew(ahead_s=jump_s)
        await self._database.turn(to_s, partial(self._renew, to_s, jump_s))
        self._turned_at = time.monotonic()
        SHIFT().set(to_s)
        _log.info("clock_advanced", shift_s=to_s, jump_s=jump_s)

    async def _renew(self, to_s: int, jump_s: int) -> None:
        self._clock.shift_s = to_s
        if self._worker is not None:
            await self._worker.carry_over(jump_s)
        if self._lease.node is not None:
            await self._lease.renew()
