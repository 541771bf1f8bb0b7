"""Pays and refunds of our merchants as their Dingdang partners name them: tradeNo is clientPayNo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec

from shoudan_kit.money import FEN
from shoudan_kit.rpc.refusal import Refusal
from shoudan_kit.service import App
from shoudan_pay.config import PaySettings
from shoudan_pay.dingdang.protocol import ID_CHARS_MAX
from shoudan_pay.payserver import rules
from shoudan_pay.payserver.refunds import Offline, RefundRequest, Refunds
from shoudan_pay.payserver.refusals import PayUrlEmpty
from shoudan_pay.payserver.rules import RefundAsked, fen
from shoudan_pay.payserver.store import pays as pay_store
from shoudan_pay.payserver.store import refunds as refund_store
from shoudan_pay.payserver.store.pays import PayOrder
from shoudan_pay.payserver.store.refunds import RefundOrder
from shoudan_pay.platforms.refusals import AmountDiffers, IdsDisagree, NoOrder
from shoudan_pay.refusals import FieldInvalid

DESC_CHARS_MAX: Final = 64


@dataclass(frozen=True, slots=True)
class PartnerRefund:
    """A refund that a partner asks for; refundTradeNo is its clientRefundNo."""

    transaction_id: str
    trade_no: str
    refund_trade_no: str
    total_fen: int
    refund_fen: int
    desc: str


class MerchantPays:
    """What a partner may see and have given back: its merchant's. transactionId is tractionNo."""

    def __init__(self, app: App[PaySettings], refunds: Refunds) -> None:
        self._app, self._refunds = app, refunds

    async def pay(self, merchant: str, transaction_id: str, trade_no: str) -> PayOrder:
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

    async def refund(
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

    async def give_back(
        self, merchant: str, asked: PartnerRefund, wait_s: float
    ) -> tuple[RefundOrder, PayOrder]:
        """Refund like any refund of PayServer, with its pay.

        Raises what `pay` does, AmountDiffers, PayUrlEmpty, and PayServer's refusals.
        """
        pay = await self.pay(merchant, asked.transaction_id, asked.trade_no)
        if asked.total_fen != fen(pay.amount_micros):
            raise AmountDiffers("totalAmt")
        extra = msgspec.json.encode({"refundDesc": asked.desc[:DESC_CHARS_MAX]}).decode()
        refund = RefundAsked(
            pay_traction_no=pay.traction_no,
            client_refund_no=asked.refund_trade_no,
            cancel=False,
            amount_micros=asked.refund_fen * FEN,
            extra_params=extra,
            content_hash=rules.content_hash("dingdang", pay.traction_no, asked.refund_fen),
        )
        (answer,) = await self._refunds.refund([RefundRequest(merchant, refund)], wait_s)
        if isinstance(answer, Refusal):
            raise answer
        if isinstance(answer, Offline):
            raise PayUrlEmpty("refundUrl")
        return answer.refund, pay
