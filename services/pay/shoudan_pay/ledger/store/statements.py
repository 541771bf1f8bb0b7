"""Signed statements in the database: which were made, who makes one, the snapshot it is made of."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from sqlalchemy import TextClause
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db.pool import Database
from shoudan_kit.db.text_statements import statement

SNAPSHOT_MS_MAX: Final = 300_000  # a million accounts take ten seconds

# Of advisory locks of this database no other is taken with it, or with it and the number of a shard added.
_LOCK_ID: Final = 0x5E_A1_1E_D6
# Of the session, not of a transaction: a proof may take longer than a transaction may.
_LOCK = statement("SELECT pg_try_advisory_lock(:id)")
_UNLOCK = statement("SELECT pg_advisory_unlock(:id)")
_LAST = statement("""
SELECT statement_no, hash FROM ledger_statement ORDER BY statement_no DESC LIMIT 1
""")
_BY_NUMBER = statement("SELECT hash FROM ledger_statement WHERE statement_no = :number")
_INSERT = statement("""
INSERT INTO ledger_statement (statement_no, day, hash, create_time)
VALUES (:number, :day, :hash, shoudan_now()) ON CONFLICT DO NOTHING
""")
_NOW = statement("SELECT shoudan_now()")
_ONE_STATE = statement("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
# Off first: a limit that runs already is not moved by a new one. PostgreSQL 16 has none.
_LIMIT = statement("""
SELECT set_config(name, :value, true) FROM pg_settings WHERE name = 'transaction_timeout'
""")


@dataclass(frozen=True, slots=True)
class Made:
    """A statement that was made, by its number and hash."""

    number: int
    hash: str


async def last(db: AsyncConnection) -> Made | None:
    """The newest statement that was made."""
    row = (await db.execute(_LAST)).first()
    return None if row is None else Made(row[0], row[1].hex())


async def hash_of(db: AsyncConnection, number: int) -> str | None:
    """The hash of one statement; None when it was not made."""
    found = (await db.execute(_BY_NUMBER, {"number": number})).scalar_one_or_none()
    return None if found is None else found.hex()


async def insert(db: AsyncConnection, number: int, day: date, hash_: str) -> None:
    """Note that a statement was made; noting it again changes nothing."""
    binds = {"number": number, "day": day, "hash": bytes.fromhex(hash_)}
    await db.execute(_INSERT, binds)


async def now(db: AsyncConnection) -> datetime:
    """The time."""
    return (await db.execute(_NOW)).scalar_one()


@asynccontextmanager
async def sealing(database: Database, shard: int) -> AsyncGenerator[bool]:
    """Whether this process may make a statement; no other does until the end of the block."""
    async with database.connect() as db:
        mine = await _lock(db, shard)
        try:
            yield mine
        finally:
            if mine:
                await _unlock(db, shard)


async def _lock(db: AsyncConnection, shard: int) -> bool:
    return await _was_free(db, _LOCK, shard)


async def _unlock(db: AsyncConnection, shard: int) -> None:
    await _was_free(db, _UNLOCK, shard)


async def _was_free(db: AsyncConnection, sql: TextClause, shard: int) -> bool:
    """Lock or unlock. Cut off in it, the session may hold the lock: the pool must not have it back."""
    try:
        return (await db.execute(sql, {"id": _LOCK_ID + shard})).scalar_one()
    except BaseException:
        await db.invalidate()
        raise


@asynccontextmanager
async def snapshot(database: Database) -> AsyncGenerator[AsyncConnection]:
    """A connection on which every statement sees the same state, for SNAPSHOT_MS_MAX at most."""
    async with database.begin() as db:
        await db.execute(_ONE_STATE)
        for limit in (0, SNAPSHOT_MS_MAX):
            await db.execute(_LIMIT, {"value": str(limit)})
        yield db
