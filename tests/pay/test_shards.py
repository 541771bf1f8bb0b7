"""Promises of a pay service with several shards: each has a whole ledger of its own, the accounts of one user
are together, lists and days are those of all shards, and a shard that is away stops no other."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import aio

from shoudan.core.v1 import proposal_service_pb2 as proposal_pb
from shoudan.core.v1 import work_service_pb2 as work_pb
from shoudan.core.v1 import work_service_pb2_grpc as work_grpc
from shoudan.pay.v1 import ledger_service_pb2 as pb
from shoudan.pay.v1 import ledger_service_pb2_grpc as stubs
from shoudan.pay.v1 import payment_service_pb2, platform_service_pb2
from shoudan.pay.v1 import setup_service_pb2 as setup_pb
from shoudan.pay.v1 import setup_service_pb2_grpc as setup_stubs
from shoudan_kit.db.shard_grow import grow
from shoudan_kit.db.shard_keys import shard_of_key, shard_of_number
from shoudan_kit.db.shard_map import read
from shoudan_kit.db.text_statements import FastConnection
from shoudan_kit.embedded import DatabaseUrls, Postgres
from shoudan_kit.rpc.message_keys import ShardsDiffer
from shoudan_kit.rpc.refusal import Refused, refused_from_proto
from shoudan_kit.rpc.shard_routes import route_of
from shoudan_kit.service import Process
from shoudan_pay.app import SERVICE
from shoudan_pay.commands import day_proof
from shoudan_pay.config import PaySettings
from shoudan_pay.ledger import closing
from shoudan_pay.ledger.days import day_of
from shoudan_pay.ledger.store import days as store
from tests.pay.ledger.harness import (
    YUAN,
    LedgerHarness,
    deduct,
    posting,
    reason,
    refusal_of,
    settings,
    told,
)
from tests.pay.ledger.invariants import broken
from tests.poll import eventually
from tests.shard_maps import Maps, migrate, pages, two_servers

SHARDS = 4
USERS = [f"user-{n}" for n in range(12)]
KINDS = ("down_channel", "down_commission", "down_service")
AWAY = "SHARD_AWAY"
NO_CUT = timedelta()
_numbers = itertools.count(1)


def key(eid: str, groups: str = "down_channel", ident: str = "oms") -> pb.AccountKey:
    return pb.AccountKey(ident=ident, groups=groups, eid=eid)


def number() -> str:
    """A trade number that no other test has."""
    return f"n{next(_numbers)}"


def shard_of(eid: str, shards: int = SHARDS) -> int:
    """Where the accounts of a user are."""
    return shard_of_key(["oms", eid], shards)


@asynccontextmanager
async def opened(urls: DatabaseUrls, **given: Any) -> AsyncIterator[LedgerHarness]:
    """A pay service with three accounts of every user."""
    process: Process[PaySettings] = Process(SERVICE, settings(urls, **given))
    await process.start()
    try:
        async with aio.insecure_channel(f"127.0.0.1:{process.port}") as channel:
            made = LedgerHarness(process, stubs.LedgerServiceStub(channel), urls)
            items = [
                pb.CreateAccountsRequest.Item(key=key(one, kind), name=one)
                for one in USERS
                for kind in KINDS
            ]
            answer = await made.stub.CreateAccounts(pb.CreateAccountsRequest(items=items))
            assert all(one.HasField("account") for one in answer.results)
            yield made
    finally:
        await process.stop()


@pytest.fixture(params=[1, 2, SHARDS])
async def several(new_map: Maps, request: pytest.FixtureRequest) -> AsyncIterator[LedgerHarness]:
    """A service with one, two and four shards, half of them on a second server."""
    urls, file = await new_map("pay", request.param)
    async with opened(urls, shards=file) as made:
        yield made


@pytest.fixture(scope="module")
async def four(
    new_map: Maps, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[LedgerHarness]:
    """A service with four shards, and statements."""
    urls, file = await new_map("pay", SHARDS)
    folder = tmp_path_factory.mktemp("statements")
    async with opened(urls, shards=file, ledger_statements_dir=folder, verify_at="") as made:
        yield made


async def whole(harness: LedgerHarness) -> None:
    """Every shard's ledger is one, and all of them together come to nothing."""
    for cell in harness.process.cells:
        assert await broken(cell.app.db) == {}
    accounts = await pages(harness.stub.ListAccounts, pb.ListAccountsRequest(page_size=7))
    assert sum(one.balance_micros for each in accounts for one in each.accounts) == 0


