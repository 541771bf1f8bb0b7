"""What whoever binds Dingdang's trades to orders is told no to."""

from __future__ import annotations

from dataclasses import dataclass

import grpc

from shoudan_pay.refusals import PayRefusal


@dataclass
class OrdersAway(PayRefusal):
    """The order service did not answer; nothing was bound."""

    code = grpc.StatusCode.UNAVAILABLE
    reason = "ERROR_REASON_ORDERS_AWAY"
    answer: str


@dataclass
class TradeDiffers(PayRefusal):
    """The trade number was bound before with other content."""

    code = grpc.StatusCode.ALREADY_EXISTS
    reason = "ERROR_REASON_TRADE_DIFFERS"
    trade_no: str
