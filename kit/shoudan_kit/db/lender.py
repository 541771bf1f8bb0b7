"""Lends the connections of a pool: those in use at once are bounded, free ones are taken without a step."""

from __future__ import annotations

import asyncio
from typing import Final

from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.util import greenlet_spawn

from shoudan_kit.db.text_statements import FastConnection

ACQUIRE_S: Final = 3.0


class Places:
    """The connections that a process may have to one server, shared by the lenders of its shards."""

    def __init__(self, size: int) -> None:
        self._size, self._used = size, 0
        self._free = asyncio.Semaphore(size)
        self._lenders: list[Lender] = []

    def join(self, lender: Lender) -> None:
        """Another lender of the same server."""
        self._lenders.append(lender)

    async def take(self) -> None:
        """One place. Raises sqlalchemy's TimeoutError after ACQUIRE_S."""
        if self._free.locked():
            try:
                async with asyncio.timeout(ACQUIRE_S):
                    await self._free.acquire()
            except TimeoutError:
                raise PoolTimeout(f"no connection came free in {ACQUIRE_S} s") from None
        else:
            await self._free.acquire()
        self._used += 1

    def give_back(self) -> None:
        """A place that was taken."""
        self._used -= 1
        self._free.release()

    def make_room(self, lender: Lender) -> None:
        """Before another connection of `lender`: where all places are taken, an idle one of others goes."""
        if self._used + sum(one.idle for one in self._lenders) > self._size:
            others = [one for one in self._lenders if one is not lender]
            max(others, key=lambda one: one.idle).close_idlest()


class Lender:
    """At most as many connections of an engine as there are places, the one given back last is lent first.

    SQLAlchemy opens and closes them. Its own checkout, reset and return cost more than the statements
    between, so a connection stays checked out there as long as it is usable.
    """

    def __init__(self, engine: AsyncEngine, places: Places) -> None:
        self._engine, self._places = engine, places
        places.join(self)
        self._free: list[FastConnection] = []
        self._generation = 0  # connections of an earlier one are closed instead of lent again
        self.lent = 0

    async def take(self) -> FastConnection:
        """A usable connection. Raises sqlalchemy's TimeoutError after ACQUIRE_S, and what opening raises."""
        await self._places.take()
        try:
            connection = self._usable() or await self._opened()
        except BaseException:
            self._places.give_back()
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
        self._places.give_back()

    @property
    def idle(self) -> int:
        """Connections that wait to be lent."""
        return len(self._free)

    def close_idlest(self) -> None:
        """Close the connection that was not used for the longest time, if one waits."""
        if self._free:
            self._free.pop(0).abandon()

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
        self._places.make_room(self)
        generation = self._generation  # of before: what is retired while it opens is not new
        sync = await greenlet_spawn(self._engine.sync_engine.connect)
        return FastConnection(self._engine, sync, generation)
