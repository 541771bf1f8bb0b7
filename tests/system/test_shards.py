"""A system whose four services with shards have two each: an order of either lives over HTTP as anywhere."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from shoudan.pay.v1 import ledger_service_pb2 as pay
from shoudan.pay.v1 import ledger_service_pb2_grpc as pay_grpc
from shoudan_cli.system import System
from shoudan_kit.db import shard_move
from shoudan_kit.db.pool import Database
from shoudan_kit.db.shard_keys import SERIALS, shard_of_key, shard_of_number
from shoudan_kit.db.shard_map import schema_of
from tests.cluster.sharded import (
    SERVICES,
    VOUCHER,
    Load,
    Sharded,
    catalogue_with,
    give_credit,
    may_be_copied,
    name_server,
)
from tests.pay.ledger.invariants import broken
from tests.poll import eventually

pytestmark = [pytest.mark.system, pytest.mark.slow]

CHANNELS = ("test", "test-b")
MAP = 'epoch = 1\nshards = 2\n[[ranges]]\nshards = "0-1"\nserver = "own"\n'
ENDS_S = 60
numbers = itertools.count(1)


@pytest.fixture(scope="module")
async def sharded(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sharded]:
    """The demonstration system and a second channel, of the other shard."""
    folder: Path = tmp_path_factory.mktemp("sharded")
    files = {one: folder / f"{one}.toml" for one in (*SERVICES, "pay", "erp_ingest")}
    for file in files.values():
        file.write_text(MAP)
    (catalogue := folder / "catalogue.yaml").write_text(catalogue_with(CHANNELS[1:]))
    env = {f"SHOUDAN_{one.upper()}_SHARDS": str(file) for one, file in files.items()}
    async with System.start(profile="test", env=env, catalogue=catalogue) as running:
        await give_credit(running, CHANNELS)
        yield Sharded(running, files)


async def ask(http: aiohttp.ClientSession, url: str, **params: str) -> Any:
    async with http.get(url, params=params) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json()


async def told(http: aiohttp.ClientSession, inbox: str, request_no: str) -> list[Any]:
    """What the partner's inbox has got of one order: of itself, and of its refunds."""
    found = await ask(http, inbox, format="json")
    return [one for one in found["letters"] if f'"{request_no}"' in one["body"]]


async def lives(
    http: aiohttp.ClientSession, system: System, key: dict[str, str], inbox: str
) -> None:
    """Delivered and notified; then refunded, and notified again."""
    url = system.gateway_url

    async def delivered() -> bool:
        return (await ask(http, f"{url}/order/query", **key))["status"] == 0

    async def notified(count: int) -> bool:
        return len(await told(http, inbox, key["request_no"])) >= count

    await eventually(delivered, ENDS_S)
    await eventually(lambda: notified(1), ENDS_S)
    refund = {**key, "refund_no": f"f-{key['request_no']}"}
    wish = {**refund, "refund_num": "1", "notify_url": inbox}
    first = await ask(http, f"{url}/refund/general", **wish)
    assert (await ask(http, f"{url}/refund/general", **wish))["refund_id"] == first["refund_id"]

    async def back() -> bool:
        return (await ask(http, f"{url}/refund/query", **refund))["status"] == 0

    await eventually(back, ENDS_S)
    await eventually(lambda: notified(2), ENDS_S)


async def rows(system: System, service: str, shard: int, count: str) -> int:
    """How many rows a shard has."""
    schema = schema_of(shard)
    async with system.postgres.admin(f"shoudan_{service}") as admin:
        db: Any = admin
        return int(await db.fetchval(f"SELECT count(*) FROM {schema}.{count}"))


async def balances(system: System) -> list[int]:
    """What the ledger has of each channel."""
    clients, found = system.clients(), list[int]()
    for one in CHANNELS:
        key = pay.AccountKey(ident="oms", groups="down_channel", eid=one)
        message = pay.GetAccountRequest(key=key)
        answer = await clients.call("pay", pay_grpc.LedgerServiceStub, "GetAccount", message)
        found.append(answer.account.balance_micros)
    await clients.close()
    return found


