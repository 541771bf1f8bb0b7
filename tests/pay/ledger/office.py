"""Operators at a pay service that needs two persons, for its tests."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message

from shoudan.core.v1 import proposal_service_pb2 as pb
from shoudan.pay.v1 import ledger_service_pb2 as ledger
from shoudan_kit.rpc.rights import FINANCE_CHECKER, FINANCE_MAKER
from tests.credentials import metadata_as
from tests.pay.ledger.harness import LedgerHarness, told

SYSTEM = "office"
SETTINGS = {"system_id": SYSTEM, "two_persons": "on"}
LEDGER = "shoudan.pay.v1.LedgerService"


@dataclass
class Office:
    """The service, and its proposals as operators call them; `harness` is called without a token."""

    harness: LedgerHarness
    stub: Any

    async def propose(
        self, method: str, request: Message, maker: str = "m", /, key: str = "", **given: Any
    ) -> pb.Proposal:
        """Propose a call as a finance-maker; raises Refused."""
        asked = pb.ProposeRequest(
            method=f"{LEDGER}/{method}",
            request=request.SerializeToString(),
            key=key or secrets.token_hex(8),
            reason="the bank says so",
        )
        asked.MergeFrom(pb.ProposeRequest(**given))
        metadata = metadata_as(SYSTEM, maker, FINANCE_MAKER)
        return (await told(self.stub.Propose(asked, metadata=metadata))).proposal

    async def post(self, posting: ledger.Posting, maker: str = "m") -> pb.Proposal:
        """Propose one posting."""
        return await self.propose("Post", ledger.PostRequest(posting=posting), maker)

    async def approve(self, proposal: pb.Proposal, who: str = "c", *roles: str) -> Any:
        """Approve as a finance-checker, unless the roles say otherwise."""
        request = pb.ApproveProposalRequest(proposal_id=proposal.proposal_id, reason="seen")
        metadata = metadata_as(SYSTEM, who, *(roles or (FINANCE_CHECKER,)))
        return await told(self.stub.ApproveProposal(request, metadata=metadata))

    async def refuse(self, proposal: pb.Proposal, who: str = "c") -> Any:
        """Refuse as a finance-checker."""
        request = pb.RefuseProposalRequest(proposal_id=proposal.proposal_id, reason="no such bank")
        metadata = metadata_as(SYSTEM, who, FINANCE_CHECKER)
        return await told(self.stub.RefuseProposal(request, metadata=metadata))

    async def withdraw(self, proposal: pb.Proposal, who: str = "m") -> Any:
        """Withdraw as a finance-maker."""
        request = pb.WithdrawProposalRequest(proposal_id=proposal.proposal_id)
        metadata = metadata_as(SYSTEM, who, FINANCE_MAKER)
        return await told(self.stub.WithdrawProposal(request, metadata=metadata))

    async def get(self, proposal: pb.Proposal) -> pb.Proposal:
        """As it is now."""
        request = pb.GetProposalRequest(proposal_id=proposal.proposal_id)
        return (await told(self.stub.GetProposal(request))).proposal
