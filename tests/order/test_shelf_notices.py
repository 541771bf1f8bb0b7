"""Promises of shelf notifies: signed, within seconds, in order of versions, until acknowledged."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import pytest

from shoudan.order.v1 import catalogue_service_pb2 as pb
from shoudan_kit.embedded import DatabaseUrls
from shoudan_kit.rpc.refusal import refused_from_rpc
from shoudan_order import notifies
from tests.order.harness import (
    LOOPBACK,
    YUAN,
    Inbox,
    OrderHarness,
    down_product,
    running,
    up_product,
)
from tests.poll import eventually

SECRET = "demo-of-notifies"
WITHIN_S = 5.0


@pytest.fixture
async def quick(
    new_database: Callable[[str], Awaitable[DatabaseUrls]],
    inbox: Inbox,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[OrderHarness]:
    """An order service that tries again after a second."""
    monkeypatch.setenv("SHOUDAN_SECRET_TEST", SECRET)
    async with running(await new_database("order"), inbox, notify_waits_s=[1]) as made:
        yield made


async def subscribe(harness: OrderHarness, **changes: Any) -> None:
    facts: dict[str, Any] = {
        "channel_no": "test",
        "channel_name": "测试",
        "enabled": True,
        "allowed_networks": LOOPBACK,
        "secret_name": "TEST",
        "shelf_url": harness.inbox.url,
    }
    await harness.apply(down_channels=[pb.DownChannel(**(facts | changes))])


async def price(harness: OrderHarness, ppm: int) -> int:
    """Change the price; the version."""
    return (await harness.apply(down_products=[down_product(sell_discount_ppm=ppm)])).version


def told(inbox: Inbox) -> list[tuple[str, str]]:
    """Version and price of each product that arrived."""
    return [
        (one["version"], one.get("price", "")) for body in inbox.told for one in body["products"]
    ]


async def test_a_change_is_told_signed_within_five_seconds(quick: OrderHarness) -> None:
    await subscribe(quick)
    began = time.monotonic()
    version = await price(quick, 910_000)
    await eventually(lambda: bool(quick.inbox.told), 15)
    took_s = time.monotonic() - began
    assert took_s < WITHIN_S
    (body,) = quick.inbox.told
    (one,) = body["products"]
    assert (body["channel_no"], body["version"], body["more"]) == ("test", str(version), False)
    assert (one["product_id"], one["price"], one["status"], one["in_stock"]) == (
        "300",
        "182",
        1,
        True,
    )
    headers = quick.inbox.headers[0]
    right = notifies.signed(
        [SECRET],
        headers["webhook-id"],
        int(headers["webhook-timestamp"]),
        quick.inbox.bodies[0],
    )
    assert headers["webhook-signature"] == right["webhook-signature"]


async def test_stock_and_shelf_are_told_and_what_nobody_sees_is_not(quick: OrderHarness) -> None:
    await subscribe(quick)
    await quick.apply(up_products=[up_product(cost_discount_ppm=810_000)])
    await quick.apply(up_products=[up_product(enabled=False)])
    await eventually(lambda: len(quick.inbox.told) == 1)
    await quick.apply(down_products=[down_product(enabled=False)])
    await eventually(lambda: len(quick.inbox.told) == 2)
    first, second = (body["products"][0] for body in quick.inbox.told)
    assert (first["in_stock"], first["status"]) == (False, 1)
    assert second == {"product_id": "300", "status": 0, "version": second["version"]}


async def test_a_channel_is_told_of_what_it_asked_for(quick: OrderHarness) -> None:
    await subscribe(quick, shelf_events=["stock"])
    await price(quick, 910_000)
    await quick.apply(up_products=[up_product(enabled=False)])
    await eventually(lambda: bool(quick.inbox.told))
    assert [one["in_stock"] for body in quick.inbox.told for one in body["products"]] == [False]


async def test_who_does_not_acknowledge_is_told_again_the_newest_in_order(
    quick: OrderHarness,
) -> None:
    quick.inbox.answer = lambda _: (500, "no")
    await subscribe(quick)
    await price(quick, 910_000)
    await eventually(lambda: len(quick.inbox.told) >= 2, 15)
    ids = {one["webhook-id"] for one in quick.inbox.headers}
    assert len(ids) == 1
    newest = await price(quick, 920_000)
    (row,) = await quick.sql("SELECT fails, answer FROM oms_shelf_cursor")
    assert (row.fails >= 1, row.answer) == (True, "HTTP 500")
    quick.inbox.answer = lambda _: (200, "success")
    await eventually(lambda: (str(newest), "184") in told(quick.inbox), 15)

    async def caught_up() -> bool:
        rows = await quick.sql("SELECT version, fails FROM oms_shelf_cursor")
        return (rows[0].version, rows[0].fails) == (newest, 0)

    await eventually(caught_up)
    versions = [int(version) for version, _ in told(quick.inbox)]
    assert versions == sorted(versions)


async def test_a_channel_that_is_switched_off_is_told_nothing(quick: OrderHarness) -> None:
    await subscribe(quick)
    await subscribe(quick, shelf_url="")
    await price(quick, 910_000)
    await subscribe(quick)
    version = await price(quick, 920_000)
    await eventually(lambda: (str(version), "184") in told(quick.inbox))
    assert len(quick.inbox.told) == 1


async def test_more_than_one_notify_holds_follows_in_the_next(quick: OrderHarness) -> None:
    await subscribe(quick)
    many = [down_product(product_id=1000 + n, face_micros=(1000 + n) * YUAN) for n in range(130)]
    await quick.apply(down_products=many)
    await eventually(lambda: len(told(quick.inbox)) == 130, 15)
    assert [(len(body["products"]), body["more"]) for body in quick.inbox.told] == [
        (100, True),
        (30, False),
    ]


async def test_two_replicas_tell_every_version_and_none_out_of_order(
    new_database: Callable[[str], Awaitable[DatabaseUrls]], inbox: Inbox
) -> None:
    urls = await new_database("order")
    async with running(urls, inbox) as one, running(urls, inbox) as two:
        await subscribe(one, secret_name="")
        for n in range(10):
            await asyncio.gather(price(one, 900_000 + 2 * n + 1), price(two, 900_000 + 2 * n + 2))
        last = max(one.context.catalogue.version, two.context.catalogue.version)
        await eventually(lambda: bool(told(inbox)) and told(inbox)[-1][0] == str(last), 20)
        versions = [int(version) for version, _ in told(inbox)]
        assert versions == sorted(versions)
        assert len(versions) == len(set(versions)), "each was acknowledged, so none is told again"


@pytest.mark.parametrize(
    "changes",
    [
        {"shelf_url": "ftp://a.example/"},
        {"shelf_url": "http://a.example/" + "x" * 600},
        {"shelf_events": ["prices"]},
        {"shelf_events": ["price", "price"]},
    ],
)
async def test_a_subscription_that_is_none_is_refused(
    quick: OrderHarness, changes: dict[str, Any]
) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        await subscribe(quick, **changes)
    refused = refused_from_rpc(raised.value)
    assert refused is not None
    assert refused.reason == "ERROR_REASON_CATALOGUE_INVALID"
