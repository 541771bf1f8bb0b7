"""Many calls in flight: a slow supplier is used to its limit, and delays no other channel."""

from __future__ import annotations

import time
from collections.abc import Sized

import pytest

from shoudan_fakes.supplier import Knobs
from tests.delivery.conftest import House
from tests.poll import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

SLOW_S = 1.0
SLOW_IN_FLIGHT = 500
PROBES = 100
# From the call that takes a delivery to the report of its end. Idle it is about 0.03 s; a channel that
# waited for the slow one would take SLOW_S and more.
PROBE_P99_S = 0.5

LIMIT_S = 0.5
LIMIT_IN_FLIGHT = 200
COUNTED = 600
WINDOWS = 3  # the best of these counts: what else runs on the machine can only take away


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
    await eventually(lambda: len(told) >= LIMIT_IN_FLIGHT, 15)
    rates = [await rate(told) for _ in range(WINDOWS)]
    assert max(rates) >= 0.8 * LIMIT_IN_FLIGHT / LIMIT_S
    assert running.sandbox.supplier.in_flight_most <= LIMIT_IN_FLIGHT
    running.witness()


async def rate(told: Sized) -> float:
    """Reports per second while COUNTED of them come."""
    first, began = len(told), time.perf_counter()
    await eventually(lambda: len(told) >= first + COUNTED, 20)
    return (len(told) - first) / (time.perf_counter() - began)
