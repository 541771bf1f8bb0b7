"""What stands around an order service in its tests: a ledger, suppliers and a partner, each scripted."""

from __future__ import annotations

import asyncio
import itertools
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from aiohttp import web
from grpc import aio
from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError

from shoudan.delivery.v1 import card_service_pb2_grpc as card_grpc
from shoudan.delivery.v1 import delivery_service_pb2 as delivery_pb
from shoudan.delivery.v1 import delivery_service_pb2_grpc as delivery_grpc
from shoudan.order.v1 import audit_service_pb2_grpc as audit_grpc
from shoudan.order.v1 import catalogue_service_pb2 as catalogue_pb
from shoudan.order.v1 import catalogue_service_pb2_grpc as catalogue_grpc
from shoudan.order.v1 import channel_service_pb2_grpc as channel_grpc
from shoudan.order.v1 import order_service_pb2 as pb
from shoudan.order.v1 import order_service_pb2_grpc as order_grpc
from shoudan.pay.v1 import ledger_service_pb2 as pay_pb
from shoudan.pay.v1 import ledger_service_pb2_grpc as pay_grpc
from shoudan_kit.config import Secret
from shoudan_kit.db.pool import Database
from shoudan_kit.embedded import DatabaseUrls, Postgres
from shoudan_kit.service import ROLES, Process
from shoudan_order.app import SERVICE
from shoudan_order.config import OrderSettings
from shoudan_order.context import Context
from tests.order.fake_cards import FakeCards
from tests.order.refusals import refusal, refuse
from tests.poll import eventually

LOOPBACK = ("127.0.0.0/8",)
YUAN = 1_000_000
PPM = 1_000_000

Key = tuple[str, str, int, int]


class FakeLedger(pay_grpc.LedgerServiceServicer):
    """A ledger in memory: sums by account, idempotent by key, limits where a credit is set."""

    def __init__(self) -> None:
        self.posted: dict[tuple[str, str, str, int, int], int] = {}
        self.memos: dict[tuple[str, str], str] = {}  # by kind of account and trade number
        self.balances: dict[tuple[str, str], int] = defaultdict(int)
        self.limits: dict[str, int] = {}
        self.locked: set[str] = set()
        self.accounts: dict[tuple[str, str], str] = {}
        self.listed: list[Any] = []
        self.calls = 0
        self.held: asyncio.Event | None = None  # answers of postings wait for it

    async def CreateAccounts(self, request: Any, context: Any) -> Any:
        for item in request.items:
            self.accounts.setdefault((item.key.groups, item.key.eid), item.name)
        return pay_pb.CreateAccountsResponse(
            results=[
                pay_pb.CreateAccountsResponse.Result(account=pay_pb.Account(key=i.key))
                for i in request.items
            ]
        )

    async def ListAccounts(self, request: Any, context: Any) -> Any:
        self.listed.append(request)
        account = pay_pb.Account(account_id=86001, name="测试渠道账户")
        return pay_pb.ListAccountsResponse(accounts=[account], count=1)

    async def GetAccount(self, request: Any, context: Any) -> Any:
        key = request.key
        balance = self.balances[key.groups, key.eid]
        return pay_pb.GetAccountResponse(account=pay_pb.Account(key=key, balance_micros=balance))

    async def PostEntries(self, request: Any, context: Any) -> Any:
        self.calls += 1
        if self.held is not None:
            await self.held.wait()
        return pay_pb.PostEntriesResponse(results=[self._group(g.postings) for g in request.groups])

    def _group(self, postings: Sequence[Any]) -> Any:
        result = pay_pb.PostEntriesResponse.Result
        fresh: list[tuple[Any, Any]] = []
        records: list[Any] = []
        for p in postings:
            key = (p.account.groups, p.account.eid, p.trade_no, p.change_type, p.trade_type)
            there = self.posted.get(key)
            if there is not None and there != p.amount_micros and not p.void:
                return result(refusal=refusal("ERROR_REASON_POSTING_DIFFERS", "pay.shoudan"))
            if there is None:
                fresh.append((key, p))
            records.append(pay_pb.Record(amount_micros=p.amount_micros if there is None else there))
        for _, p in fresh:
            if p.account.eid in self.locked:
                return result(refusal=refusal("ERROR_REASON_ACCOUNT_LOCKED", "pay.shoudan"))
            at = (p.account.groups, p.account.eid)
            limit = self.limits.get(p.account.eid)
            if (
                p.account.groups == "down_channel"
                and limit is not None
                and p.amount_micros < 0
                and limit + self.balances[at] + p.amount_micros < 0
            ):
                return result(refusal=refusal("ERROR_REASON_BALANCE_TOO_LOW", "pay.shoudan"))
        for key, p in fresh:
            self.posted[key] = p.amount_micros
            if p.memo:
                self.memos[p.account.groups, p.trade_no] = p.memo
            self.balances[p.account.groups, p.account.eid] += p.amount_micros
        return result(records=records, existed=not fresh)

    def of(self, groups: str, eid: str) -> int:
        """The sum of an account."""
        return self.balances[groups, eid]

    def trades(self, trade_no: str) -> dict[str, int]:
        """What one trade number moved, by kind of account."""
        moved: dict[str, int] = defaultdict(int)
        for (groups, _, trade, _, _), amount in self.posted.items():
            if trade == trade_no:
                moved[groups] += amount
        return dict(moved)


