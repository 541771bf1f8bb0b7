"""Short words for the calls of the pay service, for its tests."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any

import pytest
from grpc import aio

from shoudan.pay.v1 import ledger_service_pb2 as pb
from shoudan_kit.config import Secret
from shoudan_kit.embedded import DatabaseUrls
from shoudan_kit.rpc.refusal import Refused, refused_from_proto, refused_from_rpc
from shoudan_kit.service import Process
from shoudan_pay.config import PaySettings
from tests.poll import eventually

YUAN = 1_000_000
_numbers = itertools.count(1)


@dataclass
class LedgerHarness:
    """A running pay service and its stub; accounts are made with numbers no other test has."""

    process: Process[PaySettings]
    stub: Any
    urls: DatabaseUrls

    async def account(
        self,
        balance: int = 0,
        *,
        groups: str = "down_channel",
        credit: int = 0,
        ident: str = "oms",
    ) -> pb.AccountKey:
        """A new account holding `balance` micros."""
        key = pb.AccountKey(ident=ident, groups=groups, eid=f"c{next(_numbers)}")
        item = pb.CreateAccountsRequest.Item(key=key, name="a channel", credit_micros=credit)
        made = await self.stub.CreateAccounts(pb.CreateAccountsRequest(items=[item]))
        assert made.results[0].WhichOneof("outcome") == "account", made
        if balance:
            await self.post(posting(key, balance))
        return key

    async def post(self, one: pb.Posting) -> pb.PostResponse:
        """One posting; raises Refused."""
        return await told(self.stub.Post(pb.PostRequest(posting=one)))

    async def groups(self, *groups: list[pb.Posting]) -> list[Any]:
        """Groups of postings: for each the result, or what refused it."""
        made = [pb.PostEntriesRequest.Group(postings=group) for group in groups]
        answer = await told(self.stub.PostEntries(pb.PostEntriesRequest(groups=made)))
        return [
            refused_from_proto(one.refusal) if one.HasField("refusal") else one
            for one in answer.results
        ]

    async def balance(self, key: pb.AccountKey) -> int:
        """What is in it now."""
        found = await self.stub.GetAccount(pb.GetAccountRequest(key=key))
        return found.account.balance_micros

    async def records(self, key: pb.AccountKey, **filters: Any) -> list[pb.Record]:
        """Its records, newest first."""
        request = pb.ListRecordsRequest(account=key, **filters)
        return list((await told(self.stub.ListRecords(request))).records)

    async def days_closed(self) -> None:
        """Wait until the days that are over are closed, which a process does when it begins."""

        async def closed() -> bool:
            return bool((await self.stub.ListLedgerDays(pb.ListLedgerDaysRequest())).days)

        await eventually(closed, 20)

    async def findings(self, ident: str = "") -> list[str]:
        """What the proof of the ledger has to say."""
        told = [one async for one in self.stub.Verify(pb.VerifyRequest(ident=ident))]
        last = told[-1]
        assert last.done
        return [f"{one.account_id}/{one.record_id}: {one.what}" for one in last.findings]


async def told(call: Any) -> Any:
    """The answer, or the refusal as an exception."""
    try:
        return await call
    except aio.AioRpcError as error:
        refused = refused_from_rpc(error)
        if refused is None:
            raise
        raise refused from None


def posting(key: pb.AccountKey, micros: int, trade_no: str = "", **fields: Any) -> pb.Posting:
    """An add of `micros` under a new number, unless the fields say otherwise."""
    fields.setdefault("change_type", pb.CHANGE_TYPE_ADD)
    fields.setdefault("trade_type", pb.TRADE_TYPE_TRADE)
    number = trade_no or f"t{next(_numbers)}"
    return pb.Posting(account=key, trade_no=number, amount_micros=micros, **fields)


def deduct(key: pb.AccountKey, micros: int, trade_no: str = "", **fields: Any) -> pb.Posting:
    """Spending of `micros` (given without sign)."""
    return posting(key, -micros, trade_no, change_type=pb.CHANGE_TYPE_DEDUCT, **fields)


def refund(
    key: pb.AccountKey, micros: int, ext_no: str, trade_no: str = "", **fields: Any
) -> pb.Posting:
    """Giving back `micros` of the deduct `ext_no`."""
    change = pb.CHANGE_TYPE_REFUND
    return posting(key, micros, trade_no, ext_no=ext_no, change_type=change, **fields)


def reverse_add(key: pb.AccountKey, ext_no: str, micros: int = 0, trade_no: str = "") -> pb.Posting:
    """红冲 of the add `ext_no`, whole."""
    return posting(key, micros, trade_no, ext_no=ext_no, trade_type=pb.TRADE_TYPE_REVERSE)


def reason(refused: Refused) -> str:
    """The reason without what all of them begin with."""
    return refused.reason.removeprefix("ERROR_REASON_")


async def refusal_of(call: Awaitable[Any]) -> Refused:
    """The refusal `call` ends with."""
    with pytest.raises(Refused) as raised:
        await call
    return raised.value


def settings(urls: DatabaseUrls, **given: Any) -> PaySettings:
    """Settings of a pay service in this process."""
    return PaySettings(profile="test", database_url=Secret(urls.service), drain_s=5, **given)
