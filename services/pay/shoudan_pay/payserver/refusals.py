"""Refusals of PayServer, with the documented codes of 002."""

from __future__ import annotations

from grpc import StatusCode as Code

from shoudan_pay.refusals import PayRefusal


class ModeNotOpen(PayRefusal):
    """[9002] Unknown, another merchant's, or not opened: one refusal, so that none is revealed."""

    mode_uuid: str


class EnvCheckFailed(PayRefusal):
    """[9001] The environment check of a template did not agree."""

    template_id: str
    answer: str


class TemplateNotFound(PayRefusal, code=Code.NOT_FOUND):
    """[9999] No enabled template has this payTemplateId."""

    template_id: str


class PayUrlEmpty(PayRefusal):
    """[9999] An online mode that neither the ledger serves nor has an address to call."""

    field: str


class PayDiffers(PayRefusal, code=Code.ALREADY_EXISTS):
    """[9999] The clientPayNo came before with other content; the first stands."""

    client_pay_no: str


class PayRefundDiffers(PayRefusal, code=Code.ALREADY_EXISTS):
    """[9999] The clientRefundNo came before with other content; the first stands."""

    client_refund_no: str


class PayNotFound(PayRefusal, code=Code.NOT_FOUND):
    """[9999] No pay order of the caller has this payTractionNo."""

    pay_traction_no: str


class PayStatusInvalid(PayRefusal):
    """[9999] Only what is payed can be given back."""

    status: str


class CancelTooLate(PayRefusal):
    """[9999] isCancel is for eight hours after the pay."""

    pay_traction_no: str


class RefundExceedsPay(PayRefusal):
    """[9999] Refunds would exceed what was paid."""

    left_micros: int
    amount_micros: int


class RefundNotWhole(PayRefusal):
    """[9999] Uses of a service package have no amount each: it is refunded whole or not at all."""

    whole_fen: int


class ResourceNotFound(PayRefusal, code=Code.NOT_FOUND):
    """[1599] No resource has this uuid or number, or it is another merchant's."""

    uuid: str


class PayNotWritten(PayRefusal, code=Code.INTERNAL):
    """[9999] Nothing was written, for a reason of ours; the same call may be made again."""

    trace: str
