"""A gateway whose backends are gone is not ready, and is again soon after they are back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from grpc import aio

from shoudan_gateway.backend_health import BackendHealth
from shoudan_gateway.config import BACKENDS, GatewaySettings
from shoudan_kit.config import ProcessSettings
from shoudan_kit.process.shutdown import cancel_all
from shoudan_kit.rpc import client
from shoudan_kit.rpc.server import RpcServer
from tests.poll import eventually


class Backends:
    """A server for each service, stopped and started on the same port."""

    def __init__(self) -> None:
        self.ports: dict[str, int] = dict.fromkeys(BACKENDS, 0)
        self.running: dict[str, RpcServer] = {}

    async def start(self, *names: str) -> None:
        for name in names:
            settings = ProcessSettings(listen_port=self.ports[name], drain_s=1)
            self.running[name] = RpcServer(settings, [], [])
            self.ports[name] = await self.running[name].start()

    async def stop(self, *names: str) -> None:
        for name in names:
            await self.running.pop(name).stop()


@pytest.fixture
async def backends() -> AsyncIterator[Backends]:
    made = Backends()
    await made.start(*BACKENDS)
    yield made
    await made.stop(*list(made.running))


@pytest.fixture
async def watch(backends: Backends) -> AsyncIterator[object]:
    """`watch(ready_backends=[…])`: the health of these backends as a gateway sees it."""
    channels: dict[str, aio.Channel] = {}
    loops: list[asyncio.Task[None]] = []

    def channel(name: str) -> aio.Channel:
        target = f"127.0.0.1:{backends.ports[name]}"
        return channels.setdefault(name, client.connect(target))

    def start(**given: object) -> BackendHealth:
        targets = {f"{name}_target": f"127.0.0.1:{port}" for name, port in backends.ports.items()}
        health = BackendHealth(GatewaySettings(**targets, **given), channel)
        loops.append(asyncio.create_task(health.run()))
        return health

    yield start
    await cancel_all(loops)
    for one in channels.values():
        await one.close()


async def says(health: BackendHealth, *, ready: bool, within_s: float = 10) -> None:
    async def said() -> bool:
        return (await health.ready() is None) is ready

    await eventually(said, within_s)


async def test_without_order_a_gateway_is_not_ready_and_is_again_when_it_is_back(backends, watch):
    health = watch()
    assert await health.ready() is not None  # nobody has been asked
    await says(health, ready=True)
    await backends.stop("order")
    await says(health, ready=False)
    assert "order" in (await health.ready() or "")
    await backends.start("order")
    await says(health, ready=True)


async def test_a_backend_that_serves_nothing_is_gone(backends, watch):
    health = watch()
    await says(health, ready=True)
    await backends.running["order"].set_serving(serving=False)
    await says(health, ready=False)


async def test_without_the_others_orders_go_on_until_all_are_gone(backends, watch):
    health, strict = watch(), watch(ready_backends=["order", "pay"])
    await says(strict, ready=True)
    await says(health, ready=True)
    await backends.stop("pay")
    await says(strict, ready=False)
    assert await health.ready() is None
    await backends.stop("order", "delivery", "erp_ingest")
    nothing = watch(ready_backends=[])
    await asyncio.gather(says(health, ready=False), says(nothing, ready=False))
