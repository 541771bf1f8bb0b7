"""The platform of the 虚拟货源 standard interface: it signs what it sends, and keeps what it is sent."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import pytest
from aiohttp import web

from shoudan.order.v1 import catalogue_service_pb2 as catalogue_pb
from shoudan_kit.embedded import DatabaseUrls
from shoudan_signing import goofish
from tests.order.harness import (
    LOOPBACK,
    OrderHarness,
    down_product,
    inboxes,
    running,
    up_product,
)
from tests.order.test_notifies import DUE
from tests.poll import eventually
from tests.stored import Stored

APP_ID, APP_SECRET = "677859093659717", "wK63PxlOBaY9NoqMksLeZySzGIW25ifA"
SECRETS = {"shop": "secret-of-the-shop-0000", "rival": "secret-of-the-rival-000"}
OK = {"code": 0, "msg": "OK"}
RECHARGE, CARDS = 1, 2
ACCOUNT = "13800138000"
TOKEN = "rq4dyt7k5spi039b1vuon8l6afxjc2mw"


@dataclass
class Platform:
    """The platform: it signs what it sends, and keeps what it is told."""

    front: Any
    harness: OrderHarness
    callbacks: list[tuple[dict[str, str], bytes]] = field(
        default_factory=list[tuple[dict[str, str], bytes]]
    )
    answer: str = '{"code":0,"msg":"OK"}'
    url: str = ""

    async def ask(
        self, path: str, body: Any = None, *, mch_id: str = "shop", **changes: Any
    ) -> Any:
        """The answer to a signed call, as an object."""
        return (await self.send(path, body, mch_id=mch_id, **changes))[1]

    async def send(
        self, path: str, body: Any = None, *, mch_id: str = "shop", **changes: Any
    ) -> tuple[int, Any]:
        raw = (
            body if isinstance(body, bytes) else json.dumps(body or {}, ensure_ascii=False).encode()
        )
        stamp = str(int(time.time()) + changes.pop("shift_s", 0))
        secret = SECRETS.get(mch_id, "nobody")
        signed = goofish.sign(goofish.Parties(APP_ID, APP_SECRET, mch_id, secret), stamp, raw)
        query = {"mch_id": mch_id, "timestamp": stamp, "sign": signed} | changes
        path = path if path.startswith("/") else f"/goofish/{path}"
        return await self.front.ask(
            path, "POST", params=query, data=raw, headers={"Content-Type": "application/json"}
        )

    async def take(self, request: web.Request) -> web.Response:
        self.callbacks.append((dict(parse_qsl(request.query_string)), await request.read()))
        return web.Response(text=self.answer)

    def order(self, order_no: str, goods_no: str, **changes: Any) -> dict[str, Any]:
        made = {"order_no": order_no, "goods_no": goods_no, "biz_content": {"account": ACCOUNT}}
        return made | {"buy_quantity": 1, "notify_url": self.url} | changes

    async def ended(self, order_no: str, kind: int = RECHARGE, status: int = 20) -> Any:
        """The order once it stands so."""

        found: dict[str, Any] = {}

        async def stands() -> bool:
            body = {"order_type": kind, "order_no": order_no}
            found.update((await self.ask("order/detail", body))["data"])
            return found["order_status"] == status

        await eventually(stands)
        return found

    async def told(self, order_no: str, count: int = 1) -> list[tuple[dict[str, str], Any]]:
        """What was told of an order, once it was told so often."""

        async def often() -> bool:
            await self.harness.sql(DUE)
            return len(self.of(order_no)) >= count

        await eventually(often)
        return self.of(order_no)

    def of(self, order_no: str) -> list[tuple[dict[str, str], Any]]:
        """What was told of an order."""
        read = [(query, json.loads(body)) for query, body in self.callbacks]
        return [one for one in read if one[1].get("order_no") == order_no]

    def told_of(self, goods_no: str) -> list[tuple[dict[str, str], Any]]:
        """What was told of goods."""
        read = [(query, json.loads(body)) for query, body in self.callbacks]
        return [one for one in read if one[1].get("goods_no") == goods_no]


def channel(channel_no: str) -> Any:
    return catalogue_pb.DownChannel(
        channel_no=channel_no,
        channel_name=channel_no,
        enabled=True,
        auth_mode="goofish",
        allowed_networks=LOOPBACK,
    )


def shelf(shelf_id: int, channel_no: str) -> Any:
    return catalogue_pb.DownShelf(
        shelf_id=shelf_id,
        shelf_name="货架",
        channel_no=channel_no,
        order_overtime_s=600,
        refund_overtime_s=600,
        enabled=True,
        pay_fail_fast=True,
    )


CATALOGUE = {
    "lines": [
        catalogue_pb.Line(line_id=1, line_name="加油卡", service_class=10),
        catalogue_pb.Line(line_id=2, line_name="电子券", service_class=20),
    ],
    "down_channels": [channel("shop"), channel("rival")],
    "down_shelves": [shelf(11, "shop"), shelf(12, "rival")],
    "down_products": [
        down_product(product_id=501, shelf_id=11),
        down_product(product_id=502, shelf_id=11, line_id=2, limit_count=200),
        down_product(product_id=503, shelf_id=11, carrier_no="OFF", enabled=False),
        down_product(product_id=504, shelf_id=11, province_no="GD", sell_discount_ppm=333_333),
        down_product(product_id=601, shelf_id=12),
    ],
    "up_products": [up_product(), up_product(product_id=302, line_id=2, limit_count=200)],
    "cantons": [catalogue_pb.Canton(canton_code="GD", chinese_name="广东", grade=1)],
}


@pytest.fixture(scope="module")
async def shared(
    new_database: Callable[[str], Awaitable[DatabaseUrls]],
) -> AsyncIterator[OrderHarness]:
    """One order service with two channels of the platform."""
    urls = await new_database("order")
    async with inboxes() as inbox, running(urls, inbox, goofish_app_id=APP_ID) as harness:
        await harness.apply(**CATALOGUE)
        stored = Stored(harness.process.port)
        await stored.issue("goofish", APP_ID, APP_SECRET)
        for owner, secret in SECRETS.items():
            await stored.issue("channel", owner, secret)
        await harness.context.credentials.refresh()
        yield harness


@pytest.fixture
async def platform(shared: OrderHarness, open_gateway: Any) -> AsyncIterator[Platform]:
    harness = shared
    target = f"127.0.0.1:{harness.process.port}"
    front = await open_gateway(order_target=target, goofish_app_id=APP_ID)
    made = Platform(front, harness)
    app = web.Application()
    app.router.add_post("/notify", made.take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/notify?token=t1"
    harness.delivery.script = lambda item: True
    harness.delivery.cards.refusal = ""
    harness.delivery.cards.stock_channels, harness.delivery.cards.stocked = (), {}

    async def believed() -> bool:
        return (await made.ask("user/info"))["code"] == 0

    await eventually(believed)
    yield made
    await runner.cleanup()
