"""Promises: recharge accounts and credentials come under a new key, found and read as before."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import pytest
from grpc import aio

from shoudan.core.v1 import sealing_service_pb2 as pb
from shoudan.core.v1 import sealing_service_pb2_grpc as stubs
from shoudan_kit.config import Secret
from shoudan_kit.embedded import DatabaseUrls
from shoudan_kit.rpc.refusal import refused_from_rpc
from shoudan_kit.service import ROLES
from tests.order.harness import Inbox, OrderHarness, running
from tests.sealed import reseal
from tests.stored import Stored

K1, K2 = (f"{name}:{base64.b64encode(name.encode() * 16).decode()}" for name in ("k1", "k2"))
ACCOUNT = "100011000000000"
COLUMN = "oms_order_info.rechage_account"


async def test_accounts_and_credentials_come_under_the_first_key(
    new_database: Callable[[str], Awaitable[DatabaseUrls]], inbox: Inbox
) -> None:
    urls, rpc = await new_database("order"), ROLES - {"tasks"}
    async with running(urls, inbox, roles=rpc, personal_keys=Secret(K1)) as harness:
        orders = [await harness.order() for _ in range(5)]
        made = await Stored(harness.process.port).issue("channel", "test")
        assert (await reseal(harness.process.port)).resealed == 0
    async with running(urls, inbox, roles=rpc, personal_keys=Secret(f"{K2},{K1}")) as harness:
        orders.append(await harness.order(request_no="another"))
        counted = await reseal(harness.process.port, dry_run=True)
        assert counted.counts == {COLUMN: {"k1": 5, "k2": 1}, "credential.sealed": {"k1": 1}}
        assert counted.resealed == 0
        done = await reseal(harness.process.port)
        assert (done.counts, done.resealed, done.unreadable) == (counted.counts, 6, 0)
        again = await reseal(harness.process.port)
        assert again.counts == {COLUMN: {"k2": 6}, "credential.sealed": {"k2": 1}}
        assert again.resealed == 0
    async with running(urls, inbox, roles=rpc, personal_keys=Secret(K2)) as harness:
        rows = await harness.sql("SELECT order_id, rechage_account FROM oms_order_info")
        opened = {r.order_id: harness.context.accounts.open(r.order_id, r[1]) for r in rows}
        assert opened == dict.fromkeys(orders, ACCOUNT)
        live = harness.context.credentials.live
        assert live.texts("channel", "test") == (made.secret,)


@pytest.mark.parametrize(
    "wrong",
    [
        {"column": "nope"},
        {"rows": -1},
        {"rows": 5001},
        {"shard": 1},
        {"after": "x"},
        {"after": '["1"]'},
        {"after": "[1, 2]"},
        {"after": "[true]"},
        {"after": "[9223372036854775808]"},
        {"after": "[" * 1000},
    ],
)
async def test_a_walk_that_is_no_walk_is_refused(
    harness: OrderHarness, wrong: dict[str, Any]
) -> None:
    async with aio.insecure_channel(f"127.0.0.1:{harness.process.port}") as channel:
        stub: Any = stubs.SealingServiceStub(channel)
        with pytest.raises(aio.AioRpcError) as refused:
            await stub.ResealRows(pb.ResealRowsRequest(**{"column": COLUMN} | wrong))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert refused_from_rpc(refused.value) is None
