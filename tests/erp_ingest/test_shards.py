"""Promises of a service with several shards: it answers as one with one, and a shard that is away stops no
other."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import aio
from multidict import CIMultiDict, CIMultiDictProxy
from sqlalchemy import text
from typer.testing import CliRunner

from shoudan.core.v1 import audit_log_service_pb2 as audit_pb
from shoudan.core.v1 import audit_log_service_pb2_grpc as audit_stubs
from shoudan.core.v1 import operations_service_pb2 as operations_pb
from shoudan.core.v1 import operations_service_pb2_grpc as operations_stubs
from shoudan.core.v1 import sealing_service_pb2 as sealing_pb
from shoudan.core.v1 import sealing_service_pb2_grpc as sealing_stubs
from shoudan.core.v1 import work_service_pb2 as work_pb
from shoudan.core.v1 import work_service_pb2_grpc as work_stubs
from shoudan.erp.v1 import erp_service_pb2 as pb
from shoudan_cli.main import collected
from shoudan_erp_ingest.app import SERVICE
from shoudan_erp_ingest.config import ErpSettings
from shoudan_gateway.partners import wangdian
from shoudan_gateway.protocol import Inbound
from shoudan_kit.config import ConfigError
from shoudan_kit.db.migrate import role_of, upgrade
from shoudan_kit.db.owner import as_owner
from shoudan_kit.db.shard_keys import shard_of_key, shard_of_number
from shoudan_kit.db.shard_map import parse
from shoudan_kit.db.url import DatabaseUrl
from shoudan_kit.embedded import Postgres
from shoudan_kit.rpc.refusal import refused_from_proto
from shoudan_kit.rpc.shard_routes import route_of
from shoudan_kit.service import App, Process, Running
from tests.erp_ingest.conftest import NAME, open_desk, open_shards
from tests.erp_ingest.harness import TRADE, ErpHarness, body, settings, trade
from tests.poll import eventually
from tests.shard_maps import Maps, pages, two_servers
from tests.stored import Stored

CUSTOMERS = [f"customer-{n}" for n in range(12)]
PHONE = "13912345678"
AWAY = "ERROR_REASON_SHARD_AWAY"


@pytest.fixture
async def harness(new_map: Maps) -> AsyncIterator[ErpHarness]:
    """A service with four shards, half of them on a second server, and nothing stored."""
    async with open_shards(new_map, 4, customers=CUSTOMERS) as made:
        yield made


def push(sender: str, raw: bytes) -> pb.IngestPushesRequest.Push:
    return pb.IngestPushesRequest.Push(kind=TRADE, sender=sender, body=raw, remote_ip="127.0.0.1")


async def ingest(harness: ErpHarness, *pushes: pb.IngestPushesRequest.Push) -> list[Any]:
    return list((await harness.stub.IngestPushes(pb.IngestPushesRequest(pushes=pushes))).results)


async def fill(harness: ErpHarness, each: int = 3) -> list[int]:
    """Trades of every customer, in one batch, with the numbers of their pushes."""
    pushes = [
        push(one, body(trade(tid=f"{one}-{n}", receiver_mobile=PHONE)))
        for n in range(each)
        for one in CUSTOMERS
    ]
    return [one.push_id for one in await ingest(harness, *pushes)]


@asynccontextmanager
async def stub_of(harness: ErpHarness, stub: Any) -> AsyncIterator[Any]:
    async with aio.insecure_channel(f"127.0.0.1:{harness.process.port}") as channel:
        yield stub(channel)


def test_every_method_of_the_service_says_where_it_is_answered() -> None:
    declared = {
        (one.full_name, method.name)
        for one in (
            pb.DESCRIPTOR.services_by_name["ErpService"],
            operations_pb.DESCRIPTOR.services_by_name["OperationsService"],
            audit_pb.DESCRIPTOR.services_by_name["AuditLogService"],
            work_pb.DESCRIPTOR.services_by_name["WorkService"],
            sealing_pb.DESCRIPTOR.services_by_name["SealingService"],
        )
        for method in one.methods
    }
    assert {method for service, method in declared if route_of(service, method) is None} == set()


async def test_a_batch_over_shards_is_answered_in_order_with_its_refusals(
    harness: ErpHarness,
) -> None:
    shards = len(harness.process.cells)
    fees = {one: str(n + 1) for n, one in enumerate(CUSTOMERS)}
    pushes = [push(one, body(trade(tid="T1", total_trade_fee=fees[one]))) for one in CUSTOMERS]
    pushes.insert(3, push("stranger", body(trade(tid="T1"))))
    pushes.insert(7, push(CUSTOMERS[0], b"{"))
    results = await ingest(harness, *pushes)
    reasons = {n: one.refusal.reason for n, one in enumerate(results) if one.HasField("refusal")}
    assert reasons == {3: "ERROR_REASON_SENDER_UNKNOWN", 7: "ERROR_REASON_PUSH_INVALID"}
    for given, result in zip(pushes, results, strict=True):
        if result.push_id:
            shard = shard_of_key([given.sender], shards)
            assert shard_of_number(result.push_id, shards) == shard
    for one in CUSTOMERS:
        assert (await harness.trade("T1", one))["total_trade_fee"] == fees[one]
    for shard, cell in enumerate(harness.process.cells):
        async with cell.app.db.connect() as db:
            found = await db.execute(text("SELECT DISTINCT sender FROM push ORDER BY 1"))
            ours = sorted(one for one in CUSTOMERS if shard_of_key([one], shards) == shard)
            assert found.scalars().all() == ours
    again = await ingest(harness, *pushes)
    assert [one.changed for one in again] == [0] * len(pushes)


async def test_lists_are_merged_and_their_pages_go_on_where_they_ended(harness: ErpHarness) -> None:
    numbers = await fill(harness)
    search = pb.SearchTradesRequest(page_size=5)
    found = [one for each in await pages(harness.stub.SearchTrades, search) for one in each.trades]
    places = [(one.update_time.ToNanoseconds(), one.id) for one in found]
    assert places == sorted(places, reverse=True)
    assert len(set(places)) == len(numbers)
    search = pb.SearchTradesRequest(page_size=2, filter=pb.Filter(sender=CUSTOMERS[1]))
    alone = [one for each in await pages(harness.stub.SearchTrades, search) for one in each.trades]
    assert {one.no for one in alone} == {f"{CUSTOMERS[1]}-{n}" for n in range(3)}
    exported = [
        one
        async for message in harness.stub.ExportTrades(pb.ExportTradesRequest())
        for one in message.trades
    ]
    assert [one.id for one in exported] == [one.id for one in reversed(found)]
    of_one = harness.stub.ExportTrades(
        pb.ExportTradesRequest(filter=pb.Filter(sender=CUSTOMERS[1]))
    )
    assert len([one async for message in of_one for one in message.trades]) == 3
    with pytest.raises(aio.AioRpcError) as refused:
        await harness.stub.SearchTrades(pb.SearchTradesRequest(page_token="x"))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    with pytest.raises(aio.AioRpcError) as refused:
        await harness.stub.SearchTrades(pb.SearchTradesRequest(page_size=1_001))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_numbers_find_their_shard_and_sums_are_added(harness: ErpHarness) -> None:
    numbers = await fill(harness, 1)
    (document,) = (
        await harness.stub.SearchTrades(
            pb.SearchTradesRequest(filter=pb.Filter(tid="customer-4-0"))
        )
    ).trades
    why = {"by": "li", "reason": "asked"}
    shown = await harness.stub.Reveal(pb.RevealRequest(kind=TRADE, id=document.id, **why))
    assert shown.fields["receiver_mobile"] == PHONE
    for number, sender in zip(numbers, CUSTOMERS, strict=True):
        raw = await harness.stub.RevealPush(pb.RevealPushRequest(push_id=number, **why))
        assert raw.sender == sender
    for absent in (1, 2**63 - 1, -1):
        with pytest.raises(aio.AioRpcError) as refused:
            await harness.stub.RevealPush(pb.RevealPushRequest(push_id=absent, **why))
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    erased = await harness.stub.EraseSubject(pb.EraseSubjectRequest(phone=PHONE, **why))
    assert erased.documents == len(CUSTOMERS)
    assert (await harness.trade("customer-4-0", "customer-4"))["receiver_mobile"] is None


async def test_what_is_quarantined_is_listed_and_decided_over_all_shards(
    harness: ErpHarness,
) -> None:
    refused = [
        one.push_id for one in await ingest(harness, *(push(one, b"{") for one in CUSTOMERS))
    ]
    request = pb.ListQuarantinedRequest(page_size=5)
    listed = [
        one for each in await pages(harness.stub.ListQuarantined, request) for one in each.pushes
    ]
    assert [one.push_id for one in listed] == sorted(refused, reverse=True)
    again = await harness.stub.Reprocess(pb.ReprocessRequest(push_ids=refused[:5]))
    assert (again.stored, again.quarantined) == (0, 5)
    async with stub_of(harness, work_stubs.WorkServiceStub) as work:
        found = await pages(work.ListOpenWork, work_pb.ListOpenWorkRequest(page_size=5))
        assert sorted(int(one.key) for each in found for one in each.items) == sorted(refused)
        (item,) = (await work.ListOpenWork(work_pb.ListOpenWorkRequest(key=str(refused[3])))).items
        assert CUSTOMERS[3] in item.evidence
        words = {"decision": "retry", "by": "li", "reason": "they mended it"}
        with pytest.raises(aio.AioRpcError) as no:
            await work.DecideWork(work_pb.DecideWorkRequest(kind="push", key=item.key, **words))
        assert no.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_what_a_system_has_once_is_in_the_first_shard_and_known_to_all(
    harness: ErpHarness,
) -> None:
    stored = Stored(harness.process.port)
    for sender in CUSTOMERS:
        await stored.issue("erp", sender)
    for cell in harness.process.cells:
        async with cell.app.db.connect() as db:
            count = (await db.execute(text("SELECT count(*) FROM credential"))).scalar_one()
        assert count == (len(CUSTOMERS) if cell is harness.process.cells[0] else 0)
    results = await ingest(harness, *(push(one, body(trade())) for one in CUSTOMERS))
    assert {one.refusal.reason for one in results} == {"ERROR_REASON_SENDER_UNVERIFIED"}


async def test_the_audit_log_and_queues_are_those_of_all_shards(harness: ErpHarness) -> None:
    numbers = await fill(harness, 1)
    for number in numbers:
        why = {"by": "li", "reason": "asked"}
        await harness.stub.RevealPush(pb.RevealPushRequest(push_id=number, **why))
    async with stub_of(harness, audit_stubs.AuditLogServiceStub) as audit:
        found = await pages(audit.ListAuditLog, audit_pb.ListAuditLogRequest(page_size=5))
        rows = [row for each in found for row in each.rows]
        assert sorted(int(row.subject_key) for row in rows) == sorted(numbers)
        assert [row.id for row in rows] == sorted((row.id for row in rows), reverse=True)
        exported = audit.ExportAuditLog(audit_pb.ExportAuditLogRequest())
        assert [row.id async for some in exported for row in some.rows] == [
            row.id for row in reversed(rows)
        ]
    async with stub_of(harness, operations_stubs.OperationsServiceStub) as operations:
        pause = operations_pb.PauseQueueRequest(queue_name="a:b", paused=True, by="li", reason="x")
        assert list((await operations.PauseQueue(pause)).paused_queues) == ["a:b"]
        assert len(await harness.rows("task_pause")) == len(harness.process.cells)


async def test_the_chain_of_each_shard_is_proved_by_itself(
    harness: ErpHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in await fill(harness, 1):
        why = {"by": "li", "reason": "asked"}
        await harness.stub.RevealPush(pb.RevealPushRequest(push_id=number, **why))
    shards = len(harness.process.cells)
    async with stub_of(harness, audit_stubs.AuditLogServiceStub) as audit:

        async def proof(shard: int) -> audit_pb.VerifyAuditLogResponse:
            return await audit.VerifyAuditLog(audit_pb.VerifyAuditLogRequest(shard=shard))

        async def sealed() -> bool:
            return sum([(await proof(one)).rows for one in range(shards)]) == len(CUSTOMERS)

        await eventually(sealed, 20)
        proofs = [await proof(one) for one in range(shards)]
        assert {one.shards for one in proofs} == {shards}
        assert len({one.last_digest for one in proofs}) == shards
        with pytest.raises(aio.AioRpcError, match="shard is from 0 to 3"):
            await proof(shards)
    monkeypatch.setenv("SHOUDAN_CLI_ERP_INGEST_TARGET", f"127.0.0.1:{harness.process.port}")
    words = ("audit-log", "verify", "--service", NAME, "--heads", str(tmp_path / "heads"))
    assert (await told(*words)).count(" shard ") == shards - 1
    await forge(harness.process.cells[2].app.home.shard, harness)
    with pytest.raises(AssertionError, match=r"erp_ingest shard 2: [1-9]\d* findings"):
        await told(*words)


async def told(*words: str) -> str:
    """What a command says; an AssertionError with it when it fails."""
    ended = await asyncio.to_thread(CliRunner().invoke, collected(), list(words))
    assert ended.exit_code == 0, ended.output
    return ended.output


async def forge(shard: int, harness: ErpHarness) -> None:
    """Change a row of a shard's audit log behind the service, as the owner of its tables could."""
    home, owner = harness.process.cells[shard].app.home, harness.urls.owner
    places = [DatabaseUrl.parse(url).database for url in (owner, home.url)]
    async with as_owner(owner.replace(*places)) as db, db.begin():
        await db.execute(text(f"UPDATE {home.schema}.audit_log SET reason = 'forged'"))


