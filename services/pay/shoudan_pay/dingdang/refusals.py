"""Refusals of binding a Dingdang trade to an order."""

from __future__ import annotations

from grpc import StatusCode as Code

from shoudan_pay.refusals import PayRefusal


class OrdersAway(PayRefusal, code=Code.UNAVAILABLE):
    """The order service did not answer; nothing was bound."""

    answer: str


class TradeDiffers(PayRefusal, code=Code.ALREADY_EXISTS):
    """The trade number was bound before with other content."""

    trade_no: str
