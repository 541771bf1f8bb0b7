"""Pays and refunds of our merchants as their Dingdang partners name them: tradeNo is clientPayNo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeVar

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.money import FEN
from shoudan_kit.rpc.refusal import Refusal
from shoudan_kit.service import App
from shoudan_pay.config import PaySettings
from shoudan_pay.dingdang.protocol import ID_CHARS_MAX
from shoudan_pay.payserver import rules
from shoudan_pay.payserver.acceptance import Offline, Request
from shoudan_pay.payserver.refunds import Refunds
from shoudan_pay.payserver.refusals import PayUrlEmpty
from shoudan_pay.payserver.rules import RefundAsked, fen
from shoudan_pay.payserver.settlement import PAYS, REFUNDS
from shoudan_pay.payserver.store.orders import Order, Orders
from shoudan_pay.payserver.store.pays import PayOrder
from shoudan_pay.payserver.store.refunds import RefundOrder
from shoudan_pay.platforms.refusals import AmountDiffers, IdsDisagree, NoOrder
from shoudan_pay.refusals import FieldInvalid

DESC_CHARS_MAX: Final = 64

T = TypeVar("T", bound=Order)


@dataclass(frozen=True, slots=True)
class PartnerRefund:
    """A partner's refund request; refundTradeNo is its clientRefundNo."""

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
        async with self._app.db.connect() as db:
            return await _find(db, PAYS.orders, merchant, transaction_id, trade_no)

    async def refund(
        self, merchant: str, refund_transaction_id: str, refund_trade_no: str
    ) -> tuple[RefundOrder, PayOrder]:
        """The merchant's refund likewise, with its pay."""
        if not refund_transaction_id and not refund_trade_no:
            raise FieldInvalid("refundTransactionId", "is missing, and refundTradeNo, too")
        async with self._app.db.connect() as db:
            found = await _find(
                db, REFUNDS.orders, merchant, refund_transaction_id, refund_trade_no
            )
            pays = await PAYS.orders.by_number(db, [found.pay_traction_no])
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
            client_no=asked.refund_trade_no,
            cancel=False,
            amount_micros=asked.refund_fen * FEN,
            extra_params=extra,
            content_hash=rules.content_hash("dingdang", pay.traction_no, asked.refund_fen),
        )
        (answer,) = await self._refunds.accept([Request(merchant, refund)], wait_s)
        if isinstance(answer, Refusal):
            raise answer
        if isinstance(answer, Offline):
            raise PayUrlEmpty("refundUrl")
        return answer.order, pay


async def _find(
    db: AsyncConnection, orders: Orders[T], merchant: str, number: str, client_no: str
) -> T:
    """The merchant's order that has the number, or both. Raises NoOrder, IdsDisagree."""
    key = merchant, client_no
    named = (await orders.by_number(db, [number])).get(number)
    traded = (await orders.by_client_no(db, [key])).get(key)
    if named is not None and named.merchant_uuid != merchant:
        named = None
    if number and client_no and (named is None) != (traded is None):
        raise IdsDisagree
    if named is not None and traded is not None and named.id != traded.id:
        raise IdsDisagree
    found = named or traded
    # A longer number cannot travel in this protocol, so for it the order does not exist.
    if found is None or len(found.client_key[1]) > ID_CHARS_MAX:
        raise NoOrder((number or client_no)[:ID_CHARS_MAX])
    return found
