"""What the service does by itself: keys rotate in time, what is over is deleted."""

from __future__ import annotations

import asyncio
from typing import Final

from shoudan_identity import access
from shoudan_identity.access import Caller
from shoudan_identity.context import Context
from shoudan_identity.store import attempts, old_audit, sessions
from shoudan_kit import log
from shoudan_kit.audit_log.entries import Who
from shoudan_kit.rpc.rights import ADMIN

LOOK_EVERY_S: Final = 60.0
SERVICE: Final = Who("service", "identity")

_log = log.get_logger("identity")


async def rotate_keys(context: Context, caller: Caller, *, at_once: bool) -> str:
    """Let the next key sign, for an admin; which signs now. Refuses KeyTooYoung, NotAllowed."""
    async with context.app.work("identity.rotate") as work:
        await access.acting(work.db, caller, ADMIN)
        key = await context.keys.rotate(work, caller.operator_id, at_once=at_once)
        access.record_by(work, "rotate keys", caller, ("key", key), at_once=at_once)
    context.keys.forget()
    return key


async def look(context: Context) -> None:
    """One look: rotate the keys when due, delete some of what is over."""
    async with context.app.work("identity.keep") as work:
        key = await context.keys.keep_fresh(work)
        if key:
            access.record(work, "rotate keys", SERVICE, ("key", key))
        await attempts.forget(work.db)
        await sessions.forget(work.db)
    if key:
        context.keys.forget()
        _log.info("keys_rotated", key=key)


async def move_old_audit(context: Context) -> None:
    """Move what an earlier release wrote into `operator_audit` to the audit log; repeats change nothing."""
    after: int | None = 0
    while after is not None:
        async with context.app.work("identity.old_audit") as work:
            after = await old_audit.move(work.db, after)


async def run(context: Context) -> None:
    """Look for ever."""
    await move_old_audit(context)
    while True:
        await look(context)
        await asyncio.sleep(LOOK_EVERY_S)
