"""What ChinaUMS's and Dingdang's callers are told no to; each protocol has its own words for it."""

from __future__ import annotations

from dataclasses import dataclass

import grpc

from shoudan_pay.refusals import PayRefusal


@dataclass
class ProofInvalid(PayRefusal):
    """A signature, token, clock or nonce is missing or wrong, or the caller unknown: told alike.

    `why`: timestamp for one that cannot be read, proof for everything else.
    """

    code = grpc.StatusCode.UNAUTHENTICATED
    reason = "ERROR_REASON_PROOF_INVALID"
    why: str = "proof"


@dataclass
class NoOrder(PayRefusal):
    """Nothing of the caller's has this number; another's is told alike."""

    code = grpc.StatusCode.NOT_FOUND
    reason = "ERROR_REASON_NO_ORDER"
    number: str


@dataclass
class IdsDisagree(PayRefusal):
    """Two numbers of one call name different things."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    reason = "ERROR_REASON_IDS_DISAGREE"


@dataclass
class AmountDiffers(PayRefusal):
    """An amount is not the one on our books."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "ERROR_REASON_AMOUNT_DIFFERS"
    field: str
