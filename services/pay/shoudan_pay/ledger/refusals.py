"""Everything the ledger says no to: one class per reason of error_reason.proto.

The number in brackets is the documented code of the ledger (000 beanpay).
"""

from __future__ import annotations

from dataclasses import dataclass

import grpc

from shoudan_pay.refusals import PayRefusal


@dataclass
class AccountNotFound(PayRefusal):
    """[908] 帐户不存在."""

    code = grpc.StatusCode.NOT_FOUND
    reason = "ERROR_REASON_ACCOUNT_NOT_FOUND"
    ident: str
    groups: str
    eid: str


@dataclass
class BalanceTooLow(PayRefusal):
    """[904] 帐户余额不足: spending would take a limited account below minus credit."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "ERROR_REASON_BALANCE_TOO_LOW"
    ident: str
    groups: str
    eid: str
    available_micros: int
    amount_micros: int


@dataclass
class AccountLocked(PayRefusal):
    """[401] 账户未启用."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "ERROR_REASON_ACCOUNT_LOCKED"
    ident: str
    groups: str
    eid: str


@dataclass
class PostingDiffers(PayRefusal):
    """[901] The key came before with other content; the first answer stands."""

    code = grpc.StatusCode.ALREADY_EXISTS
    reason = "ERROR_REASON_POSTING_DIFFERS"
    trade_no: str
    trade_type: int
    change_type: int


@dataclass
class RecordNotFound(PayRefusal):
    """[908] 交易编号不存在: nothing has the number that a refund or a reversal quotes."""

    code = grpc.StatusCode.NOT_FOUND
    reason = "ERROR_REASON_RECORD_NOT_FOUND"
    ext_no: str


@dataclass
class RefundTooHigh(PayRefusal):
    """[903] 扣款金额,已退款金额,本次退款金额: refunds would exceed what was deducted."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "ERROR_REASON_REFUND_TOO_HIGH"
    ext_no: str
    deducted_micros: int
    refunded_micros: int
    amount_micros: int


@dataclass
class AlreadyReversed(PayRefusal):
    """[201] 红冲交易编号已存在: reversed before under another number."""

    code = grpc.StatusCode.ALREADY_EXISTS
    reason = "ERROR_REASON_ALREADY_REVERSED"
    ext_no: str


@dataclass
class PackageNotFound(PayRefusal):
    """[908] 服务包不存在."""

    code = grpc.StatusCode.NOT_FOUND
    reason = "ERROR_REASON_PACKAGE_NOT_FOUND"
    spkg_id: str


@dataclass
class CapacityTooLow(PayRefusal):
    """[904] 服务包剩余数量不足: the package, or its daily limit, has too little left."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "ERROR_REASON_CAPACITY_TOO_LOW"
    spkg_id: str
    remain: int
    num: int


@dataclass
class PackageExpired(PayRefusal):
    """[904] The package's last day has passed."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "ERROR_REASON_PACKAGE_EXPIRED"
    spkg_id: str
    expires: str


@dataclass
class NumberInvalid(PayRefusal):
    """[903] 数量错误: below 1, out of range, or more given back than was taken."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    reason = "ERROR_REASON_NUMBER_INVALID"
    num: int


@dataclass
class PostingFailed(PayRefusal):
    """[901] 添加资金变动记录失败: a fault of ours met this group; the log has it under the trace."""

    code = grpc.StatusCode.INTERNAL
    reason = "ERROR_REASON_POSTING_FAILED"
    trace: str


@dataclass
class StatementsOff(PayRefusal):
    """No folder of signed statements is set."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "ERROR_REASON_STATEMENTS_OFF"


@dataclass
class StatementsUnusable(PayRefusal):
    """The folder of signed statements cannot be read or written; the log says where."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "ERROR_REASON_STATEMENTS_UNUSABLE"
    why: str
