"""A fair queue: many pieces of work that come at once are done a few per turn of the event loop, in order."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol


class Piece(Protocol):
    """Something that can be worked on."""

    def work(self) -> None:
        """Do it. Raises nothing."""
        ...


class FairQueue:
    """At most `most` pieces in a turn; the others wait for the next one, behind the other work.

    Without it a burst (hundreds of answers read in one turn) holds up whatever else the process does
    until the last of it is done.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, most: int) -> None:
        self._loop, self._most = loop, most
        self._left = most
        self._waiting: deque[Piece] = deque()
        self._called = False

    def take(self, piece: Piece) -> None:
        """Do it now if this turn has room, else in one of the next."""
        if not self._called:
            self._called = True
            self._loop.call_soon(self._next)
        if self._left and not self._waiting:
            self._left -= 1
            piece.work()
        else:
            self._waiting.append(piece)

    def _next(self) -> None:
        self._left = self._most
        while self._waiting and self._left:
            self._left -= 1
            self._waiting.popleft().work()
        self._called = bool(self._waiting)
        if self._called:
            self._loop.call_soon(self._next)
        else:
            self._left = self._most
