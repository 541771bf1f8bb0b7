"""One writer per channel stores its outcomes in batches, independent of all other channels."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass

from shoudan_delivery.store.rows import Outcome
from shoudan_kit import log
from shoudan_kit.db.errors import Unavailable
from shoudan_kit.db.pool import retry
from shoudan_kit.process.shutdown import cancel_all

BUSY_S = 0.05
AWAY_S = 0.5
CLOSE_S = 10

_logger = log.get_logger("result_writers")

Write = Callable[[Sequence[Outcome]], Awaitable[None]]
_Waiting = tuple[Outcome, asyncio.Future[None] | None]


@dataclass(frozen=True, slots=True)
class WriterRules:
    """How many outcomes one transaction takes, and how long they are gathered while more may come."""

    batch_max: int
    linger_s: float


class ResultWriter:
    """One channel's outcomes: enqueued at any time, stored by `write` in batches, in the order given."""

    def __init__(self, name: str, write: Write, rules: WriterRules) -> None:
        self._name, self._write, self._rules = name, write, rules
        self._waiting: list[_Waiting] = []
        self._wake = asyncio.Event()
        self._whole = asyncio.Event()
        # Deliveries queued or in flight: with none, no other outcome can join the batch.
        self.in_progress: Callable[[], int] = lambda: 1
        self._loop: asyncio.Task[None] | None = None
        self._closing = False

    async def aclose(self) -> None:
        """Write what is there, then stop."""
        self._closing = True
        self._wake.set()
        if self._loop is not None:
            await asyncio.wait({self._loop}, timeout=CLOSE_S)
            await cancel_all([self._loop])

    @property
    def waiting(self) -> int:
        """Outcomes not stored yet."""
        return len(self._waiting)

    def enqueue(self, outcome: Outcome) -> None:
        """Store this soon. If the process dies first, the delivery stays 30 and is queried."""
        self._add(outcome, None)

    async def write(self, outcome: Outcome) -> None:
        """Store this; returns once it is committed."""
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._add(outcome, written)
        await written

    def _add(self, outcome: Outcome, written: asyncio.Future[None] | None) -> None:
        self._waiting.append((outcome, written))
        self._wake.set()
        if len(self._waiting) >= self._rules.batch_max or not self.in_progress():
            self._whole.set()
        if self._loop is None:
            # In a context of its own: it outlives the call or task that brought its first outcome.
            self._loop = asyncio.get_running_loop().create_task(
                self._write_forever(), name=f"results {self._name}", context=Context()
            )

    async def _write_forever(self) -> None:
        loop = asyncio.get_running_loop()
        rules, written_at, size = self._rules, -BUSY_S, 0
        while not (self._closing and not self._waiting):
            if not self._waiting:
                self._wake.clear()
                await self._wake.wait()
            # While answers arrive in bursts they are gathered into a batch; a lone one is stored at once.
            busy = size > 1 and loop.time() - written_at < BUSY_S
            if busy:
                await self._gather()
            batch, self._waiting = (
                self._waiting[: rules.batch_max],
                self._waiting[rules.batch_max :],
            )
            written_at, size = loop.time(), len(batch)
            if batch and not await self._try(batch):
                self._waiting = batch + self._waiting
                await asyncio.sleep(0 if self._closing else AWAY_S)
                if self._closing:
                    return

    async def _gather(self) -> None:
        """Until a batch is full, nothing more is under way, or `linger_s` is over."""
        self._whole.clear()
        if len(self._waiting) < self._rules.batch_max and self.in_progress():
            with suppress(TimeoutError):
                async with asyncio.timeout(self._rules.linger_s):
                    await self._whole.wait()

    async def _try(self, batch: list[_Waiting]) -> bool:
        """Write a batch, or its halves if it cannot be written; False when the database is away."""
        try:
            await retry(lambda: self._write([outcome for outcome, _ in batch]))
        except (Unavailable, OSError, TimeoutError):
            return False
        except Exception as error:
            if len(batch) > 1:
                middle = len(batch) // 2
                return await self._try(batch[:middle]) and await self._try(batch[middle:])
            _logger.exception("finding_lost", order_no=batch[0][0].order_no)
            if (written := batch[0][1]) is not None and not written.done():
                written.set_exception(error)
            return True
        for _, written in batch:
            if written is not None and not written.done():
                written.set_result(None)
        return True


class ResultWriters:
    """One writer per channel and service class, made on first use."""

    def __init__(self, write: Write, rules: WriterRules) -> None:
        self._write, self._rules = write, rules
        self._writers: dict[tuple[str, int], ResultWriter] = {}

    def of(self, channel_no: str, service_class: int) -> ResultWriter:
        """The writer of a channel; channels are configured, so they are few."""
        key = (channel_no, service_class)
        writer = self._writers.get(key)
        if writer is None:
            name = f"{channel_no}/{service_class}"
            writer = self._writers[key] = ResultWriter(name, self._write, self._rules)
        return writer

    async def aclose(self) -> None:
        """Write what is there, all channels at the same time."""
        await asyncio.gather(*(writer.aclose() for writer in self._writers.values()))
