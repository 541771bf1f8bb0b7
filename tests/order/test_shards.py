"""Promises of an order service with several shards: an order lives as with one, all of it in the shard of its
channel, lists and reports are those of all shards, and a shard that is away stops no other."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import aio
from typer.testing import CliRunner

from shoudan.core.v1 import operations_service_pb2 as operations_pb
from shoudan.core.v1 import operations_service_pb2_grpc as operations_grpc
from shoudan.core.v1 import personal_service_pb2 as personal_pb
from shoudan.core.v1 import personal_service_pb2_grpc as personal_grpc
from shoudan.core.v1 import proposal_service_pb2 as proposal_pb
from shoudan.core.v1 import work_service_pb2 as work_pb
from shoudan.core.v1 import work_service_pb2_grpc as work_grpc
from shoudan.order.v1 import audit_service_pb2 as audit_pb
from shoudan.order.v1 import catalogue_service_pb2 as catalogue_pb
from shoudan.order.v1 import dictionary_service_pb2 as dictionary_pb
from shoudan.order.v1 import order_service_pb2 as pb
from shoudan.order.v1 import risk_service_pb2 as risk_pb
from shoudan.order.v1 import risk_service_pb2_grpc as risk_grpc
from shoudan_cli import personal as personal_command
from shoudan_cli.main import collected
from shoudan_kit.db.shard_keys import shard_of_key, shard_of_number
from shoudan_kit.db.text_statements import FastConnection
from shoudan_kit.embedded import DatabaseUrls, Postgres
from shoudan_kit.rpc.refusal import refused_from_rpc
from shoudan_kit.rpc.shard_looks import MISSING, PARTIAL, SHARD
from shoudan_kit.rpc.shard_routes import route_of
from tests.order.harness import LOOPBACK, YUAN, Inbox, OrderHarness, down_product, inboxes, running
from tests.poll import eventually
from tests.shard_maps import Maps, of_shards, pages, two_servers
from tests.stored import Stored

SHARDS = 4
CHANNELS = [f"channel-{n}" for n in range(8)]
AWAY = "ERROR_REASON_SHARD_AWAY"


async def sell(harness: OrderHarness) -> None:
    """The example's product for every channel."""
    await harness.apply(
        down_channels=[
            catalogue_pb.DownChannel(
                channel_no=one, channel_name=one, enabled=True, allowed_networks=LOOPBACK
            )
            for one in CHANNELS
        ],
        down_shelves=[
            catalogue_pb.DownShelf(
                shelf_id=100 + n,
                shelf_name=one,
                channel_no=one,
                order_overtime_s=600,
                refund_overtime_s=600,
                enabled=True,
            )
            for n, one in enumerate(CHANNELS)
        ],
        down_products=[
            down_product(product_id=1_000 + n, shelf_id=100 + n) for n in range(len(CHANNELS))
        ],
    )


@asynccontextmanager
async def opened(urls: DatabaseUrls, inbox: Inbox, **knobs: Any) -> AsyncIterator[OrderHarness]:
    """An order service that sells to every channel."""
    async with running(urls, inbox, **knobs) as made:
        await sell(made)
        yield made


@pytest.fixture(params=[1, 2, SHARDS])
async def several(
    new_map: Maps, inbox: Inbox, request: pytest.FixtureRequest
) -> AsyncIterator[OrderHarness]:
    """A service with one, two and four shards, half of them on a second server."""
    urls, file = await new_map("order", request.param)
    async with opened(urls, inbox, shards=file) as made:
        yield made


@pytest.fixture
async def four(new_map: Maps, inbox: Inbox) -> AsyncIterator[OrderHarness]:
    """A service with four shards."""
    urls, file = await new_map("order", SHARDS)
    async with opened(urls, inbox, shards=file) as made:
        yield made


async def placed(harness: OrderHarness, **changes: Any) -> dict[str, int]:
    """An order of every channel in one batch, by channel."""
    news = [harness.new(channel_no=one, **changes) for one in CHANNELS]
    results = await harness.create(*news)
    assert all(one.HasField("order") for one in results), results
    return {new.channel_no: one.order.order_id for new, one in zip(news, results, strict=True)}


async def ended(harness: OrderHarness, order_ids: Any) -> list[pb.Order]:
    """Those orders once their suppliers are paid."""

    async def all_paid() -> bool:
        return all([(await harness.get(one)).up_paid for one in order_ids])

    await eventually(all_paid, 20)
    return [await harness.get(one) for one in order_ids]


