"""What PayServer says no to, with the documented codes of 002."""

from __future__ import annotations

from dataclasses import dataclass

import grpc

from shoudan_pay.refusals import PayRefusal


@dataclass
class ModeNotOpen(PayRefusal):
    """[9002] Unknown, another merchant's, or not opened: told alike, so that nobody learns which."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "ERROR_REASON_MODE_NOT_OPEN"
    mode_uuid: str


@dataclass
class EnvCheckFailed(PayRefusal):
    """[9001] The environment check of a template did not agree."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "ERROR_REASON_ENV_CHECK_FAILED"
    template_id: str
    answer: str


@dataclass
class TemplateNotFound(PayRefusal):
    """[9999] No enabled template has this payTemplateId."""

    code = grpc.StatusCode.NOT_FOUND
    reason = "ERROR_REASON_TEMPLATE_NOT_FOUND"
    template_id: str


@dataclass
class PayUrlEmpty(PayRefusal):
    """[9999] An online mode that neither the ledger serves nor has an address to call."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "ERROR_REASON_PAY_URL_EMPTY"
    field: str


@dataclass
class PayDiffers(PayRefusal):
    """[9999] The clientPayNo came before with other content; the first stands."""

    code = grpc.StatusCode.ALREADY_EXISTS
    reason = "ERROR_REASON_PAY_DIFFERS"
    client_pay_no: str


@dataclass
class RefundDiffers(PayRefusal):
    """[9999] The clientRefundNo came before with other content; the first stands."""

    code = grpc.StatusCode.ALREADY_EXISTS
    reason = "ERROR_REASON_PAY_REFUND_DIFFERS"
    client_refund_no: str


@dataclass
class PayNotFound(PayRefusal):
    """[9999] No pay order of the caller has this payTractionNo."""

    code = grpc.StatusCode.NOT_FOUND
    reason = "ERROR_REASON_PAY_NOT_FOUND"
    pay_traction_no: str


@dataclass
class PayStatusInvalid(PayRefusal):
    """[9999] Only what is payed can be given back."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "ERROR_REASON_PAY_STATUS_INVALID"
    status: str


@dataclass
class CancelTooLate(PayRefusal):
    """[9999] isCancel is for eight hours after the pay."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "ERROR_REASON_CANCEL_TOO_LATE"
    pay_traction_no: str


@dataclass
class RefundExceedsPay(PayRefusal):
    """[9999] Refunds would exceed what was paid."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "ERROR_REASON_REFUND_EXCEEDS_PAY"
    left_micros: int
    amount_micros: int


@dataclass
class RefundNotWhole(PayRefusal):
    """[9999] Uses of a service package have no amount each: it is refunded whole or not at all."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "ERROR_REASON_REFUND_NOT_WHOLE"
    whole_fen: int


@dataclass
class ResourceNotFound(PayRefusal):
    """[1599] No resource has this uuid or number, or it is another merchant's."""

    code = grpc.StatusCode.NOT_FOUND
    reason = "ERROR_REASON_RESOURCE_NOT_FOUND"
    uuid: str


@dataclass
class PayNotWritten(PayRefusal):
    """[9999] Nothing was written, for a reason of ours; the same call may be made again."""

    code = grpc.StatusCode.INTERNAL
    reason = "ERROR_REASON_PAY_NOT_WRITTEN"
    trace: str
