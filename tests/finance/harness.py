"""A ledger and a finance service that follows it, inside the test's own loop."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import asyncpg
from grpc import StatusCode, aio
from grpc_status import rpc_status
from typer.testing import CliRunner, Result

from shoudan.core.v1 import core_pb2
from shoudan.delivery.v1 import delivery_service_pb2 as delivery_pb
from shoudan.delivery.v1 import delivery_service_pb2_grpc as delivery_stubs
from shoudan.finance.v1 import bill_service_pb2_grpc as bill_stubs
from shoudan.finance.v1 import book_service_pb2_grpc as book_stubs
from shoudan.finance.v1 import finance_service_pb2 as pb
from shoudan.finance.v1 import finance_service_pb2_grpc as stubs
from shoudan.finance.v1 import trade_service_pb2 as trade_pb
from shoudan.finance.v1 import trade_service_pb2_grpc as trade_stubs
from shoudan.order.v1 import audit_service_pb2 as order_pb
from shoudan.order.v1 import audit_service_pb2_grpc as order_stubs
from shoudan.order.v1 import channel_service_pb2 as channel_pb
from shoudan.order.v1 import channel_service_pb2_grpc as channel_stubs
from shoudan.order.v1 import order_service_pb2 as order_service_pb
from shoudan.order.v1 import order_service_pb2_grpc as order_service_stubs
from shoudan_delivery.refusals import NotifyUnverified
from shoudan_finance import commands, day_books, trade_books
from shoudan_finance.app import SERVICE
from shoudan_finance.config import FinanceSettings
from shoudan_finance.context import Context
from shoudan_kit.config import Secret
from shoudan_kit.embedded import DatabaseUrls
from shoudan_kit.service import ROLES, Process
from shoudan_pay.ledger import closing
from shoudan_pay.ledger.days import day_of
from shoudan_pay.ledger.store import days as ledger_days
from tests.pay.ledger.harness import LedgerHarness
from tests.poll import eventually

NO_CUT = timedelta()
NEVER_S = 86_400
AWAY = "127.0.0.1:1"


@dataclass
class OrderBook(order_stubs.AuditServiceServicer):
    """The order service as far as finance sees it: what ended on each day, in pages of two."""

    trades: dict[str, list[order_pb.Trade]] = field(default_factory=dict[str, list[order_pb.Trade]])
    refuses: bool = False
    resent: list[int] = field(default_factory=list[int])

    async def ResendNotifies(self, request: Any, context: Any) -> order_pb.ResendNotifiesResponse:
        self.resent += request.notify_ids
        return order_pb.ResendNotifiesResponse(count=len(request.notify_ids))

    async def ListTrades(self, request: Any, context: Any) -> order_pb.ListTradesResponse:
        if self.refuses:
            await context.abort(StatusCode.INVALID_ARGUMENT, "not over")
        assert request.everyone
        start = int(request.page_token or 0)
        found = self.trades.get(request.day, [])
        token = str(start + 2) if start + 2 < len(found) else ""
        return order_pb.ListTradesResponse(trades=found[start : start + 2], next_page_token=token)

    def add(self, day: date, kind: int, number: int, **more: Any) -> order_pb.Trade:
        """One more trade of the day."""
        found = self.trades.setdefault(day.isoformat(), [])
        given = {"order_id": number, "down_channel_no": "d1", "line_id": 1, "num": 1, **more}
        made = order_pb.Trade(kind=order_pb.TradeKind.ValueType(kind), number=number, **given)
        midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
        made.end_time.FromDatetime(midnight + timedelta(seconds=len(found)))
        found.append(made)
        return made


@dataclass
class OrderDesk(order_service_stubs.OrderServiceServicer):
    """The order service as far as finance sees single orders: their life, their refunds."""

    refunds: dict[str, order_service_pb.NewRefund] = field(
        default_factory=dict[str, order_service_pb.NewRefund]
    )
    refuses: str = ""
    away: bool = False

    async def GetOrder(self, request: Any, context: Any) -> order_service_pb.GetOrderResponse:
        found = order_service_pb.Order()
        found.request.channel_no, found.request.request_no = "d1", f"r{request.order_id}"
        found.notifies.add(notify_id=request.order_id + 7)
        return order_service_pb.GetOrderResponse(order=found)

    async def GetLifecycle(
        self, request: Any, context: Any
    ) -> order_service_pb.GetLifecycleResponse:
        if self.away:
            await context.abort(StatusCode.UNAVAILABLE, "away")
        moment = core_pb2.Moment(service="order", tag="订单完成", text=f"{request.order_id} ended")
        moment.time.FromDatetime(datetime.now(UTC))
        return order_service_pb.GetLifecycleResponse(moments=[moment])

    async def CreateRefunds(
        self, request: Any, context: Any
    ) -> order_service_pb.CreateRefundsResponse:
        result = order_service_pb.CreateRefundsResponse.Result()
        (new,) = request.refunds
        if self.refuses:
            result.refusal.reason, result.refusal.domain = self.refuses, "order.shoudan"
        else:
            result.existed = new.refund_no in self.refunds
            self.refunds[new.refund_no] = new
            result.refund.refund_id = 4711
        return order_service_pb.CreateRefundsResponse(results=[result])


@dataclass
class DeliveryBook(delivery_stubs.DeliveryServiceServicer):
    """The delivery service as far as finance sees it: what suppliers know deliveries by."""

    numbers: dict[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])
    asked: list[str] = field(default_factory=list[str])
    away: bool = False

    async def QuerySupplierNumbers(
        self, request: Any, context: Any
    ) -> delivery_pb.QuerySupplierNumbersResponse:
        if self.away:
            await context.abort(StatusCode.UNAVAILABLE, "away")
        result = delivery_pb.QuerySupplierNumbersResponse.Result
        found = [self.numbers.get(one.coop_order_id, ("", "")) for one in request.keys]
        return delivery_pb.QuerySupplierNumbersResponse(
            results=[result(order_no=no, account=account) for no, account in found]
        )

    async def ReadSupplierAnswer(
        self, request: Any, context: Any
    ) -> delivery_pb.ReadSupplierAnswerResponse:
        if self.away:
            await context.abort(StatusCode.UNAVAILABLE, "away")
        self.asked.append(request.key.coop_order_id)
        stands = delivery_pb.Delivery(order_no="880001", status=delivery_pb.STATUS_SUCCEEDED)
        return delivery_pb.ReadSupplierAnswerResponse(
            delivery=stands, said=delivery_pb.STATUS_FAILED, code="F1", desc="no such order"
        )


@dataclass
class SupplierDoor(delivery_stubs.SupplierServiceServicer):
    """The delivery service as far as it verifies suppliers' calls."""

    calls: list[Any] = field(default_factory=list[Any])
    refuses: bool = False

    async def CheckSupplierCall(
        self, request: Any, context: Any
    ) -> delivery_pb.CheckSupplierCallResponse:
        self.calls.append(request)
        if self.refuses:
            status = rpc_status.to_status(NotifyUnverified(request.channel_no, 0).to_status())
            await context.abort(status.code, status.details, status.trailing_metadata)
        return delivery_pb.CheckSupplierCallResponse()


