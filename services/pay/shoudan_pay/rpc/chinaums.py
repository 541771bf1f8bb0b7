"""ChinaumsService: queries of cash desks about our refunds, notifies of ChinaUMS."""

from __future__ import annotations

from shoudan.pay.v1 import platform_service_pb2 as pb
from shoudan.pay.v1 import platform_service_pb2_grpc as grpc_stubs
from shoudan_kit.rpc.messages import RpcContext
from shoudan_kit.service import App
from shoudan_pay.chinaums import cash_desks
from shoudan_pay.chinaums.notifies import UmsNotifies
from shoudan_pay.config import PaySettings
from shoudan_pay.payserver.rules import fen
from shoudan_pay.payserver.states import PAID, PayStatus
from shoudan_pay.platforms.signatures import Signatures, TokenRequest
from shoudan_pay.platforms.status_map import refund_state
from shoudan_pay.platforms.store.callers import TOKEN_S
from shoudan_pay.rpc import platform_messages


class ChinaumsServicer(grpc_stubs.ChinaumsServiceServicer):
    """shoudan.pay.v1.ChinaumsService."""

    def __init__(
        self, app: App[PaySettings], signatures: Signatures, notifies: UmsNotifies
    ) -> None:
        self._app, self._signatures, self._notifies = app, signatures, notifies

    async def QueryUmsRefund(
        self, request: pb.QueryUmsRefundRequest, context: RpcContext
    ) -> pb.QueryUmsRefundResponse:
        """A refund of another merchant, and one of another mid, is like none."""
        desk = await self._signatures.ums(platform_messages.proof(request.proof))
        found = await cash_desks.refund(
            self._app, desk, request.mid, request.tid, request.mer_order_id
        )
        answer = pb.QueryUmsRefundResponse(
            state=platform_messages.refund_state_message(refund_state(found.status)),
            mer_order_id=found.client_pay_no,
            refund_order_id=found.client_refund_no,
            total_fen=fen(found.pay_micros),
            detail=pb.UmsDetail(**cash_desks.detail(found)),
            mer_name=desk.mer_name,
            paid=PayStatus(found.pay_status) in PAID,
        )
        answer.now.FromDatetime(self._app.wall_clock.now())
        return answer

    async def CreateUmsToken(
        self, request: pb.CreateUmsTokenRequest, context: RpcContext
    ) -> pb.CreateUmsTokenResponse:
        """The token is shown once and stored as its hash."""
        asked = TokenRequest(
            proof=platform_messages.proof(request.proof),
            app_id=request.app_id,
            timestamp=request.timestamp,
            nonce=request.nonce,
            sign_method=request.sign_method,
            signature=request.signature,
        )
        token = await self._signatures.ums_token(asked)
        return pb.CreateUmsTokenResponse(access_token=token, expires_in_s=TOKEN_S)

    async def TakeUmsNotify(
        self, request: pb.TakeUmsNotifyRequest, context: RpcContext
    ) -> pb.TakeUmsNotifyResponse:
        """Verified and compared; one of a refund queries it at once, one of a pay ends it."""
        await self._notifies.accept(dict(request.params), platform_messages.proof(request.proof))
        return pb.TakeUmsNotifyResponse()
