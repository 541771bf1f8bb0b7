"""A Dingdang platform's partner: its notices, and the link `dingdang:` that asks it for PayServer."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, ClassVar, Final

from shoudan.pay.v1 import payment_events_pb2 as events
from shoudan.pay.v1 import platform_service_pb2 as pb
from shoudan_kit import log
from shoudan_kit.egress import Egress
from shoudan_kit.money import FEN
from shoudan_kit.rpc import RpcContext
from shoudan_kit.service import App
from shoudan_kit.shielded import shielded
from shoudan_kit.work import Work
from shoudan_pay.channels import dingdang
from shoudan_pay.channels.component import Heard, Word
from shoudan_pay.channels.dingdang import ID_CHARS_MAX, Said
from shoudan_pay.config import PaySettings
from shoudan_pay.dingdang.kinds import RELEASE, Release
from shoudan_pay.dingdang.states import TRADE_ENDED, TradeState, advance_trade
from shoudan_pay.payserver.judging import fen
from shoudan_pay.payserver.numbers import PAY
from shoudan_pay.platforms.refusals import AmountDiffers, IdsDisagree, NoOrder
from shoudan_pay.platforms.states import REFUND_ENDED, RefundState, advance_refund
from shoudan_pay.refusals import FieldInvalid
from shoudan_pay.rpc.payserver.components import guard_of
from shoudan_pay.rpc.payserver.settling import Settling
from shoudan_pay.rpc.platforms.proofs import Proofs
from shoudan_pay.rpc.platforms.standing import heard
from shoudan_pay.rpc.platforms.wire import refund_told
from shoudan_pay.store.payserver.pays import PayOrder
from shoudan_pay.store.payserver.refunds import RefundOrder
from shoudan_pay.store.platforms import callers, trades
from shoudan_pay.store.platforms.callers import Domain
from shoudan_pay.store.platforms.trades import Trade, TradeRefund

ROLE: Final = "partner"
PAID_SUBJECT: Final = "shoudan.events.pay.dingdang.paid"

_log = log.get_logger("dingdang")
_security = log.get_logger("security")


class Trades:
    """Trades and refunds of platforms: moved by notices and by answers, ended once, told to PayServer."""

    def __init__(self, app: App[PaySettings], settling: Settling) -> None:
        self._app, self._settling = app, settling

    async def paid(self, trade: Trade, told: TradeState, transaction_id: str) -> None:
        """Take what was told of a trade. PayServer first: a death in between is told again."""
        if trade.pay_traction_no and told in TRADE_ENDED:
            await self._settling.pay(trade.pay_traction_no, heard(told, transaction_id))
        async with self._app.work("dingdang_paid") as work:
            now = await trades.by_no(work.db, trade.domain_id, trade.trade_no, lock=True)
            assert now is not None, "trades are never deleted"
            status = advance_trade(TradeState(now.status), told)
            if status is None:
                if now.status in TRADE_ENDED and told in TRADE_ENDED and now.status != told:
                    _log.error("trade_conflict", trade_no=now.trade_no, is_=now.status, told=told)
                return
            await trades.advance_trade(work.db, now, status, transaction_id)
            if status == TradeState.SUCCESS:
                body = events.TradePaid(
                    domain_id=now.domain_id,
                    trade_no=now.trade_no,
                    transaction_id=transaction_id,
                    total_micros=now.total_fen * FEN,
                    channel_no=now.channel_no,
                    request_no=now.request_no,
                    pay_traction_no=now.pay_traction_no,
                )
                text = f"{now.trade_no} is paid: its order may be delivered"
                if now.channel_no:
                    wish = Release(now.channel_no, now.request_no, now.trade_no)
                    number = f"{now.domain_id}:{now.trade_no}"
                    work.tasks.add(RELEASE, wish, order_no=number)
                work.events.add(PAID_SUBJECT, key=now.trade_no, body=body, text=text)

    async def refunded(self, refund: TradeRefund, told: RefundState, number: str) -> None:
        """Take what was told of a refund, likewise."""
        if refund.traction_no and told in REFUND_ENDED:
            await self._settling.refund(refund.traction_no, heard(told, number))
        async with self._app.work("dingdang_refunded") as work:
            key = refund.domain_id, refund.refund_trade_no
            now = await trades.refund_by_no(work.db, *key, lock=True)
            assert now is not None, "refunds are never deleted"
            status = advance_refund(RefundState(now.status), told)
            if status is not None:
                await trades.advance_refund(work.db, now, status, number)
                if status == RefundState.SUCCESS:
                    await self._stop_order(work, now)
            elif now.status in REFUND_ENDED and told in REFUND_ENDED and now.status != told:
                _log.error("refund_conflict", refund=now.refund_trade_no, is_=now.status, told=told)

    async def differs(self, traction_no: str, number: str, told: str) -> None:
        """Another amount than was asked ends nothing: a person's, with the pay or refund it is of."""
        _log.error("amount_differs", number=number, told=told)
        if traction_no:
            await self._settling.differs(traction_no, told)

    async def _stop_order(self, work: Work, refund: TradeRefund) -> None:
        """Stop the order that a trade pays: nothing more is bound of what has its money back."""
        trade = await trades.by_no(work.db, refund.domain_id, refund.trade_no)
        if trade is None or not trade.channel_no:
            return
        number = f"{trade.domain_id}:{trade.trade_no}"
        work.tasks.finish_for(RELEASE, [number])
        wish = Release(trade.channel_no, trade.request_no, trade.trade_no, refunded=True)
        work.tasks.add(RELEASE, wish, order_no=f"{number}:refunded")


