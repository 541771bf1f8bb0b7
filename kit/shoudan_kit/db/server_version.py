"""Which PostgreSQL this release runs on; an older one is refused before anything is written to it."""

from __future__ import annotations

from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

OLDEST: Final = 16  # what statements and migrations here use is all there since it
LIMITS_TRANSACTIONS: Final = 17  # has transaction_timeout


class ServerTooOld(Exception):
    """The server's major version is below `OLDEST`."""


async def major_version(db: AsyncConnection) -> int:
    """18 for a PostgreSQL 18.4. Raises ServerTooOld below `OLDEST`."""
    number = int((await db.execute(text("SHOW server_version_num"))).scalar_one())
    return refuse_old(number // 10_000)


def refuse_old(major: int) -> int:
    """The version given. Raises ServerTooOld below `OLDEST`."""
    if major < OLDEST:
        raise ServerTooOld(f"PostgreSQL {major} is too old: {OLDEST} or newer is needed")
    return major