@dataclass
class ChannelBook(channel_stubs.ChannelServiceServicer):
    """The order service as far as it sends notices: what channels were sent, and what they say."""

    sent: list[channel_pb.SendNoticeRequest] = field(
        default_factory=list[channel_pb.SendNoticeRequest]
    )
    results: dict[str, int] = field(default_factory=dict[str, int])  # by channel; acknowledged

    async def SendNotice(self, request: Any, context: Any) -> channel_pb.SendNoticeResponse:
        result = self.results.get(request.channel_no, channel_pb.NOTICE_RESULT_ACKNOWLEDGED)
        if not request.body and result != channel_pb.NOTICE_RESULT_NO_ADDRESS:
            result = channel_pb.NOTICE_RESULT_HAS_ADDRESS
        if request.body:
            self.sent.append(request)
        answer = "HTTP 500" if result == channel_pb.NOTICE_RESULT_NOT_ACKNOWLEDGED else ""
        return channel_pb.SendNoticeResponse(
            result=channel_pb.NoticeResult.ValueType(result), answer=answer
        )

    def of(self, channel_no: str) -> list[dict[str, Any]]:
        """What a channel was sent."""
        return [json.loads(one.body) for one in self.sent if one.channel_no == channel_no]


@dataclass
class FinanceHarness:
    """A running finance service and the ledger it follows."""

    process: Process[FinanceSettings]
    stub: Any
    trade_stub: Any
    bill_stub: Any
    book_stub: Any
    urls: DatabaseUrls
    ledger: LedgerHarness
    orders: OrderBook
    channels: ChannelBook
    deliveries: DeliveryBook
    desk: OrderDesk
    door: SupplierDoor

    @property
    def context(self) -> Context:
        return self.process.running.context

    async def sql(self, query: str, *values: Any) -> list[Any]:
        """A statement as the owner of the tables."""
        db = await asyncpg.connect(self.urls.owner.replace("+asyncpg", ""))
        try:
            return await db.fetch(query, *values)
        finally:
            await db.close()

    async def close_day(self) -> date:
        """Close the day that the ledger's accounts are in; its next one begins."""
        app = self.ledger.process.app
        async with app.db.connect() as db:
            last = await ledger_days.last_closed(db)
            today = day_of(await ledger_days.now(db), NO_CUT)
        day = today if last is None or last < today else last + timedelta(days=1)
        await closing.close(app, day, NO_CUT)
        return day

    async def get(self, day: date) -> pb.Day:
        """One day."""
        return (await self.stub.GetDay(pb.GetDayRequest(day=day.isoformat()))).day

    async def completed(self, day: date) -> pb.Day:
        """The day when it is complete."""
        await day_books.note(self.context)

        async def complete() -> bool:
            return (await self.get(day)).status == pb.DAY_STATUS_COMPLETE

        await eventually(complete, 20)
        return await self.get(day)

    async def accounts(self, day: date, **more: Any) -> list[pb.AccountDay]:
        """What the day came to in each account."""
        request = pb.ExportAccountDaysRequest(day=day.isoformat(), **more)
        parts = [part async for part in self.stub.ExportAccountDays(request)]
        return [one for part in parts for one in part.accounts]

    async def movements(self, day: date, **more: Any) -> list[pb.Movement]:
        """Its movements."""
        request = pb.ExportMovementsRequest(day=day.isoformat(), **more)
        parts = [part async for part in self.stub.ExportMovements(request)]
        return [one for part in parts for one in part.movements]

    async def trade_day(self, day: date) -> trade_pb.TradeDay:
        """One day of trades."""
        request = trade_pb.GetTradeDayRequest(day=day.isoformat())
        return (await self.trade_stub.GetTradeDay(request)).day

    async def agreed(
        self, day: date, *statuses: int, apart: int | None = None
    ) -> trade_pb.TradeDay:
        """The day of trades when it has one of these statuses; when it agrees, if none is given."""
        await trade_books.note(self.context)
        wanted: Sequence[int] = statuses or (trade_pb.TRADE_DAY_STATUS_AGREES,)

        async def there() -> bool:
            found = await self.trade_day(day)
            return found.status in wanted and (apart is None or found.apart == apart)

        await eventually(there, 20)
        return await self.trade_day(day)

    async def trades(self, day: date, **more: Any) -> list[trade_pb.TradeFact]:
        """The trades of a day."""
        request = trade_pb.ExportTradesRequest(day=day.isoformat(), **more)
        parts = [part async for part in self.trade_stub.ExportTrades(request)]
        return [one for part in parts for one in part.trades]

    async def run(self, *words: str, app: Any = commands.app) -> Result:
        """`shoudan finance …`, or another application, in a thread of its own."""
        environ = {"SHOUDAN_FINANCE_TARGET": f"127.0.0.1:{self.process.port}", "COLUMNS": "200"}
        return await asyncio.to_thread(CliRunner().invoke, app, list(words), env=environ)


