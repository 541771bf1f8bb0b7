"""Promises of two order processes: what a partner's host gets at a time is one total for both."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from shoudan_kit.embedded import DatabaseUrls, Nats
from shoudan_kit.events.share_exchange import ShareExchange
from shoudan_kit.process.polling import until
from tests.order.harness import Inbox, OrderHarness, running
from tests.poll import eventually

Pair = tuple[OrderHarness, OrderHarness]
NewDatabase = Callable[[str], Awaitable[DatabaseUrls]]

TOTAL = 4
TAKES_S = 0.2
ORDERS = 12


class Slow:
    """A host that takes its time; how many calls it had at a time at most, and of which orders."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self.told: set[str] = set()

    async def take(self, request: web.Request) -> web.Response:
        self.now += 1
        self.most = max(self.most, self.now)
        self.told.add((await request.json())["order_id"])
        await until(lambda: self.most > TOTAL, TAKES_S)
        self.now -= 1
        return web.Response(text="success")


@asynccontextmanager
async def slow_host() -> AsyncGenerator[tuple[str, Slow]]:
    host, app = Slow(), web.Application()
    app.router.add_post("/", host.take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    for other in ("127.0.0.2", "127.0.0.3"):
        await web.TCPSite(runner, other, port).start()
    try:
        yield f"http://127.0.0.1:{port}/", host
    finally:
        await runner.cleanup()


def shares_of(harness: OrderHarness) -> Any:
    owners = [getattr(run, "__self__", None) for run in harness.process.running.background]
    (exchange,) = [one for one in owners if isinstance(one, ShareExchange)]
    return exchange.shares


def known(harness: OrderHarness) -> int:
    """How many share, as this one has received; 0 before its first beat."""
    shares = shares_of(harness)
    return shares.members if shares.is_leased(time.monotonic()) else 0


@asynccontextmanager
async def two(urls: DatabaseUrls, inbox: Inbox, **knobs: Any) -> AsyncGenerator[Pair]:
    async with await Nats.start() as nats:
        knobs["nats_url"] = nats.url
        async with running(urls, inbox, **knobs) as one, running(urls, inbox, **knobs) as other:
            await eventually(lambda: [known(one), known(other)] == [2, 2], 30)
            yield one, other


@pytest.fixture
async def pair(new_database: NewDatabase, inbox: Inbox) -> AsyncIterator[Pair]:
    async with two(await new_database("order"), inbox, notify_host_calls_max=TOTAL) as both:
        yield both


@pytest.fixture
async def channel_pair(new_database: NewDatabase, inbox: Inbox) -> AsyncIterator[Pair]:
    bounds = {"notify_host_calls_max": TOTAL, "notify_channel_calls_max": TOTAL}
    async with two(await new_database("order"), inbox, **bounds) as both:
        yield both


async def test_notifies_in_flight_of_two_processes_are_within_the_hosts_total(
    pair: Pair,
) -> None:
    async with slow_host() as (url, host):
        orders = {
            str(await harness.order(request_no=f"{at}-{number}", notify_url=url))
            for number in range(ORDERS)
            for at, harness in enumerate(pair)
        }
        await eventually(lambda: host.told == orders, 60)
        assert 1 < host.most <= TOTAL
        await eventually(lambda: host.now == 0)


async def test_notifies_in_flight_of_a_channel_to_all_its_hosts_are_one_total_too(
    channel_pair: Pair,
) -> None:
    async with slow_host() as (url, host):
        port = url.split(":")[2]
        names = [f"http://127.0.0.{n}:{port}" for n in (1, 2, 3)]
        orders = {
            str(await harness.order(request_no=f"{at}-{number}", notify_url=names[number % 3]))
            for number in range(ORDERS)
            for at, harness in enumerate(channel_pair)
        }
        await eventually(lambda: host.told == orders, 60)
        assert 1 < host.most <= TOTAL
