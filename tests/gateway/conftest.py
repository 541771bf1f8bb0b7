"""A gateway over HTTP in front of neighbours that play order, pay and delivery over real gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import grpc
import pytest
from grpc import aio

from shoudan.core.v1 import core_pb2
from shoudan.delivery.v1 import delivery_service_pb2 as delivery
from shoudan.delivery.v1 import delivery_service_pb2_grpc as delivery_grpc
from shoudan.order.v1 import catalogue_service_pb2 as catalogue
from shoudan.order.v1 import catalogue_service_pb2_grpc as catalogue_grpc
from shoudan.order.v1 import order_service_pb2 as order
from shoudan.order.v1 import order_service_pb2_grpc as order_grpc
from shoudan.order.v1 import request_log_service_pb2 as request_log
from shoudan.order.v1 import request_log_service_pb2_grpc as request_log_grpc
from shoudan.pay.v1 import ledger_service_pb2 as pay
from shoudan.pay.v1 import ledger_service_pb2_grpc as pay_grpc
from shoudan_gateway.app import SERVICE, ports
from shoudan_gateway.channel_cache import ChannelCache
from shoudan_gateway.config import GatewaySettings
from shoudan_kit.service import Process
from tests.console.chromium import PROGRAM
from tests.gateway import node
from tests.gateway.goofish_platform import platform, shared
from tests.poll import eventually

__all__ = ["platform", "shared"]

# Real browsers are steered where there is one; the head of a run says so where there is none.
collect_ignore = [] if PROGRAM else ["test_docs_browser.py"]
collect_ignore += [] if node.PROGRAM else ["test_collections.py"]

REFUSAL = core_pb2.Refusal(
    code=grpc.StatusCode.NOT_FOUND.value[0],
    domain="order.shoudan",
    reason="ERROR_REASON_ORDER_NOT_FOUND",
    metadata={"channel_no": "test", "request_no": "nope"},
)


@dataclass
class Neighbours(order_grpc.OrderServiceServicer, catalogue_grpc.CatalogueServiceServicer):
    """Order and catalogue: everything asked is kept, every order gets the next number."""

    channels: list[catalogue.DownChannel] = field(default_factory=list)
    batches: list[list[Any]] = field(default_factory=list)
    hold: asyncio.Event | None = None
    fails: grpc.StatusCode | None = None
    refusal: core_pb2.Refusal | None = None
    existed: bool = False

    async def GetCatalogue(self, request: Any, context: Any) -> Any:
        return catalogue.GetCatalogueResponse(
            catalogue=catalogue.Catalogue(down_channels=self.channels)
        )

    async def CreateOrders(self, request: Any, context: Any) -> Any:
        self.batches.append(list(request.orders))
        if self.fails is not None:
            await context.abort(self.fails, "secret /etc/passwd")
        if self.hold is not None:
            await self.hold.wait()
        return order.CreateOrdersResponse(results=[self._taken(one) for one in request.orders])

    def _taken(self, one: order.NewOrder) -> order.CreateOrdersResponse.Result:
        if self.refusal is not None:
            return order.CreateOrdersResponse.Result(refusal=self.refusal)
        state = order.OrderState(
            order_id=1_100_000_000, channel_no=one.channel_no, request_no=one.request_no, status=10
        )
        return order.CreateOrdersResponse.Result(order=state, existed=self.existed)

    async def QueryOrders(self, request: Any, context: Any) -> Any:
        results = [order.QueryOrdersResponse.Result(refusal=REFUSAL) for _ in request.keys]
        return order.QueryOrdersResponse(results=results)

    @property
    def taken(self) -> list[order.NewOrder]:
        return [one for batch in self.batches for one in batch]


class RequestBlocks(request_log_grpc.RequestLogServiceServicer):
    """The request log: keeps the blocks it gets, as often as it gets them."""

    def __init__(self) -> None:
        self.blocks: list[request_log.RequestBlock] = []
        self.fails: grpc.StatusCode | None = None
        self.calls = 0

    async def StoreRequestBlocks(self, request: Any, context: Any) -> Any:
        self.calls += 1
        if self.fails is not None:
            await context.abort(self.fails, "away")
        self.blocks += request.blocks
        return request_log.StoreRequestBlocksResponse()


class Ledger(pay_grpc.LedgerServiceServicer):
    """The ledger: one account."""

    async def GetAccount(self, request: Any, context: Any) -> Any:
        return pay.GetAccountResponse(account=pay.Account(account_id=86000, key=request.key))


class Delivery(delivery_grpc.DeliveryServiceServicer):
    """The delivery service: answers a notify with what it got."""

    def __init__(self) -> None:
        self.notifies: list[Any] = []

    async def TakePrices(self, request: Any, context: Any) -> Any:
        self.notifies.append(request)
        return delivery.TakePricesResponse(
            http_status=200, content_type="text/plain", body=b"success"
        )

    async def TakeNotify(self, request: Any, context: Any) -> Any:
        self.notifies.append(request)
        return delivery.TakeNotifyResponse(
            http_status=200, content_type="text/plain", body=b"success"
        )


@dataclass
class Front:
    """The gateway as partners see it."""

    http: aiohttp.ClientSession
    url: str
    internal_url: str
    port: int
    order: Neighbours
    delivery: Delivery
    log: RequestBlocks
    process: Process[GatewaySettings]

    async def read_rules(self) -> None:
        """Read the channels now instead of at the next refresh."""
        (channels,) = [
            run.__self__
            for run in self.process.running.background
            if isinstance(getattr(run, "__self__", None), ChannelCache)
        ]
        assert await channels.read()

    async def ask(self, path: str, method: str = "GET", **options: Any) -> tuple[int, Any]:
        async with self.http.request(method, self.url + path, **options) as answer:
            text = await answer.text()
            is_json = answer.content_type == "application/json" and text
            return answer.status, (await answer.json()) if is_json else text


Open = Callable[..., Any]


@pytest.fixture(scope="session")
async def request_blocks() -> RequestBlocks:
    """What gateways have stored of requests."""
    return RequestBlocks()


@pytest.fixture(scope="session")
async def neighbours(
    request_blocks: RequestBlocks,
) -> AsyncIterator[tuple[Neighbours, Delivery, str]]:
    server = aio.server()
    order_side, delivery_side = Neighbours(), Delivery()
    request_log_grpc.add_RequestLogServiceServicer_to_server(request_blocks, server)
    order_grpc.add_OrderServiceServicer_to_server(order_side, server)
    catalogue_grpc.add_CatalogueServiceServicer_to_server(order_side, server)
    pay_grpc.add_LedgerServiceServicer_to_server(Ledger(), server)
    delivery_grpc.add_DeliveryServiceServicer_to_server(delivery_side, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield order_side, delivery_side, f"127.0.0.1:{port}"
    await server.stop(None)


@pytest.fixture
async def open_gateway(
    neighbours: tuple[Neighbours, Delivery, str], request_blocks: RequestBlocks
) -> AsyncIterator[Open]:
    """`await open_gateway(access_log="all")`: a gateway with these settings, stopped at the end."""
    order_side, delivery_side, target = neighbours
    order_side.channels = [catalogue.DownChannel(channel_no="test", enabled=True)]
    order_side.batches, order_side.hold, order_side.fails = [], None, None
    order_side.refusal, order_side.existed = None, False
    delivery_side.notifies = []
    request_blocks.blocks, request_blocks.fails, request_blocks.calls = [], None, 0
    opened: list[Front] = []

    async def start(**given: Any) -> Front:
        options = {
            "profile": "test",
            "listen_port": 0,
            "internal_port": 0,
            "drain_s": 2,
            "catalogue_refresh_s": 0.5,
            **{f"{name}_target": target for name in ("order", "pay", "delivery")},
            **given,
        }
        process: Process[GatewaySettings] = Process(SERVICE, GatewaySettings(**options))
        await process.start()
        port, internal = ports(process.running)
        front = Front(
            aiohttp.ClientSession(),
            f"http://127.0.0.1:{port}",
            f"http://127.0.0.1:{internal}",
            port,
            order_side,
            delivery_side,
            request_blocks,
            process,
        )
        opened.append(front)
        check = process.running.checks["catalogue"]

        async def ready() -> bool:
            return await check() is None

        await eventually(ready)
        return front

    yield start
    for front in opened:
        await front.http.close()
        await front.process.stop()


@pytest.fixture
async def front(open_gateway: Open) -> Front:
    """A gateway with the defaults."""
    return await open_gateway()
