"""The delivery service on a real database, a sandbox supplier outside, an order service that listens."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from grpc import StatusCode, aio
from sqlalchemy import text

from shoudan.delivery.v1 import delivery_service_pb2 as pb
from shoudan.delivery.v1 import delivery_service_pb2_grpc as delivery_grpc
from shoudan.order.v1 import catalogue_service_pb2 as catalogue_pb
from shoudan.order.v1 import catalogue_service_pb2_grpc as catalogue_grpc
from shoudan.order.v1 import order_service_pb2 as order_pb
from shoudan.order.v1 import order_service_pb2_grpc as order_grpc
from shoudan_delivery.app import SERVICE
from shoudan_delivery.config import DeliverySettings
from shoudan_fakes.sandbox import Sandbox
from shoudan_kit.config import Secret
from shoudan_kit.process import ports
from shoudan_kit.rpc.client import connect
from shoudan_kit.service import Process
from tests.poll import eventually

CODES = [("R_0000", 0), ("R_5124", 10), ("R_9999", 90)]
numbers = itertools.count(1)


class Orders(order_grpc.OrderServiceServicer):
    """An order service that only keeps what it is told."""

    def __init__(self) -> None:
        self.told: dict[int, order_pb.DeliveryResult] = {}
        self.against: dict[int, list[order_pb.DeliveryResult]] = {}
        self.calls = 0
        self.refuse: StatusCode | None = None
        self.prices: list[catalogue_pb.StatedPrice] = []
        self.poison: int | None = None

    async def ReportResults(self, request: Any, context: Any) -> Any:
        self.calls += 1
        if self.refuse is not None:
            await context.abort(self.refuse, "as told")
        if self.poison in {one.id for one in request.results}:
            await context.abort(StatusCode.INVALID_ARGUMENT, "poison")
        for one in request.results:
            if one.contradicts:
                self.against.setdefault(one.id, []).append(one)
            else:
                self.told[one.id] = one
        acks = [
            order_pb.ReportResultsResponse.Ack(id=one.id, conflict=one.id in self.against)
            for one in request.results
        ]
        return order_pb.ReportResultsResponse(acks=acks)


class Prices(catalogue_grpc.CatalogueServiceServicer):
    """The other service of it that is told something: prices."""

    def __init__(self, orders: Orders) -> None:
        self.orders = orders

    async def ReportPrices(self, request: Any, context: Any) -> Any:
        if self.orders.refuse is not None:
            await context.abort(self.orders.refuse, "as told")
        self.orders.prices += request.prices
        outcomes = ["taken"] * len(request.prices)
        return catalogue_pb.ReportPricesResponse(outcomes=outcomes)


@dataclass
class House:
    """One running delivery service and everything around it."""

    process: Process[DeliverySettings]
    sandbox: Sandbox
    orders: Orders
    deliveries: Any
    suppliers: Any
    channel: str = "up"
    seen: list[int] = field(default_factory=list[int])
    number: Callable[[], int] = lambda: next(numbers)

    async def apply(
        self, channel_no: str = "up", given: Sequence[tuple[str, int]] = CODES, **changes: Any
    ) -> None:
        """Configure a channel of the sandbox, with what its codes mean."""
        url = self.sandbox.url
        one = {
            "channel_no": channel_no,
            "service_class": 10,
            "request_url": f"{url}/supplier/request",
            "query_url": f"{url}/supplier/query",
            "request_replenish_time_s": 1,
            "first_query_time_s": 0,
            "query_replenish_time_s": 1,
            "can_query": True,
            "idempotent": False,
            "concurrency_max": 50,
            "timeout_s": 5.0,
            "enabled": True,
        } | changes
        codes = [pb.Supplier.ErrorCode(error_code=code, deal_code=deal) for code, deal in given]
        message = pb.Supplier(**one, error_codes=codes)
        await self.suppliers.ApplySuppliers(
            pb.ApplySuppliersRequest(suppliers=[message], by="test")
        )

    async def send(self, *accounts: str, **changes: Any) -> list[int]:
        """Ask for deliveries to these accounts; their coop_order_ids."""
        answer = await self.create(*accounts, **changes)
        assert all(one.WhichOneof("outcome") == "delivery" for one in answer.results), answer
        return [int(one.delivery.key.coop_order_id) for one in answer.results]

    async def create(
        self, *accounts: str, channel_no: str = "up", service_class: int = 10, **changes: Any
    ) -> pb.CreateDeliveriesResponse:
        items = [
            pb.CreateDeliveriesRequest.Item(
                **{
                    "key": key(self.number(), service_class),
                    "channel_no": channel_no,
                    "carrier_no": "ZSH",
                    "face_micros": 100_000_000,
                    "num": 1,
                    "account": account,
                    "timeout_s": 300,
                    "order_id": "1",
                    **changes,
                }
            )
            for account in accounts
        ]
        return await self.deliveries.CreateDeliveries(pb.CreateDeliveriesRequest(items=items))

    async def query(self, number: int, service_class: int = 10) -> pb.Delivery:
        asked = pb.QueryDeliveriesRequest(keys=[key(number, service_class)])
        return (await self.deliveries.QueryDeliveries(asked)).results[0].delivery

    async def ends(self, number: int, service_class: int = 10) -> pb.Delivery:
        """The delivery once it has ended and the order service was told."""
        await eventually(lambda: number in self.orders.told, 15)
        return await self.query(number, service_class)

    async def rows(self, sql: str, **binds: Any) -> list[Any]:
        async with self.process.app.db.connect() as db:
            return list((await db.execute(text(sql), binds)).all())

    async def incidents(self, number: int) -> list[str]:
        asked = pb.ListIncidentsRequest(coop_order_id=str(number))
        return [one.error_msg for one in (await self.deliveries.ListIncidents(asked)).incidents]

    def witness(self) -> None:
        """No number was fulfilled twice."""
        assert not self.sandbox.journal.twice

    async def set_state(self, state: str, channel_no: str = "up") -> None:
        await self.suppliers.SetSupplierState(
            pb.SetSupplierStateRequest(
                channel_no=channel_no,
                state=pb.SupplierState.Value(f"SUPPLIER_STATE_{state}"),
                by="test",
                reason="because",
            )
        )


def key(number: int, service_class: int = 10) -> pb.DeliveryKey:
    return pb.DeliveryKey(coop_id="down", coop_order_id=str(number), service_class=service_class)


@asynccontextmanager
async def order_service() -> AsyncIterator[tuple[Orders, int]]:
    """A gRPC server that takes results."""
    orders, server = Orders(), aio.server()
    order_grpc.add_OrderServiceServicer_to_server(orders, server)
    catalogue_grpc.add_CatalogueServiceServicer_to_server(Prices(orders), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield orders, port
    finally:
        await server.stop(0)


@asynccontextmanager
async def notify_gateway(deliveries: Callable[[], Any]) -> AsyncIterator[str]:
    """What the gateway does with /vds/notify/{channel_no}/{service_class}: hand it on as it came."""

    async def take(http: web.BaseRequest) -> web.Response:
        _, _, _, channel_no, service_class = http.path.split("/")
        request = pb.TakeNotifyRequest(
            channel_no=channel_no,
            service_class=int(service_class),
            method=http.method,
            query=http.query_string,
            body=await http.read(),
            headers={name.lower(): value for name, value in http.headers.items()},
            remote_ip=http.remote or "",
        )
        try:
            answer = await deliveries().TakeNotify(request)
        except aio.AioRpcError as error:
            return web.Response(status=403, text=error.code().name)
        return web.Response(status=answer.http_status, body=answer.body)

    runner = web.ServerRunner(web.Server(take, access_log=None), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def house(
    url: str, journal: Path, *, secret: bytes = b"", **settings: Any
) -> AsyncIterator[House]:
    """Everything started, channel "up" configured."""
    stub: list[Any] = []
    async with (
        Sandbox(journal, secret=secret) as sandbox,
        order_service() as (orders, port),
        notify_gateway(lambda: stub[0]) as public_url,
    ):
        # Promises nothing: a number sent again would be fulfilled again, and the journal tells.
        sandbox.supplier.knobs["*"].idempotent = False
        sandbox.supplier.knobs["*"].notify_after_s = 0.05
        made = DeliverySettings(
            **{
                "profile": "test",
                "database_url": Secret(url),
                "public_url": public_url,
                "order_target": f"127.0.0.1:{port}",
                "task_scan_s": 0.1,
                "suppliers_refresh_s": 0.1,
                "drain_s": 2,
                **settings,
            }
        )
        process = Process(SERVICE, made)
        await process.start()
        channel = connect(f"127.0.0.1:{process.port}")
        started = House(
            process,
            sandbox,
            orders,
            delivery_grpc.DeliveryServiceStub(channel),
            delivery_grpc.SupplierServiceStub(channel),
        )
        stub.append(started.deliveries)
        try:
            await started.apply()
            yield started
        finally:
            await channel.close()
            await process.stop()


NewHouse = Callable[..., Any]


@pytest.fixture
async def running(
    new_database: Callable[[str], Awaitable[Any]], tmp_path: Path
) -> AsyncIterator[House]:
    """A house of its own for each test."""
    urls = await new_database("delivery")
    async with house(urls.service, tmp_path / "journal.jsonl") as started:
        yield started


@pytest.fixture
def free_port() -> int:
    """A port nobody serves now, and none the kernel gives to outgoing connections meanwhile."""
    return ports.free_port()
