"""Many calls in flight: a slow supplier is used to its limit, and delays no other channel."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Sized
from pathlib import Path
from typing import Any

import msgspec
import pytest

from shoudan.delivery.v1 import delivery_service_pb2 as pb
from shoudan_fakes.choices import Knobs
from tests.delivery.conftest import House, house
from tests.poll import eventually

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(180),
    pytest.mark.alone("rates and latencies of thousands of calls are measured"),
]

SLOW_S = 1.0
SLOW_IN_FLIGHT = 500
PROBES = 100
# From the call that takes a delivery to the report of its end. Here it is about 0.02 s, idle or not; a
# channel that waited for the slow one would take SLOW_S and more.
PROBE_P99_S = 0.25

LIMIT_S = 0.5
LIMIT_IN_FLIGHT = 200
COUNTED = 1_000
SMALL_S = 0.3
ROUNDS = 8
# Calls begun together end together and, left alone, begin together again, for ever. Evenly it were 20.
BURST_S = 0.05
BURST_MAX = 60


async def latency(running: House, channel_no: str, seconds: float, in_flight: int) -> None:
    running.sandbox.supplier.knobs[channel_no] = Knobs(latency_s=seconds)
    await running.apply(channel_no, concurrency_max=in_flight, timeout_s=20.0)


async def test_a_slow_channel_delays_no_other(running: House) -> None:
    await latency(running, "slow", SLOW_S, SLOW_IN_FLIGHT)
    await running.apply("probe")
    for _ in range(16):
        await running.send(*["100011000000000"] * SLOW_IN_FLIGHT, channel_no="slow")
    supplier = running.sandbox.supplier
    await eventually(lambda: supplier.in_flight >= SLOW_IN_FLIGHT * 0.9, 15)
    took: list[float] = []
    for _ in range(PROBES):
        began = time.perf_counter()
        (number,) = await running.send("100011000000000", channel_no="probe")
        await eventually(lambda number=number: number in running.orders.told, every_s=0.001)
        took.append(time.perf_counter() - began)
    assert supplier.in_flight > 0, "the slow channel was busy all the time"
    assert supplier.in_flight_most <= SLOW_IN_FLIGHT + 1
    assert sorted(took)[int(PROBES * 0.99) - 1] < PROBE_P99_S
    running.witness()


async def test_a_supplier_is_used_to_its_limit(running: House) -> None:
    await latency(running, "busy", LIMIT_S, LIMIT_IN_FLIGHT)
    for _ in range(6):
        await running.send(*["100011000000000"] * 400, channel_no="busy")
    told = running.orders.told
    # The first round begins in one burst; the limit is that of the rounds that follow.
    await eventually(lambda: len(told) >= 2 * LIMIT_IN_FLIGHT, 15)
    assert await rate(told) >= 0.8 * LIMIT_IN_FLIGHT / LIMIT_S
    assert running.sandbox.supplier.in_flight_most <= LIMIT_IN_FLIGHT
    assert burst(running.sandbox.journal.path) <= BURST_MAX
    running.witness()


@pytest.mark.parametrize("places", [1, 4])
async def test_a_small_channel_leaves_no_place_empty(running: House, places: int) -> None:
    await latency(running, "small", SMALL_S, places)
    began = time.perf_counter()
    numbers = await running.send(*["100011000000000"] * places * ROUNDS, channel_no="small")
    await eventually(lambda: set(numbers) <= running.orders.told.keys(), 20)
    assert time.perf_counter() - began < 1.4 * SMALL_S * ROUNDS
    assert running.sandbox.supplier.in_flight_most <= places


def burst(journal: Path) -> int:
    """The most calls begun within BURST_S, once the first two rounds are over."""
    lines = journal.read_bytes().splitlines()[2 * LIMIT_IN_FLIGHT :]
    times = sorted(msgspec.json.decode(line)["time"] for line in lines)
    return max(bisect_left(times, begun + BURST_S) - at for at, begun in enumerate(times))


async def rate(told: Sized) -> float:
    """Reports per second while COUNTED of them come."""
    first, began = len(told), time.perf_counter()
    await eventually(lambda: len(told) >= first + COUNTED, 20)
    return (len(told) - first) / (time.perf_counter() - began)


COMMON = ["vds:order:request", "vds:order:query", "vds:order:notify"]
UNKNOWN_THEN_SUCCESS = "100011000000002"


async def test_a_channel_with_a_queue_of_its_own_is_served_by_its_own_process(
    new_database: Callable[[str], Awaitable[Any]], tmp_path: Path
) -> None:
    urls = await new_database("delivery")
    async with house(urls.service, tmp_path / "others.jsonl", task_queues=COMMON) as others:
        await others.apply("big", queue_name="vds:big")
        (waiting,) = await others.send("100011000000000", channel_no="big")
        (usual,) = await others.send("100011000000000")
        await others.ends(usual)
        assert (await others.query(waiting)).status == pb.STATUS_CREATED
        queues = ["vds:big", "vds:order:notify"]
        async with house(urls.service, tmp_path / "own.jsonl", task_queues=queues) as own:
            (asked,) = await others.send(UNKNOWN_THEN_SUCCESS, channel_no="big")
            await eventually(lambda: {waiting, asked} <= own.orders.told.keys(), 15)
            assert (await others.query(asked)).result_source == pb.RESULT_SOURCE_QUERY
        others.witness()
