"""One shop per test module: pay service, gateway, component."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from grpc import aio

from shoudan.pay.v1 import ledger_service_pb2_grpc as stubs
from shoudan_fakes.component import Component
from shoudan_kit.config import Secret
from shoudan_kit.db.pool import Database
from shoudan_kit.embedded import DatabaseUrls
from shoudan_kit.process.ports import free_port
from shoudan_kit.service import Process
from shoudan_pay.app import SERVICE
from shoudan_pay.config import PaySettings
from tests.pay.payserver.harness import PayserverHarness, gateway


@pytest.fixture(scope="module")
async def harness(
    database: Callable[[str], Awaitable[DatabaseUrls]],
) -> AsyncIterator[PayserverHarness]:
    """Everything a shop needs, on a database of its own; the component's time-out is short."""
    urls = await database("pay")
    # As the document writes it, not padded.
    outside = Component(hang_s=2.0, later_s=0.05, finished="2018-9-10 12:00:00")
    async with outside as component, aiohttp.ClientSession() as http:
        # Known beforehand: the pay service hands out notify URLs that lead to the gateway.
        port = free_port()
        settings = PaySettings(
            profile="test",
            database_url=Secret(urls.service),
            drain_s=5,
            component_timeout_s=0.5,
            component_poll_s=0.2,
            component_lost_s=0.5,
            component_rest_s=0.2,
            task_scan_s=0.1,
            public_base_url=f"http://127.0.0.1:{port}",
        )
        pay: Process[PaySettings] = Process(SERVICE, settings)
        await pay.start()
        door = gateway(f"127.0.0.1:{pay.port}", listen_port=port)
        await door.start()
        async with aio.insecure_channel(f"127.0.0.1:{pay.port}") as channel:
            ledger: Any = stubs.LedgerServiceStub(channel)
            owner = Database(urls.owner)
            made = PayserverHarness(pay, settings.public_base_url, http, component, ledger, owner)
            yield made
            found = await made.broken()
            await owner.dispose()
        await door.stop()
        await pay.stop()
        assert found == {}