def settings(urls: DatabaseUrls, ledger: LedgerHarness, **more: Any) -> FinanceSettings:
    """Settings of a test's service on any free port, which looks for days only when it is made to."""
    given = {"listen_port": 0, "profile": "test", "drain_s": 5, "follow_s": NEVER_S}
    given |= {"daily_bills": [], **more}
    given["pay_target"] = f"127.0.0.1:{ledger.process.port}"
    given.setdefault("order_target", AWAY)
    given.setdefault("delivery_target", AWAY)
    return FinanceSettings(database_url=Secret(urls.service), **given)


@asynccontextmanager
async def opened(
    urls: DatabaseUrls, ledger: LedgerHarness, roles: frozenset[str] = ROLES, **more: Any
) -> AsyncIterator[FinanceHarness]:
    """A started finance service; without the role of tasks it fills no day by itself."""
    orders, channels, deliveries = OrderBook(), ChannelBook(), DeliveryBook()
    server = aio.server()
    desk, door = OrderDesk(), SupplierDoor()
    delivery_stubs.add_SupplierServiceServicer_to_server(door, server)
    delivery_stubs.add_DeliveryServiceServicer_to_server(deliveries, server)
    order_service_stubs.add_OrderServiceServicer_to_server(desk, server)
    order_stubs.add_AuditServiceServicer_to_server(orders, server)
    channel_stubs.add_ChannelServiceServicer_to_server(channels, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    at = f"127.0.0.1:{port}"
    given = settings(urls, ledger, order_target=at, delivery_target=at, **more)
    process: Process[FinanceSettings] = Process(SERVICE, given, roles)
    await process.start()
    try:
        async with aio.insecure_channel(f"127.0.0.1:{process.port}") as channel:
            yield FinanceHarness(
                process,
                stubs.FinanceServiceStub(channel),
                trade_stubs.TradeServiceStub(channel),
                bill_stubs.BillServiceStub(channel),
                book_stubs.BookServiceStub(channel),
                urls,
                ledger,
                orders,
                channels,
                deliveries,
                desk,
                door,
            )
    finally:
        await process.stop()
        await server.stop(None)