@dataclass
class FakeDelivery(delivery_grpc.DeliveryServiceServicer):
    """Deliveries in memory; `script` says how one ends: True, False, None (nobody knows) or a refusal."""

    script: Callable[[Any], Any] = lambda item: True
    made: dict[int, Any] = field(default_factory=dict[int, Any])
    ended: dict[int, bool] = field(default_factory=dict[int, bool])
    sent: list[Any] = field(default_factory=list[Any])
    resolved: list[Any] = field(default_factory=list[Any])
    params: dict[str, str] = field(default_factory=dict[str, str])
    cards: FakeCards = field(default_factory=FakeCards)

    async def CreateDeliveries(self, request: Any, context: Any) -> Any:
        return delivery_pb.CreateDeliveriesResponse(
            results=[self._create(i) for i in request.items]
        )

    def _create(self, item: Any) -> Any:
        result = delivery_pb.CreateDeliveriesResponse.Result
        number = int(item.key.coop_order_id)
        if number not in self.made:
            how = self.script(item)
            if isinstance(how, str):
                return result(refusal=refusal(how, "delivery.shoudan"))
            self.made[number] = item
            self.sent.append(item)
            if how is not None:
                self.ended[number] = how
        return result(delivery=self._delivery(item.key))

    def _delivery(self, key: Any) -> Any:
        end = self.ended.get(int(key.coop_order_id))
        status = (
            delivery_pb.STATUS_SENDING
            if end is None
            else (delivery_pb.STATUS_SUCCEEDED if end else delivery_pb.STATUS_FAILED)
        )
        code = {None: "", True: "R_0000", False: "R_5124"}[end]
        return delivery_pb.Delivery(
            key=key,
            status=status,
            up_order_no=f"u{key.coop_order_id}",
            result_code=code,
            result_params=self.params,
        )

    async def ResolveDelivery(self, request: Any, context: Any) -> Any:
        number, succeeded = int(request.key.coop_order_id), request.status == 0
        if number not in self.made:
            await refuse(context, "ERROR_REASON_DELIVERY_NOT_FOUND", "delivery.shoudan")
        if self.ended.setdefault(number, succeeded) != succeeded:
            await refuse(context, "ERROR_REASON_ALREADY_FINAL", "delivery.shoudan")
        self.resolved.append((number, request.by, request.reason))
        return delivery_pb.ResolveDeliveryResponse(delivery=self._delivery(request.key))

    async def QueryDeliveries(self, request: Any, context: Any) -> Any:
        result = delivery_pb.QueryDeliveriesResponse.Result
        return delivery_pb.QueryDeliveriesResponse(
            results=[
                result(delivery=self._delivery(key))
                if int(key.coop_order_id) in self.made
                else result(refusal=refusal("ERROR_REASON_DELIVERY_NOT_FOUND", "delivery.shoudan"))
                for key in request.keys
            ]
        )


@dataclass
class Inbox:
    """A partner's notify endpoint: what it was told, and what it answers."""

    answer: Callable[[dict[str, Any]], tuple[int, str]] = lambda told: (200, "success")
    told: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    headers: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    bodies: list[bytes] = field(default_factory=list[bytes])
    url: str = ""

    async def take(self, request: web.Request) -> web.Response:
        """One notify."""
        told = await request.json()
        self.told.append(told)
        self.bodies.append(await request.read())
        self.headers.append({k.lower(): v for k, v in request.headers.items()})
        status, text = self.answer(told)
        return web.Response(status=status, text=text)


