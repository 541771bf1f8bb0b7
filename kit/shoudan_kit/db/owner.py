"""The owner's session: it changes tables, gives way to those who work, and is alone in its database."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, TypeVar

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db import clock_shift
from shoudan_kit.db.errors import sql_state
from shoudan_kit.db.pool import Database
from shoudan_kit.db.server_version import LIMITS_TRANSACTIONS, major_version
from shoudan_kit.db.shard_map import FIRST_SCHEMA
from shoudan_kit.log import get_logger

_log = get_logger("migrate")

T = TypeVar("T")
LOCK_KEY: Final = 7_301_130  # one migration at a time in a database
ALONE_EVERY_S: Final = 0.2
GIVE_WAY: Final = frozenset({"55P03", "40P01"})  # no lock in time, a deadlock


@dataclass(frozen=True)
class Patience:
    """How a lock is waited for: later statements queue behind ours, so wait shortly and often."""

    lock_timeout_s: float = 1.0
    tries_max: int = 60
    wait_s_max: float = 5.0


PATIENT: Final = Patience()


class Locked(Exception):
    """A table stayed locked by others through all tries; what was done before stays done."""


@asynccontextmanager
async def as_owner(owner_url: str, schema: str = FIRST_SCHEMA) -> AsyncGenerator[AsyncConnection]:
    """A session of the owner's in this schema, whose statements take as long as they take.

    Raises ServerTooOld.
    """
    path = {} if schema == FIRST_SCHEMA else {"search_path": schema}
    engine = Database(
        owner_url,
        pool_size=1,
        application="shoudan-migrate",
        timeouts=False,
        plans=False,
        settings={
            "statement_timeout": "0",
            "lock_timeout": "0",
            # Between two statements a revision's scripts are loaded and its next one is built.
            "idle_in_transaction_session_timeout": "60s",
            **path,
        },
    ).engine
    try:
        async with engine.connect() as connection:
            async with connection.begin():
                if await major_version(connection) >= LIMITS_TRANSACTIONS:
                    await connection.execute(text("SET transaction_timeout = 0"))
                await clock_shift.follow(connection)
            yield connection
    finally:
        await engine.dispose()


async def alone(connection: AsyncConnection) -> None:
    """One migration at a time in a database: the lock is the session's and ends with it at the latest.

    Asked for again and again, because a session that waits in a statement has a snapshot, for whose end
    CREATE INDEX CONCURRENTLY of the one before would wait in turn.
    """
    while True:
        async with connection.begin():
            ours = await connection.execute(
                text("SELECT pg_try_advisory_lock(:key)"), {"key": LOCK_KEY}
            )
        if ours.scalar_one():
            return
        await asyncio.sleep(ALONE_EVERY_S)


async def in_time(
    connection: AsyncConnection, what: str, patience: Patience, run: Callable[[Connection], T]
) -> T:
    """Run in a transaction that gives way when a lock does not come at once, again and again."""
    for attempt in range(1, patience.tries_max + 1):
        try:
            async with connection.begin():
                timeout_ms = int(patience.lock_timeout_s * 1000)
                await connection.execute(text(f"SET LOCAL lock_timeout = {timeout_ms}"))
                return await connection.run_sync(run)
        except DBAPIError as error:
            if sql_state(error) not in GIVE_WAY:
                raise
            _log.warning("migration_waits_for_a_lock", what=what, attempt=attempt)
        await asyncio.sleep(random.uniform(0.1, min(patience.wait_s_max, 0.1 * 2**attempt)))
    raise Locked(f"{what}: others held a lock through {patience.tries_max} tries; run it again")