def stub_of(harness: OrderHarness, stub: Any) -> tuple[aio.Channel, Any]:
    channel = aio.insecure_channel(f"127.0.0.1:{harness.process.port}")
    return channel, stub(channel)


def test_every_method_of_the_service_says_where_it_is_answered() -> None:
    without = {
        method.name
        for service in (
            pb.DESCRIPTOR.services_by_name["OrderService"],
            audit_pb.DESCRIPTOR.services_by_name["AuditService"],
            catalogue_pb.DESCRIPTOR.services_by_name["CatalogueService"],
            dictionary_pb.DESCRIPTOR.services_by_name["DictionaryService"],
            risk_pb.DESCRIPTOR.services_by_name["RiskService"],
            proposal_pb.DESCRIPTOR.services_by_name["ProposalService"],
            personal_pb.DESCRIPTOR.services_by_name["PersonalService"],
        )
        for method in service.methods
        if route_of(service.full_name, method.name) is None
    }
    assert without == set()


async def test_orders_of_one_batch_live_each_in_the_shard_of_their_channel(
    several: OrderHarness,
) -> None:
    shards = len(several.process.cells)
    made = await placed(several, notify_url=several.inbox.url)
    for order in await ended(several, made.values()):
        assert order.state.status == pb.ORDER_STATUS_SUCCEEDED
        (part,) = order.deliveries
        shard = shard_of_key([order.state.channel_no], shards)
        for number in (order.state.order_id, part.delivery_id):
            assert shard_of_number(number, shards) == shard
        assert several.ledger.trades(str(order.state.order_id))["down_channel"] == -180 * YUAN
    await eventually(lambda: len(several.inbox.told) >= len(made))
    assert {told["order_id"] for told in several.inbox.told} == {str(one) for one in made.values()}
    kept = await of_shards(several.process, "SELECT down_channel_no FROM oms_order_info ORDER BY 1")
    for shard, here in enumerate(kept):
        assert here == sorted(one for one in CHANNELS if shard_of_key([one], shards) == shard)


async def test_refunds_go_back_in_the_shard_of_their_order(four: OrderHarness) -> None:
    news = [four.new(channel_no=one) for one in CHANNELS]
    results = await four.create(*news)
    await ended(four, [one.order.order_id for one in results])
    wanted = [
        pb.NewRefund(
            channel_no=new.channel_no,
            request_no=new.request_no,
            refund_no="f1",
            refund_num=1,
            type=pb.REFUND_TYPE_GENERAL,
        )
        for new in news
    ]
    first = await four.orders.CreateRefunds(pb.CreateRefundsRequest(refunds=wanted))
    again = await four.orders.CreateRefunds(pb.CreateRefundsRequest(refunds=wanted))
    assert all(one.HasField("refund") for one in first.results), first
    assert [one.refund.refund_id for one in again.results] == [
        one.refund.refund_id for one in first.results
    ]
    keys = [
        pb.RefundKey(channel_no=one.channel_no, request_no=one.request_no, refund_no="f1")
        for one in news
    ]

    async def all_back() -> bool:
        found = await four.orders.QueryRefunds(pb.QueryRefundsRequest(keys=keys))
        return all(one.refund.status == pb.REFUND_STATUS_SUCCEEDED for one in found.results)

    await eventually(all_back, 20)
    for one in CHANNELS:
        assert four.ledger.of("down_channel", one) == 0


async def test_a_repeat_over_shards_gives_the_first_orders_in_the_order_asked(
    four: OrderHarness,
) -> None:
    news = [four.new(channel_no=one) for one in CHANNELS]
    news.insert(3, four.new(channel_no="nobody"))
    first, again = await four.create(*news), await four.create(*news)
    for n, (new, one, other) in enumerate(zip(news, first, again, strict=True)):
        if n == 3:
            assert one.refusal.reason == other.refusal.reason != AWAY
            continue
        assert one.order.request_no == new.request_no
        assert (one.order.order_id, one.existed) == (other.order.order_id, False)
        assert other.existed
    alone = await four.orders.CreateOrder(pb.CreateOrderRequest(order=news[5]))
    assert (alone.order.order_id, alone.existed) == (first[5].order.order_id, True)
    news[5].num = 2
    (changed,) = await four.create(news[5])
    assert changed.refusal.reason == "ERROR_REASON_REQUEST_DIFFERS"
    used = [
        four.new(channel_no=one, nonce=pb.CallNonce(nonce="n" * 16, call_id=1, keep_s=60))
        for one in CHANNELS
    ]
    assert all(one.HasField("order") for one in await four.create(*used))
    replayed = [
        four.new(channel_no=one, nonce=pb.CallNonce(nonce="n" * 16, call_id=2, keep_s=60))
        for one in CHANNELS
    ]
    assert {one.refusal.reason for one in await four.create(*replayed)} == {
        "ERROR_REASON_NONCE_USED"
    }


