"""The documented numbers of the ledger: why money moved, what for, and whether an account may move."""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Final

from shoudan_kit.state_machine import Machine


class ChangeType(IntEnum):
    """Why a balance or a capacity changed (change_type)."""

    ADD = 1  # 加款
    DRAWING = 2  # 提款
    DEDUCT = 3  # 扣款
    REFUND = 4  # 退款
    TRADE_FLAT = 5  # 交易平账
    BALANCE_FLAT = 6  # 余额平账


class TradeType(IntEnum):
    """What the money was for (trade_type)."""

    TRADE = 1  # 交易
    SERVICE = 2  # 手续费/服务费
    COMMISSION = 3  # 佣金
    REVERSE = 4  # 红冲
    FLAT = 5  # 平账


class About(IntEnum):
    """What a record belongs to (about)."""

    UNSAID = 0  # of before it was recorded, or its poster did not say
    ORDER = 1  # 下单
    REFUND = 2  # 订单退款
    DELIVERY = 3  # 上游发货
    RETURN = 4  # 上游退货
    PAY = 5  # PayServer 支付与退款
    MANUAL = 6  # 人工


class AccountStatus(IntEnum):
    """Whether an account may move (status)."""

    NORMAL = 0
    LOCKED = 1


class AccountEvent(StrEnum):
    """What an operator does to an account."""

    LOCKED = "locked"
    UNLOCKED = "unlocked"


ACCOUNT: Final = Machine(
    name="account",
    initial=AccountStatus.NORMAL,
    moves={
        (AccountStatus.NORMAL, AccountEvent.LOCKED): AccountStatus.LOCKED,
        (AccountStatus.LOCKED, AccountEvent.UNLOCKED): AccountStatus.NORMAL,
    },
)


# Which trade types each change may carry.
TRADE_TYPES: Final = {
    ChangeType.ADD: frozenset({TradeType.TRADE, TradeType.REVERSE}),
    ChangeType.DRAWING: frozenset({TradeType.TRADE, TradeType.REVERSE}),
    ChangeType.DEDUCT: frozenset({TradeType.TRADE, TradeType.SERVICE, TradeType.COMMISSION}),
    ChangeType.REFUND: frozenset({TradeType.TRADE, TradeType.SERVICE, TradeType.COMMISSION}),
    ChangeType.TRADE_FLAT: frozenset(TradeType) - {TradeType.REVERSE},
    ChangeType.BALANCE_FLAT: frozenset(TradeType) - {TradeType.REVERSE},
}

# What a package can do: no flats, no trade types.
CAPACITY_CHANGES: Final = frozenset(
    {ChangeType.ADD, ChangeType.DRAWING, ChangeType.DEDUCT, ChangeType.REFUND}
)
