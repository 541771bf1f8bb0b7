"""A signed write is taken once at whichever replica it arrives; what is asked may be asked again."""

from __future__ import annotations

import asyncio
import hmac
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from hashlib import sha256
from typing import Any
from urllib.parse import quote

import pytest

from shoudan.order.v1 import catalogue_service_pb2 as catalogue_pb
from shoudan_kit.embedded import DatabaseUrls
from tests.order.harness import OrderHarness, inboxes, running

KEY = "0123456789abcdef0123456789abcdef"
TAKEN = 200
REPLAYED = (403, {"code": 403, "message": "签名错误", "data": "error:签名错误"})


@pytest.fixture
async def harness(
    new_database: Callable[[str], Awaitable[DatabaseUrls]], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[OrderHarness]:
    """An order service whose channel `test` signs with version 2."""
    monkeypatch.setenv("SHOUDAN_SECRET_CHANNEL_TEST", KEY)
    async with inboxes() as inbox, running(await new_database("order"), inbox) as made:
        channel = catalogue_pb.DownChannel(
            channel_no="test",
            channel_name="测试",
            enabled=True,
            auth_mode="hmac2",
            secret_name="channel-test",
            api_version="0",
        )
        await made.apply(down_channels=[channel])
        yield made


@pytest.fixture
async def gateways(harness: OrderHarness, open_gateway: Any) -> list[Any]:
    """Two gateways in front of it."""
    target = f"127.0.0.1:{harness.process.port}"
    return [await open_gateway(order_target=target) for _ in range(2)]


def signed(path: str, nonce: str = "", **params: str) -> dict[str, str]:
    """The parameters of a signed call; with a nonce of its own unless one is given."""
    whole = {
        "channel_no": "test",
        "sign_type": "HMAC-SHA256-V2",
        "timestamp": str(int(time.time())),
        "nonce": nonce or os.urandom(12).hex(),
        **params,
    }
    shown = "&".join(f"{name}={quote(whole[name], safe='')}" for name in sorted(whole))
    text = f"HMAC-SHA256-V2\nGET\n{path}\n{shown}\n{sha256(b'').hexdigest()}"
    return whole | {"sign": hmac.new(KEY.encode(), text.encode(), "sha256").hexdigest()}


def an_order(request_no: str, nonce: str = "", **changed: str) -> dict[str, str]:
    return signed(
        "/order/request",
        nonce,
        **{
            "request_no": request_no,
            "line_id": "1",
            "carrier_no": "ZSH",
            "invoice_type": "1",
            "num": "1",
            "face": "200",
            "amount": "198",
            "rechage_account": "100011000000000",
            **changed,
        },
    )


async def test_a_replay_at_another_replica_is_refused(
    harness: OrderHarness, gateways: list[Any]
) -> None:
    here, there = gateways
    call = an_order("r-replay")
    assert (await here.ask("/order/request", params=call))[0] == TAKEN
    assert await here.ask("/order/request", params=call) == REPLAYED
    assert await there.ask("/order/request", params=call) == REPLAYED
    again, answer = await there.ask("/order/request", params=an_order("r-replay"))
    assert again == TAKEN, "the same number with a nonce of its own is the same order"
    (order,) = await harness.sql("SELECT order_id FROM oms_order_info")
    assert answer["order_id"] == str(order.order_id)


async def test_a_replayed_refund_at_another_replica_is_refused(
    harness: OrderHarness, gateways: list[Any]
) -> None:
    here, there = gateways
    assert (await here.ask("/order/request", params=an_order("r-refund")))[0] == TAKEN
    facts = {"request_no": "r-refund", "refund_num": "1", "notify_url": harness.inbox.url}
    for path in ("/refund/general", "/refund/mandatory"):
        call = signed(path, refund_no=f"f{path[8]}", **facts)
        first = await here.ask(path, params=call)
        assert first[0] != REPLAYED[0]
        assert await there.ask(path, params=call) == REPLAYED
        fresh = await there.ask(path, params=signed(path, refund_no=f"f{path[8]}", **facts))
        assert fresh[0] != REPLAYED[0]


async def test_of_a_hundred_at_once_at_two_gateways_one_is_taken(
    harness: OrderHarness, gateways: list[Any]
) -> None:
    call = an_order("r-race")
    answers = await asyncio.gather(
        *(gateways[i % 2].ask("/order/request", params=call) for i in range(100))
    )
    assert Counter(status for status, _ in answers) == {TAKEN: 1, 403: 99}
    assert len(await harness.sql("SELECT order_id FROM oms_order_info")) == 1


async def test_another_order_cannot_use_the_nonce_of_a_first(
    harness: OrderHarness, gateways: list[Any]
) -> None:
    here, there = gateways
    nonce = os.urandom(12).hex()
    assert (await here.ask("/order/request", params=an_order("r-1", nonce)))[0] == TAKEN
    assert await there.ask("/order/request", params=an_order("r-2", nonce)) == REPLAYED
    stored = await harness.sql("SELECT request_no FROM oms_order_info")
    assert [one.request_no for one in stored] == ["r-1"]


async def test_what_is_asked_may_be_asked_again_at_either(gateways: list[Any]) -> None:
    assert (await gateways[0].ask("/order/request", params=an_order("r-read")))[0] == TAKEN
    call = signed("/order/query", request_no="r-read")
    for _ in range(2):
        for gateway in gateways:
            assert (await gateway.ask("/order/query", params=call))[0] == TAKEN


async def test_a_refused_order_has_used_its_nonce_up(
    harness: OrderHarness, gateways: list[Any]
) -> None:
    here, there = gateways
    call = an_order("r-dear", amount="1")
    assert (await here.ask("/order/request", params=call))[1]["code"] == 921
    assert await there.ask("/order/request", params=call) == REPLAYED
    assert await harness.sql("SELECT order_id FROM oms_order_info") == []