async def test_lists_are_merged_and_one_order_is_found_by_number_and_by_key(
    four: OrderHarness,
) -> None:
    made = {**await placed(four)}
    more = await placed(four)
    numbers = {*made.values(), *more.values()}
    listed = [
        one.state.order_id
        for each in await pages(four.orders.ListOrders, pb.ListOrdersRequest(page_size=5))
        for one in each.orders
    ]
    assert listed == sorted(numbers, reverse=True)
    of_one = await four.orders.ListOrders(pb.ListOrdersRequest(channel_no=CHANNELS[2]))
    assert {one.state.order_id for one in of_one.orders} == {made[CHANNELS[2]], more[CHANNELS[2]]}
    order = await four.get(made[CHANNELS[6]])
    key = pb.OrderKey(channel_no=CHANNELS[6], request_no=order.state.request_no)
    by_key = (await four.orders.GetOrder(pb.GetOrderRequest(key=key))).order
    assert by_key.state.order_id == order.state.order_id
    life = await four.orders.GetLifecycle(pb.GetLifecycleRequest(key=key))
    assert life.moments[0].service == "order"
    found = await four.orders.QueryOrders(
        pb.QueryOrdersRequest(keys=[pb.OrderKey(channel_no="nobody", request_no="1"), key])
    )
    assert [one.WhichOneof("outcome") for one in found.results] == ["refusal", "order"]


async def test_results_of_several_shards_in_one_report_are_acknowledged(
    four: OrderHarness,
) -> None:
    four.delivery.script = lambda item: None
    made = await placed(four)
    await eventually(lambda: len(four.delivery.sent) == len(CHANNELS), 20)
    results = [
        pb.DeliveryResult(id=number, succeeded=True, result_code="R_0000")
        for number in four.delivery.made
    ]
    acks = await four.report(*results)
    assert {one.id for one in acks} == set(four.delivery.made)
    assert all(one.applied for one in acks)
    assert all(one.state.status == 0 for one in await ended(four, made.values()))


async def test_a_report_adds_up_what_shards_have_each(four: OrderHarness) -> None:
    made = await placed(four)
    (order, *_) = await ended(four, made.values())
    begin = order.create_time.ToDatetime(UTC) - timedelta(days=2)
    request = audit_pb.ReportRequest(kind=audit_pb.ReportRequest.KIND_PROFIT)
    request.start_time.FromDatetime(begin)
    request.end_time.FromDatetime(begin + timedelta(days=4))
    (line,) = [one async for one in four.audits.Report(request)]
    assert (line.labels["line_id"], line.count) == ("1", len(CHANNELS))
    assert line.sums_micros["profit_micros"] == len(CHANNELS) * order.profit_micros
    request.kind = audit_pb.ReportRequest.KIND_DOWN_CHANNEL
    lines = [one async for one in four.audits.Report(request)]
    assert [one.labels["down_channel_no"] for one in lines] == sorted(CHANNELS)
    request.kind = audit_pb.ReportRequest.KIND_UP_CHANNEL
    (line,) = [one async for one in four.audits.Report(request)]
    assert (line.labels["up_channel_no"], line.count) == ("ycup", len(CHANNELS))


async def test_orders_are_paused_and_go_on_whatever_their_shards(four: OrderHarness) -> None:
    four.delivery.script = lambda item: None
    made = await placed(four)
    words = {"by": "li", "reason": "asked"}
    wish = audit_pb.PauseDeliveryRequest(order_ids=made.values(), paused=True, **words)
    assert set((await four.audits.PauseDelivery(wish)).order_ids) == set(made.values())
    assert list((await four.audits.PauseDelivery(wish)).order_ids) == []
    wish.paused = False
    assert set((await four.audits.PauseDelivery(wish)).order_ids) == set(made.values())


