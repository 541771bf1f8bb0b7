"""Stopping within bounds: tasks are cancelled until they end, steps cut off, the process exits at last.

A process that crashes below Python leaves its stacks, too.
"""

from __future__ import annotations

import asyncio
import faulthandler
import os
import sys
import threading
import time
from collections.abc import Awaitable, Iterable
from typing import Any, Final

from shoudan_kit import log

CANCEL_S: Final = 5.0  # how long cancelled tasks may take in all
CANCEL_EVERY_S: Final = (
    0.5  # a cancellation can be swallowed (asyncio.wait_for does), so it is repeated
)
EXIT_LATE: Final = 70  # exit code of a process that did not stop in time; sysexits' EX_SOFTWARE

_log = log.get_logger("shutdown")


def show_crashes() -> None:
    """Write the stacks of all threads to stderr when a signal such as SIGSEGV ends the process."""
    faulthandler.enable(sys.stderr)


async def cancel_all(tasks: Iterable[asyncio.Future[Any]], within_s: float = CANCEL_S) -> int:
    """Cancel tasks, again and again until they end; gives how many had not ended after `within_s`.

    Never `gather` on cancelled tasks: one that swallowed its cancellation is waited for endlessly.
    """
    left = {task for task in tasks if not task.done()}
    end = time.monotonic() + within_s
    while left:
        for task in left:
            task.cancel()
        wait_s = min(CANCEL_EVERY_S, end - time.monotonic())
        if wait_s <= 0:
            names = sorted(getattr(task, "get_name", str)() for task in left)
            _log.error("tasks_not_cancelled", tasks=names)
            return len(left)
        done, left = await asyncio.wait(left, timeout=wait_s)
        for task in done:
            if not task.cancelled():
                task.exception()  # seen, so that the loop does not report it
    return 0


async def bounded(name: str, step: Awaitable[object], within_s: float) -> bool:
    """Run one step of a stop; when it takes longer or fails, say so and go on. Whether it succeeded."""
    task = asyncio.ensure_future(step)
    done, _ = await asyncio.wait({task}, timeout=within_s)
    if not done:
        _log.error("stop_step_late", step=name, seconds=round(within_s, 1))
        await cancel_all([task], min(within_s, 1.0))
        return False
    if error := task.exception():
        _log.error("stop_step_failed", step=name, exc_info=error)
        return False
    return True


def exit_after(seconds: float) -> None:
    """End the process after `seconds`, whatever its event loop does; its stacks go to stderr first.

    What is cut off is what kill -9 cuts off: committed work is safe, the rest is repeated by its key.
    """

    def end() -> None:
        _log.error("stop_late", seconds=seconds)
        faulthandler.dump_traceback(sys.stderr)
        os._exit(EXIT_LATE)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
