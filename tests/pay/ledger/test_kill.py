"""Promises under kill -9: what was acknowledged is in the ledger exactly once, repeats find it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from grpc import aio

from shoudan.pay.v1 import ledger_service_pb2 as pb
from shoudan_kit.db.pool import Database
from shoudan_kit.embedded import DatabaseUrls
from tests.pay.ledger.harness import YUAN, deduct, posting, told
from tests.pay.ledger.invariants import broken
from tests.pay.ledger.process import PayProcess
from tests.poll import eventually

POSTINGS, IN_FLIGHT, BATCH = 10_000, 16, 20
Databases = Callable[[str], Awaitable[DatabaseUrls]]


async def accounts(stub: Any, count: int) -> list[pb.AccountKey]:
    keys = [pb.AccountKey(ident="oms", groups="down_channel", eid=f"k{n}") for n in range(count)]
    items = [pb.CreateAccountsRequest.Item(key=key) for key in keys]
    await stub.CreateAccounts(pb.CreateAccountsRequest(items=items))
    for key in keys:
        await stub.Post(pb.PostRequest(posting=posting(key, 10_000 * YUAN)))
    return keys


async def send(
    stub: Any, batches: list[list[pb.Posting]], acknowledged: dict[str, pb.Record]
) -> None:
    """Post every batch that is still owed; calls cut off by the kill owe theirs on."""
    waiting = list(batches)

    async def sender() -> None:
        while waiting:
            batch = waiting.pop()
            groups = [pb.PostEntriesRequest.Group(postings=[one]) for one in batch]
            try:
                request = pb.PostEntriesRequest(groups=groups)
                answer = await stub.PostEntries(request, timeout=20)
            except aio.AioRpcError:
                continue
            for result in answer.results:
                assert not result.HasField("refusal"), result
                acknowledged[result.records[0].trade_no] = result.records[0]

    await asyncio.gather(*[sender() for _ in range(IN_FLIGHT)])


async def test_killed_in_the_middle_of_ten_thousand_postings_nothing_acknowledged_is_lost(
    new_database: Databases, tmp_path: Path
) -> None:
    urls = await new_database("pay")
    pay = PayProcess(urls, tmp_path)
    stub = await pay.start()
    keys = await accounts(stub, 5)
    asked = [deduct(keys[n % 5], YUAN // 10, f"n{n}") for n in range(POSTINGS)]
    batches = [asked[at : at + BATCH] for at in range(0, POSTINGS, BATCH)]
    before: dict[str, pb.Record] = {}
    sending = asyncio.create_task(send(stub, batches, before))
    await eventually(lambda: len(before) > POSTINGS // 4, 60)
    await pay.kill()
    await sending
    assert len(before) < POSTINGS
    stub = await pay.start()
    database = Database(urls.owner)
    try:
        assert await broken(database) == {}
        again: dict[str, pb.Record] = {}
        await send(stub, batches, again)
        assert len(again) == POSTINGS
        assert all(again[number] == record for number, record in before.items())
        assert await broken(database) == {}
    finally:
        await database.dispose()
    balances = [
        (await stub.GetAccount(pb.GetAccountRequest(key=key))).account.balance_micros
        for key in keys
    ]
    assert sum(balances) == 5 * 10_000 * YUAN - POSTINGS * (YUAN // 10)
    assert await pay.stop() == 0


@pytest.mark.parametrize(
    ("point", "existed"), [("ledger.before_commit", False), ("ledger.after_commit", True)]
)
async def test_dying_around_the_commit_leaves_all_or_nothing(
    new_database: Databases, tmp_path: Path, point: str, existed: bool
) -> None:
    urls = await new_database("pay")
    pay = PayProcess(urls, tmp_path)
    stub = await pay.start(f"{point}:exit@3")  # the first two fill the accounts
    one, two = await accounts(stub, 2)
    group = pb.PostEntriesRequest.Group(postings=[deduct(one, YUAN, "o"), deduct(two, YUAN, "o")])
    request = pb.PostEntriesRequest(groups=[group])
    with pytest.raises(aio.AioRpcError):
        await stub.PostEntries(request, timeout=10)
    assert await pay.ended() == 137
    stub = await pay.start()
    answer = await told(stub.PostEntries(request))
    assert answer.results[0].existed is existed
    assert [r.balance_micros for r in answer.results[0].records] == [9_999 * YUAN] * 2
    assert await pay.stop() == 0