async def test_what_waits_for_a_person_is_listed_and_decided_in_its_shard(
    four: OrderHarness,
) -> None:
    made = await placed(four)
    words = {"by": "li", "reason": "the card is empty"}
    for order in await ended(four, made.values()):
        (part,) = order.deliveries
        await four.audits.RequestAudit(
            audit_pb.RequestAuditRequest(
                type=audit_pb.AUDIT_TYPE_FALSE_SUCCESS, id=part.delivery_id, **words
            )
        )
    listed = [
        one
        for each in await pages(four.audits.ListAudits, audit_pb.ListAuditsRequest(page_size=3))
        for one in each.audits
    ]
    assert [one.audit_id for one in listed] == sorted(one.audit_id for one in listed)
    assert {one.order_id for one in listed} == set(made.values())
    channel, work = stub_of(four, work_grpc.WorkServiceStub)
    async with channel:
        items = await pages(work.ListOpenWork, work_pb.ListOpenWorkRequest(page_size=3))
        keys = {int(one.key) for each in items for one in each.items}
        assert keys == {one.audit_id for one in listed}
        last = listed.pop()
        wish = {"kind": "false_success", "key": str(last.audit_id), "decision": "success"}
        await work.DecideWork(work_pb.DecideWorkRequest(**wish, **words))
    for one in listed:
        decided = await four.audits.DecideAudit(
            audit_pb.DecideAuditRequest(audit_id=one.audit_id, status=0, **words)
        )
        assert decided.audit.order_id == one.order_id
    await eventually(lambda: four.ledger.of("up_channel", "ycup") == 0)
    assert not (await four.audits.ListAudits(audit_pb.ListAuditsRequest())).audits


async def test_what_a_system_has_once_is_in_the_first_shard_and_known_to_all(
    four: OrderHarness,
) -> None:
    await Stored(four.process.port).issue("channel", CHANNELS[0])
    for sql in ("SELECT channel_no FROM oms_down_channel", "SELECT credential_id FROM credential"):
        first, *others = await of_shards(four.process, sql)
        assert first
        assert not any(others)
    channel, risk = stub_of(four, risk_grpc.RiskServiceStub)
    words = {"by": "li", "reason": "asked"}
    async with channel:
        blocked = risk_pb.SetEntryRequest(recharge_account="1" * 12, **words)
        entry = (await risk.SetEntry(blocked)).entry_id
        refused = await four.create(
            *(four.new(channel_no=one, recharge_account="1" * 12) for one in CHANNELS)
        )
        assert {one.refusal.reason for one in refused} == {"ERROR_REASON_RISK_BLOCKED"}
        await placed(four)
        await risk.RemoveEntry(risk_pb.RemoveEntryRequest(entry_id=entry, **words))
        await placed(four, recharge_account="1" * 12)
        rule = risk_pb.RiskRule(
            rule_id="two",
            per=risk_pb.RiskRule.PER_CHANNEL,
            within=risk_pb.RiskRule.WITHIN_DAY,
            count_max=1,
            enabled=True,
        )
        await risk.SetRule(risk_pb.SetRuleRequest(rule=rule, **words))
        await placed(four)
        over = await four.create(*(four.new(channel_no=one) for one in CHANNELS))
        assert {one.refusal.reason for one in over} == {"ERROR_REASON_RISK_LIMIT"}
        rule.per = risk_pb.RiskRule.PER_ACCOUNT  # counted in four places it would hold in none
        with pytest.raises(aio.AioRpcError) as no:
            await risk.SetRule(risk_pb.SetRuleRequest(rule=rule, **words))
        why = refused_from_rpc(no.value)
        assert why is not None
        assert (why.reason, why.metadata["field"]) == ("ERROR_REASON_FIELD_INVALID", "rule")