class PartnerCalls:
    """The part of DingdangService that a platform calls."""

    _app: App[PaySettings]
    _proofs: Proofs
    _trades: Trades

    async def TakePaid(
        self, request: pb.TakePaidRequest, context: RpcContext
    ) -> pb.TakePaidResponse:
        """The notice itself means paid. The same again is answered the same and does nothing."""
        domain = await self._proofs.domain(
            request.proof, ROLE, request.domain_id, request.nonce, "paid"
        )
        if not request.transaction_id or len(request.transaction_id) > ID_CHARS_MAX:
            raise FieldInvalid("transactionId", "is missing or too long")
        async with self._app.db.connect() as db:
            trade = await trades.by_no(db, domain.domain_id, request.trade_no)
        if trade is None:
            raise NoOrder(request.trade_no[:ID_CHARS_MAX])
        if request.total_fen != trade.total_fen:
            told = f"totalAmt {request.total_fen} 分 for {trade.total_fen} 分"
            await self._trades.differs(trade.pay_traction_no, trade.trade_no, told)
            raise _differs(AmountDiffers("totalAmt"), "totalAmt", trade.trade_no)
        if trade.transaction_id not in {"", request.transaction_id}:
            raise _differs(IdsDisagree(), "transactionId", trade.trade_no)
        await shielded(self._trades.paid(trade, TradeState.SUCCESS, request.transaction_id))
        return pb.TakePaidResponse(repeated=trade.status == TradeState.SUCCESS)

    async def TakeRefunded(
        self, request: pb.TakeRefundedRequest, context: RpcContext
    ) -> pb.TakeRefundedResponse:
        """PROCESSING is stored, too; the platform is asked until it says more."""
        domain = await self._proofs.domain(
            request.proof, ROLE, request.domain_id, request.nonce, "refunded"
        )
        told = request.refund
        number = told.refund_trade_no
        async with self._app.db.connect() as db:
            refund = await trades.refund_by_no(db, domain.domain_id, number)
            trade = await trades.by_no(db, domain.domain_id, refund.trade_no) if refund else None
        if refund is None or trade is None:
            raise NoOrder(number[:ID_CHARS_MAX])
        if told.trade_no != trade.trade_no:
            raise _differs(IdsDisagree(), "tradeNo", number)
        if trade.transaction_id not in {"", told.transaction_id}:
            raise _differs(IdsDisagree(), "transactionId", number)
        if refund.refund_transaction_id not in {"", told.refund_transaction_id}:
            raise _differs(IdsDisagree(), "refundTransactionId", number)
        if told.total_fen != trade.total_fen:
            raise _differs(AmountDiffers("totalAmt"), "totalAmt", number)
        if told.refund_fen != refund.refund_fen:
            other = f"refundAmt {told.refund_fen} 分 for {refund.refund_fen} 分"
            await self._trades.differs(refund.traction_no, number, other)
            raise _differs(AmountDiffers("refundAmt"), "refundAmt", number)
        if told.state == pb.REFUND_STATE_UNSPECIFIED:
            raise FieldInvalid("refundStatus", "is none of PROCESSING, SUCCESS, FAIL")
        state = refund_told(told.state)
        await shielded(self._trades.refunded(refund, state, told.refund_transaction_id))
        return pb.TakeRefundedResponse(repeated=refund.status == state)