async def sealed(harness: LedgerHarness, shard: int) -> pb.SealLedgerResponse:
    """The statement of the day of a shard, made now or before."""
    asked = pb.SealLedgerRequest(shard=shard)

    async def done() -> bool:
        return (await harness.stub.SealLedger(asked)).done

    await eventually(done, 20)
    return await harness.stub.SealLedger(asked)


def test_every_method_of_the_service_says_where_it_is_answered() -> None:
    without = {
        method.name
        for module in (pb, payment_service_pb2, platform_service_pb2, setup_pb)
        for service in module.DESCRIPTOR.services_by_name.values()
        for method in service.methods
        if route_of(service.full_name, method.name) is None
    }
    assert without == set()


async def test_the_accounts_of_a_user_are_in_one_shard_and_move_together(
    several: LedgerHarness,
) -> None:
    shards = len(several.process.cells)
    trades = {one: number() for one in USERS}
    adds = [[posting(key(one), 100 * YUAN)] for one in USERS]
    sales = [
        [
            deduct(key(one), 30 * YUAN, trades[one]),
            posting(
                key(one, "down_commission"),
                YUAN,
                trades[one],
                change_type=pb.CHANGE_TYPE_DEDUCT,
                trade_type=pb.TRADE_TYPE_COMMISSION,
            ),
            deduct(key(one, "down_service"), YUAN, trades[one], trade_type=pb.TRADE_TYPE_SERVICE),
        ]
        for one in USERS
    ]
    await several.post(posting(key(USERS[0], "down_service"), YUAN))
    await several.groups(*adds)
    for one in USERS[1:]:
        await several.post(posting(key(one, "down_service"), YUAN))
    made = await several.groups(*sales, [deduct(key("nobody"), YUAN)])
    for one, result in zip(USERS, made[:-1], strict=True):
        assert [record.trade_no for record in result.records] == [trades[one]] * 3
        shard = shard_of(one, shards)
        for record in result.records:
            found = record.record_id, record.account_id, record.contra_account_id
            assert {shard_of_number(n, shards) for n in found} == {shard}
    assert reason(made[-1]) == "ACCOUNT_NOT_FOUND"
    again = await several.groups(*sales)
    assert [one.existed for one in again] == [True] * len(USERS)
    for one in USERS:
        assert await several.balance(key(one)) == 70 * YUAN
    assert await several.balance(key("down_channel", "platform")) == -len(USERS) * 70 * YUAN
    asked = pb.GetBalanceRequest(key=key("down_channel", "platform"))
    assert (await several.stub.GetBalance(asked)).balance_micros == -len(USERS) * 70 * YUAN
    with pytest.raises(Refused, match="ACCOUNT_NOT_FOUND"):
        await told(several.stub.GetAccount(pb.GetAccountRequest(key=key("none", "platform"))))
    await whole(several)


async def test_a_group_of_several_shards_is_refused_and_moves_nothing(four: LedgerHarness) -> None:
    one, other = (next(u for u in USERS if shard_of(u) == n) for n in (0, 1))
    before = await four.balance(key(one)), await four.balance(key(other))
    alone = posting(key(one), YUAN)
    both = [posting(key(one), YUAN), posting(key(other), YUAN)]
    done, refused = await four.groups([alone], both)
    assert len(done.records) == 1
    assert (reason(refused), refused.metadata["shards"]) == ("SHARDS_DIFFER", str(SHARDS))
    (only,) = await four.groups(both)
    assert reason(only) == "SHARDS_DIFFER"
    after = await four.balance(key(one)), await four.balance(key(other))
    assert after == (before[0] + YUAN, before[1])


async def test_lists_are_those_of_all_shards_page_by_page_and_by_number(
    four: LedgerHarness,
) -> None:
    trade = number()
    await four.groups(*[[posting(key(one), YUAN, trade)] for one in USERS])
    listed = await pages(four.stub.ListAccounts, pb.ListAccountsRequest(page_size=5, ident="oms"))
    ids = [one.account_id for each in listed for one in each.accounts]
    assert ids == sorted(set(ids))
    assert {shard_of_number(one, SHARDS) for one in ids} == set(range(SHARDS))
    assert listed[0].count == len(ids)
    by_number: list[int] = []
    while found := (
        await four.stub.ListAccounts(
            pb.ListAccountsRequest(page_size=7, ident="oms", offset=len(by_number))
        )
    ).accounts:
        by_number += [one.account_id for one in found]
    assert by_number == ids
    records = await pages(four.stub.ListRecords, pb.ListRecordsRequest(trade_no=trade, page_size=5))
    numbers = [one.record_id for each in records for one in each.records]
    assert numbers == sorted(numbers, reverse=True)
    assert len(set(numbers)) == len(USERS)
    second = pb.ListRecordsRequest(trade_no=trade, page_size=5, offset=5)
    page = await four.stub.ListRecords(second)
    assert [one.record_id for one in page.records] == numbers[5:10]
    assert page.count == len(USERS)
    of_user = await four.records(pb.AccountKey(ident="oms", eid=USERS[3]), trade_no=trade)
    assert [one.account.eid for one in of_user] == [USERS[3]]
    too_far = pb.ListRecordsRequest(trade_no=trade, offset=100_001)
    assert reason(await refusal_of(told(four.stub.ListRecords(too_far)))) == "FIELD_INVALID"


