"""Trades of a Dingdang platform whose partner we are: its reports move them and settle PayServer's pays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from shoudan.pay.v1 import payment_events_pb2 as events
from shoudan_kit import log
from shoudan_kit.money import FEN
from shoudan_kit.rpc.shielded import shielded
from shoudan_kit.service import App
from shoudan_kit.tasks.unit_of_work import UnitOfWork
from shoudan_pay.config import PaySettings
from shoudan_pay.dingdang.kinds import RELEASE, Release
from shoudan_pay.dingdang.order_holds import OrderHolds
from shoudan_pay.dingdang.protocol import ID_CHARS_MAX
from shoudan_pay.dingdang.refusals import TradeDiffers
from shoudan_pay.dingdang.states import TRADE, TRADE_ENDED, TradeState
from shoudan_pay.dingdang.store import trades
from shoudan_pay.dingdang.store.trades import Trade, TradeRefund
from shoudan_pay.payserver.settlement import Settlement
from shoudan_pay.platforms.refusals import AmountDiffers, IdsDisagree, NoOrder
from shoudan_pay.platforms.states import REFUND, REFUND_ENDED, RefundState
from shoudan_pay.platforms.status_map import component_answer
from shoudan_pay.platforms.store import callers
from shoudan_pay.refusals import FieldInvalid

PAID_SUBJECT: Final = "shoudan.events.pay.dingdang.paid"
# What must be equal for a second binding to be a repeat.
BOUND: Final = ("total_fen", "pay_traction_no", "channel_no", "request_no")

_log = log.get_logger("dingdang")
_security = log.get_logger("security")


@dataclass(frozen=True, slots=True)
class PaidNotice:
    """A platform's notice that its user has paid."""

    domain_id: str
    trade_no: str
    transaction_id: str
    total_fen: int


@dataclass(frozen=True, slots=True)
class RefundNotice:
    """A platform's notice of a refund; `state` None: an undocumented word."""

    domain_id: str
    trade_no: str
    transaction_id: str
    refund_trade_no: str
    refund_transaction_id: str
    total_fen: int
    refund_fen: int
    state: RefundState | None


class Trades:
    """Trades and refunds of platforms: moved by notices and answers, ended once, settled at PayServer."""

    def __init__(self, app: App[PaySettings], settlement: Settlement) -> None:
        self._app, self._settlement = app, settlement

    async def paid(self, trade: Trade, reported: TradeState, transaction_id: str) -> None:
        """Apply the reported state of a trade, to PayServer first: after a crash the platform repeats it."""
        if trade.pay_traction_no and reported in TRADE_ENDED:
            await self._settlement.pay(
                trade.pay_traction_no, component_answer(reported, transaction_id)
            )
        async with self._app.work("dingdang_paid") as work:
            now = await trades.by_no(work.db, trade.domain_id, trade.trade_no, lock=True)
            assert now is not None, "trades are never deleted"
            if await end_trade(work, now, reported, transaction_id):
                return
            if now.status in TRADE_ENDED and reported in TRADE_ENDED and now.status != reported:
                _log.error(
                    "trade_conflict", trade_no=now.trade_no, is_=now.status, reported=reported
                )
                if not now.pay_traction_no:
                    await _park(work, now, f"is {now.status}, and was reported as {reported}")

    async def refunded(self, refund: TradeRefund, reported: RefundState, number: str) -> None:
        """Apply the reported state of a refund, likewise."""
        if refund.traction_no and reported in REFUND_ENDED:
            await self._settlement.refund(refund.traction_no, component_answer(reported, number))
        async with self._app.work("dingdang_refunded") as work:
            key = refund.domain_id, refund.refund_trade_no
            now = await trades.refund_by_no(work.db, *key, lock=True)
            assert now is not None, "refunds are never deleted"
            status = REFUND.moved(RefundState(now.status), reported)
            if status is not None:
                await trades.advance_refund(work.db, now, status, number)
                if status == RefundState.SUCCESS:
                    await self._stop_order(work, now)
            elif now.status in REFUND_ENDED and reported in REFUND_ENDED and now.status != reported:
                _log.error(
                    "refund_conflict", refund=now.refund_trade_no, is_=now.status, reported=reported
                )

    async def contradicted(self, trade: Trade, reported: str) -> None:
        """Park a trade that pays only an order and is contradicted by a notice."""
        async with self._app.work("dingdang_contradicted") as work:
            await _park(work, trade, f"was told {reported}: not booked")

    async def differs(self, traction_no: str, number: str, reported: str) -> None:
        """Park the pay or refund that was answered with another amount; nothing ends."""
        _log.error("amount_differs", number=number, reported=reported)
        if traction_no:
            await self._settlement.differs(traction_no, reported)

    async def accept_paid(self, reported: PaidNotice) -> bool:
        """A platform's notice that its user has paid; True when that was known.

        Raises NoOrder, AmountDiffers, IdsDisagree.
        """
        async with self._app.db.connect() as db:
            trade = await trades.by_no(db, reported.domain_id, reported.trade_no)
        if trade is None:
            raise NoOrder(reported.trade_no[:ID_CHARS_MAX])
        if reported.total_fen != trade.total_fen:
            other = f"totalAmt {reported.total_fen} 分 for {trade.total_fen} 分"
            await self.differs(trade.pay_traction_no, trade.trade_no, other)
            if not trade.pay_traction_no:
                await self.contradicted(trade, other)
            raise _differs(AmountDiffers("totalAmt"), "totalAmt", trade.trade_no)
        if trade.transaction_id not in {"", reported.transaction_id}:
            if not trade.pay_traction_no:
                other = f"transactionId {reported.transaction_id} beside {trade.transaction_id}"
                await self.contradicted(trade, other)
            raise _differs(IdsDisagree(), "transactionId", trade.trade_no)
        await shielded(self.paid(trade, TradeState.SUCCESS, reported.transaction_id))
        return trade.status == TradeState.SUCCESS

    async def accept_refunded(self, reported: RefundNotice) -> bool:
        """A platform's notice of a refund, PROCESSING, too; True when its state was known.

        Raises NoOrder, AmountDiffers, IdsDisagree, FieldInvalid.
        """
        number = reported.refund_trade_no
        async with self._app.db.connect() as db:
            refund = await trades.refund_by_no(db, reported.domain_id, number)
            trade = await trades.by_no(db, reported.domain_id, refund.trade_no) if refund else None
        if refund is None or trade is None:
            raise NoOrder(number[:ID_CHARS_MAX])
        if reported.trade_no != trade.trade_no:
            raise _differs(IdsDisagree(), "tradeNo", number)
        if trade.transaction_id not in {"", reported.transaction_id}:
            raise _differs(IdsDisagree(), "transactionId", number)
        if refund.refund_transaction_id not in {"", reported.refund_transaction_id}:
            raise _differs(IdsDisagree(), "refundTransactionId", number)
        if reported.total_fen != trade.total_fen:
            raise _differs(AmountDiffers("totalAmt"), "totalAmt", number)
        if reported.refund_fen != refund.refund_fen:
            other = f"refundAmt {reported.refund_fen} 分 for {refund.refund_fen} 分"
            await self.differs(refund.traction_no, number, other)
            raise _differs(AmountDiffers("refundAmt"), "refundAmt", number)
        if reported.state is None:
            raise FieldInvalid("refundStatus", "is none of PROCESSING, SUCCESS, FAIL")
        await shielded(self.refunded(refund, reported.state, reported.refund_transaction_id))
        return refund.status == reported.state

    async def _stop_order(self, work: UnitOfWork, refund: TradeRefund) -> None:
        """Pause the order that a trade pays: nothing more is bound of an order that is refunded."""
        trade = await trades.by_no(work.db, refund.domain_id, refund.trade_no)
        if trade is None or not trade.channel_no:
            return
        number = f"{trade.domain_id}:{trade.trade_no}"
        work.tasks.finish_for(RELEASE, [number])
        wish = Release(trade.channel_no, trade.request_no, trade.trade_no, refunded=True)
        work.tasks.add(RELEASE, wish, order_no=f"{number}:refunded")


