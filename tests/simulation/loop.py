"""One thread, one virtual clock: an event loop on which whole processes run, and die at any callback.

Nothing here waits. When no callback is ready the clock goes to the next timer. What happens at the same
moment happens in the order in which it was asked for, and every delay is drawn from the seed, so that a run
is a function of its seed.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import sys
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, Final

CLOSINGS_MAX: Final = 20
START: Final = datetime(2026, 11, 2, 1, 0, tzinfo=UTC)


class Node:
    """One process: what it runs dies with it."""

    def __init__(self, loop: SimLoop, name: str) -> None:
        self.loop, self.name, self.alive = loop, name, True
        self.frozen_until = 0.0
        self.tasks: dict[asyncio.Task[Any], None] = {}
        self.at_death: list[Callable[[], None]] = []

    def soon(self, call: Callable[..., Any], *args: Any) -> None:
        """Call something inside of this process."""
        self.loop.add(self.loop.now, self, call, args, None)

    def later(self, delay_s: float, call: Callable[..., Any], *args: Any) -> None:
        """The same after a delay."""
        self.loop.add(self.loop.now + delay_s, self, call, args, None)

    def spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        """Run a coroutine inside of this process."""
        self.soon(self._begin, work)

    def _begin(self, work: Coroutine[Any, Any, Any]) -> None:
        self.loop.create_task(work).add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        """What a task raises that nobody waits for is a finding."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self.loop.failures.append(error)

    def freeze(self, seconds: float) -> None:
        """Stand still, as a SIGSTOP does; the world goes on."""
        self.frozen_until = self.loop.now + seconds

    def kill(self) -> None:
        """Die: no callback of it runs any more, and what it held at others is let go."""
        self.alive = False
        while self.tasks:  # what is closed may begin something at its end
            tasks, self.tasks = list(self.tasks), {}
            for task in tasks:
                task._log_destroy_pending = False
                self._close(task.get_coro())
        for call in self.at_death:
            call()

    def _close(self, coroutine: Any) -> None:
        """End it without a trace; what is left open would end whenever it is collected."""
        was, self.loop.node = self.loop.node, self
        running = events._get_running_loop()
        # What it begins at its end has a loop, and is dead there.
        events._set_running_loop(self.loop)
        try:
            for _ in range(CLOSINGS_MAX):
                try:
                    coroutine.close()
                    return
                except RuntimeError:
                    continue  # it awaits while it is closed
                except ValueError:  # it is what is running now
                    self.loop.add(self.loop.now, None, self._close, (coroutine,), None)
                    return
        finally:
            self.loop.node = was
            events._set_running_loop(running)


class _Handle(events.Handle):
    """A callback of a process."""

    __slots__ = ("args", "call", "context", "node")

    def __init__(
        self,
        node: Node | None,
        call: Callable[..., Any],
        args: tuple[Any, ...],
        context: contextvars.Context | None,
    ) -> None:
        self.node, self.call, self.args, self.context = node, call, args, context
        self._cancelled = False

    def cancel(self) -> None:
        self._cancelled = True

    def cancelled(self) -> bool:
        return self._cancelled

    def drop(self) -> None:
        """It is not called: what it would have begun never begins."""
        for one in self.args:
            if asyncio.iscoroutine(one):
                one.close()


class SimLoop(asyncio.AbstractEventLoop):
    """The event loop. `node` is the process whose callback runs."""

    def __init__(self) -> None:
        self.now = 0.0
        self.node: Node | None = None
        self.steps = 0
        self.failures: list[BaseException] = []
        self._ready: deque[_Handle] = deque()
        self._timers: list[tuple[float, int, _Handle]] = []
        self._count = 0
        self._moment_at, self._moment = 0.0, START

    @property
    def moment(self) -> datetime:
        """The wall clock of everything."""
        if self.now != self._moment_at:
            self._moment_at, self._moment = self.now, START + timedelta(seconds=self.now)
        return self._moment

    def add(
        self,
        when: float,
        node: Node | None,
        call: Callable[..., Any],
        args: tuple[Any, ...],
        context: contextvars.Context | None,
    ) -> _Handle:
        """Call something at a time."""
        handle = _Handle(node, call, args, context)
        if when <= self.now:
            self._ready.append(handle)
        else:
            self._count += 1
            heapq.heappush(self._timers, (when, self._count, handle))
        return handle

    def run(self, until: float) -> None:
        """Let everything happen up to that time."""
        old, hooks = events._get_running_loop(), sys.get_asyncgen_hooks()
        events._set_running_loop(self)
        sys.set_asyncgen_hooks(None, None)  # those of a loop around this one
        ready, timers = self._ready, self._timers
        try:
            while True:
                if not ready:
                    if not timers or timers[0][0] > until:
                        self.now = max(self.now, until)
                        return
                    self.now, _, handle = heapq.heappop(timers)
                    ready.append(handle)
                self._step(ready.popleft())
                if self.failures:
                    raise self.failures[0]
        finally:
            events._set_running_loop(old)
            sys.set_asyncgen_hooks(*hooks)

    def end(self) -> None:
        """Nothing is called any more."""
        for handle in (*self._ready, *(handle for _, _, handle in self._timers)):
            handle.drop()
        self._ready.clear()
        self._timers.clear()

    def _step(self, handle: _Handle) -> None:
        node = handle.node
        if handle._cancelled or (node is not None and not node.alive):
            handle.drop()
            return
        if node is not None and node.frozen_until > self.now:
            self._count += 1
            heapq.heappush(self._timers, (node.frozen_until, self._count, handle))
            return
        self.node = node
        self.steps += 1
        try:
            if handle.context is None:
                handle.call(*handle.args)
            else:
                handle.context.run(handle.call, *handle.args)
        finally:
            self.node = None

    # ------------------------------------------------------------ what asyncio asks of a loop
    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> Any:
        return self.add(self.now, self.node, callback, args, context)

    def call_later(self, delay: float, callback: Any, *args: Any, context: Any = None) -> Any:
        return self.add(self.now + delay, self.node, callback, args, context)

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> Any:
        return self.add(when, self.node, callback, args, context)

    def time(self) -> float:
        return self.now

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(
        self, coro: Any, *, name: str | None = None, context: Any = None
    ) -> asyncio.Task[Any]:
        task, node = asyncio.Task(coro, loop=self, name=name, context=context), self.node
        if node is not None and not node.alive:  # the dead begin nothing
            coro.close()
            task._log_destroy_pending = False
        elif node is not None:
            node.tasks[task] = None
            task.add_done_callback(lambda done: node.tasks.pop(done, None))
        return task

    def call_exception_handler(self, context: Any) -> None:
        error = context.get("exception")
        # A future that nobody asks any more was waited for by a process that died at that moment.
        forgotten = str(context.get("message", "")).startswith("Future exception")
        if error is not None and not forgotten:
            self.failures.append(error)


async def pause(node: Node, delay_s: float) -> None:
    """Wait so long inside of a process."""
    if delay_s <= 0:
        return
    done: asyncio.Future[None] = node.loop.create_future()
    node.later(delay_s, _wake, done)
    await done


def _wake(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)
