"""Orders of the past that a bench loads: no reader can tell them from orders that were placed then."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from shoudan.order.v1 import order_service_pb2 as pb
from shoudan.order.v1 import order_service_pb2_grpc as stubs
from shoudan_cli import stored
from shoudan_cli.bench_layout import HASTY, Layout
from shoudan_cli.bench_lifecycle import _verified, fill
from shoudan_cli.clients import Clients
from shoudan_cli.system import System
from shoudan_kit.db.pool import Database
from shoudan_kit.ids import time_of
from shoudan_kit.secrets.sealing import KeyRing, SealedColumn
from shoudan_kit.secrets.sealing_settings import DEMO_INDEX_KEY, DEMO_KEYS
from tests.pay.ledger.invariants import broken
from tests.system import invariants

pytestmark = pytest.mark.system

_NUMBER = re.compile("(?<![0-9])[0-9]{18}(?![0-9])")
_SEALED = re.compile("~1~[A-Za-z0-9+/=]+")
_MOMENT = re.compile(r"seconds: ([0-9]+)(?:\s+nanos: ([0-9]+))?")
LAYOUT = Layout(channels=2, stored=stored.SAMPLE * 5)


@dataclass
class Past:
    """A system with orders of a month."""

    system: System
    clients: Clients
    stored: stored.Stored

    async def rows(self, service: str, sql: str, *args: Any) -> list[Any]:
        async with self.system.postgres.admin(f"shoudan_{service}") as db:
            return await db.fetch(sql, *args)

    async def shown(self, order_id: int) -> pb.GetOrderResponse:
        request = pb.GetOrderRequest(order_id=order_id)
        return await self.clients.call("order", stubs.OrderServiceStub, "GetOrder", request)

    async def lived(self, order_id: int) -> pb.GetLifecycleResponse:
        request = pb.GetLifecycleRequest(order_id=order_id)
        return await self.clients.call("order", stubs.OrderServiceStub, "GetLifecycle", request)


@pytest.fixture(scope="module")
async def past(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Past]:
    said: list[str] = []
    folder: Path = tmp_path_factory.mktemp("past")
    async with System.start(profile="test", catalogue=LAYOUT.catalogue(folder)) as system:
        clients = system.clients()
        try:
            await fill(clients, LAYOUT)
            yield Past(system, clients, await stored.load(system, LAYOUT, said.append))
        finally:
            await clients.close()


async def test_they_are_of_all_days_channels_and_ends(past: Past) -> None:
    assert past.stored.orders == LAYOUT.stored
    rows = await past.rows(
        "order", "SELECT order_id, down_channel_no, order_status, create_time FROM oms_order_info"
    )
    assert len(rows) == LAYOUT.stored
    assert {row["down_channel_no"] for row in rows} == {*LAYOUT.names, HASTY}
    assert {row["order_status"] for row in rows} == {0, 90, 91}
    assert len({row["create_time"].date() for row in rows}) >= 5
    assert min(row["create_time"] for row in rows) < datetime.now(UTC) - timedelta(days=29)
    for row in rows:
        assert abs(time_of(row["order_id"]) - row["create_time"]) < timedelta(seconds=5)


async def test_all_laws_hold(past: Past) -> None:
    await _witness(past)
    await invariants.check(past.system)
    _, ended, _ = await invariants.profits(
        lambda service, sql, *args: invariants.rows_of(past.system, service, sql, *args)
    )
    assert ended == LAYOUT.stored
    assert await _verified(past.clients, LAYOUT)
    database = Database(past.system.databases["pay"].owner)
    try:
        assert await broken(database) == {}
    finally:
        await database.dispose()


async def _witness(past: Past) -> None:
    """The supplier outside would know of them, too: what it keeps is of the sample alone."""
    journal = past.system.home / "sandbox.jsonl"
    known = {json.loads(line)["order_no"]: line for line in journal.read_text("utf-8").splitlines()}
    (like,) = list(known.values())[:1]
    with journal.open("a") as file:
        for row in await past.rows(
            "delivery", "SELECT order_no::text AS no, status FROM vds_order_info"
        ):
            if row["no"] not in known:
                effect = "none" if row["status"] else "fulfilled"
                line = json.loads(like) | {"order_no": row["no"], "order_id": "", "effect": effect}
                file.write(json.dumps(line) + "\n")


async def test_an_old_order_is_shown_as_the_one_it_is_a_copy_of(past: Past) -> None:
    ids = [
        row["order_id"]
        for row in await past.rows("order", "SELECT order_id FROM oms_order_info ORDER BY order_id")
    ]
    for at in (0, stored.REFUNDED, stored.SAMPLE - 1):
        old, new = ids[at], ids[at - stored.SAMPLE]
        assert _plain(await past.shown(old), old) == _plain(await past.shown(new), new)
        lived, lives = await past.lived(old), await past.lived(new)
        assert len(lived.moments) > 5
        assert _plain(lived, old) == _plain(lives, new)


def _plain(shown: Any, order_id: int) -> str:
    """Its fields, the account opened, numbers and moments less those of the order."""
    made = (time_of(order_id) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    seals = SealedColumn("oms_order_info", KeyRing.parse(DEMO_KEYS, DEMO_INDEX_KEY))
    text = _SEALED.sub(lambda one: seals.open(order_id, one[0]), str(shown))
    text = _NUMBER.sub(lambda one: f"#{int(one[0]) - order_id}", text)
    return _MOMENT.sub(
        lambda one: f"@{int(one[1]) * 10**6 + int(one[2] or 0) // 1000 - made}", text
    )


async def test_a_partner_asks_about_an_old_order_and_repeats_it(past: Past) -> None:
    (row,) = await past.rows(
        "order",
        "SELECT order_id, request_no, down_channel_no FROM oms_order_info ORDER BY order_id LIMIT 1",
    )
    key = {"channel_no": row["down_channel_no"], "request_no": row["request_no"]}
    numbers = [str(int(row["request_no"]) + at) for at in range(stored.SAMPLE)]
    order = stored.sample(LAYOUT.names, numbers, f"{past.system.sandbox_url}/inbox/stored")[0]
    assert order["request_no"] == row["request_no"]
    async with aiohttp.ClientSession() as http:
        for path, asked in (("/order/query", key), ("/order/request", order)):
            async with http.get(past.system.gateway_url + path, params=asked) as answer:
                said = await answer.json(content_type=None)
                assert (answer.status, int(said["order_id"])) == (200, row["order_id"]), said
        other = order | {"rechage_account": "100011099990000"}
        url = f"{past.system.gateway_url}/order/request"
        async with http.get(url, params=other) as answer:
            assert answer.status == 409
