"""Refusals of ChinaUMS's and Dingdang's callers; each protocol has its own words for them."""

from __future__ import annotations

from grpc import StatusCode as Code

from shoudan_pay.refusals import PayRefusal


class ProofInvalid(PayRefusal, code=Code.UNAUTHENTICATED):
    """A signature, token, clock or nonce is missing or wrong, or the caller unknown: the same refusal.

    `why`: timestamp for one that cannot be read, proof for everything else.
    """

    why: str = "proof"


class NoOrder(PayRefusal, code=Code.NOT_FOUND):
    """The caller has no such number; the same refusal as for another caller's number."""

    number: str


class IdsDisagree(PayRefusal, code=Code.INVALID_ARGUMENT):
    """Two numbers of one call name different things."""


class AmountDiffers(PayRefusal):
    """An amount is not the one on our books."""

    field: str
