"""A pay service with the real gateway before it, and ChinaUMS played by a fake."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from grpc import aio

from shoudan.pay.v1 import ledger_service_pb2_grpc as ledger_grpc
from shoudan.pay.v1 import platform_service_pb2_grpc as platform_grpc
from shoudan_fakes.chinaums import Ums
from shoudan_fakes.component import Component
from shoudan_kit.config import Secret
from shoudan_kit.db.pool import Database
from shoudan_kit.embedded import DatabaseUrls
from shoudan_kit.process.ports import free_port
from shoudan_kit.service import Process
from shoudan_pay.app import SERVICE
from shoudan_pay.config import PaySettings
from tests.pay.payserver.harness import PayserverHarness, gateway
from tests.pay.platforms.harness import APP_ID, APP_KEY, SECRETS, PlatformsHarness
from tests.pay.platforms.orders import Orders


@pytest.fixture(scope="module")
async def harness(
    request: pytest.FixtureRequest, database: Callable[[str], Awaitable[DatabaseUrls]]
) -> AsyncIterator[PlatformsHarness]:
    """One per module; a module's DESK are settings of its own."""
    patch = pytest.MonkeyPatch()
    for name, secret in SECRETS.items():
        patch.setenv(f"SHOUDAN_SECRET_{name}", secret)
    urls = await database("pay")
    orders = Orders()
    order_server, order_target = await orders.serve()
    port = free_port()
    given: dict[str, Any] = {
        "profile": "test",
        "database_url": Secret(urls.service),
        "drain_s": 5,
        "order_target": order_target,
        "component_timeout_s": 0.5,
        "component_poll_s": 0.2,
        "component_lost_s": 2,
        "component_rest_s": 0.2,
        "task_scan_s": 0.1,
        "ums_waits_s": [0.2],
        "ums_lost_s": 1,
        "notice_waits_s": [1],
        "public_base_url": f"http://127.0.0.1:{port}",
        **getattr(request.module, "DESK", {}),
    }
    async with (
        Component(hang_s=1.0, later_s=0.05) as component,
        Ums(APP_ID, APP_KEY, hang_s=1.0) as ums,
        aiohttp.ClientSession() as http,
    ):
        settings = PaySettings(**given)
        pay: Process[PaySettings] = Process(SERVICE, settings)
        await pay.start()
        door = gateway(f"127.0.0.1:{pay.port}", listen_port=port)
        await door.start()
        async with aio.insecure_channel(f"127.0.0.1:{pay.port}") as channel:
            ledger: Any = ledger_grpc.LedgerServiceStub(channel)
            platform: Any = platform_grpc.PlatformServiceStub(channel)
            owner = Database(urls.owner)
            payserver = PayserverHarness(
                pay, settings.public_base_url, http, component, ledger, owner
            )
            yield PlatformsHarness(payserver, ums, platform, orders)
            found = await payserver.broken()
            await owner.dispose()
        await door.stop()
        await pay.stop()
    await order_server.stop(None)
    patch.undo()
    assert found == {}
