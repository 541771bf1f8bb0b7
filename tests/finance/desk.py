"""Finance at work on exceptions of a source of its own."""

from __future__ import annotations

import hashlib
import secrets
from datetime import timedelta
from itertools import count
from typing import Any

from grpc import aio

from shoudan.core.v1 import proposal_service_pb2 as proposal_pb
from shoudan.core.v1 import proposal_service_pb2_grpc as proposal_stubs
from shoudan.finance.v1 import exception_service_pb2 as pb
from shoudan.finance.v1 import exception_service_pb2_grpc as stubs
from shoudan.finance.v1 import statement_service_pb2 as statement_pb
from shoudan.pay.v1 import ledger_service_pb2 as ledger_pb
from shoudan_finance import deciding
from shoudan_kit.rpc.rights import FINANCE_CHECKER, FINANCE_MAKER
from tests.credentials import metadata_as
from tests.finance.books import TODAY, Books, delivery
from tests.finance.test_reconciling import file, line
from tests.poll import eventually

SYSTEM = "exceptions"
DAY = TODAY - timedelta(days=20)
SOURCES = count()
METHOD = deciding.METHOD


class Desk:
    """Finance at work on a source of its own."""

    def __init__(self, books: Books, channel: aio.Channel) -> None:
        self.books, self.harness = books, books.harness
        self.stub, self.proposals = (
            stubs.ExceptionServiceStub(channel),
            proposal_stubs.ProposalServiceStub(channel),
        )
        which = next(SOURCES)
        self.source, self.at = f"desk-{which}", 1000 * (which + 1)

    async def differ(self, alone: int = 2) -> list[int]:
        """A statement that lacks some of our deliveries; their exceptions, by number."""
        numbers = range(self.at, self.at + alone + 1)
        await self.books.traded(self.source, DAY, [delivery(one, DAY) for one in numbers])
        await self.books.imported(self.source, file(line(self.at)))
        await self.books.quiet(self.source)
        return sorted(one.exception_id for one in await self.listed())

    async def listed(self, **more: Any) -> list[pb.Exception]:
        request = pb.ListExceptionsRequest(source=self.source, **{"undecided": True, **more})
        return list((await self.stub.ListExceptions(request)).exceptions)

    async def get(self, number: int) -> pb.GetExceptionResponse:
        return await self.stub.GetException(pb.GetExceptionRequest(exception_id=number))

    async def said_of(self, workbook: bytes) -> pb.CheckExceptionSheetResponse:
        """What a workbook would decide."""
        sha256 = hashlib.sha256(workbook).digest()
        part = statement_pb.StorePartRequest(sha256=sha256, part_no=0, data=workbook)
        await self.books.statements.StorePart(part)
        request = pb.CheckExceptionSheetRequest(sha256=sha256, parts=1)
        return await self.stub.CheckExceptionSheet(request)

    def decision(
        self, *numbers: int, decision: Any = pb.DECISION_BOOK
    ) -> pb.DecideExceptionsRequest:
        item = pb.DecideExceptionsRequest.Item
        items = [item(exception_id=one, decision=decision, remark="seen") for one in numbers]
        return pb.DecideExceptionsRequest(items=items)

    async def propose(self, request: pb.DecideExceptionsRequest) -> proposal_pb.Proposal:
        asked = proposal_pb.ProposeRequest(
            method=METHOD,
            request=request.SerializeToString(),
            reason="as agreed",
            key=secrets.token_hex(8),
        )
        metadata = metadata_as(SYSTEM, "m", FINANCE_MAKER)
        return (await self.proposals.Propose(asked, metadata=metadata)).proposal

    async def approve(self, one: proposal_pb.Proposal, who: str = "c") -> proposal_pb.Proposal:
        request = proposal_pb.ApproveProposalRequest(proposal_id=one.proposal_id, reason="yes")
        metadata = metadata_as(SYSTEM, who, FINANCE_CHECKER, FINANCE_MAKER)
        return (await self.proposals.ApproveProposal(request, metadata=metadata)).proposal

    async def settled(self, number: int) -> pb.Exception:
        async def done() -> bool:
            status = (await self.get(number)).exception.status
            return status != pb.EXCEPTION_STATUS_BOOKING

        await eventually(done, 20)
        return (await self.get(number)).exception

    async def records(self, groups: str) -> list[Any]:
        """What the ledger has in an account of the source."""
        key = ledger_pb.AccountKey(ident="oms", groups=groups, eid=self.source)
        request = ledger_pb.ListRecordsRequest(account=key, page_size=100)
        return list((await self.harness.ledger.stub.ListRecords(request)).records)