@dataclass
class OrderHarness:
    """One order service and everything it talks to."""

    process: Process[Any]
    orders: Any
    catalogue: Any
    audits: Any
    ledger: FakeLedger
    delivery: FakeDelivery
    inbox: Inbox
    owner_url: str = ""
    channels: Any = None
    numbers: Any = field(default_factory=lambda: itertools.count(1))

    @property
    def context(self) -> Context:
        """The service's own context."""
        return self.process.running.context

    def new(self, **changes: Any) -> pb.NewOrder:
        """An order like the document's example, with a number of its own."""
        facts: dict[str, Any] = {
            "channel_no": "test",
            "request_no": f"r{next(self.numbers)}",
            "line_id": 1,
            "carrier_no": "ZSH",
            "invoice_type": 1,
            "num": 1,
            "face_micros": 200 * YUAN,
            "amount_micros": 198 * YUAN,
            "recharge_account": "100011000000000",
        }
        return pb.NewOrder(**(facts | changes))

    async def create(self, *news: pb.NewOrder) -> list[Any]:
        """Results of CreateOrders."""
        answer = await self.orders.CreateOrders(pb.CreateOrdersRequest(orders=news))
        return list(answer.results)

    async def order(self, **changes: Any) -> int:
        """The number of a new order."""
        (result,) = await self.create(self.new(**changes))
        assert result.HasField("order"), result.refusal
        return result.order.order_id

    async def get(self, order_id: int) -> pb.Order:
        """The order whole."""
        return (await self.orders.GetOrder(pb.GetOrderRequest(order_id=order_id))).order

    async def report(self, *results: pb.DeliveryResult) -> list[Any]:
        """Acks of ReportResults."""
        answer = await self.orders.ReportResults(pb.ReportResultsRequest(results=results))
        return list(answer.acks)

    async def sql(self, query: str, **binds: Any) -> list[Any]:
        """A statement on the service's database: read as the service, changed as the owner, who alone may."""
        if query.lstrip().startswith("SELECT"):
            async with self.process.app.db.begin() as db:
                return list(await db.execute(text(query), binds))
        await self._as_owner(query, **binds)
        return []

    async def forge(self, table: str, change: str) -> None:
        """Bring all rows of a table to where no step of an order leads from where they are."""
        await self._as_owner(
            f"ALTER TABLE {table} DISABLE TRIGGER {table}_lifecycle",
            f"UPDATE {table} SET {change}",
            f"ALTER TABLE {table} ENABLE TRIGGER {table}_lifecycle",
        )

    async def _as_owner(self, *queries: str, **binds: Any) -> None:
        owner = Database(self.owner_url)
        async with owner.begin() as db:
            for query in queries:
                await db.execute(text(query), binds)
        await owner.dispose()

    async def turn_clock(self, postgres: Postgres, shift_s: int) -> None:
        """Turn the database's clock to `shift_s` seconds ahead of the machine's."""
        name = make_url(self.owner_url).database or ""
        async with postgres.admin(name) as db:
            turned = f"SET shoudan.clock_shift = '{shift_s} s'"
            await db.execute(f'ALTER DATABASE "{name}" {turned}')
            # A setting of the database holds for new connections.
            await db.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        # Whoever comes next is given none of the ended connections, however many the pool has.
        await self.process.app.db.dispose()

        async def back() -> bool:
            try:
                async with self.process.app.db.connect() as db:
                    await db.execute(text("SELECT 1"))
            except (DBAPIError, OSError, TimeoutError):
                return False
            return True

        await eventually(back)

    async def apply(self, **kinds: Any) -> Any:
        """ApplyCatalogue."""
        request = catalogue_pb.ApplyCatalogueRequest(
            catalogue=catalogue_pb.Catalogue(**kinds), by="tester"
        )
        return await self.catalogue.ApplyCatalogue(request)


