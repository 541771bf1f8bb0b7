"""Refusals of the ledger: one class per reason of error_reason.proto.

The number in brackets is the documented code of the ledger (000 beanpay).
"""

from __future__ import annotations

from grpc import StatusCode as Code

from shoudan_pay.refusals import PayRefusal


class AccountNotFound(PayRefusal, code=Code.NOT_FOUND):
    """[908] 帐户不存在."""

    ident: str
    groups: str
    eid: str


class BalanceTooLow(PayRefusal):
    """[904] 帐户余额不足: spending would take a limited account below minus credit."""

    ident: str
    groups: str
    eid: str
    available_micros: int
    amount_micros: int


class AccountLocked(PayRefusal):
    """[401] 账户未启用."""

    ident: str
    groups: str
    eid: str


class PostingDiffers(PayRefusal, code=Code.ALREADY_EXISTS):
    """[901] The key came before with other content; the first answer stands."""

    trade_no: str
    trade_type: int
    change_type: int


class RecordNotFound(PayRefusal, code=Code.NOT_FOUND):
    """[908] 交易编号不存在: nothing has the number that a refund or a reversal quotes."""

    ext_no: str


class RefundTooHigh(PayRefusal):
    """[903] 扣款金额,已退款金额,本次退款金额: refunds would exceed what was deducted."""

    ext_no: str
    deducted_micros: int
    refunded_micros: int
    amount_micros: int


class AlreadyReversed(PayRefusal, code=Code.ALREADY_EXISTS):
    """[201] 红冲交易编号已存在: reversed before under another number."""

    ext_no: str


class PackageNotFound(PayRefusal, code=Code.NOT_FOUND):
    """[908] 服务包不存在."""

    spkg_id: str


class CapacityTooLow(PayRefusal):
    """[904] 服务包剩余数量不足: the package, or its daily limit, has too little left."""

    spkg_id: str
    remain: int
    num: int


class PackageExpired(PayRefusal):
    """[904] The package's last day has passed."""

    spkg_id: str
    expires: str


class NumberInvalid(PayRefusal, code=Code.INVALID_ARGUMENT):
    """[903] 数量错误: below 1, out of range, or more given back than was taken."""

    num: int


class PostingFailed(PayRefusal, code=Code.INTERNAL):
    """[901] 添加资金变动记录失败: a fault of ours met this group; the log has it under the trace."""

    trace: str


class StatementsOff(PayRefusal):
    """No folder of signed statements is set."""


class LedgerDayOpen(PayRefusal):
    """The day is not closed yet, or was never: nothing is final about it."""

    day: str


class StatementsUnusable(PayRefusal):
    """The folder of signed statements cannot be read or written; the log says where."""

    why: str
