"""Promises of two delivery processes: a supplier's limits are one total, its failures count together."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from shoudan.delivery.v1 import delivery_service_pb2_grpc as delivery_grpc
from shoudan_delivery.app import SERVICE
from shoudan_delivery.config import DeliverySettings
from shoudan_delivery.senders.sender import Sender
from shoudan_fakes.choices import Knobs
from shoudan_kit.embedded import Nats
from shoudan_kit.events.share_exchange import ShareExchange
from shoudan_kit.rpc.client import connect
from shoudan_kit.service import Process
from tests.delivery.conftest import House, house
from tests.delivery.test_channels_switched import state_of
from tests.poll import eventually

TOTAL = 10
KNOWN_S = 30


@dataclass
class Pair:
    """Two processes on one database and one supplier."""

    nats: Nats
    houses: tuple[House, House]

    def senders(self) -> list[Sender]:
        found = [one.process.running.context.senders.of("up", 10) for one in self.houses]
        return [one for one in found if one is not None]

    def places(self) -> list[int]:
        """Calls that may begin at each."""
        return [one.places for one in self.senders()]

    def known(self) -> list[int]:
        """How many each has met at NATS; 0 before the first beat, and when the last is long ago."""
        now = time.monotonic()
        owners: list[Any] = [
            getattr(run, "__self__", None)
            for one in self.houses
            for run in one.process.running.background
        ]
        exchanges = [one for one in owners if isinstance(one, ShareExchange)]
        return [one.shares.members if one.shares.is_leased(now) else 0 for one in exchanges]

    async def know_each_other(self) -> None:
        await eventually(lambda: self.known() == [2, 2], KNOWN_S)


@asynccontextmanager
async def beside(first: House) -> AsyncGenerator[House]:
    """A second process with the settings of the first."""
    settings: DeliverySettings = first.process.settings
    process = Process(SERVICE, settings)
    await process.start()
    channel = connect(f"127.0.0.1:{process.port}")
    try:
        yield replace(first, process=process, deliveries=delivery_grpc.DeliveryServiceStub(channel))
    finally:
        await channel.close()
        await process.stop()


@pytest.fixture
async def pair(
    new_database: Callable[[str], Awaitable[Any]], tmp_path: Path
) -> AsyncIterator[Pair]:
    urls = await new_database("delivery")
    async with (
        await Nats.start() as nats,
        house(urls.service, tmp_path / "journal.jsonl", nats_url=nats.url, replicas=2) as first,
        beside(first) as second,
    ):
        await first.apply(concurrency_max=TOTAL)
        made = Pair(nats, (first, second))
        await eventually(
            lambda: [one.supplier.concurrency_max for one in made.senders()] == [TOTAL] * 2
        )
        yield made


async def test_calls_in_flight_of_two_processes_are_within_the_suppliers_total(pair: Pair) -> None:
    await pair.know_each_other()
    supplier = pair.houses[0].sandbox.supplier
    supplier.knobs["up"] = Knobs(latency_s=0.2)
    numbers = [n for one in pair.houses for n in await one.send(*["100011000000000"] * 60)]
    told = pair.houses[0].orders.told
    await eventually(lambda: told.keys() >= set(numbers), 60)
    assert TOTAL / 2 <= supplier.in_flight_most <= TOTAL
    pair.houses[0].witness()


async def test_places_go_to_the_process_that_has_the_calls_and_are_equal_without_nats(
    pair: Pair,
) -> None:
    await pair.know_each_other()
    assert pair.places() == [TOTAL // 2, TOTAL // 2]
    busy = pair.houses[0]
    busy.sandbox.supplier.knobs["up"] = Knobs(latency_s=0.2)
    numbers = await busy.send(*["100011000000000"] * 400)
    await eventually(lambda: pair.places()[0] >= TOTAL - 1, KNOWN_S)
    assert sum(pair.places()) <= TOTAL
    await pair.nats.stop()
    await eventually(lambda: pair.places() == [TOTAL // 2, TOTAL // 2], KNOWN_S)
    await eventually(lambda: busy.orders.told.keys() >= set(numbers), 60)


async def test_failures_at_two_processes_trip_a_channel_that_neither_would_trip_alone(
    pair: Pair,
) -> None:
    await pair.know_each_other()
    calls_min = pair.houses[0].process.settings.breaker_calls_min
    each = calls_min // 2 + 2
    assert each < calls_min
    pair.houses[0].sandbox.supplier.knobs["up"] = Knobs(down=True)
    for one in pair.houses:
        await one.send(*["100011000000000"] * each)

    async def tripped() -> bool:
        return await state_of(pair.houses[0], "up") == "TRIPPED"

    await eventually(tripped, 15)


async def test_a_process_that_takes_calls_alone_holds_no_part(
    new_database: Callable[[str], Awaitable[Any]], tmp_path: Path
) -> None:
    urls = await new_database("delivery")
    async with house(urls.service, tmp_path / "journal.jsonl") as first:
        only_calls = Process(SERVICE, first.process.settings, frozenset({"rpc"}))
        await only_calls.start()
        try:
            owners = [getattr(run, "__self__", None) for run in only_calls.running.background]
            assert not any(isinstance(one, ShareExchange) for one in owners)
        finally:
            await only_calls.stop()
