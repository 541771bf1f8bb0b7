"""What ChinaUMS's and Dingdang's callers are told no to; each protocol has its own words for it."""

from __future__ import annotations

from grpc import StatusCode as Code

from shoudan_pay.refusals import PayRefusal


class ProofInvalid(PayRefusal, code=Code.UNAUTHENTICATED, reason="ERROR_REASON_PROOF_INVALID"):
    """A signature, token, clock or nonce is missing or wrong, or the caller unknown: told alike.

    `why`: timestamp for one that cannot be read, proof for everything else.
    """

    why: str = "proof"


class NoOrder(PayRefusal, code=Code.NOT_FOUND, reason="ERROR_REASON_NO_ORDER"):
    """Nothing of the caller's has this number; another's is told alike."""

    number: str


class IdsDisagree(PayRefusal, code=Code.INVALID_ARGUMENT, reason="ERROR_REASON_IDS_DISAGREE"):
    """Two numbers of one call name different things."""


class AmountDiffers(
    PayRefusal, code=Code.FAILED_PRECONDITION, reason="ERROR_REASON_AMOUNT_DIFFERS"
):
    """An amount is not the one on our books."""

    field: str
