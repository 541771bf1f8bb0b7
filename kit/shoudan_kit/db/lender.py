"""Lends the connections of a pool: those in use at once are bounded, free ones are taken without a step."""

from __future__ import annotations

import asyncio
from typing import Final

from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.util import greenlet_spawn

from shoudan_kit.db.text_statements import FastConnection

ACQUIRE_S: Final = 3.0


class Lender:
    """At most `size` connections of an engine, the one given back last is lent first.

    SQLAlchemy opens and closes them. Its own checkout, reset and return cost more than the statements
    between, so a connection stays checked out there as long as it is usable.
    """

    def __init__(self, engine: AsyncEngine, size: int) -> None:
        self._engine = engine
        self._places = asyncio.Semaphore(size)
        self._free: list[FastConnection] = []
        self._generation = 0  # connections of an earlier one are closed instead of lent again
        self.lent = 0

    async def take(self) -> FastConnection:
        """A usable connection. Raises sqlalchemy's TimeoutError after ACQUIRE_S, and what opening raises."""
        if self._places.locked():
            try:
                async with asyncio.timeout(ACQUIRE_S):
                    await self._places.acquire()
            except TimeoutError:
                raise PoolTimeout(f"no connection came free in {ACQUIRE_S} s") from None
        else:
            await self._places.acquire()
        try:
            connection = self._usable() or await self._opened()
        except BaseException:
            self._places.release()
            raise
        self.lent += 1
        return connection

    def give_back(self, connection: FastConnection) -> None:
        """Take it back; what is open, spent or of an earlier generation is closed."""
        self.lent -= 1
        if self._lendable(connection):
            self._free.append(connection)
        else:
            connection.abandon()
        self._places.release()

    def retire(self) -> None:
        """Close the connections that exist now, each at its next use or return."""
        self._generation += 1

    async def dispose(self) -> None:
        """Close what is free; what is lent is closed when it comes back."""
        self.retire()
        free, self._free = self._free, []
        for connection in free:
            await connection.close()

    def _usable(self) -> FastConnection | None:
        while self._free:
            connection = self._free.pop()
            if self._lendable(connection):
                return connection
            connection.abandon()
        return None

    def _lendable(self, connection: FastConnection) -> bool:
        return connection.usable and connection.generation == self._generation

    async def _opened(self) -> FastConnection:
        generation = self._generation  # of before: what is retired while it opens is not new
        sync = await greenlet_spawn(self._engine.sync_engine.connect)
        return FastConnection(self._engine, sync, generation)
