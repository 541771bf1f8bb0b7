"""The link `dingdang:` of PayServer: the user pays at a platform, which is queried for the result."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, ClassVar

from shoudan_kit.http.client import HttpClient
from shoudan_kit.service import App
from shoudan_pay.config import PaySettings
from shoudan_pay.dingdang import protocol
from shoudan_pay.dingdang.protocol import ID_CHARS_MAX, DingdangAnswer
from shoudan_pay.dingdang.states import TRADE_ENDED, TradeState
from shoudan_pay.dingdang.store import trades
from shoudan_pay.dingdang.store.trades import Trade, TradeRefund
from shoudan_pay.dingdang.trades import Trades
from shoudan_pay.payserver.components import guard_of
from shoudan_pay.payserver.numbers import PAY
from shoudan_pay.payserver.protocol import AnswerKind, ComponentAnswer
from shoudan_pay.payserver.rules import fen
from shoudan_pay.payserver.settlement import other_amount
from shoudan_pay.payserver.store.pays import PayOrder
from shoudan_pay.payserver.store.refunds import RefundOrder
from shoudan_pay.platforms.signatures import Signatures
from shoudan_pay.platforms.states import REFUND_ENDED, RefundState
from shoudan_pay.platforms.status_map import component_answer
from shoudan_pay.platforms.store import callers
from shoudan_pay.platforms.store.callers import Domain


class DingdangLink:
    """The link `dingdang:` of PayServer."""

    fields: ClassVar[frozenset[str]] = frozenset({"pay_url", "refund_url", "query_url"})

    def __init__(self, app: App[PaySettings], signatures: Signatures, taken: Trades) -> None:
        self._app, self._signatures, self._trades = app, signatures, taken
        self._http = HttpClient(
            "dingdang",
            guard=guard_of(app.settings),
            total_s=app.settings.component_timeout_s,
            per_host_max=app.settings.platform_calls_max,
        )

    async def aclose(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def pay(self, pay: PayOrder, account: str) -> ComponentAnswer:
        """Nothing is sent: the user pays at the platform, which sends a notice. tradeNo is our tractionNo."""
        async with self._app.work("dingdang_pay") as work:
            domain = await callers.domain_of(work.db, pay.merchant_uuid, account)
            if domain is None:
                return ComponentAnswer(AnswerKind.NOT_SENT, why="no domain")
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
        return ComponentAnswer(AnswerKind.RUNNING)

    async def refund(self, refund: RefundOrder, pay: PayOrder, account: str) -> ComponentAnswer:
        """Store the refund, then send it; refundTradeNo is our tractionNo."""
        async with self._app.work("dingdang_refund") as work:
            domain = await callers.domain_of(work.db, pay.merchant_uuid, account)
            trade = await trades.by_pay(work.db, pay.traction_no)
            if domain is None or trade is None or not self._signatures.authorization(domain, b""):
                return ComponentAnswer(AnswerKind.NOT_SENT, why="no domain, trade or secret")
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
        said = await self._call(domain, protocol.REFUND, asked)
        if not said.sent:
            return ComponentAnswer(AnswerKind.NOT_SENT, why=said.text)
        if said.ok is False and first:
            await self._trades.refunded(row, RefundState.FAIL, "")
            return ComponentAnswer(
                AnswerKind.FAILED, reason=str(said.members.get("retMsg", ""))[:64]
            )
        mine = {"refundTradeNo": row.refund_trade_no, "refundAmt": row.refund_fen}
        await self._compare(row, said, {"refundTradeNo": row.refund_trade_no})
        if not said.ok or not said.same(mine):
            return ComponentAnswer(AnswerKind.UNKNOWN, why=said.text)
        number = str(said.members.get("refundTransactionId", ""))[:ID_CHARS_MAX]
        await self._trades.refunded(row, RefundState.PROCESSING, number)
        return ComponentAnswer(AnswerKind.RUNNING)  # taken, not given back

    async def query(self, traction_no: str, merchant_uuid: str, account: str) -> ComponentAnswer:
        """The stored result, else the platform's answer to a query."""
        async with self._app.db.connect() as db:
            domain = await callers.domain_of(db, merchant_uuid, account)
            trade = await trades.by_pay(db, traction_no)
            refund = await trades.refund_by_number(db, traction_no)
        if traction_no.startswith(PAY):
            if trade is None:
                return ComponentAnswer(AnswerKind.NOT_FOUND)
            return await self._query_trade(trade, domain)
        if refund is None:
            return ComponentAnswer(AnswerKind.NOT_FOUND)
        return await self._query_refund(refund, domain)

    async def _query_trade(self, trade: Trade, domain: Domain | None) -> ComponentAnswer:
        if trade.status in TRADE_ENDED:
            return component_answer(trade.status, trade.transaction_id)
        if domain is None:
            return ComponentAnswer(AnswerKind.UNKNOWN, why="no domain")
        asked = {"domainId": trade.domain_id, "tradeNo": trade.trade_no}
        said = await self._call(domain, protocol.ORDER_QUERY, asked)
        mine = {**asked, "totalAmt": trade.total_fen}
        if said.ok and said.same(asked) and not said.same(mine):
            other = _other(said, "totalAmt", trade.total_fen)
            await self._trades.differs(trade.pay_traction_no, trade.trade_no, other)
        word = said.trade_word if said.ok and said.same(mine) else None
        if word is None:
            return ComponentAnswer(AnswerKind.UNKNOWN, why=said.text)
        number = str(said.members.get("transactionId", ""))[:ID_CHARS_MAX]
        await self._trades.paid(trade, TradeState(word), number)
        return component_answer(word, number)

    async def _query_refund(self, refund: TradeRefund, domain: Domain | None) -> ComponentAnswer:
        if refund.status in REFUND_ENDED:
            return component_answer(refund.status, refund.refund_transaction_id)
        if domain is None:
            return ComponentAnswer(AnswerKind.UNKNOWN, why="no domain")
        asked = {"domainId": refund.domain_id, "refundTradeNo": refund.refund_trade_no}
        said = await self._call(domain, protocol.REFUND_QUERY, asked)
        mine = {**asked, "tradeNo": refund.trade_no, "refundAmt": refund.refund_fen}
        await self._compare(refund, said, {"refundTradeNo": refund.refund_trade_no})
        word = said.refund_word if said.ok and said.same(mine) else None
        if word is None:
            return ComponentAnswer(AnswerKind.UNKNOWN, why=said.text)
        number = str(said.members.get("refundTransactionId", ""))[:ID_CHARS_MAX]
        await self._trades.refunded(refund, RefundState(word), number)
        return component_answer(word, number)

    async def _compare(
        self, refund: TradeRefund, said: DingdangAnswer, ids: Mapping[str, Any]
    ) -> None:
        """Park a refund that is answered with another amount."""
        if said.ok and said.same(ids) and not said.same({"refundAmt": refund.refund_fen}):
            other = _other(said, "refundAmt", refund.refund_fen)
            await self._trades.differs(refund.traction_no, refund.refund_trade_no, other)

    async def _call(self, domain: Domain, path: str, members: Mapping[str, Any]) -> DingdangAnswer:
        if not self._signatures.authorization(domain, b""):
            return DingdangAnswer(None, sent=False, text="secret not found")
        body = {name: value for name, value in members.items() if value != ""}
        body["nonceStr"] = secrets.token_hex(16)
        return await protocol.send(
            self._http,
            domain.base_url + path,
            body,
            lambda raw: self._signatures.authorization(domain, raw),
        )


def _other(said: DingdangAnswer, name: str, asked_fen: int) -> str:
    value = said.members.get(name)
    return other_amount(name, value if type(value) is int else None, asked_fen)
