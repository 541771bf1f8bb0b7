"""What the kit's own tests share: a database that holds only the shared tables."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text

from shoudan_kit.clock import SystemClock
from shoudan_kit.db.foundation import FOUNDATION, partitioned, rest_part
from shoudan_kit.db.node_lease import NodeLease
from shoudan_kit.db.pool import Database
from shoudan_kit.ids import IdMaker
from shoudan_kit.tasks.tables import metadata


@pytest.fixture
async def bare_url(postgres) -> str:
    """The URL of a new database with the shared tables."""
    name = f"kit_{secrets.token_hex(4)}"
    await postgres.create_database(name)
    database = Database(postgres.url(name))
    async with database.begin() as db:
        for sql in FOUNDATION:
            await db.execute(text(sql))
        made = metadata()
        await db.run_sync(made.create_all)
        for table in partitioned(made):
            await db.execute(text(rest_part(table)))
    await database.dispose()
    return postgres.url(name)


@pytest.fixture
async def database(bare_url: str) -> AsyncIterator[Database]:
    """A pool on a new database with the shared tables."""
    made = Database(bare_url)
    yield made
    await made.dispose()


@pytest.fixture
async def ids(database: Database) -> IdMaker:
    """Ids with a leased node number of the database."""
    lease = NodeLease(database, SystemClock())
    await lease.claim()
    return lease.ids
