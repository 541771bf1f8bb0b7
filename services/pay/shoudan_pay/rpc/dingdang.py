"""DingdangService, both sides: what our platform's partners call and what a platform calls us for."""

from __future__ import annotations

from typing import Final

from shoudan.pay.v1 import platform_service_pb2 as pb
from shoudan.pay.v1 import platform_service_pb2_grpc as grpc_stubs
from shoudan_kit.rpc.deadlines import deadline
from shoudan_kit.rpc.messages import RpcContext
from shoudan_pay.dingdang.merchant_pays import MerchantPays, PartnerRefund
from shoudan_pay.dingdang.protocol import ID_CHARS_MAX
from shoudan_pay.dingdang.states import trade_state
from shoudan_pay.dingdang.trades import PaidNotice, RefundNotice, Trades
from shoudan_pay.payserver.rules import fen
from shoudan_pay.payserver.store.pays import PayOrder
from shoudan_pay.payserver.store.refunds import RefundOrder
from shoudan_pay.platforms.signatures import Signatures
from shoudan_pay.platforms.status_map import refund_state
from shoudan_pay.refusals import FieldInvalid
from shoudan_pay.rpc import platform_messages
from shoudan_pay.rpc.ledger_messages import text

PLATFORM: Final = "platform"
PARTNER: Final = "partner"


class DingdangServicer(grpc_stubs.DingdangServiceServicer):
    """shoudan.pay.v1.DingdangService."""

    def __init__(
        self, signatures: Signatures, trades: Trades, merchant_pays: MerchantPays, call_s: float
    ) -> None:
        self._signatures, self._trades, self._pays = signatures, trades, merchant_pays
        self._call_s = call_s

    async def QueryOrder(
        self, request: pb.QueryOrderRequest, context: RpcContext
    ) -> pb.QueryOrderResponse:
        """A pay of another merchant is like none."""
        proof = platform_messages.proof(request.proof)
        domain = await self._signatures.domain(
            proof, PLATFORM, request.domain_id, request.nonce, "orderquery"
        )
        pay = await self._pays.pay(domain.merchant_uuid, request.transaction_id, request.trade_no)
        return pb.QueryOrderResponse(
            transaction_id=pay.traction_no,
            trade_no=pay.client_pay_no,
            total_fen=fen(pay.amount_micros),
            state=platform_messages.trade_state_message(trade_state(pay.status)),
        )

    async def RefundOrder(
        self, request: pb.RefundOrderRequest, context: RpcContext
    ) -> pb.RefundOrderResponse:
        """Taken like any refund of PayServer."""
        proof = platform_messages.proof(request.proof)
        domain = await self._signatures.domain(
            proof, PLATFORM, request.domain_id, request.nonce, "refund"
        )
        asked = PartnerRefund(
            transaction_id=request.transaction_id,
            trade_no=request.trade_no,
            refund_trade_no=text("refundTradeNo", request.refund_trade_no, ID_CHARS_MAX),
            total_fen=request.total_fen,
            refund_fen=platform_messages.fen_of("refundAmt", request.refund_fen),
            desc=request.refund_desc,
        )
        wait_s = deadline(context, self._call_s)
        refund, pay = await self._pays.give_back(domain.merchant_uuid, asked, wait_s)
        return pb.RefundOrderResponse(refund=_refund(refund, pay))

    async def QueryRefund(
        self, request: pb.QueryRefundRequest, context: RpcContext
    ) -> pb.QueryRefundResponse:
        """A refund of another merchant is like none."""
        proof = platform_messages.proof(request.proof)
        domain = await self._signatures.domain(
            proof, PLATFORM, request.domain_id, request.nonce, "refundquery"
        )
        refund, pay = await self._pays.refund(
            domain.merchant_uuid, request.refund_transaction_id, request.refund_trade_no
        )
        return pb.QueryRefundResponse(refund=_refund(refund, pay))

    async def TakePaid(
        self, request: pb.TakePaidRequest, context: RpcContext
    ) -> pb.TakePaidResponse:
        """The notice itself means paid. The same again is answered the same and does nothing."""
        proof = platform_messages.proof(request.proof)
        domain = await self._signatures.domain(
            proof, PARTNER, request.domain_id, request.nonce, "paid"
        )
        if not request.transaction_id or len(request.transaction_id) > ID_CHARS_MAX:
            raise FieldInvalid("transactionId", "is missing or too long")
        notice = PaidNotice(
            domain_id=domain.domain_id,
            trade_no=request.trade_no,
            transaction_id=request.transaction_id,
            total_fen=request.total_fen,
        )
        return pb.TakePaidResponse(repeated=await self._trades.accept_paid(notice))

    async def TakeRefunded(
        self, request: pb.TakeRefundedRequest, context: RpcContext
    ) -> pb.TakeRefundedResponse:
        """PROCESSING is stored, too; the platform is queried until the refund ends."""
        proof = platform_messages.proof(request.proof)
        domain = await self._signatures.domain(
            proof, PARTNER, request.domain_id, request.nonce, "refunded"
        )
        given = request.refund
        notice = RefundNotice(
            domain_id=domain.domain_id,
            trade_no=given.trade_no,
            transaction_id=given.transaction_id,
            refund_trade_no=given.refund_trade_no,
            refund_transaction_id=given.refund_transaction_id,
            total_fen=given.total_fen,
            refund_fen=given.refund_fen,
            state=platform_messages.refund_end(given.state),
        )
        return pb.TakeRefundedResponse(repeated=await self._trades.accept_refunded(notice))


def _refund(refund: RefundOrder, pay: PayOrder) -> pb.DingdangRefund:
    return pb.DingdangRefund(
        transaction_id=pay.traction_no,
        trade_no=pay.client_pay_no,
        refund_transaction_id=refund.traction_no,
        refund_trade_no=refund.client_refund_no,
        total_fen=fen(pay.amount_micros),
        refund_fen=fen(refund.amount_micros),
        state=platform_messages.refund_state_message(refund_state(refund.status)),
    )
