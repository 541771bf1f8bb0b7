"""ProposalService over the proposals of one service: messages to values and back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from shoudan.core.v1 import proposal_service_pb2 as pb
from shoudan.core.v1 import proposal_service_pb2_grpc as stubs
from shoudan_kit.proposals.kinds import Effect
from shoudan_kit.proposals.proposals import ID_MAX, Asked, Proposals, effects_of
from shoudan_kit.proposals.refusals import ProposalInvalid
from shoudan_kit.proposals.store import Row
from shoudan_kit.rpc.callers import current_caller
from shoudan_kit.rpc.messages import RpcContext, filled

NAME: Final = "shoudan.core.v1.ProposalService"
PAGE_DEFAULT: Final = 100
PAGE_MAX: Final = 1_000


class ProposalServicer(stubs.ProposalServiceServicer):
    """shoudan.core.v1.ProposalService."""

    def __init__(self, proposals: Proposals) -> None:
        self._proposals = proposals

    async def Propose(self, request: pb.ProposeRequest, context: RpcContext) -> pb.ProposeResponse:
        """Store a call with its dry run."""
        asked = Asked(
            request.method, request.request, request.reason, request.evidence, request.key
        )
        row, existed = await self._proposals.propose(current_caller(), asked)
        return pb.ProposeResponse(proposal=self._message(row), existed=existed)

    async def ApproveProposal(
        self, request: pb.ApproveProposalRequest, context: RpcContext
    ) -> pb.ApproveProposalResponse:
        """Make the call, once."""
        row, repeated = await self._proposals.approve(
            current_caller(), request.proposal_id, request.reason
        )
        return pb.ApproveProposalResponse(proposal=self._message(row), repeated=repeated)

    async def RefuseProposal(
        self, request: pb.RefuseProposalRequest, context: RpcContext
    ) -> pb.RefuseProposalResponse:
        """End it without a call."""
        row, repeated = await self._proposals.refuse(
            current_caller(), request.proposal_id, request.reason
        )
        return pb.RefuseProposalResponse(proposal=self._message(row), repeated=repeated)

    async def WithdrawProposal(
        self, request: pb.WithdrawProposalRequest, context: RpcContext
    ) -> pb.WithdrawProposalResponse:
        """End one's own."""
        row, repeated = await self._proposals.withdraw(
            current_caller(), request.proposal_id, request.reason
        )
        return pb.WithdrawProposalResponse(proposal=self._message(row), repeated=repeated)

    async def ListProposals(
        self, request: pb.ListProposalsRequest, context: RpcContext
    ) -> pb.ListProposalsResponse:
        """A page, newest first."""
        most, token = request.page_size or PAGE_DEFAULT, request.page_token
        if not 1 <= most <= PAGE_MAX:
            raise ProposalInvalid("page_size", f"is not 1 to {PAGE_MAX}")
        if token and not (token.isascii() and token.isdecimal() and int(token[:20]) <= ID_MAX):
            raise ProposalInvalid("page_token", "was not given by this service")
        states = [int(one) for one in request.states]
        if set(states) - set(pb.ProposalState.values()):
            raise ProposalInvalid("states", "are not those of a proposal")
        before = int(token) if token else ID_MAX
        rows, after = await self._proposals.page(states, before, most)
        return pb.ListProposalsResponse(
            proposals=[self._message(row) for row in rows], next_page_token=after
        )

    async def GetProposal(
        self, request: pb.GetProposalRequest, context: RpcContext
    ) -> pb.GetProposalResponse:
        """One."""
        row = await self._proposals.get(request.proposal_id)
        return pb.GetProposalResponse(proposal=self._message(row))

    def _message(self, row: Row) -> pb.Proposal:
        return filled(
            pb.Proposal,
            row,
            dry_run=list(_effects(effects_of(row.dry_run))),
            result=list(_effects(effects_of(row.result))),
            maker=row.maker_name,
            decider=row.decider_name,
            state=int(row.status),
            approvers=sorted(self._proposals.approvers(row)),
        )


def _effects(effects: Iterable[Effect]) -> Iterable[pb.Effect]:
    return (pb.Effect(what=one.what, before=one.before, after=one.after) for one in effects)