async def test_without_a_map_nothing_stands_before_a_call_and_no_statement_is_added(
    harness: OrderHarness, four: OrderHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    await sell(harness)
    seen: Counter[str] = Counter()
    execute = FastConnection.execute

    async def counted(self: FastConnection, sql: Any, *more: Any, **options: Any) -> Any:
        words = str(sql)
        if "oms_" in words and ("INSERT" in words or "UPDATE" in words):
            seen[words] += 1
        return await execute(self, sql, *more, **options)

    monkeypatch.setattr(FastConnection, "execute", counted)

    async def writes(one: OrderHarness) -> Counter[str]:
        """The statements that write while one order lives."""
        seen.clear()
        order_id = await one.order(channel_no=CHANNELS[3])
        await ended(one, [order_id])
        return Counter(seen)

    assert (len(harness.process.cells), harness.process.maps.router) == (1, None)
    alone = await writes(harness)
    assert len(alone) > 4
    assert set(alone.values()) == {1}
    assert await writes(four) == alone


async def test_an_account_is_found_and_erased_in_all_shards(
    four: OrderHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = "9" * 11
    made = await placed(four, recharge_account=account)
    await ended(four, made.values())
    channel, personal = stub_of(four, personal_grpc.PersonalServiceStub)
    async with channel:
        found: list[int] = []
        for shard in range(SHARDS):
            asked = personal_pb.WalkAccountsRequest(account=account, shard=shard)
            walked = await personal.WalkAccounts(asked)
            assert (walked.done, walked.shards) == (True, SHARDS)
            assert {shard_of_number(one, SHARDS) for one in walked.found} <= {shard}
            found += walked.found
        assert set(found) == set(made.values())
        with pytest.raises(aio.AioRpcError, match="shard is from 0 to 3"):
            await personal.WalkAccounts(personal_pb.WalkAccountsRequest(shard=SHARDS))
    monkeypatch.setenv("SHOUDAN_CLI_ORDER_TARGET", f"127.0.0.1:{four.process.port}")
    monkeypatch.setattr(personal_command, "SERVICES", ("order",))
    said = await asyncio.to_thread(CliRunner().invoke, collected(), ["personal", "search", account])
    assert said.exit_code == 0, said.output
    shown = {int(line.split()[1]) for line in said.output.splitlines()}
    assert shown == set(made.values())


async def test_hosts_that_rest_are_those_of_all_shards(four: OrderHarness) -> None:
    channel, operations = stub_of(four, operations_grpc.OperationsServiceStub)
    async with channel:
        found = await operations.ListResting(operations_pb.ListRestingRequest())
    assert list(found.hosts) == []


@pytest.mark.slow
async def lists_without(harness: OrderHarness, there: Mapping[str, int]) -> None:
    """A list tells people which shard it is without, where they ask so; or is of one shard."""
    for entry, missing in (((PARTIAL, "1"), "1"), ((SHARD, "0"), None)):
        found, asked = set[int](), pb.ListOrdersRequest(page_size=2)
        while asked.page_token or not found:
            call = harness.orders.ListOrders(asked, metadata=(entry,))
            said = dict(await call.trailing_metadata()).get(MISSING)
            assert said == (None if asked.page_token else missing)
            found |= {one.state.order_id for one in (await call).orders}
            asked.page_token = (await call).next_page_token
        assert found >= set(there.values())
    for shard, code in (("1", "UNAVAILABLE"), ("2", "INVALID_ARGUMENT"), ("x", "INVALID_ARGUMENT")):
        with pytest.raises(aio.AioRpcError) as no:
            await harness.orders.ListOrders(pb.ListOrdersRequest(), metadata=((SHARD, shard),))
        assert no.value.code().name == code
    words = ["notify", "dead", "--target", f"127.0.0.1:{harness.process.port}"]
    shown = await asyncio.to_thread(CliRunner().invoke, collected(), words)
    assert "shard 1 is away" in shown.stderr, (shown.output, shown.exception)


async def test_a_shard_whose_server_is_away_stops_no_other(
    postgres: Postgres, second: Postgres, tmp_path: Path
) -> None:
    own, file = await two_servers(postgres, second, "order", tmp_path)
    gone = [one for one in CHANNELS if shard_of_key([one], 2) == 1]
    assert 0 < len(gone) < len(CHANNELS)
    async with inboxes() as inbox, opened(own, inbox, shards=file) as harness:
        before = await placed(harness)
        await second.stop()
        news = [harness.new(channel_no=one) for one in CHANNELS]
        results = dict(zip(CHANNELS, await harness.create(*news), strict=True))
        assert [one for one in CHANNELS if results[one].refusal.reason == AWAY] == gone
        router = harness.process.maps.router
        assert router is not None
        assert router.resting == {1}  # refused at once from now on: nobody in a batch waits for it
        there = {one: results[one].order.order_id for one in CHANNELS if one not in gone}
        assert all(one.state.status == 0 for one in await ended(harness, there.values()))
        lone = pb.CreateOrderRequest(order=harness.new(channel_no=gone[0]))
        for call, request in (
            (harness.orders.CreateOrder, lone),
            (harness.orders.GetOrder, pb.GetOrderRequest(order_id=before[gone[0]])),
            (harness.orders.ListOrders, pb.ListOrdersRequest()),
        ):
            with pytest.raises(aio.AioRpcError) as no:
                await call(request)
            assert no.value.code() is grpc.StatusCode.UNAVAILABLE
        await lists_without(harness, there)
        assert await harness.process.reasons() == {}
        await second.launch()

        async def back() -> bool:
            return all(one.HasField("order") for one in await harness.create(*news))

        await eventually(back, 20)
        assert router.resting == set()
        again = dict(zip(CHANNELS, await harness.create(*news), strict=True))
        assert {one: again[one].order.order_id for one in there} == there
        for one in await ended(harness, [again[one].order.order_id for one in CHANNELS]):
            assert one.state.status == pb.ORDER_STATUS_SUCCEEDED
