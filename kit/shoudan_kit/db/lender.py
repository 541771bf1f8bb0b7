"""Lends the connections of a pool: those in use at once are bounded, free ones are taken without a step."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from contextlib import suppress
from typing import Final

from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.util import greenlet_spawn

from shoudan_kit.db.text_statements import FastConnection
from shoudan_kit.limits.slots import SlotBook
from shoudan_kit.process.polling import until

ACQUIRE_S: Final = 3.0
OLD_S: Final = 15.0  # longer than any transaction may take
LOOK_S: Final = 0.01
IDLE_S: Final = (
    0.5  # a connection that others have not used for so long is closed for who needs one
)
OWN_S: Final = (
    0.5  # how long a shard waits for its own connections before another's is closed for it
)


class Places:
    """The connections that a process may have to one server, shared by the lenders of its shards.

    A connection is of one shard, and opening one costs as much as a hundred statements. So when all places
    are taken, a shard that has a connection waits for it a while; another's idle one is closed for it only
    then, or when that one has been idle for as long, or when it has none at all.
    """

    def __init__(self, size: int) -> None:
        self._size, self._used = size, 0
        self._free = asyncio.Semaphore(size)
        self._lenders: list[Lender] = []
        self.slots = SlotBook()

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

    def may_open(self, lender: Lender) -> bool:
        """Whether `lender`, whose connections are all lent, opens another instead of waiting for one."""
        if len(self._lenders) == 1 or not (lender.lent or lender.opening):
            return True
        if self._open < self._size:
            return True
        idle_since = time.monotonic() - IDLE_S
        return any(one.idle_since < idle_since for one in self._lenders)

    def make_room(self, lender: Lender) -> None:
        """Before another connection of `lender`: where all places are taken, an idle one of others goes."""
        if self._open > self._size:
            others = [one for one in self._lenders if one is not lender]
            min(others, key=lambda one: one.idle_since).close_idlest()

    @property
    def _open(self) -> int:
        """Connections that are open or being opened."""
        return self._used + sum(one.idle for one in self._lenders)


class Lender:
    """At most as many connections of an engine as there are places, the one given back last is lent first.

    SQLAlchemy opens and closes them. Its own checkout, reset and return cost more than the statements
    between, so a connection stays checked out there as long as it is usable.
    """

    def __init__(self, engine: AsyncEngine, places: Places) -> None:
        self._engine, self._places = engine, places
        places.join(self)
        self._free: list[tuple[FastConnection, float]] = []  # with when it came back
        self._waiting: deque[asyncio.Future[FastConnection | None]] = deque()
        self._generation = 0  # connections of an earlier one are closed instead of lent again
        self.lent = self.opening = 0  # in use, and on the way to be
        self._out: Counter[int] = Counter()  # both, by generation

    async def take(self) -> FastConnection:
        """A usable connection. Raises sqlalchemy's TimeoutError after ACQUIRE_S, and what opening raises."""
        since = self._generation
        self._out[since] += 1
        try:
            connection = await self._taken()
            self._out[connection.generation] += 1
            return connection
        finally:
            self._out[since] -= 1

    async def _taken(self) -> FastConnection:
        connection: FastConnection | None = None
        handed = False
        if not self._free and not self._places.may_open(self):
            with suppress(TimeoutError):
                connection, handed = await self._handed_over(), True
        self.opening += 1
        if not handed:
            try:
                await self._places.take()
            except BaseException:
                self.opening -= 1
                raise
        try:
            connection = connection or self._usable() or await self._opened()
        except BaseException:
            self._hand_on(None)
            raise
        finally:
            self.opening -= 1
        self.lent += 1
        return connection

    def give_back(self, connection: FastConnection) -> None:
        """Take it back, for who waits first; what is open, spent or of an earlier generation is closed."""
        self.lent -= 1
        self._out[connection.generation] -= 1
        if self._lendable(connection):
            self._hand_on(connection)
        else:
            connection.abandon()
            self._hand_on(None)

    @property
    def idle(self) -> int:
        """Connections that wait to be lent."""
        return len(self._free)

    @property
    def idle_since(self) -> float:
        """When the one came back that was not used for the longest time; infinity when none waits."""
        return self._free[0][1] if self._free else float("inf")

    def close_idlest(self) -> None:
        """Close the connection that was not used for the longest time, if one waits."""
        if self._free:
            self._free.pop(0)[0].abandon()

    def retire(self) -> None:
        """Close the connections that exist now, each at its next use or return."""
        self._generation += 1

    def close_retired(self) -> None:
        """Close what waits of earlier generations at once."""
        waiting, self._free = self._free, []
        for one in waiting:
            if self._lendable(one[0]):
                self._free.append(one)
            else:
                one[0].abandon()

    async def all_new(self, besides: int) -> None:
        """Until no more than `besides` connections of earlier generations are in use, OLD_S at most."""

        async def gone() -> bool:
            return sum(self._out[one] for one in self._out if one < self._generation) <= besides

        await until(gone, OLD_S, every_s=LOOK_S)

    async def dispose(self) -> None:
        """Close what is free; what is lent is closed when it comes back."""
        self.retire()
        free, self._free = self._free, []
        for connection, _ in free:
            await connection.close()

    async def _handed_over(self) -> FastConnection | None:
        """The next connection that comes back, with its place; None: the place alone. Raises TimeoutError."""
        waiter: asyncio.Future[FastConnection | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            async with asyncio.timeout(OWN_S):
                return await waiter
        except BaseException:
            if waiter.done() and not waiter.cancelled():  # handed over in the moment of giving up
                self._hand_on(waiter.result())
            raise

    def _hand_on(self, connection: FastConnection | None) -> None:
        """A connection and its place, or a place alone, to who waits first; else they are free."""
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return
        if connection is not None:
            self._free.append((connection, time.monotonic()))
        self._places.give_back()

    def _usable(self) -> FastConnection | None:
        while self._free:
            connection, _ = self._free.pop()
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
