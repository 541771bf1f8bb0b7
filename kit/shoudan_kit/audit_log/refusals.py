"""Changes that an operator may not make, in the audit log: written off the call's path, and never many.

A refused caller may call as often as it likes. Each caller fills at most BURST rows at once and RATE_PER_S
more for each second, all together at most WAITING_MAX that wait to be written; what is beyond is counted.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from shoudan_kit import metrics
from shoudan_kit.audit_log import store
from shoudan_kit.audit_log.entries import AuditRow, Entry, Origin, row_of, who
from shoudan_kit.clock import Clock
from shoudan_kit.db.pool import Database
from shoudan_kit.ids import IdMaker
from shoudan_kit.limits.rates import Rates
from shoudan_kit.rpc.callers import current_method
from shoudan_kit.rpc.refusal import Refusal
from shoudan_kit.rpc.rights import changes

RATE_PER_S: Final = 1 / 60
BURST: Final = 20
WAITING_MAX: Final = 1_000

DROPPED_TOTAL: Final = metrics.counter(
    "audit_log_refusals_dropped_total",
    "Refused changes that are not in the audit log, because their caller had too many.",
)


class Refusals:
    """The refused changes of one process."""

    def __init__(self, database: Database, ids: IdMaker, origin: Origin, clock: Clock) -> None:
        self._database, self._ids, self._origin, self._clock = database, ids, origin, clock
        self._rates = Rates(RATE_PER_S, BURST)
        self._rows: deque[AuditRow] = deque()
        self._some = asyncio.Event()

    def note(self, refusal: Refusal) -> None:
        """Record that the call in progress was refused, if an operator wanted to change something."""
        caller, method = who(), current_method()
        if caller.kind != "operator" or not changes(method.rpartition("/")[2]):
            return
        within = self._rates.take(caller.ref, self._clock.monotonic())
        if not within or len(self._rows) >= WAITING_MAX:
            DROPPED_TOTAL().inc()
            return
        entry = Entry("method", method, after=refusal.metadata, outcome="refused")
        self._rows.append(row_of(self._origin, entry))
        self._some.set()

    async def write(self) -> None:
        """Write what waits."""
        self._some.clear()
        rows = list(self._rows)
        if not rows:
            return
        async with self._database.begin() as db:
            await store.insert(db, self._ids, rows)
        for _ in rows:
            self._rows.popleft()

    async def run(self) -> None:
        """Write whatever is noted; what fails is tried again with the next."""
        while True:
            await self.write()
            await self._some.wait()
