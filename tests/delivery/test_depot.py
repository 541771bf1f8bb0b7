"""Promises of our own stock with several shards: every shard sells it, no code is ever sold twice."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from grpc import aio

from shoudan.delivery.v1 import card_service_pb2 as pb
from shoudan.delivery.v1 import delivery_service_pb2 as delivery_pb
from shoudan_delivery import depot
from shoudan_kit.db.shard_keys import shard_of_number
from tests.delivery.conftest import House, house, key
from tests.delivery.test_shards import SHARDS, in_turn, made_in
from tests.delivery.test_stock import CHANNEL, CLASS, RETURN, Stock, buy, numbered, table
from tests.poll import eventually
from tests.shard_maps import Maps, of_shards

SUCCEEDED, FAILED, SENDING = 0, 90, 30
ISSUED = "SELECT encode(digest, 'hex') FROM vds_card WHERE status IN (30, 40)"
VOID = "SELECT encode(digest, 'hex') FROM vds_card WHERE status = 90"
RESERVED = "SELECT card_id FROM vds_card WHERE status = 20"


@pytest.fixture
async def four(new_map: Maps, tmp_path: Path) -> AsyncIterator[House]:
    urls, file = await new_map("delivery", SHARDS)
    async with house(urls.service, tmp_path / "journal.jsonl", shards=file) as started:
        started.number = in_turn(SHARDS)
        for service_class in (CLASS, RETURN):
            await started.apply("own", service_class=service_class, **CHANNEL)
        yield started


@pytest.fixture
async def stock(four: House) -> AsyncIterator[Stock]:
    async with aio.insecure_channel(f"127.0.0.1:{four.process.port}") as channel:
        yield Stock(channel)


async def finished(four: House) -> None:
    """What the first shard's process does every half minute, as if all had been reserved long ago."""
    app = four.process.cells[0].app
    apps = {cell.app.home.shard: cell.app for cell in four.process.cells}
    await depot.finish(app, lambda number: apps[shard_of_number(number, SHARDS)])


async def test_every_shard_sells_the_stock_and_no_code_is_sold_twice(
    four: House, stock: Stock
) -> None:
    await stock.take(table(numbered(30)))
    numbers = await buy(four, count=48)
    ends = [(await four.ends(number, CLASS)).status for number in numbers]
    assert sorted(set(ends)) == [SUCCEEDED, FAILED]
    assert ends.count(SUCCEEDED) == 30
    issued = await of_shards(four.process, ISSUED)
    assert len({one for here in issued for one in here}) == 30 == sum(map(len, issued))
    assert any(issued[1:])
    assert len((await of_shards(four.process, VOID))[0]) == sum(map(len, issued[1:]))
    assert await of_shards(four.process, RESERVED) == [[]] * SHARDS
    assert await stock.level() == (0, 0, 0)
    again = await stock.take(table(numbered(30)), name="again")
    assert (again.taken, len(again.duplicates)) == (0, 30)
    # Each is fetched by its own delivery, in clear.
    seen: set[str] = set()
    for number, end in zip(numbers, ends, strict=True):
        asked = pb.FetchCardsRequest(keys=[key(number, CLASS)], order_id=str(number))
        cards = (await stock.stub.FetchCards(asked)).cards
        assert len(cards) == (end == SUCCEEDED)
        seen |= {one.number for one in cards}
    assert seen == {one["number"] for one in numbered(30)}


async def test_several_cards_of_a_delivery_come_whole_or_not_at_all(
    four: House, stock: Stock
) -> None:
    await stock.take(table(numbered(5)))
    four.number = lambda: made_in(3)
    first, second = await buy(four, num=3), await buy(four, num=3)
    ends = {(await four.ends(number, CLASS)).status for number in (*first, *second)}
    assert ends == {SUCCEEDED, FAILED}
    assert await stock.level() == (2, 0, 0)
    assert [len(one) for one in await of_shards(four.process, ISSUED)] == [0, 0, 0, 3]


class _Gone(OSError):
    """The process is gone here, as far as this delivery knows: its outcome is unknown."""


@pytest.mark.parametrize("point", ["stock.set_aside", "stock.taken_over"])
async def test_a_death_between_the_steps_leaves_the_card_to_its_delivery(
    four: House, stock: Stock, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    await stock.take(table(numbered(1)))
    four.number = lambda: made_in(2)
    deaths = 0

    def hit(name: str) -> None:
        nonlocal deaths
        if name == point and not deaths:
            deaths += 1
            raise _Gone

    monkeypatch.setattr(depot, "hit", hit)
    monkeypatch.setattr(depot, "HELD_S", 0.0)
    (number,) = await buy(four)
    await eventually(lambda: deaths == 1)
    (other,) = await buy(four)
    assert (await four.ends(other, CLASS)).status == FAILED
    assert (await four.ends(number, CLASS)).status == SUCCEEDED
    await finished(four)
    assert await stock.level() == (0, 0, 0)
    assert [len(one) for one in await of_shards(four.process, ISSUED)] == [0, 0, 1, 0]
    assert [len(one) for one in await of_shards(four.process, VOID)] == [1, 0, 0, 0]


async def test_what_was_set_aside_for_a_delivery_that_failed_meanwhile_is_free_again(
    four: House, stock: Stock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stock.take(table(numbered(1)))
    four.number = lambda: made_in(1)

    def hit(name: str) -> None:
        if name == "stock.set_aside":
            raise _Gone

    monkeypatch.setattr(depot, "HELD_S", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(depot, "hit", hit)
        (number,) = await buy(four)

        async def tried() -> bool:
            return (await four.query(number, CLASS)).result_code == "NO_ANSWER"

        await eventually(tried)
        await finished(four)
        assert await stock.level() == (0, 1, 0)  # it runs: it may still have it
        await four.deliveries.ResolveDelivery(
            delivery_pb.ResolveDeliveryRequest(
                key=key(number, CLASS), status=FAILED, by="ops", reason="given up"
            )
        )
        await finished(four)
    assert await stock.level() == (1, 0, 0)
    (other,) = await buy(four)
    assert (await four.ends(other, CLASS)).status == SUCCEEDED
    assert [len(one) for one in await of_shards(four.process, ISSUED)] == [0, 1, 0, 0]
