"""PlatformService: what operators set and see of ChinaUMS and Dingdang."""

from __future__ import annotations

from typing import Final

from shoudan.pay.v1 import platform_service_pb2 as pb
from shoudan.pay.v1 import platform_service_pb2_grpc as grpc_stubs
from shoudan_kit import named_secret
from shoudan_kit.rpc import RpcContext
from shoudan_kit.service import App
from shoudan_pay.channels.dingdang import DOMAIN_CHARS_MAX, ID_CHARS_MAX
from shoudan_pay.config import PaySettings
from shoudan_pay.dingdang.refusals import TradeDiffers
from shoudan_pay.dingdang.states import TradeState
from shoudan_pay.platforms.refusals import NoOrder
from shoudan_pay.refusals import FieldInvalid
from shoudan_pay.rpc.platforms import wire
from shoudan_pay.rpc.platforms.releasing import Orders
from shoudan_pay.rpc.wire import text
from shoudan_pay.store.platforms import callers, notices, trades
from shoudan_pay.store.platforms.trades import Trade

LIMIT: Final = 100
LIMIT_MAX: Final = 1_000
# What must be equal for a second binding to be a repeat.
BOUND: Final = ("total_fen", "pay_traction_no", "channel_no", "request_no")


class PlatformServicer(grpc_stubs.PlatformServiceServicer):
    """shoudan.pay.v1.PlatformService."""

    def __init__(self, app: App[PaySettings], orders: Orders) -> None:
        self._app, self._orders = app, orders

    async def SetUmsApp(
        self, request: pb.SetUmsAppRequest, context: RpcContext
    ) -> pb.SetUmsAppResponse:
        """Replaces the one with this appId."""
        given = wire.app(request.app)
        self._check_secrets(given.secret_name, given.notify_secret_name)
        async with self._app.work("platforms_set") as work:
            await callers.set_app(work.db, given)
        return pb.SetUmsAppResponse()

    async def SetDomain(
        self, request: pb.SetDomainRequest, context: RpcContext
    ) -> pb.SetDomainResponse:
        """Replaces the one with this role and domainId."""
        given = wire.domain(request.domain)
        self._check_secrets(given.secret_name, given.own_secret_name)
        async with self._app.work("platforms_set") as work:
            await callers.set_domain(work.db, given)
        return pb.SetDomainResponse()

    def _check_secrets(self, *names: str) -> None:
        settings = self._app.settings
        for name in names:
            if named_secret.is_demo_of(settings.profile, name, settings.secrets_dir):
                raise FieldInvalid("secret_name", f"{name}: {named_secret.REFUSED}")

    async def BindTrade(
        self, request: pb.BindTradeRequest, context: RpcContext
    ) -> pb.BindTradeResponse:
        """A repeat gives what is bound; other content refuses. The order is held before it is bound."""
        given = request.trade
        trade = Trade(
            domain_id=text("domain_id", given.domain_id, DOMAIN_CHARS_MAX),
            trade_no=text("trade_no", given.trade_no, ID_CHARS_MAX),
            total_fen=wire.fen_of("total_fen", given.total_fen),
            pay_traction_no=text("pay_traction_no", given.pay_traction_no, 16, optional=True),
            channel_no=text("channel_no", given.channel_no, 32, optional=True),
            request_no=text("request_no", given.request_no, 64, optional=True),
            transaction_id="",
            status=TradeState.NOTPAY,
            paid_time=None,
        )
        if bool(trade.channel_no) != bool(trade.request_no):
            raise FieldInvalid("request_no", "goes with channel_no")
        async with self._app.db.connect() as db:
            if await callers.domain_by_id(db, "partner", trade.domain_id) is None:
                raise FieldInvalid("domain_id", "is no domain we are the partner of")
            known = await trades.by_no(db, trade.domain_id, trade.trade_no)
            paying = await trades.by_pay(db, trade.pay_traction_no)
        if known is None and paying is not None:
            raise _paid_by_another()
        # Not again for a repeat: its trade may have been paid, and its order let go.
        if known is None and trade.channel_no:
            await self._orders.hold(trade.channel_no, trade.request_no, trade.trade_no)
        async with self._app.work("platforms_bind") as work:
            made = await trades.bind(work.db, trade)
            found = made or await trades.by_no(work.db, trade.domain_id, trade.trade_no)
        if found is None:
            raise _paid_by_another()
        if any(getattr(found, name) != getattr(trade, name) for name in BOUND):
            raise TradeDiffers(trade.trade_no)
        return pb.BindTradeResponse(trade=wire.trade_message(found))

    async def GetTrade(
        self, request: pb.GetTradeRequest, context: RpcContext
    ) -> pb.GetTradeResponse:
        """How it stands."""
        async with self._app.db.connect() as db:
            found = await trades.by_no(db, request.domain_id, request.trade_no)
        if found is None:
            raise NoOrder(request.trade_no[:64])
        return pb.GetTradeResponse(trade=wire.trade_message(found))

    async def ListNotices(
        self, request: pb.ListNoticesRequest, context: RpcContext
    ) -> pb.ListNoticesResponse:
        """Newest first."""
        most = min(request.limit or LIMIT, LIMIT_MAX)
        if most < 1:
            raise FieldInvalid("limit", f"is none of 1 to {LIMIT_MAX}")
        async with self._app.db.connect() as db:
            found = await notices.newest(db, request.domain_id, most)
        shown = [
            pb.Notice(
                notice_id=one.notice_id,
                domain_id=one.domain_id,
                kind=one.kind,
                traction_no=one.traction_no,
                status=one.status,
                count=one.count,
                http_status=one.http_status,
                answer=one.answer,
            )
            for one in found
        ]
        return pb.ListNoticesResponse(notices=shown)


def _paid_by_another() -> FieldInvalid:
    return FieldInvalid("pay_traction_no", "is paid by another trade")
