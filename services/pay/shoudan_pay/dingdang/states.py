"""The lifecycle of trades that Dingdang's users pay, and how a pay of PayServer's reads as one."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from shoudan_pay.payserver.states import PayStatus


class TradeState(StrEnum):
    """How a trade stands that another platform's user pays."""

    NOTPAY = "notpay"
    PROCESSING = "processing"
    SUCCESS = "success"
    FAIL = "fail"


_T = TradeState

# What is told may move what is open; what has ended stays, and a contradiction is written down.
TRADE_MOVES: Final = {
    (was, told): told
    for was in (_T.NOTPAY, _T.PROCESSING)
    for told in (_T.PROCESSING, _T.SUCCESS, _T.FAIL)
}
TRADE_ENDED: Final = frozenset({_T.SUCCESS, _T.FAIL})

OF_PAYS: Final = {
    PayStatus.UNPAY: TradeState.NOTPAY,
    PayStatus.PAYING: TradeState.PROCESSING,
    PayStatus.PAYED: TradeState.SUCCESS,
    PayStatus.PART_REFUNDED: TradeState.SUCCESS,
    PayStatus.REFUNDED: TradeState.SUCCESS,
    PayStatus.PAY_FAILED: TradeState.FAIL,
}


def advance_trade(was: TradeState, told: TradeState) -> TradeState | None:
    """The state after what was told; None when nothing moves."""
    return TRADE_MOVES.get((was, told)) if was is not told else None


def trade_state(status: str) -> TradeState:
    """Of a pay order."""
    return OF_PAYS[PayStatus(status)]
