"""What the order tests share: one order service in the test's own loop, its neighbours scripted."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial

import pytest
from aiohttp import web
from grpc import aio

from shoudan.delivery.v1 import delivery_service_pb2_grpc as delivery_grpc
from shoudan.order.v1 import catalogue_service_pb2_grpc as catalogue_grpc
from shoudan.order.v1 import order_service_pb2_grpc as order_grpc
from shoudan.pay.v1 import ledger_service_pb2_grpc as pay_grpc
from shoudan_kit.config import Secret
from shoudan_kit.embedded import DatabaseUrls
from shoudan_kit.service import Process
from shoudan_order.app import SERVICE
from shoudan_order.config import OrderSettings
from tests.order.world import FakeDelivery, FakeLedger, Inbox, World, catalogue, serve


@pytest.fixture
async def inbox() -> AsyncIterator[Inbox]:
    """A partner's notify endpoint."""
    made = Inbox()
    app = web.Application()
    app.router.add_post("/recv", made.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    made.url = f"http://127.0.0.1:{port}/recv"
    yield made
    await runner.cleanup()


@pytest.fixture
async def world(
    new_database: Callable[[str], Awaitable[DatabaseUrls]], inbox: Inbox
) -> AsyncIterator[World]:
    """An order service with the example's catalogue."""
    ledger, delivery = FakeLedger(), FakeDelivery()
    server, target = await serve(
        partial(pay_grpc.add_LedgerServiceServicer_to_server, ledger),
        partial(delivery_grpc.add_DeliveryServiceServicer_to_server, delivery),
    )
    urls = await new_database("order")
    settings = OrderSettings(
        profile="test",
        database_url=Secret(urls.service),
        pay_target=target,
        delivery_target=target,
        task_scan_s=0.1,
        drain_s=2,
    )
    process = Process(SERVICE, settings)
    await process.start()
    channel = aio.insecure_channel(f"127.0.0.1:{process.port}")
    made = World(
        process,
        order_grpc.OrderServiceStub(channel),
        catalogue_grpc.CatalogueServiceStub(channel),
        ledger,
        delivery,
        inbox,
        urls.owner,
    )
    await made.apply(**catalogue())
    yield made
    await channel.close()
    await process.stop()
    await server.stop(None)