def catalogue(**changes: Any) -> dict[str, Any]:
    """The documents' example: one product of 200 for channel `test`, one supplier."""
    return {
        "lines": [catalogue_pb.Line(line_id=1, line_name="加油卡", service_class=10)],
        "down_channels": [
            catalogue_pb.DownChannel(
                channel_no="test", channel_name="测试", enabled=True, allowed_networks=LOOPBACK
            )
        ],
        "down_shelves": [
            catalogue_pb.DownShelf(
                shelf_id=1,
                shelf_name="下游货架",
                channel_no="test",
                order_overtime_s=600,
                refund_overtime_s=600,
                enabled=True,
            )
        ],
        "down_products": [down_product()],
        "up_channels": [
            catalogue_pb.UpChannel(channel_no="ycup", channel_name="上游", enabled=True)
        ],
        "up_shelves": [
            catalogue_pb.UpShelf(
                shelf_id=1,
                shelf_name="上游货架",
                channel_no="ycup",
                delivery_overtime_s=300,
                return_overtime_s=300,
                enabled=True,
            )
        ],
        "up_products": [up_product()],
        **changes,
    }


def down_product(**changes: Any) -> Any:
    """A product of face 200 sold at 0.9 with commission 0.02 and service 0.01."""
    facts: dict[str, Any] = {
        "product_id": 300,
        "shelf_id": 1,
        "line_id": 1,
        "carrier_no": "ZSH",
        "province_no": "*",
        "city_no": "*",
        "invoice_type": 1,
        "can_refund": True,
        "face_micros": 200 * YUAN,
        "sell_discount_ppm": 900_000,
        "commission_discount_ppm": 20_000,
        "service_discount_ppm": 10_000,
        "payment_fee_discount_ppm": 5_000,
        "limit_count": 10,
        "enabled": True,
    }
    return catalogue_pb.DownProduct(**(facts | changes))


def up_product(**changes: Any) -> Any:
    """A product of face 200 bought at 0.8 with commission 0.01 and service 0.005."""
    facts: dict[str, Any] = {
        "product_id": 300,
        "shelf_id": 1,
        "line_id": 1,
        "carrier_no": "ZSH",
        "province_no": "*",
        "city_no": "*",
        "invoice_type": 1,
        "can_refund": True,
        "face_micros": 200 * YUAN,
        "cost_discount_ppm": 800_000,
        "commission_discount_ppm": 10_000,
        "service_discount_ppm": 5_000,
        "limit_count": 10,
        "enabled": True,
    }
    return catalogue_pb.UpProduct(**(facts | changes))


async def serve(*adders: Callable[[aio.Server], None]) -> tuple[aio.Server, str]:
    """A gRPC server on loopback with these servicers, and its address."""
    server = aio.server()
    for add in adders:
        add(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    return server, f"127.0.0.1:{port}"


@asynccontextmanager
async def inboxes() -> AsyncGenerator[Inbox]:
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
    try:
        yield made
    finally:
        await runner.cleanup()


@asynccontextmanager
async def running(
    urls: DatabaseUrls, inbox: Inbox, *, roles: frozenset[str] = ROLES, **knobs: Any
) -> AsyncGenerator[OrderHarness]:
    """An order service with the example's catalogue; without the role `tasks` nothing runs by itself."""
    # Of the contract's calls a fake has those that are asked of it.
    fakes: tuple[Any, Any] = FakeLedger, FakeDelivery
    ledger, delivery = fakes[0](), fakes[1]()
    server, target = await serve(
        partial(pay_grpc.add_LedgerServiceServicer_to_server, ledger),
        partial(delivery_grpc.add_DeliveryServiceServicer_to_server, delivery),
        partial(card_grpc.add_CardServiceServicer_to_server, delivery.cards),
    )
    facts: dict[str, Any] = {"task_scan_s": 0.1, "drain_s": 2} | knobs
    settings = OrderSettings(
        profile="test",
        database_url=Secret(urls.service),
        pay_target=target,
        delivery_target=target,
        **facts,
    )
    process = Process(SERVICE, settings, roles)
    await process.start()
    channel = aio.insecure_channel(f"127.0.0.1:{process.port}")
    made = OrderHarness(
        process,
        order_grpc.OrderServiceStub(channel),
        catalogue_grpc.CatalogueServiceStub(channel),
        audit_grpc.AuditServiceStub(channel),
        ledger,
        delivery,
        inbox,
        urls.owner,
        channel_grpc.ChannelServiceStub(channel),
    )
    try:
        await made.apply(**catalogue())
        yield made
    finally:
        await channel.close()
        await process.stop()
        await server.stop(None)