async def bind(app: App[PaySettings], orders: OrderHolds, trade: Trade) -> Trade:
    """Bind a trade to what it pays, and hold its order first, before it can be paid.

    Repeats: what is bound. Raises TradeDiffers, FieldInvalid, and what `Orders.hold` does.
    """
    if bool(trade.channel_no) != bool(trade.request_no):
        raise FieldInvalid("request_no", "goes with channel_no")
    async with app.db.connect() as db:
        if await callers.domain_by_id(db, "partner", trade.domain_id) is None:
            raise FieldInvalid("domain_id", "is no domain we are the partner of")
        known = await trades.by_no(db, trade.domain_id, trade.trade_no)
        paying = await trades.by_pay(db, trade.pay_traction_no)
    if known is None and paying is not None:
        raise _paid_by_another()
    # Not again for a repeat: its trade may have been paid, and its order let go.
    if known is None and trade.channel_no:
        await orders.hold(trade.channel_no, trade.request_no, trade.trade_no)
    async with app.work("platforms_bind") as work:
        made = await trades.bind(work.db, trade)
        found = made or await trades.by_no(work.db, trade.domain_id, trade.trade_no)
    if found is None:
        raise _paid_by_another()
    if any(getattr(found, name) != getattr(trade, name) for name in BOUND):
        raise TradeDiffers(trade.trade_no)
    return found


async def find(app: App[PaySettings], domain_id: str, trade_no: str) -> Trade:
    """A trade as it stands. Raises NoOrder."""
    async with app.db.connect() as db:
        found = await trades.by_no(db, domain_id, trade_no)
    if found is None:
        raise NoOrder(trade_no[:64])
    return found


def _paid_by_another() -> FieldInvalid:
    return FieldInvalid("pay_traction_no", "is paid by another trade")


def _differs(
    refusal: AmountDiffers | IdsDisagree, field: str, number: str
) -> AmountDiffers | IdsDisagree:
    _security.warning("notify_differs", field=field, number=number[:ID_CHARS_MAX])
    return refusal


async def end_trade(
    work: UnitOfWork, now: Trade, reported: TradeState, transaction_id: str
) -> bool:
    """Move a locked trade to the reported state; one that is paid releases its order. Whether it moved."""
    status = TRADE.moved(TradeState(now.status), reported)
    if status is None:
        return False
    await trades.advance_trade(work.db, now, status, transaction_id)
    if status != TradeState.SUCCESS:
        return True
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
        work.tasks.add(RELEASE, wish, order_no=f"{now.domain_id}:{now.trade_no}")
    work.events.add(PAID_SUBJECT, key=now.trade_no, body=body, text=text)
    return True


async def _park(work: UnitOfWork, trade: Trade, why: str) -> None:
    await trades.park(work.db, trade.domain_id, trade.trade_no, why)
