"""A system whose four services with shards have two each: an order of either lives over HTTP as anywhere."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from shoudan.pay.v1 import ledger_service_pb2 as pay
from shoudan.pay.v1 import ledger_service_pb2_grpc as pay_grpc
from shoudan_cli.system import System, demo_catalogue
from shoudan_kit.db.pool import Database
from shoudan_kit.db.shard_keys import SERIALS, shard_of_key, shard_of_number
from shoudan_kit.db.shard_map import schema_of
from tests.pay.ledger.invariants import broken
from tests.poll import eventually

pytestmark = [pytest.mark.system, pytest.mark.slow]

CHANNELS = ("test", "test-b")
VOUCHER = {"line_id": "2", "carrier_no": "DZQ", "num": "1", "face": "50", "amount": "47.5"}
MAP = 'epoch = 1\nshards = 2\n[[ranges]]\nshards = "0-1"\nserver = "own"\n'
ANOTHER = """  - channel_no: test-b
    channel_name: 又一渠道
    auth_mode: none
    allowed_networks: [127.0.0.0/8]
    notify_networks: [127.0.0.0/8]
    shelves:
      - shelf_id: 99
        shelf_name: 又一货架
        products:
          - { product_id: 399, line_id: 2, carrier_no: DZQ, face: 50, sell_discount: 0.95, limit_count: 10 }
"""
ENDS_S = 60
numbers = itertools.count(1)


@pytest.fixture(scope="module")
async def sharded(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    """The demonstration system and a second channel, of the other shard."""
    folder: Path = tmp_path_factory.mktemp("sharded")
    (file := folder / "map.toml").write_text(MAP)
    written, first = demo_catalogue().read_text(), "  - channel_no: ycdown\n"
    assert first in written
    (catalogue := folder / "catalogue.yaml").write_text(written.replace(first, ANOTHER + first, 1))
    env = {f"SHOUDAN_{one}_SHARDS": str(file) for one in ("ORDER", "DELIVERY", "PAY", "ERP_INGEST")}
    async with System.start(profile="test", env=env, catalogue=catalogue) as running:
        clients = running.clients()
        for one in CHANNELS:
            key = pay.AccountKey(ident="oms", groups="down_channel", eid=one)
            credit = pay.UpdateAccountRequest(key=key, credit_micros=10**10)
            await clients.call("pay", pay_grpc.LedgerServiceStub, "UpdateAccount", credit)
        await clients.close()
        yield running


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
    async with system.postgres.admin(f"shoudan_{service}") as db:
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
    sharded: System,
) -> None:
    assert [shard_of_key([one], 2) for one in CHANNELS] == [0, 1]
    inbox, before = f"{sharded.sandbox_url}/inbox/both", await balances(sharded)
    async with aiohttp.ClientSession() as http:
        for channel_no in CHANNELS:
            key = {"channel_no": channel_no, "request_no": f"two-{next(numbers)}"}
            url = f"{sharded.gateway_url}/order/request"
            placed = await ask(http, url, **key, **VOUCHER, invoice_type="1", notify_url=inbox)
            order_id = int(placed["order_id"])
            assert shard_of_number(order_id, 2) == shard_of_key([channel_no], 2)
            again = await ask(http, url, **key, **VOUCHER, invoice_type="1", notify_url=inbox)
            assert again["order_id"] == placed["order_id"]
            await lives(http, sharded, key, inbox)
    for shard in range(2):
        assert await rows(sharded, "order", shard, "oms_order_info") == 1
        assert await rows(sharded, "order", shard, "oms_refund_info") == 1
        assert await rows(sharded, "delivery", shard, "vds_order_info") == 2  # and its return
    sold = [shard_of_key(["oms", one], 2) for one in CHANNELS]
    assert sold == [1, 0]  # another one than that of their orders
    assert await rows(sharded, "pay", 0, f"account_record WHERE account_id < {SERIALS}") > 0
    assert await rows(sharded, "pay", 1, f"account_record WHERE account_id > {SERIALS}") > 0
    assert await balances(sharded) == before
    await ledger_is_whole(sharded)
