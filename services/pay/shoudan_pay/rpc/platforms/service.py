"""DingdangService, both sides: what a partner calls and what a platform calls."""

from __future__ import annotations

from shoudan.pay.v1 import platform_service_pb2_grpc as grpc_stubs
from shoudan_kit.service import App
from shoudan_pay.config import PaySettings
from shoudan_pay.rpc.payserver.refunding import Refunding
from shoudan_pay.rpc.platforms.partner_side import PartnerCalls, Trades
from shoudan_pay.rpc.platforms.platform_side import PlatformCalls
from shoudan_pay.rpc.platforms.proofs import Proofs


class DingdangServicer(PlatformCalls, PartnerCalls, grpc_stubs.DingdangServiceServicer):
    """shoudan.pay.v1.DingdangService."""

    def __init__(
        self, app: App[PaySettings], proofs: Proofs, trades: Trades, refunding: Refunding
    ) -> None:
        self._app, self._proofs, self._trades = app, proofs, trades
        self._refunding = refunding
