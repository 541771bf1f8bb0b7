"""The first admin of an empty database."""

from __future__ import annotations

from typing import Final

from shoudan_identity import access, codes, events
from shoudan_identity.context import Context
from shoudan_identity.store import operators as store
from shoudan_kit.audit_log.entries import Who
from shoudan_kit.rpc.rights import ADMIN

NAME: Final = "admin"
FIRST: Final = 1  # its number: of two who make it at once one finds it made
BY: Final = "bootstrap"


async def first_admin(context: Context) -> str | None:
    """Create `admin` where there is no operator; its one-time password, None where there is one."""
    async with context.app.db.connect() as db:
        if await store.any_operator(db):
            return None
    password = codes.one_time_password()
    hashed = await context.room.hash("", password)
    once_s = context.settings.one_time_password_s
    async with context.app.work("identity.bootstrap") as work:
        made = await store.insert(work.db, FIRST, NAME, NAME, (ADMIN,), hashed, once_s, BY)
        if made:
            access.record(work, "created", Who("service", BY), ("operator", FIRST), roles=[ADMIN])
            events.operator_changed(work, FIRST, "created", (ADMIN,))
    return password if made else None
