"""The lifecycles of trades that Dingdang's users pay and of notices to its partners."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from shoudan_kit.state_machine import Machine
from shoudan_pay.payserver.states import PayStatus


class TradeState(StrEnum):
    """How a trade stands that another platform's user pays."""

    NOTPAY = "notpay"
    PROCESSING = "processing"
    SUCCESS = "success"
    FAIL = "fail"


_T = TradeState

# The state that the platform reports is the event: it moves what is open; what has ended stays.
TRADE: Final = Machine(
    name="trade",
    initial=_T.NOTPAY,
    moves={
        (was, reported): reported
        for was in (_T.NOTPAY, _T.PROCESSING)
        for reported in (_T.PROCESSING, _T.SUCCESS, _T.FAIL)
    },
)
TRADE_ENDED: Final = TRADE.final

OF_PAYS: Final = {
    PayStatus.UNPAY: TradeState.NOTPAY,
    PayStatus.PAYING: TradeState.PROCESSING,
    PayStatus.PAYED: TradeState.SUCCESS,
    PayStatus.PART_REFUNDED: TradeState.SUCCESS,
    PayStatus.REFUNDED: TradeState.SUCCESS,
    PayStatus.PAY_FAILED: TradeState.FAIL,
}


def trade_state(status: str) -> TradeState:
    """The trade state of a pay order's status."""
    return OF_PAYS[PayStatus(status)]


class NoticeStatus(StrEnum):
    """How a notice to a partner stands."""

    WAITING = "waiting"
    DONE = "done"
    GIVEN_UP = "given_up"
    DROPPED = "dropped"


class NoticeEvent(StrEnum):
    """What happens to a notice."""

    ACKNOWLEDGED = "acknowledged"
    NOT_ACKNOWLEDGED = "not_acknowledged"
    EXHAUSTED = "exhausted"
    RETRIED = "retried"
    DROPPED = "dropped"


_N, _E = NoticeStatus, NoticeEvent

NOTICE: Final = Machine(
    name="notice",
    initial=_N.WAITING,
    moves={
        (_N.WAITING, _E.ACKNOWLEDGED): _N.DONE,
        (_N.WAITING, _E.NOT_ACKNOWLEDGED): _N.WAITING,
        (_N.WAITING, _E.EXHAUSTED): _N.GIVEN_UP,
        (_N.GIVEN_UP, _E.RETRIED): _N.WAITING,
        (_N.GIVEN_UP, _E.DROPPED): _N.DROPPED,
    },
)