async def test_a_day_is_the_sum_of_all_shards_and_its_records_are_exported_in_order(
    four: LedgerHarness,
) -> None:
    await four.groups(*[[posting(key(one), YUAN)] for one in USERS])
    await four.groups(*[[deduct(key(one), 10)] for one in USERS[:5]])

    async def closed(count: int) -> bool:
        days = (await four.stub.ListLedgerDays(pb.ListLedgerDaysRequest())).days
        return len(days) == count

    await eventually(lambda: closed(1), 20)
    async with four.process.app.db.connect() as db:
        today = day_of(await store.now(db), NO_CUT)
    export = pb.ExportAccountDaysRequest(day=today.isoformat())
    for cell in four.process.cells[:-1]:
        await closing.close(cell.app, today, NO_CUT)
    assert await closed(1)  # one shard may still get records of the day
    with pytest.raises(Refused, match="LEDGER_DAY_OPEN"):
        await told(four.stub.ExportAccountDays(export).read())
    await closing.close(four.process.cells[-1].app, today, NO_CUT)
    before, day = (await four.stub.ListLedgerDays(pb.ListLedgerDaysRequest())).days
    assert (before.accounts, before.records) == (0, 0)
    (first,) = (await four.stub.ListLedgerDays(pb.ListLedgerDaysRequest(page_size=1))).days
    assert first == before
    accounts = [one async for part in four.stub.ExportAccountDays(export) for one in part.accounts]
    ids = [one.account_id for one in accounts]
    assert ids == sorted(ids)
    assert {shard_of_number(one, SHARDS) for one in ids} == set(range(SHARDS))
    records = sum(one.seq_to - one.seq_from + 1 for one in accounts)
    assert (day.accounts, day.records) == (len(accounts), records)
    assert day.credits_micros == sum(one.credits_micros for one in accounts)
    assert day.debits_micros == sum(one.debits_micros for one in accounts) > 0
    assert await day_proof.proved(four.stub, today.isoformat()) == day
    (last,) = [one for one in accounts if one.account == key(USERS[1])]
    asked = pb.ListAccountDaysRequest(account=key(USERS[1]), from_day=day.day, to_day=day.day)
    (of_one,) = (await four.stub.ListAccountDays(asked)).days
    assert (of_one.closing_micros, of_one.head_hash) == (last.closing_micros, last.head_hash)


async def test_each_shard_is_proved_and_has_statements_of_its_own(four: LedgerHarness) -> None:
    for shard in range(SHARDS):
        made = await sealed(four, shard)
        assert (made.existed, made.number, made.shards) == (True, 1, SHARDS)
        last = [one async for one in four.stub.Verify(pb.VerifyRequest(shard=shard))][-1]
        assert (last.done, list(last.findings), last.shards) == (True, [], SHARDS)
        assert last.since_statement == 1
    top = four.process.settings.ledger_statements_dir
    assert top is not None
    folders = [top, *(top / f"shard_{n:02}" for n in range(1, SHARDS))]
    assert [len(list(one.glob("statement-*.jsonl"))) for one in folders] == [1] * SHARDS
    with pytest.raises(aio.AioRpcError) as no:
        await four.stub.SealLedger(pb.SealLedgerRequest(shard=SHARDS))
    assert no.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_statements_of_all_shards_at_once_leave_connections_to_others(
    new_map: Maps, tmp_path: Path
) -> None:
    urls, file = await new_map("pay", SHARDS)
    given = {"ledger_statements_dir": tmp_path, "verify_at": "", "db_pool_size": 2}
    async with opened(urls, shards=file, **given) as harness:
        await harness.groups(*[[posting(key(one), YUAN)] for one in USERS])

        await asyncio.gather(*(sealed(harness, one) for one in range(SHARDS)))
        assert await harness.balance(key(USERS[0])) == YUAN