class DingdangLink:
    """The link `dingdang:` of PayServer."""

    fields: ClassVar[frozenset[str]] = frozenset({"pay_url", "refund_url", "query_url"})

    def __init__(self, app: App[PaySettings], proofs: Proofs, taken: Trades) -> None:
        self._app, self._proofs, self._trades = app, proofs, taken
        self._egress = Egress(
            "dingdang",
            guard=guard_of(app.settings),
            total_s=app.settings.component_timeout_s,
            per_host_max=app.settings.platform_calls_max,
        )

    async def aclose(self) -> None:
        """Close all connections."""
        await self._egress.aclose()

    async def pay(self, pay: PayOrder, account: str) -> Heard:
        """Nothing is sent: the user pays at the platform, which then tells us. tradeNo is our tractionNo."""
        async with self._app.work("dingdang_pay") as work:
            domain = await callers.domain_of(work.db, pay.merchant_uuid, account)
            if domain is None:
                return Heard(Word.NOT_SENT, why="no domain")
            await trades.bind(
                work.db,
                Trade(
                    domain_id=domain.domain_id,
                    trade_no=pay.traction_no,
                    total_fen=fen(pay.amount_micros),
                    pay_traction_no=pay.traction_no,
                    channel_no="",
                    request_no="",
                    transaction_id="",
                    status=TradeState.NOTPAY,
                    paid_time=None,
                ),
            )
        return Heard(Word.RUNNING)

    async def refund(self, refund: RefundOrder, pay: PayOrder, account: str) -> Heard:
        """Write down what is about to be asked for, then ask; refundTradeNo is our tractionNo."""
        async with self._app.work("dingdang_refund") as work:
            domain = await callers.domain_of(work.db, pay.merchant_uuid, account)
            trade = await trades.by_pay(work.db, pay.traction_no)
            if domain is None or trade is None or not self._proofs.authorization(domain, b""):
                return Heard(Word.NOT_SENT, why="no domain, trade or secret")
            row = TradeRefund(
                domain_id=trade.domain_id,
                refund_trade_no=refund.traction_no,
                trade_no=trade.trade_no,
                refund_fen=fen(refund.amount_micros),
                traction_no=refund.traction_no,
                refund_transaction_id="",
                status=RefundState.UNKNOWN,
            )
            first = await trades.add_refund(work.db, row) is not None
        asked: dict[str, Any] = {
            "domainId": trade.domain_id,
            "transactionId": trade.transaction_id,
            "tradeNo": trade.trade_no,
            "refundTradeNo": row.refund_trade_no,
            "totalAmt": trade.total_fen,
            "refundAmt": row.refund_fen,
        }
        said = await self._call(domain, dingdang.REFUND, asked)
        if not said.sent:
            return Heard(Word.NOT_SENT, why=said.text)
        if said.ok is False and first:
            await self._trades.refunded(row, RefundState.FAIL, "")
            return Heard(Word.FAILED, reason=str(said.members.get("retMsg", ""))[:64])
        mine = {"refundTradeNo": row.refund_trade_no, "refundAmt": row.refund_fen}
        await self._compare(row, said, {"refundTradeNo": row.refund_trade_no})
        if not said.ok or not said.same(mine):
            return Heard(Word.UNKNOWN, why=said.text)
        number = str(said.members.get("refundTransactionId", ""))[:ID_CHARS_MAX]
        await self._trades.refunded(row, RefundState.PROCESSING, number)
        return Heard(Word.RUNNING)  # taken, not given back

    async def query(self, traction_no: str, merchant_uuid: str, account: str) -> Heard:
        """What has been told, else what the platform says now."""
        async with self._app.db.connect() as db:
            domain = await callers.domain_of(db, merchant_uuid, account)
            trade = await trades.by_pay(db, traction_no)
            refund = await trades.refund_by_number(db, traction_no)
        if traction_no.startswith(PAY):
            if trade is None:
                return Heard(Word.NOT_FOUND)
            return await self._query_trade(trade, domain)
        if refund is None:
            return Heard(Word.NOT_FOUND)
        return await self._query_refund(refund, domain)

    async def _query_trade(self, trade: Trade, domain: Domain | None) -> Heard:
        if trade.status in TRADE_ENDED:
            return heard(trade.status, trade.transaction_id)
        if domain is None:
            return Heard(Word.UNKNOWN, why="no domain")
        asked = {"domainId": trade.domain_id, "tradeNo": trade.trade_no}
        said = await self._call(domain, dingdang.ORDER_QUERY, asked)
        mine = {**asked, "totalAmt": trade.total_fen}
        if said.ok and said.same(asked) and not said.same(mine):
            told = f"{_told(said, 'totalAmt')} for {trade.total_fen} 分"
            await self._trades.differs(trade.pay_traction_no, trade.trade_no, told)
        word = said.trade_word if said.ok and said.same(mine) else None
        if word is None:
            return Heard(Word.UNKNOWN, why=said.text)
        number = str(said.members.get("transactionId", ""))[:ID_CHARS_MAX]
        await self._trades.paid(trade, TradeState(word), number)
        return heard(word, number)

    async def _query_refund(self, refund: TradeRefund, domain: Domain | None) -> Heard:
        if refund.status in REFUND_ENDED:
            return heard(refund.status, refund.refund_transaction_id)
        if domain is None:
            return Heard(Word.UNKNOWN, why="no domain")
        asked = {"domainId": refund.domain_id, "refundTradeNo": refund.refund_trade_no}
        said = await self._call(domain, dingdang.REFUND_QUERY, asked)
        mine = {**asked, "tradeNo": refund.trade_no, "refundAmt": refund.refund_fen}
        await self._compare(refund, said, {"refundTradeNo": refund.refund_trade_no})
        word = said.refund_word if said.ok and said.same(mine) else None
        if word is None:
            return Heard(Word.UNKNOWN, why=said.text)
        number = str(said.members.get("refundTransactionId", ""))[:ID_CHARS_MAX]
        await self._trades.refunded(refund, RefundState(word), number)
        return heard(word, number)

    async def _compare(self, refund: TradeRefund, said: Said, ids: Mapping[str, Any]) -> None:
        """Another amount than was asked, of the same number, is a person's."""
        if said.ok and said.same(ids) and not said.same({"refundAmt": refund.refund_fen}):
            told = f"{_told(said, 'refundAmt')} for {refund.refund_fen} 分"
            await self._trades.differs(refund.traction_no, refund.refund_trade_no, told)

    async def _call(self, domain: Domain, path: str, members: Mapping[str, Any]) -> Said:
        if not self._proofs.authorization(domain, b""):
            return Said(None, sent=False, text="secret not found")
        body = {name: value for name, value in members.items() if value != ""}
        body["nonceStr"] = secrets.token_hex(16)
        return await dingdang.send(
            self._egress,
            domain.base_url + path,
            body,
            lambda raw: self._proofs.authorization(domain, raw),
        )


def _told(said: Said, name: str) -> str:
    value = said.members.get(name)
    return f"{name} {f'{value} 分' if type(value) is int else 'that is none'}"


def _differs(
    refusal: AmountDiffers | IdsDisagree, field: str, number: str
) -> AmountDiffers | IdsDisagree:
    _security.warning("notify_differs", field=field, number=number[:ID_CHARS_MAX])
    return refusal
