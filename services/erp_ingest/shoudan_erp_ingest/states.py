"""When a trade has ended. Source: 001 交易状态, Taobao's words and 旺店通's numbers."""

from __future__ import annotations

from typing import Final

ENDED: Final = frozenset(
    {
        "TRADE_FINISHED",
        "TRADE_CLOSED",
        "TRADE_CLOSED_BY_TAOBAO",
        "70",  # 已完成
        "80",  # 已退款
        "90",  # 已关闭
    }
)


def goes_back(stored: str | None, pushed: str | None) -> bool:
    """Whether an ended trade would be opened again. From one end to another is no way back."""
    return stored in ENDED and pushed not in ENDED
