"""Notify receivers for trying things out: they answer `success` to anything. Absent in the prod profile."""

from __future__ import annotations

from typing import Final

from shoudan_gateway.partners.oms import BOTH, refuse
from shoudan_gateway.protocol import TEXT, Outbound, Partner, Sink

SUCCESS: Final = Outbound(200, b"success", TEXT)

PARTNER = Partner(
    name="sinks",
    role="test",
    refuse=refuse,
    endpoints=(
        Sink("/order/response", BOTH, "000 §四.6.1", "订单通知测试接收", SUCCESS),
        Sink("/refund/response", BOTH, "000 §四.6.1", "退款通知测试接收", SUCCESS),
    ),
)
