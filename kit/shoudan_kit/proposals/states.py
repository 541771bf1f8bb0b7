"""The states of a proposal. Nothing else writes one."""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Final

from shoudan_kit.state_machine import Machine


class ProposalState(IntEnum):
    """As in the contract."""

    OPEN = 1
    APPROVED = 2
    APPLIED = 3
    FAILED = 4
    REFUSED = 5
    WITHDRAWN = 6
    EXPIRED = 7


class ProposalEvent(StrEnum):
    """What happens to a proposal."""

    APPROVED = "approved, call begun"  # of a call that is several transactions
    APPLIED = "approved, call made"
    FAILED = "approved, call refused"
    REFUSED = "refused"
    WITHDRAWN = "withdrawn by its maker"
    EXPIRED = "not approved in time"


PROPOSAL: Final = Machine(
    name="proposal",
    initial=ProposalState.OPEN,
    moves={
        (ProposalState.OPEN, ProposalEvent.APPROVED): ProposalState.APPROVED,
        (ProposalState.APPROVED, ProposalEvent.APPLIED): ProposalState.APPLIED,
        (ProposalState.APPROVED, ProposalEvent.FAILED): ProposalState.FAILED,
        (ProposalState.OPEN, ProposalEvent.APPLIED): ProposalState.APPLIED,
        (ProposalState.OPEN, ProposalEvent.FAILED): ProposalState.FAILED,
        (ProposalState.OPEN, ProposalEvent.REFUSED): ProposalState.REFUSED,
        (ProposalState.OPEN, ProposalEvent.WITHDRAWN): ProposalState.WITHDRAWN,
        (ProposalState.OPEN, ProposalEvent.EXPIRED): ProposalState.EXPIRED,
    },
)
