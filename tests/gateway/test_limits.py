"""Limits by caller: one total at all gateways, said in headers, refused in the protocol's own words."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from shoudan.order.v1 import catalogue_service_pb2 as catalogue
from shoudan_gateway import partners
from shoudan_gateway.config import GatewaySettings
from shoudan_gateway.limits import CallerLimits, Limited
from shoudan_gateway.protocol import Endpoint, Inbound
from shoudan_kit.clock import SystemClock
from shoudan_kit.embedded import Nats
from shoudan_kit.events.share_exchange import ShareExchange
from shoudan_kit.limits.shares import Shares
from tests.poll import eventually

QUERY = {"channel_no": "test", "request_no": "nope"}
FOUND, MANY = 404, 429
# Bucket, header of the policy, header of what is left, for the tests' rate of 10/s in bursts of 20.
POLICY = '"address";q=10000;w=2, "partner";q=20;w=2, "calls";q=1000;qu="concurrent-requests"'


@pytest.fixture
async def nats() -> AsyncIterator[Nats]:
    """A NATS of this test alone, which it may stop."""
    async with await Nats.start() as server:
        yield server


async def asked(front: Any, path: str = "/order/query", **options: Any) -> tuple[int, Any, str]:
    """Status, headers and text of one call."""
    options.setdefault("params", QUERY)
    async with front.http.get(front.url + path, **options) as answer:
        return answer.status, answer.headers, await answer.text()


async def statuses(fronts: list[Any], count: int) -> list[int]:
    answers = (asked(fronts[i % len(fronts)]) for i in range(count))
    return [status for status, _, _ in await asyncio.gather(*answers)]


def shares_of(front: Any) -> Shares:
    (exchange,) = [
        run.__self__
        for run in front.process.running.background
        if isinstance(getattr(run, "__self__", None), ShareExchange)
    ]
    return exchange.shares


def share(front: Any, party: str = "channel test") -> float:
    return round(shares_of(front).of(party, time.monotonic()), 2)


async def know(fronts: list[Any], members: int) -> None:
    """Until all have heard of each other, and nothing but equal parts is held."""

    async def equal() -> bool:
        return all(shares_of(one).members == members and shares_of(one).is_leased(time.monotonic())
                   for one in fronts)  # fmt: skip

    await eventually(equal, 30)


async def test_a_partner_reads_its_limits_in_every_answer(open_gateway: Any) -> None:
    front = await open_gateway(channel_rate_per_s=10, channel_burst=20)
    status, headers, _ = await asked(front)
    assert (status, headers["RateLimit-Policy"]) == (FOUND, POLICY)
    assert headers["RateLimit"] == '"address";r=9999;t=1, "partner";r=19;t=1, "calls";r=999'
    assert "Retry-After" not in headers


async def test_a_refusal_says_when_to_come_again_in_the_protocols_own_words(
    open_gateway: Any,
) -> None:
    front = await open_gateway(channel_rate_per_s=0.1, channel_burst=1)
    assert (await asked(front))[0] == FOUND
    status, headers, text = await asked(front)
    assert status == MANY
    assert '"code":429' in text
    assert "请求过于频繁，请稍后再试" in text
    assert headers["Retry-After"] == "10"
    assert headers["RateLimit"].endswith('"partner";r=0;t=10')


WORDS = {
    "channel": "请求过于频繁，请稍后再试",
    "chinaums": "请求过于频繁",
    "dingdang": "请求过于频繁，请稍后再试",
    "goofish": "请求过于频繁，请稍后再试",
    "payserver": "too many calls",
    "self_service": "请求过于频繁，请稍后再试",
    "bill_files": "请求过于频繁，请稍后再试",
    "bills": "请求过于频繁，请稍后再试",
    "supplier_disputes": "请求过于频繁，请稍后再试",
    "supplier_bills": "请求过于频繁，请稍后再试",
    "vds": "",
    "wangdian": "请求过于频繁,请稍后重新推送",
}
OUTER = {name: one for name, one in partners.load().items() if one.role not in {"internal", "test"}}


@pytest.mark.parametrize("name", OUTER)
async def test_an_address_at_its_limit_is_refused_in_every_protocol(
    open_gateway: Any, name: str
) -> None:
    front = await open_gateway(address_rate_per_s=0.1, address_burst=1)
    await asked(front)
    endpoint = next(one for one in OUTER[name].endpoints if isinstance(one, Endpoint))
    path = re.sub(r"\{\w+\}", "10", endpoint.path)
    async with front.http.request(min(endpoint.methods), front.url + path) as answer:
        text = await answer.text()
        assert answer.headers["RateLimit"] == '"address";r=0;t=10', text
        assert answer.headers["Retry-After"] == "10"
        assert answer.status < 500
        assert WORDS[name] in text


async def test_the_catalogue_says_what_a_partner_may_and_it_holds_at_once(
    open_gateway: Any, neighbours: Any
) -> None:
    front = await open_gateway(channel_rate_per_s=100_000, channel_burst=200_000)
    slow = catalogue.DownChannel(channel_no="test", enabled=True, rate_per_s=1)
    neighbours[0].channels = [slow]
    await front.read_rules()
    answers = [await asked(front) for _ in range(4)]
    assert [status for status, _, _ in answers] == [FOUND, FOUND, MANY, MANY]
    assert '"partner";q=2;w=2' in answers[0][1]["RateLimit-Policy"]
    slow.rate_per_s = 0
    await front.read_rules()
    assert (await asked(front))[0] == FOUND


async def test_a_partner_at_its_limit_takes_nothing_from_another(
    open_gateway: Any, neighbours: Any
) -> None:
    front = await open_gateway(channel_rate_per_s=1_000)
    neighbours[0].channels = [
        catalogue.DownChannel(channel_no="test", enabled=True, rate_per_s=1, calls_max=1),
        catalogue.DownChannel(channel_no="other", enabled=True),
    ]
    await front.read_rules()
    other = QUERY | {"channel_no": "other"}
    calls = [asked(front, params=QUERY if i % 2 else other) for i in range(100)]
    found = [status for status, _, _ in await asyncio.gather(*calls)]
    assert found[::2] == [FOUND] * 50
    assert found[1::2].count(MANY) >= 48


async def test_a_partners_calls_in_flight_are_bounded_by_its_catalogue(
    open_gateway: Any, neighbours: Any
) -> None:
    front = await open_gateway()
    order = neighbours[0]
    order.channels = [catalogue.DownChannel(channel_no="test", enabled=True, calls_max=2)]
    await front.read_rules()
    order.hold = asyncio.Event()
    new = QUERY | {
        "line_id": "1", "carrier_no": "ZSH", "invoice_type": "1", "num": "1", "face": "200",
        "amount": "198", "rechage_account": "1",
    }  # fmt: skip
    calls = [
        asyncio.ensure_future(asked(front, "/order/request", params=new | {"request_no": f"r{i}"}))
        for i in range(5)
    ]
    done, _ = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
    assert {one.result()[0] for one in done} == {MANY}
    order.hold.set()
    answers = await asyncio.gather(*calls)
    assert sorted(status for status, _, _ in answers) == [200, 200, MANY, MANY, MANY]
    assert all(headers["Retry-After"] == "1" for status, headers, _ in answers if status == MANY)


async def test_two_gateways_have_one_total_and_it_goes_where_the_calls_are(
    open_gateway: Any, nats: Nats
) -> None:
    options = {"nats_url": nats.url, "channel_rate_per_s": 100, "channel_burst": 200}
    fronts = [await open_gateway(**options) for _ in range(2)]
    await know(fronts, 2)
    assert [share(one) for one in fronts] == [0.5, 0.5]
    began = time.monotonic()
    found = await statuses(fronts, 600)
    assert found.count(FOUND) <= 200 + 100 * (time.monotonic() - began) + 1

    async def moved() -> bool:
        await statuses(fronts[:1], 100)
        return share(fronts[0]) >= 0.9

    await eventually(moved, 30)
    assert sum(share(one) for one in fronts) <= 1


async def test_a_gateway_that_joins_gets_its_part_and_one_that_goes_leaves_it(
    open_gateway: Any, nats: Nats
) -> None:
    fronts = [await open_gateway(nats_url=nats.url) for _ in range(2)]
    await know(fronts, 2)
    fronts.append(await open_gateway(nats_url=nats.url))
    await know(fronts, 3)
    assert [share(one) for one in fronts] == [0.33, 0.33, 0.33]
    await fronts.pop().process.stop()
    await know(fronts, 2)
    assert [share(one) for one in fronts] == [0.5, 0.5]


async def test_with_nats_away_each_takes_an_equal_part_and_it_is_shared_again_afterwards(
    open_gateway: Any, nats: Nats
) -> None:
    options = {"nats_url": nats.url, "channel_rate_per_s": 100, "channel_burst": 200}
    fronts = [await open_gateway(**options) for _ in range(2)]
    await know(fronts, 2)

    async def moved() -> bool:
        await statuses(fronts[:1], 100)
        return share(fronts[0]) >= 0.9

    await eventually(moved, 30)
    await nats.stop()

    async def fallen() -> bool:
        return [share(one) for one in fronts] == [0.5, 0.5]

    await eventually(fallen, 30)
    assert set(await statuses(fronts, 4)) == {FOUND}, "nothing waits for it"
    await nats.launch()
    await know(fronts, 2)
    await eventually(moved, 30)
    assert sum(share(one) for one in fronts) <= 1


def test_without_nats_a_gateway_takes_its_part_of_those_expected() -> None:
    settings = GatewaySettings.model_validate(
        {"profile": "test", "channel_rate_per_s": 1, "channel_burst": 8}
    )
    limits = CallerLimits(settings, Shares("x", 5.0, expected=4), SystemClock())
    for _ in range(2):
        limits.partner("channel a", limits.of_partner(), Inbound("GET", "/"))
    with pytest.raises(Limited):
        limits.partner("channel a", limits.of_partner(), Inbound("GET", "/"))


def test_what_is_asked_is_a_part_of_the_total_and_never_more() -> None:
    settings = GatewaySettings.model_validate(
        {"profile": "test", "channel_rate_per_s": 10, "channel_burst": 100}
    )
    limits = CallerLimits(settings, Shares("x", 5.0), SystemClock())
    for _ in range(5):
        limits.partner("channel a", limits.of_partner(), Inbound("GET", "/"))
    for _ in range(99):
        limits.partner("channel b", limits.of_partner(), Inbound("GET", "/"))
    limits.began("channel a", limits.of_partner(calls_max=10), 7)
    assert limits.asked(1.0) == {"channel a": 0.7, "channel b": 1.0}
    assert limits.asked(1.0) == {}
