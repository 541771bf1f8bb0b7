"""States of pushes, and when a trade has ended. Source: 001 交易状态, Taobao's words and 旺店通's numbers."""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Final

from shoudan_kit.state_machine import Machine


class PushStatus(IntEnum):
    """push.status."""

    STORED = 0
    QUARANTINED = 90


class PushEvent(StrEnum):
    """How a push was read, when it came or when it was read again."""

    STORED = "stored"
    QUARANTINED = "quarantined"


# Bytes that come again are read again: by a later release they may mean something, or nothing any more.
PUSH: Final = Machine(
    name="push",
    initial=PushStatus.QUARANTINED,
    moves={
        **{(one, PushEvent.STORED): PushStatus.STORED for one in PushStatus},
        **{(one, PushEvent.QUARANTINED): PushStatus.QUARANTINED for one in PushStatus},
    },
)

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
