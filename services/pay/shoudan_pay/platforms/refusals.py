"""Refusals of ChinaUMS's and Dingdang's callers; each protocol has its own words for them."""

from __future__ import annotations

from grpc import StatusCode as Code

from shoudan_pay.refusals import PayRefusal


class ProofInvalid(PayRefusal, code=Code.UNAUTHENTICATED, reason="ERROR_REASON_PROOF_INVALID"):
    """A signature, token, clock or nonce is missing or wrong, or the caller unknown: the same refusal.

    `why`: timestamp for one that cannot be read, proof for everything else.
    """

    why: str = "proof"


class NoOrder(PayRefusal, code=Code.NOT_FOUND, reason="ERROR_REASON_NO_ORDER"):
    """The caller has no such number; the same refusal as for another caller's number."""

    number: str


class IdsDisagree(PayRefusal, code=Code.INVALID_ARGUMENT, reason="ERROR_REASON_IDS_DISAGREE"):
    """Two numbers of one call name different things."""


class AmountDiffers(
    PayRefusal, code=Code.FAILED_PRECONDITION, reason="ERROR_REASON_AMOUNT_DIFFERS"
):
    """An amount is not the one on our books."""

    field: str
