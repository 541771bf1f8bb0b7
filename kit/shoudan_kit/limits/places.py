"""Places whose number may change while they are used, as a share of a total does."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable


class Places:
    """`async with places:` waits until fewer than `size()` are taken. Those who wait come in order."""

    def __init__(self, size: Callable[[], int]) -> None:
        self._size = size
        self.taken = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def wanted(self) -> int:
        """Places that are taken or waited for."""
        return self.taken + self.waiting

    @property
    def waiting(self) -> int:
        """Those who wait for one."""
        return len(self._waiting)

    async def __aenter__(self) -> None:
        """Take one."""
        if not self._waiting and self.taken < self._size():
            self.taken += 1
            return
        mine = asyncio.get_running_loop().create_future()
        self._waiting.append(mine)
        try:
            await mine
        except asyncio.CancelledError:
            if mine.done() and not mine.cancelled():
                self._leave()  # it was given a place while it was cancelled
            elif mine in self._waiting:
                self._waiting.remove(mine)
            raise

    async def __aexit__(self, *_: object) -> None:
        """Give it back."""
        self._leave()

    def _leave(self) -> None:
        self.taken -= 1
        self.wake()

    def wake(self) -> None:
        """There may be more places than before."""
        while self._waiting and self.taken < self._size():
            first = self._waiting.popleft()
            if not first.done():
                self.taken += 1
                first.set_result(None)
