"""How far the clock of a database was advanced: kept in it, outside of prod alone. Decision 0075."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db.pool import CLOCK_SHIFT, Database
from shoudan_kit.db.text_statements import statement

_TURNABLE: Final = "SELECT to_regprocedure('shoudan_clock_shift()') IS NOT NULL"
_IS_TURNABLE = statement(_TURNABLE)
# Sessions of a service say their time in their name, and a role sees the names of its own alone.
_LOOK = statement("""
SELECT shoudan_clock_shift() AS shift_s, count(name) AS behind FROM (
    SELECT application_name AS name FROM pg_stat_activity
    WHERE datname = current_database() AND usename = current_user
        AND split_part(application_name, ' +', 1) = :application
        AND CASE WHEN shoudan_clock_shift() > 0
            THEN split_part(application_name, ' +', 2) <> CAST(shoudan_clock_shift() AS text)
            ELSE false END
) AS old
""")
_ADVANCE = statement("SELECT shoudan_advance_clock(:to_s)")


@dataclass(frozen=True, slots=True)
class Look:
    """How far the clock was advanced, and how many sessions of the service do not know it yet."""

    shift_s: int
    behind: int


async def turnable(database: Database) -> bool:
    """Whether this database's clock can be advanced."""
    async with database.connect() as db:
        return bool((await db.execute(_IS_TURNABLE)).scalar_one())


async def look(database: Database) -> Look:
    """What is kept, and who is behind."""
    async with database.connect() as db:
        row = (await db.execute(_LOOK, {"application": database.application})).one()
    return Look(int(row.shift_s), int(row.behind))


async def advance(db: AsyncConnection, to_s: int) -> int:
    """The clock is so far ahead of the machine's from now on, or stays where it is farther."""
    return int((await db.execute(_ADVANCE, {"to_s": to_s})).scalar_one())


async def follow(connection: AsyncConnection) -> None:
    """Give the time of the system to a session that no service opened."""
    if (await connection.execute(text(_TURNABLE))).scalar_one():
        shift_s = int((await connection.execute(text("SELECT shoudan_clock_shift()"))).scalar_one())
        if shift_s:
            turned = f"SET {CLOCK_SHIFT} = '{shift_s} seconds'"
            await connection.execute(text(turned))
