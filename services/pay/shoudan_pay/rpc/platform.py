"""PlatformService: what operators set and see of ChinaUMS and Dingdang."""

from __future__ import annotations

from typing import Final

from shoudan.pay.v1 import platform_service_pb2 as pb
from shoudan.pay.v1 import platform_service_pb2_grpc as grpc_stubs
from shoudan_kit.rpc.messages import RpcContext, filled
from shoudan_kit.service import App
from shoudan_pay.config import PaySettings
from shoudan_pay.dingdang.notices import newest
from shoudan_pay.dingdang.order_holds import OrderHolds
from shoudan_pay.dingdang.protocol import DOMAIN_CHARS_MAX, ID_CHARS_MAX
from shoudan_pay.dingdang.states import TradeState
from shoudan_pay.dingdang.store.trades import Trade
from shoudan_pay.dingdang.trades import bind, find
from shoudan_pay.platforms import callers
from shoudan_pay.refusals import FieldInvalid
from shoudan_pay.rpc import platform_messages
from shoudan_pay.rpc.ledger_messages import text

LIMIT: Final = 100
LIMIT_MAX: Final = 1_000


class PlatformServicer(grpc_stubs.PlatformServiceServicer):
    """shoudan.pay.v1.PlatformService."""

    def __init__(self, app: App[PaySettings], orders: OrderHolds) -> None:
        self._app, self._orders = app, orders

    async def SetUmsApp(
        self, request: pb.SetUmsAppRequest, context: RpcContext
    ) -> pb.SetUmsAppResponse:
        """Replaces the one with this appId."""
        given = platform_messages.app(request.app)
        await callers.set_app(self._app, given)
        return pb.SetUmsAppResponse()

    async def SetDomain(
        self, request: pb.SetDomainRequest, context: RpcContext
    ) -> pb.SetDomainResponse:
        """Replaces the one with this role and domainId."""
        given = platform_messages.domain(request.domain)
        await callers.set_domain(self._app, given)
        return pb.SetDomainResponse()

    async def BindTrade(
        self, request: pb.BindTradeRequest, context: RpcContext
    ) -> pb.BindTradeResponse:
        """A repeat gives what is bound; other content refuses. The order is held before it is bound."""
        given = request.trade
        trade = Trade(
            domain_id=text("domain_id", given.domain_id, DOMAIN_CHARS_MAX),
            trade_no=text("trade_no", given.trade_no, ID_CHARS_MAX),
            total_fen=platform_messages.fen_of("total_fen", given.total_fen),
            pay_traction_no=text("pay_traction_no", given.pay_traction_no, 16, optional=True),
            channel_no=text("channel_no", given.channel_no, 32, optional=True),
            request_no=text("request_no", given.request_no, 64, optional=True),
            transaction_id="",
            status=TradeState.NOTPAY,
            paid_time=None,
        )
        found = await bind(self._app, self._orders, trade)
        return pb.BindTradeResponse(trade=platform_messages.trade_message(found))

    async def GetTrade(
        self, request: pb.GetTradeRequest, context: RpcContext
    ) -> pb.GetTradeResponse:
        """How it stands."""
        found = await find(self._app, request.domain_id, request.trade_no)
        return pb.GetTradeResponse(trade=platform_messages.trade_message(found))

    async def ListNotices(
        self, request: pb.ListNoticesRequest, context: RpcContext
    ) -> pb.ListNoticesResponse:
        """Newest first."""
        most = min(request.limit or LIMIT, LIMIT_MAX)
        if most < 1:
            raise FieldInvalid("limit", f"is none of 1 to {LIMIT_MAX}")
        found = await newest(self._app, request.domain_id, most)
        shown = [filled(pb.Notice, one) for one in found]
        return pb.ListNoticesResponse(notices=shown)
