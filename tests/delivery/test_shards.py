"""Promises of a delivery service with several shards: it sends, asks, reports and lists as one with one, a
supplier is known to all, and a shard that is away stops no other."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import aio

from shoudan.delivery.v1 import card_service_pb2 as card_pb
from shoudan.delivery.v1 import delivery_service_pb2 as pb
from shoudan_kit.db.shard_keys import MADE_MIN, shard_of_number
from shoudan_kit.db.text_statements import FastConnection
from shoudan_kit.embedded import Postgres
from shoudan_kit.ids import NODE_BITS, SEQUENCE_BITS, TIME_SHIFT
from shoudan_kit.rpc.shard_routes import route_of
from tests.delivery.conftest import House, house, key
from tests.delivery.test_notifies import tell
from tests.poll import eventually
from tests.shard_maps import Maps, of_shards, pages, two_servers
from tests.stored import Stored

SHARDS = 4
SUCCEEDED, SENDING = 0, 30
AWAY = "ERROR_REASON_SHARD_AWAY"
_ticks = itertools.count((MADE_MIN >> TIME_SHIFT) + 1)


def made_in(shard: int) -> int:
    """A number as an order service makes it in one of its shards."""
    return next(_ticks) << TIME_SHIFT | shard << (NODE_BITS + SEQUENCE_BITS)


def in_turn(shards: int) -> Any:
    """Numbers of one shard after the other."""
    turn = itertools.cycle(range(shards))
    return lambda: made_in(next(turn))


@pytest.fixture(params=[1, 2, SHARDS])
async def several(
    new_map: Maps, tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncIterator[House]:
    """A service with one, two and four shards, half of them on a second server."""
    async for started in _house(new_map, tmp_path, request.param):
        yield started


@pytest.fixture
async def four(new_map: Maps, tmp_path: Path) -> AsyncIterator[House]:
    """A service with four shards."""
    async for started in _house(new_map, tmp_path, SHARDS):
        yield started


async def _house(new_map: Maps, folder: Path, shards: int) -> AsyncIterator[House]:
    urls, file = await new_map("delivery", shards)
    async with house(urls.service, folder / "journal.jsonl", shards=file) as started:
        started.number = in_turn(shards)
        yield started


def test_every_method_of_the_service_says_where_it_is_answered() -> None:
    declared = {
        (one.full_name, method.name)
        for one in (
            pb.DESCRIPTOR.services_by_name["DeliveryService"],
            pb.DESCRIPTOR.services_by_name["SupplierService"],
            card_pb.DESCRIPTOR.services_by_name["CardService"],
        )
        for method in one.methods
    }
    without = {method for service, method in declared if route_of(service, method) is None}
    assert without == set()


async def test_a_batch_over_shards_is_sent_once_and_reported_from_the_shard_of_each_number(
    several: House,
) -> None:
    shards = len(several.process.cells)
    numbers = await several.send(*["0000"] * 12)
    for number in numbers:
        assert (await several.ends(number)).status == SUCCEEDED
        ours = int((await several.query(number)).order_no)
        assert shard_of_number(ours, shards) == shard_of_number(number, shards)
    kept = await of_shards(
        several.process, "SELECT coop_order_id FROM vds_order_info ORDER BY order_no"
    )
    for shard, here in enumerate(kept):
        assert sorted(map(int, here)) == sorted(
            one for one in numbers if shard_of_number(one, shards) == shard
        )
    assert several.sandbox.journal.attempts == len(numbers)
    several.witness()


async def test_a_repeat_over_shards_gives_the_first_deliveries_in_the_order_asked(
    four: House,
) -> None:
    items = [
        pb.CreateDeliveriesRequest.Item(
            key=key(made_in(n % SHARDS)),
            channel_no="nobody" if n == 5 else "up",
            carrier_no="ZSH",
            face_micros=100_000_000,
            num=1,
            account="0000",
            timeout_s=300,
            order_id="1",
        )
        for n in range(8)
    ]
    first = await four.deliveries.CreateDeliveries(pb.CreateDeliveriesRequest(items=items))
    assert [one.WhichOneof("outcome") for one in first.results].index("refusal") == 5
    again = await four.deliveries.CreateDeliveries(pb.CreateDeliveriesRequest(items=items))
    for n, (one, other) in enumerate(zip(first.results, again.results, strict=True)):
        if n != 5:
            assert other.existed
            assert one.delivery.order_no == other.delivery.order_no
            assert one.delivery.key == items[n].key
    items[2].face_micros = 50_000_000
    changed = await four.deliveries.CreateDeliveries(pb.CreateDeliveriesRequest(items=items))
    assert changed.results[2].refusal.reason == "ERROR_REASON_DELIVERY_DIFFERS"


async def test_a_notify_ends_the_delivery_of_whichever_shard_it_names(four: House) -> None:
    await four.apply(can_query=False)
    numbers = await four.send(*["10000018"] * SHARDS)
    assert {shard_of_number(one, SHARDS) for one in numbers} == set(range(SHARDS))
    for number in numbers:
        assert (await four.ends(number)).result_source == pb.RESULT_SOURCE_NOTIFY
    # One that contradicts is kept beside it, in the same shard.
    ended = await four.query(numbers[3])
    body = {"order_no": ended.order_no, "code": "R_5124", "amount": "100"}
    assert (await tell(four, body))[0] == 200
    assert (await four.query(numbers[3])).conflict
    assert await four.incidents(numbers[3])
    status, _ = await tell(four, body | {"order_no": str(made_in(2))})
    assert status == 403


async def test_lists_are_merged_and_one_number_is_looked_for_in_its_shard(four: House) -> None:
    numbers = await four.send(*["0000"] * 10)
    for number in numbers:
        await four.ends(number)
    found = [
        one
        for each in await pages(
            four.deliveries.ListDeliveries, pb.ListDeliveriesRequest(page_size=3)
        )
        for one in each.deliveries
    ]
    places = [int(one.order_no) for one in found]
    assert places == sorted(places, reverse=True)
    assert sorted(int(one.key.coop_order_id) for one in found) == sorted(numbers)
    await four.create("0000", channel_no="nobody", order_id="7")
    await four.create("0000", channel_no="nobody", order_id="7")
    listed = await pages(four.deliveries.ListIncidents, pb.ListIncidentsRequest(page_size=1))
    assert [len(one.incidents) for one in listed][:2] == [1, 1]
    ids = [row.id for one in listed for row in one.incidents]
    assert ids == sorted(set(ids), reverse=True)
    order = made_in(2)
    (sent,) = await four.send("0000", key=key(order), order_id=str(order))
    alone = await four.deliveries.ListDeliveries(pb.ListDeliveriesRequest(order_id=str(order)))
    assert [int(one.key.coop_order_id) for one in alone.deliveries] == [sent]


async def test_an_unknown_delivery_is_asked_about_and_decided_in_its_shard(four: House) -> None:
    await four.apply(can_query=False, first_query_time_s=60)
    numbers = await four.send(*["10000017"] * SHARDS)  # it never answers, and never notifies

    async def all_sent() -> bool:
        return all([(await four.query(one)).status == SENDING for one in numbers])

    await eventually(all_sent)
    for number in numbers:
        asked = await four.deliveries.AskSupplier(pb.AskSupplierRequest(key=key(number)))
        assert asked.delivery.key == key(number)
        decided = await four.deliveries.ResolveDelivery(
            pb.ResolveDeliveryRequest(
                key=key(number), status=pb.STATUS_SUCCEEDED, by="li", reason="they say so"
            )
        )
        assert decided.delivery.status == SUCCEEDED
        await four.ends(number)


async def test_channels_and_their_credentials_are_kept_once_and_known_to_every_shard(
    four: House,
) -> None:
    await Stored(four.process.port).issue("supplier", "up")
    assert [
        len(one) for one in await of_shards(four.process, "SELECT id FROM vds_channel_info")
    ] == [
        1,
        0,
        0,
        0,
    ]
    credentials = await of_shards(four.process, "SELECT credential_id FROM credential")
    assert [len(one) for one in credentials] == [1, 0, 0, 0]
    await four.set_state("SUSPENDED")
    answer = await four.create(*["0000"] * SHARDS)
    assert {one.refusal.reason for one in answer.results} == {"ERROR_REASON_CHANNEL_UNAVAILABLE"}
    await four.set_state("OPEN")

    async def taken() -> bool:
        answer = await four.create(*["0000"] * SHARDS)
        return all(one.HasField("delivery") for one in answer.results)

    await eventually(taken)


async def test_without_a_map_nothing_stands_before_a_call_and_no_statement_is_added(
    running: House, four: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: Counter[str] = Counter()
    execute = FastConnection.execute

    async def counted(self: FastConnection, sql: Any, *more: Any, **options: Any) -> Any:
        words = str(sql)
        if "vds_order" in words and ("INSERT" in words or "UPDATE" in words):
            seen[words] += 1
        return await execute(self, sql, *more, **options)

    monkeypatch.setattr(FastConnection, "execute", counted)

    async def writes(one: House) -> Counter[str]:
        """The statements that write while one delivery lives."""
        seen.clear()
        (number,) = await one.send("0000")
        await one.ends(number)
        await eventually(lambda: any("vds_order_notify" in words for words in seen))
        return Counter(seen)

    assert (len(running.process.cells), running.process.maps.router) == (1, None)
    alone = await writes(running)
    assert len(alone) == 3  # made and marked at once, ended, reported
    assert set(alone.values()) == {1}
    assert await writes(four) == alone


@pytest.mark.slow
async def test_a_shard_whose_server_is_away_stops_no_other(
    postgres: Postgres, second: Postgres, tmp_path: Path
) -> None:
    own, file = await two_servers(postgres, second, "delivery", tmp_path)
    async with house(own.service, tmp_path / "journal.jsonl", shards=file) as running:
        await running.apply(can_query=False)
        running.number = in_turn(2)
        late = await running.send(
            *["10000018"] * 2
        )  # notified, so that each is known by its number
        for number in late:
            await running.ends(number)
        given = [await running.query(one) for one in late]
        await second.stop()
        answer = await running.create(*["10000018"] * 4)
        refused = [one.refusal.reason for one in answer.results]
        assert refused == ["", AWAY, "", AWAY]
        for one in answer.results[::2]:
            assert (await running.ends(int(one.delivery.key.coop_order_id))).status == SUCCEEDED
        # A supplier repeats what is not acknowledged; the others' notifies are taken.
        told = [
            await tell(running, {"order_no": one.order_no, "code": "R_0000", "amount": "100"})
            for one in given
        ]
        assert [status for status, _ in told] == [200, 403]
        with pytest.raises(aio.AioRpcError) as no:
            await running.deliveries.ListDeliveries(pb.ListDeliveriesRequest())
        assert no.value.code() is grpc.StatusCode.UNAVAILABLE
        assert await running.process.reasons() == {}
        await second.launch()

        async def back() -> bool:
            again = await running.create(*["10000018"] * 2)
            return all(one.HasField("delivery") for one in again.results)

        await eventually(back, 20)
        running.witness()
