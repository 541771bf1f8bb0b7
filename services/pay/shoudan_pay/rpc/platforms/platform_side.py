"""Dingdang's platform, played by PayServer: its merchants' pays and refunds, told to their domains."""

from __future__ import annotations

from typing import Final

import msgspec

from shoudan.pay.v1 import platform_service_pb2 as pb
from shoudan_kit.money import FEN
from shoudan_kit.refusal import Refusal
from shoudan_kit.rpc import RpcContext, deadline
from shoudan_kit.service import App
from shoudan_pay.channels.dingdang import ID_CHARS_MAX
from shoudan_pay.config import PaySettings
from shoudan_pay.dingdang.states import trade_state
from shoudan_pay.payserver import judging
from shoudan_pay.payserver.judging import RefundAsked, fen
from shoudan_pay.payserver.refusals import PayUrlEmpty
from shoudan_pay.platforms.refusals import AmountDiffers, IdsDisagree, NoOrder
from shoudan_pay.refusals import FieldInvalid
from shoudan_pay.rpc.payserver.refunding import Offline, Refunding, Wish
from shoudan_pay.rpc.platforms.proofs import Proofs
from shoudan_pay.rpc.platforms.standing import refund_state
from shoudan_pay.rpc.platforms.wire import fen_of, refund_state_message, trade_state_message
from shoudan_pay.rpc.wire import text
from shoudan_pay.store.payserver import pays as pay_store
from shoudan_pay.store.payserver import refunds as refund_store
from shoudan_pay.store.payserver.pays import PayOrder
from shoudan_pay.store.payserver.refunds import RefundOrder

ROLE: Final = "platform"
DESC_CHARS_MAX: Final = 64


class PlatformCalls:
    """The part of DingdangService that a partner calls. tradeNo is clientPayNo, transactionId tractionNo."""

    _app: App[PaySettings]
    _proofs: Proofs
    _refunding: Refunding

    async def QueryOrder(
        self, request: pb.QueryOrderRequest, context: RpcContext
    ) -> pb.QueryOrderResponse:
        """A pay of another merchant is like none."""
        domain = await self._proofs.domain(
            request.proof, ROLE, request.domain_id, request.nonce, "orderquery"
        )
        pay = await self._pay(domain.merchant_uuid, request.transaction_id, request.trade_no)
        return pb.QueryOrderResponse(
            transaction_id=pay.traction_no,
            trade_no=pay.client_pay_no,
            total_fen=fen(pay.amount_micros),
            state=trade_state_message(trade_state(pay.status)),
        )

    async def RefundOrder(
        self, request: pb.RefundOrderRequest, context: RpcContext
    ) -> pb.RefundOrderResponse:
        """Taken like any refund of PayServer; refundTradeNo is its clientRefundNo."""
        domain = await self._proofs.domain(
            request.proof, ROLE, request.domain_id, request.nonce, "refund"
        )
        number = text("refundTradeNo", request.refund_trade_no, ID_CHARS_MAX)
        amount = fen_of("refundAmt", request.refund_fen)
        pay = await self._pay(domain.merchant_uuid, request.transaction_id, request.trade_no)
        if request.total_fen != fen(pay.amount_micros):
            raise AmountDiffers("totalAmt")
        extra = msgspec.json.encode({"refundDesc": request.refund_desc[:DESC_CHARS_MAX]}).decode()
        asked = RefundAsked(
            pay_traction_no=pay.traction_no,
            client_refund_no=number,
            cancel=False,
            amount_micros=amount * FEN,
            extra_params=extra,
            content_hash=judging.content_hash("dingdang", pay.traction_no, amount),
        )
        wait_s = deadline(context, self._app.settings.component_timeout_s + 1)
        (answer,) = await self._refunding.refund([Wish(domain.merchant_uuid, asked)], wait_s)
        if isinstance(answer, Refusal):
            raise answer
        if isinstance(answer, Offline):
            raise PayUrlEmpty("refundUrl")
        return pb.RefundOrderResponse(refund=_refund(answer.refund, pay))

    async def QueryRefund(
        self, request: pb.QueryRefundRequest, context: RpcContext
    ) -> pb.QueryRefundResponse:
        """A refund of another merchant is like none."""
        domain = await self._proofs.domain(
            request.proof, ROLE, request.domain_id, request.nonce, "refundquery"
        )
        refund, pay = await self._refund(
            domain.merchant_uuid, request.refund_transaction_id, request.refund_trade_no
        )
        return pb.QueryRefundResponse(refund=_refund(refund, pay))

    async def _pay(self, merchant: str, transaction_id: str, trade_no: str) -> PayOrder:
        """The merchant's pay that has the number, or both. Raises NoOrder, IdsDisagree, FieldInvalid."""
        if not transaction_id and not trade_no:
            raise FieldInvalid("transactionId", "is missing, and tradeNo, too")
        key = merchant, trade_no
        async with self._app.db.connect() as db:
            named = (await pay_store.by_number(db, [transaction_id])).get(transaction_id)
            traded = (await pay_store.by_client_no(db, [key])).get(key)
        if named is not None and named.merchant_uuid != merchant:
            named = None
        if transaction_id and trade_no and (named is None) != (traded is None):
            raise IdsDisagree
        if named is not None and traded is not None and named.id != traded.id:
            raise IdsDisagree
        found = named or traded
        # What this protocol's numbers cannot name does not exist in it.
        if found is None or len(found.client_pay_no) > ID_CHARS_MAX:
            raise NoOrder((transaction_id or trade_no)[:ID_CHARS_MAX])
        return found

    async def _refund(
        self, merchant: str, refund_transaction_id: str, refund_trade_no: str
    ) -> tuple[RefundOrder, PayOrder]:
        """The merchant's refund likewise, with its pay."""
        if not refund_transaction_id and not refund_trade_no:
            raise FieldInvalid("refundTransactionId", "is missing, and refundTradeNo, too")
        key = merchant, refund_trade_no
        async with self._app.db.connect() as db:
            by_number = await refund_store.by_number(db, [refund_transaction_id])
            named = by_number.get(refund_transaction_id)
            traded = (await refund_store.by_client_no(db, [key])).get(key)
            if named is not None and named.merchant_uuid != merchant:
                named = None
            if refund_transaction_id and refund_trade_no and (named is None) != (traded is None):
                raise IdsDisagree
            if named is not None and traded is not None and named.id != traded.id:
                raise IdsDisagree
            found = named or traded
            if found is None or len(found.client_refund_no) > ID_CHARS_MAX:
                raise NoOrder((refund_transaction_id or refund_trade_no)[:ID_CHARS_MAX])
            pays = await pay_store.by_number(db, [found.pay_traction_no])
        return found, pays[found.pay_traction_no]


def _refund(refund: RefundOrder, pay: PayOrder) -> pb.DingdangRefund:
    return pb.DingdangRefund(
        transaction_id=pay.traction_no,
        trade_no=pay.client_pay_no,
        refund_transaction_id=refund.traction_no,
        refund_trade_no=refund.client_refund_no,
        total_fen=fen(pay.amount_micros),
        refund_fen=fen(refund.amount_micros),
        state=refund_state_message(refund_state(refund.status)),
    )
