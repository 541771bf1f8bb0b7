"""The refusals of proposals: one class per reason of the contract."""

from __future__ import annotations

from grpc import StatusCode as Code

from shoudan_kit.rpc.refusal import KitRefusal

COMMAND = "shoudan proposal make"


class ProposalRequired(KitRefusal):
    """One operator may not call the method alone."""

    method: str
    command: str = COMMAND


class ProposalNotFound(KitRefusal, code=Code.NOT_FOUND):
    """No proposal has this number here."""

    proposal_id: int


class ProposalEnded(KitRefusal):
    """The proposal is not open any more."""

    proposal_id: int
    state: str
    by: str
    why: str


class ProposalOwner(KitRefusal, code=Code.PERMISSION_DENIED):
    """A maker decides over no proposal of their own, and withdraws no other one."""

    proposal_id: int
    why: str


class ProposalInvalid(KitRefusal, code=Code.INVALID_ARGUMENT):
    """A field of the proposal, or the call in it, cannot be used."""

    field: str
    why: str


class ProposalDiffers(KitRefusal, code=Code.ALREADY_EXISTS):
    """The maker used the key before for something else; the first proposal stands."""

    proposal_id: int
