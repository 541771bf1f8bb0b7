"""Promises of calls to a component: all processes together have one total, each its share of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from shoudan_kit.config import Secret
from shoudan_kit.credentials.live import LiveSecrets
from shoudan_kit.limits.shares import Document, Shares
from shoudan_pay.config import PaySettings
from shoudan_pay.payserver.components import Components
from tests.pay.payserver.harness import PayserverHarness
from tests.poll import eventually

TOTAL, REPLICAS = 8, 4
COMPONENT = "http://component.example.com:8080/pay"
PARTY = "component.example.com:8080"


@pytest.fixture
async def components() -> AsyncIterator[Components]:
    """Those of one process of four that has not reached NATS."""
    settings = PaySettings(
        profile="test", database_url=Secret("postgresql://none"), component_calls_max=TOTAL
    )
    made = Components(settings, cast("LiveSecrets", None), Shares("a", 3600, REPLICAS))
    yield made
    await made.aclose()


async def test_a_process_calls_a_component_as_often_as_its_share_and_more_when_that_grows(
    components: Components,
) -> None:
    let_go, inside = asyncio.Event(), 0

    async def call() -> None:
        nonlocal inside
        async with components._room(COMPONENT):
            inside += 1
            await let_go.wait()

    calls = [asyncio.create_task(call()) for _ in range(TOTAL)]
    await eventually(lambda: components.asked(1) == {PARTY: 1.0})
    assert inside == TOTAL // REPLICAS
    assert (components.used(), components.asked(1)) == ({PARTY: 0.25}, {PARTY: 1.0})
    alone = components.shares.next(Document(), components.asked(1), time.monotonic())
    components.shares.wrote(alone, time.monotonic())
    components.received({})
    await eventually(lambda: inside == TOTAL)
    let_go.set()
    await asyncio.gather(*calls)
    assert components.used() == {PARTY: 0.0}


async def test_the_service_shares_them_with_its_other_processes(harness: PayserverHarness) -> None:
    payserver: Any = harness.pay.running.context.payserver
    assert payserver.exchange.run in harness.pay.running.background
    assert payserver.exchange.shares is payserver.components.shares