async def ledger_is_whole(system: System) -> None:
    """The ledger's invariants as SQL, in each shard; and all accounts together come to nothing."""
    for shard in range(2):
        path = {"search_path": schema_of(shard)}
        database = Database(system.databases["pay"].owner, settings=path)
        try:
            assert await broken(database) == {}
        finally:
            await database.dispose()
    clients = system.clients()
    listed = pay.ListAccountsRequest(page_size=1000)
    found = await clients.call("pay", pay_grpc.LedgerServiceStub, "ListAccounts", listed)
    assert sum(one.balance_micros for one in found.accounts) == 0
    for shard in range(2):
        stub: Any = pay_grpc.LedgerServiceStub(clients.channel("pay"))
        asked = pay.VerifyRequest(shard=shard, full=True)
        last = [one async for one in stub.Verify(asked)][-1]
        assert (last.done, list(last.findings), last.shards) == (True, [], 2)
    await clients.close()


async def test_an_order_of_either_shard_is_delivered_paid_notified_and_refunded(
    sharded: Sharded,
) -> None:
    system = sharded.system
    assert [shard_of_key([one], 2) for one in CHANNELS] == [0, 1]
    inbox, before = f"{system.sandbox_url}/inbox/both", await balances(system)
    async with aiohttp.ClientSession() as http:
        for channel_no in CHANNELS:
            key = {"channel_no": channel_no, "request_no": f"two-{next(numbers)}"}
            url = f"{system.gateway_url}/order/request"
            placed = await ask(http, url, **key, **VOUCHER, invoice_type="1", notify_url=inbox)
            order_id = int(placed["order_id"])
            assert shard_of_number(order_id, 2) == shard_of_key([channel_no], 2)
            again = await ask(http, url, **key, **VOUCHER, invoice_type="1", notify_url=inbox)
            assert again["order_id"] == placed["order_id"]
            await lives(http, system, key, inbox)
    for shard in range(2):
        assert await rows(system, "order", shard, "oms_order_info") == 1
        assert await rows(system, "order", shard, "oms_refund_info") == 1
        assert await rows(system, "delivery", shard, "vds_order_info") == 2  # and its return
    sold = [shard_of_key(["oms", one], 2) for one in CHANNELS]
    assert sold == [1, 0]  # another one than that of their orders
    assert await rows(system, "pay", 0, f"account_record WHERE account_id < {SERIALS}") > 0
    assert await rows(system, "pay", 1, f"account_record WHERE account_id > {SERIALS}") > 0
    assert await balances(system) == before
    await ledger_is_whole(system)


async def test_a_shard_of_orders_moves_under_load_and_every_order_ends_once(
    sharded: Sharded,
) -> None:
    """Its deliveries behind it; tools/shards.py does the same between servers, by hand."""
    system = sharded.system
    postgres = system.postgres
    async with postgres.admin() as db:
        await may_be_copied(db.execute)
    await system.restart("postgres")
    for service in SERVICES:
        await postgres.create_database(f"{service}_two", service=service)
        name_server(sharded.files[service], "two", postgres.urls(service, f"{service}_two"))
    wanted = ["shard_01 is at epoch 1, the map at 2: shoudan migrate"]
    assert await shard_move.problems(sharded.move("order", 1, "two")) == wanted
    for service in SERVICES:
        await sharded.command("migrate", service)
    async with aiohttp.ClientSession() as http:
        channels, inbox = dict(enumerate(CHANNELS)), f"{system.sandbox_url}/inbox/moved"
        load = Load(http, system.gateway_url, inbox, channels, f"moved-{next(numbers)}")
        loading = asyncio.create_task(load.run())
        await load.more(8)
        for service in SERVICES:
            said = await sharded.command("shard", "move", service, "1", "two")
            assert f"{service}: shard 1 is on two" in said
            await load.more(8, [1])
        load.over.set()
        await loading
    assert set(load.refusals([1])) <= {503}
    for service in SERVICES:
        assert sharded.shards_on(service, "two") == [1]
    await sharded.all_ended(load)
    await sharded.laws()
    await ledger_is_whole(system)
