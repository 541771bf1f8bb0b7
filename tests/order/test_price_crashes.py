"""The process dies around each step of a supplier's price and of a shelf's notify: each counts once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any

import grpc
import pytest
from grpc import aio
from sqlalchemy import text

from shoudan.delivery.v1 import delivery_service_pb2_grpc as delivery_grpc
from shoudan.order.v1 import catalogue_service_pb2 as pb
from shoudan.order.v1 import catalogue_service_pb2_grpc as stubs
from shoudan.order.v1 import goods_service_pb2 as goods_pb
from shoudan.order.v1 import goods_service_pb2_grpc as goods_stubs
from shoudan.pay.v1 import ledger_service_pb2_grpc as pay_grpc
from shoudan_kit.db.pool import Database
from shoudan_kit.embedded import DatabaseUrls
from tests.order.harness import (
    LOOPBACK,
    YUAN,
    FakeDelivery,
    FakeLedger,
    Inbox,
    catalogue,
    down_product,
    serve,
    up_product,
)
from tests.order.test_crashes import Service
from tests.order.test_supplier_prices import message
from tests.poll import eventually
from tests.stored import Stored

DIED = 137
APP_ID = "677859093659717"


async def call(service: Service, method: str, request: Any) -> Any:
    async with aio.insecure_channel(f"127.0.0.1:{service.port}") as channel:
        return await getattr(stubs.CatalogueServiceStub(channel), method)(request)


async def prepare(service: Service, inbox: Inbox) -> None:
    """A supplier whose prices are taken over, and a channel that is told of its shelves."""
    rows = catalogue() | {
        "up_channels": [
            pb.UpChannel(
                channel_no="ycup",
                channel_name="上游",
                enabled=True,
                price_rule="accept",
                price_move_max_ppm=50_000,
            )
        ],
        "up_products": [up_product(ext_product_no="sku")],
        "down_channels": [
            pb.DownChannel(
                channel_no="test",
                channel_name="测试",
                enabled=True,
                allowed_networks=LOOPBACK,
                secret_name="TEST",
                shelf_url=inbox.url,
            )
        ],
    }
    request = pb.ApplyCatalogueRequest(catalogue=pb.Catalogue(**rows), by="tester")
    await call(service, "ApplyCatalogue", request)


async def dies(service: Service, call: Callable[[], Awaitable[Any]]) -> None:
    """The call, in a process that is armed."""
    with suppress(grpc.RpcError):
        await call()
    assert await service.ended() == DIED


async def test_a_price_and_the_notify_of_a_shelf_survive_a_death_around_each_step(
    new_database: Callable[[str], Awaitable[DatabaseUrls]],
    inbox: Inbox,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SHOUDAN_SECRET_TEST", "demo-of-notifies")
    monkeypatch.setenv("SHOUDAN_ORDER_NOTIFY_WAITS_S", "[1]")
    server, target = await serve(
        partial(pay_grpc.add_LedgerServiceServicer_to_server, FakeLedger()),
        partial(delivery_grpc.add_DeliveryServiceServicer_to_server, FakeDelivery()),
    )
    urls = await new_database("order")
    service, database = Service(urls, target), Database(urls.owner)
    stated = message(7, price_micros=162 * YUAN, available=False)

    async def report() -> list[str]:
        request = pb.ReportPricesRequest(prices=[stated])
        return list((await call(service, "ReportPrices", request)).outcomes)

    async def rows(sql: str) -> list[Any]:
        async with database.connect() as db:
            return list(await db.execute(text(sql)))

    changes = "SELECT version FROM oms_catalogue_change"
    try:
        await service.start("catalogue.supplier_prices.before_commit:exit")
        await prepare(service, inbox)

        async def known() -> bool:
            return bool(await rows("SELECT 1 FROM oms_shelf_cursor WHERE notify_time IS NOT NULL"))

        await eventually(known)  # what is there already
        inbox.told.clear()
        inbox.headers.clear()
        before = len(await rows(changes))
        await dies(service, report)
        assert len(await rows(changes)) == before, "nothing of it is there"
        await service.start("catalogue.supplier_prices.after_commit:exit")
        await dies(service, report)
        # Taken over; whoever reports it again changes nothing, and the notify has outlived its process.
        after = len(await rows(changes))
        assert after > before
        await service.start("order.shelf_notified.before_commit:exit")
        await dies(service, report)
        await service.start("order.shelf_notified.after_commit:exit")
        assert await service.ended() == DIED
        await service.start()
        assert await report() != ["taken"]
        await eventually(lambda: len(inbox.told) >= 2, 20)
        assert len(await rows(changes)) == after
        (product,) = await rows("SELECT cost_discount_ppm, status FROM oms_up_product")
        assert tuple(product) == (810_000, 1)
    finally:
        await service.kill()
        await server.stop(None)
        await database.dispose()
    assert len({one["webhook-id"] for one in inbox.headers}) == 1
    (version,) = {one["version"] for one in inbox.told}
    assert {one["products"][0]["in_stock"] for one in inbox.told} == {False}
    assert int(version) > 0


async def sell_by_the_platform(service: Service) -> None:
    """A channel of the 虚拟货源 interface, with its secrets; that its goods are new makes a first round."""
    stored = Stored(service.port)
    await stored.issue("goofish", APP_ID, "secret-of-the-application")
    await stored.issue("channel", "test", "secret-of-the-shop-0000")
    shop = pb.DownChannel(
        channel_no="test",
        channel_name="测试",
        enabled=True,
        auth_mode="goofish",
        allowed_networks=LOOPBACK,
    )
    rows = pb.Catalogue(**(catalogue() | {"down_channels": [shop]}))
    await call(service, "ApplyCatalogue", pb.ApplyCatalogueRequest(catalogue=rows, by="tester"))


def sold(*, enabled: bool) -> pb.ApplyCatalogueRequest:
    """The catalogue with the goods on or off their shelf."""
    product = pb.Catalogue(down_products=[down_product(enabled=enabled)])
    return pb.ApplyCatalogueRequest(catalogue=product, by="tester")


async def subscribe(service: Service, url: str) -> None:
    """To the only goods there are."""
    wish = goods_pb.SubscribeGoodsRequest(
        channel_no="test", goods_no="300", token="t", notify_url=url
    )
    async with aio.insecure_channel(f"127.0.0.1:{service.port}") as channel:
        await goods_stubs.GoodsServiceStub(channel).SubscribeGoods(wish)


STEPS = "SELECT 1 FROM task WHERE name = 'goods.change_notify'"
BEHIND = """SELECT 1 FROM oms_goods_subscription s JOIN oms_shelf_version v USING (channel_no, product_id)
    WHERE s.version < v.version"""


async def test_a_callback_of_goods_survives_a_death_around_its_step(
    new_database: Callable[[str], Awaitable[DatabaseUrls]],
    inbox: Inbox,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Sent again by the next process, never lost; acknowledged once it is stored."""
    monkeypatch.setenv("SHOUDAN_ORDER_GOOFISH_APP_ID", APP_ID)
    inbox.answer = lambda told: (200, '{"code":0}')
    server, target = await serve(
        partial(pay_grpc.add_LedgerServiceServicer_to_server, FakeLedger()),
        partial(delivery_grpc.add_DeliveryServiceServicer_to_server, FakeDelivery()),
    )
    urls = await new_database("order")
    service, database = Service(urls, target), Database(urls.owner)

    async def acknowledged() -> bool:
        async with database.connect() as db:
            return not list(await db.execute(text(BEHIND)))

    async def idle() -> bool:
        async with database.connect() as db:
            return not list(await db.execute(text(STEPS)))

    try:
        await service.start()
        await sell_by_the_platform(service)
        await subscribe(service, inbox.url)
        await eventually(idle)  # a step that is left would die of the fault with nothing to send
        await service.kill()
        for fault, enabled in (("before_commit", False), ("after_commit", True)):
            await service.start(f"goods.changes_notified.{fault}:exit")
            with suppress(grpc.RpcError):
                await call(service, "ApplyCatalogue", sold(enabled=enabled))
            assert await service.ended() == DIED
        await service.start()
        # The one before may have died of what was left by the first before it had taken this.
        await call(service, "ApplyCatalogue", sold(enabled=True))
        await eventually(acknowledged, 20)
    finally:
        await service.kill()
        await server.stop(None)
        await database.dispose()
    states = [one["status"] for one in inbox.told]
    assert (states[0], states[-1]) == (2, 1)
