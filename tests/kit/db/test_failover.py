"""After a failover the pools write again, and until then nobody is told that all is well."""

from __future__ import annotations

import io
import socket
from collections.abc import AsyncIterator

import orjson
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from shoudan_kit import log
from shoudan_kit.clock import SystemClock
from shoudan_kit.config import Secret, ServiceSettings
from shoudan_kit.db.errors import away
from shoudan_kit.db.foundation import FOUNDATION, partitioned, rest_part
from shoudan_kit.db.node_lease import NodeLease
from shoudan_kit.db.pool import SILENT_S, Database
from shoudan_kit.embedded import Postgres
from shoudan_kit.service import Process, Running, Service
from shoudan_kit.tasks.tables import metadata
from tests.kit.standby import standby_of
from tests.poll import eventually

WRITE = text("INSERT INTO task_pause VALUES (gen_random_uuid()::text, 'me', 'why', now())")
SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'shoudan-failover'"


@pytest.fixture
async def primary() -> AsyncIterator[Postgres]:
    """A server of its own: it is fenced and killed."""
    async with await Postgres.start(profile="test") as server:
        await server.create_database("pool")
        database = Database(server.tcp_url("pool"))
        async with database.begin() as db:
            for sql in FOUNDATION:
                await db.execute(text(sql))
            made = metadata()
            await db.run_sync(made.create_all)
            for table in partitioned(made):
                await db.execute(text(rest_part(table)))
        await database.dispose()
        yield server


async def set_read_only(server: Postgres, value: str) -> None:
    """Running sessions stay and become read-only, as on a server that was demoted."""
    async with server.admin() as db:
        await db.execute(f"ALTER SYSTEM SET default_transaction_read_only = {value}")
        await db.execute("SELECT pg_reload_conf()")


async def writes(database: Database) -> bool:
    try:
        async with database.begin() as db:
            await db.execute(WRITE)
    except (DBAPIError, OSError, TimeoutError) as error:
        if not away(error):
            raise
        return False
    return True


async def fill(database: Database, sessions: int) -> None:
    """Open that many sessions, so that the pool holds them."""
    opened = [database.begin() for _ in range(sessions)]
    for one in opened:
        db = await one.__aenter__()
        await db.execute(WRITE)
    for one in opened:
        await one.__aexit__(None, None, None)


@pytest.mark.timeout(180)
async def test_after_a_failover_the_pool_leaves_the_read_only_server(primary):
    async with standby_of(primary) as standby:
        hosts = f"127.0.0.1:{primary.port},127.0.0.1:{standby.port}/"
        url = primary.tcp_url("pool").replace(f"127.0.0.1:{primary.port}/", hosts)
        database = Database(url, pool_size=4, application="shoudan-failover")
        await fill(database, 4)
        await set_read_only(primary, "on")
        await standby.promote()
        await eventually(lambda: writes(database), 15)
        await fill(database, 4)  # none of the sessions is a read-only one
        async with primary.admin() as db:
            assert await db.fetchval(SESSIONS) == 0

        await primary.kill()  # and a host that is gone altogether is passed, too
        await database.dispose()
        assert await writes(database)
        await database.dispose()


async def test_a_read_only_server_is_left_and_said_until_it_takes_writes(primary):
    stream = io.BytesIO()
    log.setup("test", "info", stream)

    async def start(_: object) -> Running:
        return Running()

    settings = ServiceSettings(
        database_url=Secret(primary.tcp_url("pool")), profile="test", drain_s=1, task_scan_s=1
    )
    process = Process(Service("kit", ServiceSettings, start), settings)
    assert process.app.lease is not None
    process.app.lease.proof_s = 0.0
    await process.start()
    assert await process.reasons() == {}
    await set_read_only(primary, "on")

    async def refused() -> bool:
        return "database" in await process.reasons()

    await eventually(refused, 10)
    await set_read_only(primary, "off")

    async def ready() -> bool:
        return not await process.reasons()

    await eventually(ready, 10)
    await process.stop()
    log.setup("test", "info")
    lines = [orjson.loads(line) for line in stream.getvalue().splitlines()]
    (first, *_) = (one for one in lines if one["event"] == "database_error" and one["sqlstate"])
    assert first["sqlstate"] == "25006"
    assert first["at"].startswith("shoudan_kit.db.node_lease:")


@pytest.mark.parametrize("state", ["25006", "42501", "53100", "57P01", "28P01", "58030"])
async def test_a_session_with_a_spent_answer_leaves_the_pool(database, state):
    async def pid() -> int:
        async with database.connect() as db:
            return (await db.execute(text("SELECT pg_backend_pid()"))).scalar_one()

    before = await pid()
    assert await pid() == before
    with pytest.raises(DBAPIError) as raised:
        async with database.begin() as db:
            await db.execute(
                text(f"DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '{state}'; END $$")
            )
    assert away(raised.value)
    assert await pid() != before


async def test_an_ordinary_refusal_leaves_the_session_in_the_pool(database):
    lease = NodeLease(database, SystemClock())
    await lease.claim()
    async with database.connect() as db:
        before = (await db.execute(text("SELECT pg_backend_pid()"))).scalar_one()
    for state in ("23505", "40001", "22003"):
        with pytest.raises(DBAPIError):
            async with database.begin() as db:
                await db.execute(
                    text(f"DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '{state}'; END $$")
                )
    async with database.connect() as db:
        assert (await db.execute(text("SELECT pg_backend_pid()"))).scalar_one() == before


async def test_a_server_that_receives_nothing_is_noticed_within_seconds(primary):
    """The kernel ends such a session (tools/partitions.py drops packets for real)."""
    database = Database(primary.tcp_url("pool"))
    async with database.engine.connect() as db:
        driver = (await db.get_raw_connection()).driver_connection
        found = driver._transport.get_extra_info("socket")
        assert found.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == SILENT_S * 1000
        assert found.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert found.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == SILENT_S
    await database.dispose()
