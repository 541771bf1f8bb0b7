"""Turning the clock of a running system: what would come in minutes comes at once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import asyncpg

from shoudan_cli.system import System
from tests.poll import eventually

SERVICES = ("order", "delivery")
TURNED_S = 30

# Settings of a database hold for new sessions: those of before end. One that was just starting is seen by
# nothing but its lock, and may have read the setting of before.
STARTING = """
    SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = objid
     WHERE locktype = 'object' AND classid = 'pg_database'::regclass AND mode = 'RowExclusiveLock'
       AND datname = current_database() AND pid <> pg_backend_pid()"""
OF_BEFORE = """
    SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
     WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_start < $1"""


async def turn(system: System, seconds: int, services: Sequence[str] = SERVICES) -> None:
    """The databases' clock goes `seconds` ahead of the real one, for every service and at once."""
    for service in services:
        database = f"shoudan_{service}"
        async with system.postgres.admin(database) as db:
            await db.execute(
                f"ALTER DATABASE {database} SET \"shoudan.clock_shift\" = '{seconds} s'"
            )
            turned_at = await db.fetchval("SELECT clock_timestamp()")
            await eventually(partial(_all_turned, db, turned_at), TURNED_S, every_s=0.05)


async def _all_turned(db: asyncpg.Connection[Any], turned_at: object) -> bool:
    starting = await db.fetchval(STARTING)
    return starting + await db.fetchval(OF_BEFORE, turned_at) == 0