async def test_keys_are_rotated_shard_by_shard(
    harness: ErpHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    pushes = len(await fill(harness, 1))
    async with stub_of(harness, sealing_stubs.SealingServiceStub) as sealing:
        found: list[int] = []
        for shard in range(len(harness.process.cells)):
            listed = await sealing.ListSealed(sealing_pb.ListSealedRequest(shard=shard))
            assert listed.shards == len(harness.process.cells)
            request = sealing_pb.ResealRowsRequest(column="push.sealed", shard=shard, dry_run=True)
            found.append((await sealing.ResealRows(request)).looked)
        assert sum(found) == pushes
        assert max(found) < pushes
        with pytest.raises(aio.AioRpcError, match="shard is from 0 to 3"):
            await sealing.ResealRows(sealing_pb.ResealRowsRequest(column="push.sealed", shard=-1))
    monkeypatch.setenv("SHOUDAN_CLI_ERP_INGEST_TARGET", f"127.0.0.1:{harness.process.port}")
    said = await told("keys", "rotate", "--service", NAME)
    rows = [int(one) for one in re.findall(r"push.sealed  (\d+) rows", said)]
    assert rows == found


async def test_connections_are_bounded_for_a_server_whatever_its_shards(new_map: Maps) -> None:
    async with open_shards(new_map, 4, customers=CUSTOMERS, db_pool_size=2) as harness:
        for _ in range(5):
            await fill(harness, 1)
        for cell in harness.process.cells:
            async with cell.app.db.connect() as db:
                found = await db.execute(
                    text(
                        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                        " AND application_name = 'shoudan-erp_ingest'"
                    )
                )
                assert found.scalar_one() <= 2


async def test_a_process_starts_with_no_other_map_than_that_of_its_schemas(new_map: Maps) -> None:
    urls, file = await new_map(NAME, 4)
    written = file.read_text()
    wrong = [
        ({}, "public is shard 0 of 4, and no map is set"),
        ({"shards": file}, "public is at epoch 1: shoudan migrate"),
    ]
    file.write_text(written.replace("epoch = 1", "epoch = 2"))
    for more, said in wrong:
        process = Process(SERVICE, settings(urls, **more))
        with pytest.raises(ConfigError, match=said):
            await process.start()
        await process.stop()


async def test_a_process_does_the_tasks_of_some_shards_and_answers_for_all(new_map: Maps) -> None:
    async with open_shards(new_map, 4, customers=CUSTOMERS, task_shards=["0", "3"]) as harness:
        working = [
            cell.app.home.shard for cell in harness.process.cells if "tasks" in cell.app.roles
        ]
        assert working == [0, 3]
        assert all(await fill(harness, 1))


async def test_a_shard_that_goes_away_while_it_opens_is_opened_again(new_map: Maps) -> None:
    urls, file = await new_map(NAME, 4)
    failed: list[int] = []

    async def start(app: App[ErpSettings]) -> Running:
        if app.home.shard == 1 and not failed:
            failed.append(app.home.shard)
            raise ConnectionError("reset")
        return await SERVICE.start(app)

    process = Process(replace(SERVICE, start=start), settings(urls, shards=file))
    await process.start()
    await eventually(lambda: all(cell.is_open for cell in process.cells))
    assert failed == [1]
    await process.stop()


async def test_a_newer_map_is_taken_without_a_restart_once_a_shard_has_arrived(
    new_map: Maps,
) -> None:
    urls, file = await new_map(NAME, 2)
    async with open_desk(urls, shards=file, customers=CUSTOMERS) as harness:
        await fill(harness, 1)
        written = file.read_text().replace("epoch = 1", "epoch = 2")
        written = written.replace('server = "two"', 'server = "own"')
        written = written.replace("[servers.two]", "[servers.two]\nspare = true")
        home = parse(written, *urls, owner=True).homes[1]
        before = harness.process.cells[1]
        file.write_text(written)
        await eventually(lambda: harness.process.maps.known.epoch == 2)
        assert not any(one.HasField("refusal") for one in await _pushed(harness, "A"))
        assert harness.process.cells[1] is before  # it is not there yet
        assert SERVICE.schema is not None
        role = role_of(home.url, home.owner_url)
        await upgrade(NAME, SERVICE.schema, home.owner_url, role, turnable=True, home=home)
        await eventually(lambda: harness.process.cells[1] is not before)
        assert not any(one.HasField("refusal") for one in await _pushed(harness, "B"))
        ours = {one for one in CUSTOMERS if shard_of_key([one], 2) == 1}
        async with harness.process.cells[1].app.db.connect() as db:
            found = await db.execute(text("SELECT sender FROM shard_01.push"))
            assert set(found.scalars()) == ours
        assert await harness.process.reasons() == {}


@pytest.mark.slow
async def test_a_shard_whose_server_is_away_stops_no_other(
    postgres: Postgres, second: Postgres, tmp_path: Path
) -> None:
    own, file = await two_servers(postgres, second, NAME, tmp_path)
    there = [one for one in CUSTOMERS if shard_of_key([one], 2) == 0]
    gone = [one for one in CUSTOMERS if shard_of_key([one], 2) == 1]
    assert min(len(there), len(gone)) > 1
    async with open_desk(own, shards=file, customers=CUSTOMERS) as harness:
        await fill(harness, 1)
        await second.stop()
        await _is_away(harness, there, gone)
        await second.launch()

        async def back() -> bool:
            return not any(one.HasField("refusal") for one in await _pushed(harness, "B"))

        await eventually(back)
        assert len((await harness.stub.SearchTrades(pb.SearchTradesRequest())).trades) > len(
            CUSTOMERS
        )
    await second.stop()
    async with open_desk(own, shards=file, customers=CUSTOMERS) as harness:
        await _is_away(harness, there, gone)  # so it starts, too
        await second.launch()
        await eventually(lambda: _all_open(harness))
        assert not any(one.HasField("refusal") for one in await _pushed(harness, "C"))


async def _all_open(harness: ErpHarness) -> bool:
    return all(cell.is_open for cell in harness.process.cells)


async def _pushed(harness: ErpHarness, tid: str) -> list[Any]:
    return await ingest(harness, *(push(one, body(trade(tid=tid))) for one in CUSTOMERS))


async def _is_away(harness: ErpHarness, there: list[str], gone: list[str]) -> None:
    """The other shard's keys are served, this one's are refused in the documented shape."""
    results = dict(zip(CUSTOMERS, await _pushed(harness, "A"), strict=True))
    assert [one for one in CUSTOMERS if results[one].HasField("refusal")] == gone
    for one in gone:
        refusal = results[one].refusal
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE.value[0], AWAY)
        asked = Inbound("POST", "/pushData", headers=CIMultiDictProxy(CIMultiDict[str]()))
        shown = wangdian.refuse(refused_from_proto(refusal), asked, False)
        assert (shown.status, shown.body) == (
            200,
            {"flag": "error", "code": "1", "message": "系统异常,请重新推送"},
        )
    assert (await harness.trade("A", there[0]))["tid"] == "A"
    calls: list[Callable[[], Awaitable[Any]]] = [
        lambda: harness.trade("A", gone[0]),
        lambda: harness.stub.SearchTrades(pb.SearchTradesRequest()),
    ]
    for call in calls:
        with pytest.raises(aio.AioRpcError) as refused:
            await call()
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert await harness.process.reasons() == {}
