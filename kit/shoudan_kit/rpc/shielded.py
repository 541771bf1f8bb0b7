"""Work that goes on to its end when its caller is cancelled, as a client that hangs up cancels its call."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from shoudan_kit import log
from shoudan_kit.rpc.refusal import Refusal

T = TypeVar("T")

_log = log.get_logger("shielded")
_kept: set[asyncio.Task[Any]] = set()


async def shielded(work: Coroutine[Any, Any, T]) -> T:
    """Await `work`, which goes on to its end when the caller is cancelled."""
    task = asyncio.create_task(work)
    _kept.add(task)
    task.add_done_callback(_kept.discard)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        # Asked for there, so that work whose caller has gone does not fail unseen or unretrieved.
        task.add_done_callback(_log_failure)
        raise


async def finish_shielded(timeout_s: float) -> int:
    """Wait for shielded work whose callers are gone; gives how many pieces did not make it."""
    if not _kept:
        return 0
    _, late = await asyncio.wait(set(_kept), timeout=timeout_s)
    return len(late)


def _log_failure(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and (error := task.exception()) and not isinstance(error, Refusal):
        _log.warning("shielded_work_failed", error=type(error).__name__)
