"""Calls that post, and calls that look at what was posted."""

from __future__ import annotations

from collections.abc import Sequence

from shoudan.pay.v1 import ledger_service_pb2 as pb
from shoudan_kit.rpc.messages import RpcContext
from shoudan_kit.rpc.refusal import Refusal
from shoudan_pay.ledger.accounts import Accounts
from shoudan_pay.ledger.group_commit import Answer, Group, Ledger
from shoudan_pay.ledger.store import records as store
from shoudan_pay.refusals import FieldInvalid
from shoudan_pay.rpc import ledger_messages
from shoudan_pay.rpc.ledger_messages import (
    EID_MAX,
    IDENT_MAX,
    NUMBER_MAX,
    optional_moment,
    text,
    whole,
)

POSTINGS_MAX = 1000
BEFORE_ALL = 2**63 - 1


class PostingCalls:
    """The part of LedgerService that is about postings and records."""

    _accounts: Accounts
    _ledger: Ledger

    async def PostEntries(
        self, request: pb.PostEntriesRequest, context: RpcContext
    ) -> pb.PostEntriesResponse:
        """Each group whole or not at all, groups independent."""
        groups = [group.postings for group in request.groups]
        if sum(map(len, groups)) > POSTINGS_MAX:
            raise FieldInvalid("groups", f"have more than {POSTINGS_MAX} postings")
        origin = ledger_messages.origin_of_call()
        read = [_read(group, origin) for group in groups]
        asked = [one for one in read if not isinstance(one, Refusal)]
        answer = await self._ledger.post(asked) if asked else Answer([], {})
        records, decisions = ledger_messages.Records(answer.accounts), iter(answer.decisions)
        response = pb.PostEntriesResponse()
        add = response.results.add
        for one in read:
            if isinstance(one, Refusal):
                add().refusal.CopyFrom(one.to_proto())
            else:
                records.put(add(), next(decisions))
        return response

    async def Post(self, request: pb.PostRequest, context: RpcContext) -> pb.PostResponse:
        """One posting; concurrent ones share its commit."""
        answer = await self._ledger.post([[ledger_messages.posting(request.posting)]])
        (decision,) = answer.decisions
        if decision.refusal is not None:
            raise decision.refusal
        record = ledger_messages.Records(answer.accounts).record(decision.records[0])
        return pb.PostResponse(record=record, existed=decision.existed)

    async def ListRecords(
        self, request: pb.ListRecordsRequest, context: RpcContext
    ) -> pb.ListRecordsResponse:
        """A page, newest first."""
        query = _query(request)
        wanted = ledger_messages.page(request, BEFORE_ALL)
        page = await self._accounts.records(query, wanted)
        whole(wanted.numbered and page.cut)
        return pb.ListRecordsResponse(
            records=ledger_messages.shown_records(page.shown),
            next_page_token=page.token,
            count=page.count,
        )

    async def GetBalance(
        self, request: pb.GetBalanceRequest, context: RpcContext
    ) -> pb.GetBalanceResponse:
        """The balance now, or as it was."""
        time = optional_moment(request, "time")
        key = ledger_messages.key(request.key)
        balance, seq = await self._accounts.balance(key, time)
        return pb.GetBalanceResponse(balance_micros=balance, seq=seq)


def _read(group: Sequence[pb.Posting], origin: tuple[str, str]) -> Group | Refusal:
    try:
        if not group:
            raise FieldInvalid("postings", "is empty")
        return [ledger_messages.posting(one, origin) for one in group]
    except Refusal as refusal:
        return refusal


def _query(request: pb.ListRecordsRequest) -> store.Query:
    key = request.account
    if not key.ident and not request.trade_no:
        raise FieldInvalid("account", "needs an ident unless a trade_no is given")
    return store.Query(
        None,
        text("ident", key.ident, IDENT_MAX, optional=True),
        text("groups", key.groups, IDENT_MAX, optional=True),
        text("eid", key.eid, EID_MAX, optional=True),
        text("trade_no", request.trade_no, NUMBER_MAX, optional=True),
        optional_moment(request, "start_time"),
        optional_moment(request, "end_time"),
        request.change_type,
        request.trade_type,
    )