async def test_a_statement_in_the_folder_of_another_shard_is_found(four: LedgerHarness) -> None:
    for shard in (2, 3):
        await sealed(four, shard)
    top = four.process.settings.ledger_statements_dir
    assert top is not None
    file = next((top / "shard_02").glob("statement-*.jsonl"))
    place = top / "shard_03"
    (own,) = place.glob("statement-*.jsonl")
    kept = own.read_bytes()
    own.unlink()
    (there := place / file.name).write_bytes(file.read_bytes())
    try:
        last = [one async for one in four.stub.Verify(pb.VerifyRequest(shard=3))][-1]
        assert any("another shard" in one.what for one in last.findings)
    finally:
        there.unlink()
        own.write_bytes(kept)
    last = [one async for one in four.stub.Verify(pb.VerifyRequest(shard=3))][-1]
    assert list(last.findings) == []


async def test_a_configuration_is_made_in_parts_and_proposed_shard_by_shard(
    four: LedgerHarness,
) -> None:
    wanted = setup_pb.ApplySetupRequest(
        accounts=[
            setup_pb.SetupAccount(key=key(f"set-{n}"), opening_micros=YUAN) for n in range(8)
        ],
        packages=[
            setup_pb.SetupPackage(account=key(f"set-{n}"), spkg_id="S", total_capacity=5)
            for n in range(8)
        ],
        by="li",
    )
    async with aio.insecure_channel(f"127.0.0.1:{four.process.port}") as channel:
        stub: Any = setup_stubs.SetupServiceStub(channel)
        made = await stub.ApplySetup(wanted)
        assert len([one for one in made.changes if one.endswith("opening 1")]) == 8
        assert list((await stub.ApplySetup(wanted)).changes) == []
    assert sum([await four.balance(key(f"set-{n}")) for n in range(8)]) == 8 * YUAN
    found = pb.GetPackageRequest(account=key("set-5"), spkg_id="S")
    assert (await four.stub.GetPackage(found)).package.total_remain == 5
    moves = [
        pb.MoveCapacityRequest.Move(
            account=key(f"set-{n}"), spkg_id="S", trade_no="m1", change_type=3, num=n
        )
        for n in range(1, 8)
    ]
    answer = await four.stub.MoveCapacity(pb.MoveCapacityRequest(moves=moves))
    left = [5 - n for n in range(1, 6)]
    assert [one.record.remain for one in answer.results[:5]] == left
    assert [reason(refused_from_proto(one.refusal)) for one in answer.results[5:]] == [
        "CAPACITY_TOO_LOW"
    ] * 2
    method = "shoudan.pay.v1.SetupService/ApplySetup"
    propose = route_of("shoudan.core.v1.ProposalService", "Propose")
    whole_of = route_of(*method.split("/"))
    assert propose is not None
    assert whole_of is not None
    asked = proposal_pb.ProposeRequest(method=method, request=wanted.SerializeToString())
    with pytest.raises(ShardsDiffer):
        propose.shard(asked, SHARDS)
    for shard, part in whole_of.split(wanted, SHARDS).items():
        asked.request = part.SerializeToString()
        assert propose.shard(asked, SHARDS) == shard
        assert {shard_of(one.key.eid) for one in part.accounts} == {shard}


async def test_what_payserver_moves_is_in_its_shard_and_its_numbers_are_no_numbers_of_shards(
    four: LedgerHarness,
) -> None:
    for groups in ("member", "sign_account"):
        for n in range(6):
            item = pb.CreateAccountsRequest.Item(key=key(f"m{n}", groups, "merchant"), name="m")
            made = await four.stub.CreateAccounts(pb.CreateAccountsRequest(items=[item]))
            assert shard_of_number(made.results[0].account.account_id, SHARDS) == 0
    assert {shard_of_number(int(f"1{n:015}"), 16) for n in range(0, 10**15, 7 * 10**12)} == {0}
    async with aio.insecure_channel(f"127.0.0.1:{four.process.port}") as channel:
        work: Any = work_grpc.WorkServiceStub(channel)
        listed = await work.ListOpenWork(work_pb.ListOpenWorkRequest(key="1234567890123456"))
        assert list(listed.items) == []


