"""What is published of proposals: made, and how they ended."""

from __future__ import annotations

from typing import Final

from shoudan.core.v1 import proposal_service_pb2 as pb
from shoudan_kit.proposals.states import ProposalState
from shoudan_kit.proposals.store import Row
from shoudan_kit.tasks.unit_of_work import UnitOfWork

WORDS: Final = {
    ProposalState.OPEN: "made",
    ProposalState.APPROVED: "approved",
    ProposalState.APPLIED: "applied",
    ProposalState.FAILED: "failed",
    ProposalState.REFUSED: "refused",
    ProposalState.WITHDRAWN: "withdrawn",
    ProposalState.EXPIRED: "expired",
}


def changed(work: UnitOfWork, service: str, row: Row) -> None:
    """Announce the state that a proposal has now."""
    word = WORDS[row.status]
    body = pb.ProposalChanged(
        proposal_id=row.proposal_id,
        method=row.method,
        subject=row.subject,
        state=pb.ProposalState.ValueType(row.status),
        maker=row.maker_name,
        decider=row.decider_name,
        amount_micros=row.amount_micros or 0,
    )
    who = row.decider_name or row.maker_name
    why = row.decide_reason or row.reason
    work.events.add(
        f"shoudan.events.{service}.proposal.{word}",
        key=str(row.proposal_id),
        body=body,
        text=f"{row.subject}: {word}, {who}: {why}",
    )
