"""Repeats of a pay or refund that another process is calling for: they wait for the result it stores."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, Generic, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.batch import Coalescer
from shoudan_kit.service import App
from shoudan_pay.config import PaySettings
from shoudan_pay.payserver.store import pays

LOOK_S_FIRST: Final = 0.05
LATE_S: Final = 1.0  # how late a call may begin, and its result be stored
LOOK_S_MAX: Final = (
    0.4  # how late a result may be reported; each look is one statement for all who wait
)

T = TypeVar("T")
Stored = tuple[T | None, datetime]


class Waiters(Generic[T]):
    """Looks of this process at rows another process may be about to end; concurrent ones share a statement.

    `asked_at` gives the moment a row's component was called if its answer may still be on its way, else
    None: nothing is waited for then.
    """

    def __init__(
        self,
        app: App[PaySettings],
        name: str,
        read: Callable[[AsyncConnection, Collection[str]], Awaitable[Mapping[str, T]]],
        asked_at: Callable[[T], datetime | None],
    ) -> None:
        self._app, self._read, self._asked_at = app, read, asked_at
        settings = app.settings
        self._call_s = timedelta(seconds=settings.component_timeout_s + LATE_S)
        self._look: Coalescer[str, Stored[T]] = Coalescer(
            self._stored,
            name=name,
            size_max=settings.pays_batch_max,
            waiting_max=settings.pays_waiting_max,
        )

    async def ended(self, numbers: Sequence[str], wait_s: float) -> dict[str, T]:
        """The rows once no call can end them any more, or when `wait_s` is over."""
        loop = asyncio.get_running_loop()
        until, pause_s = loop.time() + wait_s, LOOK_S_FIRST
        seen: dict[str, T] = {}
        left: list[str] = list(numbers)
        while left:
            answers: list[Stored[T]] = await asyncio.gather(*map(self._look, left))
            found = list(zip(left, answers, strict=True))
            seen |= {number: row for number, (row, _) in found if row is not None}
            left = [number for number, (row, now) in found if self._pending(row, now)]
            if loop.time() + pause_s >= until:
                break
            if left:
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, LOOK_S_MAX)
        return seen

    async def aclose(self) -> None:
        """Finish the looks that were begun."""
        await self._look.aclose()

    def _pending(self, row: T | None, now: datetime) -> bool:
        asked_at = None if row is None else self._asked_at(row)
        return asked_at is not None and now < asked_at + self._call_s

    async def _stored(self, numbers: Sequence[str]) -> Sequence[Stored[T] | Exception]:
        async with self._app.db.connect() as db:
            found = await self._read(db, set(numbers))
            now = await pays.now(db)
        return [(found.get(number), now) for number in numbers]