async def test_without_a_map_nothing_stands_before_a_call_and_no_statement_is_added(
    harness: LedgerHarness, four: LedgerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: Counter[str] = Counter()
    execute = FastConnection.execute

    async def counted(self: FastConnection, sql: Any, *more: Any, **options: Any) -> Any:
        if "account_" in str(sql):
            seen[str(sql)] += 1
        return await execute(self, sql, *more, **options)

    async def statements(one: LedgerHarness) -> Counter[str]:
        """Those of one batch of postings."""
        made = await one.account(10 * YUAN)
        seen.clear()
        await one.groups(*[[deduct(made, YUAN)] for _ in range(5)])
        return Counter(seen)

    await harness.days_closed()  # which every process begins with
    monkeypatch.setattr(FastConnection, "execute", counted)
    assert (len(harness.process.cells), harness.process.maps.router) == (1, None)
    for call in (
        harness.stub.SealLedger(pb.SealLedgerRequest(shard=1)),
        harness.stub.Verify(pb.VerifyRequest(shard=1)).read(),
        harness.stub.VerifyAgainst(pb.VerifyAgainstRequest(shard=1)).read(),
    ):
        refused = await refusal_of(told(call))
        assert (reason(refused), refused.metadata["field"]) == ("FIELD_INVALID", "shard")
    alone = await statements(harness)
    assert len(alone) > 2
    assert set(alone.values()) == {1}
    assert await statements(four) == alone


def _text(file: Path) -> str:
    return file.read_text()


OWN = 'epoch = 1\nshards = 4\n[[ranges]]\nshards = "0-3"\nserver = "own"\n'


async def test_a_ledger_that_grows_keeps_its_accounts_and_spreads_new_ones(
    new_database: Callable[[str], Awaitable[DatabaseUrls]], tmp_path: Path
) -> None:
    urls = await new_database("pay")
    sales = [[deduct(key(one), 3 * YUAN, f"s-{one}")] for one in USERS]
    async with opened(urls) as before:
        await before.groups(*[[posting(key(one), 10 * YUAN)] for one in USERS])
        await before.groups(*sales)
    (file := tmp_path / "map.toml").write_text(OWN)
    assert SERVICE.schema is not None
    done = await grow(SERVICE.schema, read(file, *urls, owner=True), file)
    assert done.keys == len(USERS)
    await migrate("pay", _text(file), urls)
    async with opened(urls, shards=file) as after:
        assert {await after.balance(key(one)) for one in USERS} == {7 * YUAN}
        assert all(one.existed for one in await after.groups(*sales))
        await after.groups(*[[deduct(key(one), YUAN)] for one in USERS])
        news = [f"new-{n}" for n in range(12)]
        items = [pb.CreateAccountsRequest.Item(key=key(one)) for one in news]
        made = (await after.stub.CreateAccounts(pb.CreateAccountsRequest(items=items))).results
        for one, result in zip(news, made, strict=True):
            assert shard_of_number(result.account.account_id, SHARDS) == shard_of(one)
        await after.groups(*[[posting(key(one), YUAN)] for one in news])
        total = len(USERS) * 6 * YUAN + len(news) * YUAN
        assert await after.balance(key("down_channel", "platform")) == -total
        for shard in range(SHARDS):
            last = [one async for one in after.stub.Verify(pb.VerifyRequest(shard=shard))][-1]
            assert (last.done, list(last.findings)) == (True, [])
        await whole(after)


@pytest.mark.slow
async def test_a_shard_whose_server_is_away_stops_no_other(
    postgres: Postgres, second: Postgres, tmp_path: Path
) -> None:
    own, file = await two_servers(postgres, second, "pay", tmp_path)
    gone = [one for one in USERS if shard_of(one, 2) == 1]
    assert 0 < len(gone) < len(USERS)
    async with opened(own, shards=file) as harness:
        await harness.groups(*[[posting(key(one), 10 * YUAN)] for one in USERS])
        await second.stop()
        sales = [[deduct(key(one), YUAN, f"s-{one}")] for one in USERS]
        results = dict(zip(USERS, await harness.groups(*sales), strict=True))
        assert [u for u, one in results.items() if isinstance(one, Refused)] == gone
        assert {reason(results[one]) for one in gone} == {AWAY}
        for call, request in (
            (harness.stub.GetAccount, pb.GetAccountRequest(key=key(gone[0]))),
            (harness.stub.Post, pb.PostRequest(posting=sales[USERS.index(gone[0])][0])),
            (harness.stub.ListAccounts, pb.ListAccountsRequest()),
            (harness.stub.GetAccount, pb.GetAccountRequest(key=key("down_channel", "platform"))),
        ):
            refused = await refusal_of(told(call(request)))
            assert (reason(refused), refused.code) == (AWAY, grpc.StatusCode.UNAVAILABLE)
        assert await harness.process.reasons() == {}
        await second.launch()

        async def back() -> bool:
            return not any(isinstance(one, Refused) for one in await harness.groups(*sales))

        await eventually(back, 20)
        assert {await harness.balance(key(one)) for one in USERS} == {9 * YUAN}
        await whole(harness)
