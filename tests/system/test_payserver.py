"""PayServer on a system just started: the session of its page works as printed, and the ledger agrees."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from shoudan.pay.v1 import ledger_service_pb2 as ledger
from shoudan.pay.v1 import ledger_service_pb2_grpc as ledger_grpc
from shoudan_cli.system import System
from shoudan_kit.db.pool import Database
from tests.pay.ledger.invariants import broken
from tests.pay.payserver.harness import INVARIANTS

pytestmark = pytest.mark.system

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "payserver.md"
SHOP = "eLzwsgnlWpZN8xtvz0qgvw"
CUSTOMER = "ega7hvZz0RBw8TQNFFZN2w"
MEMBER = "LyWGmvRHlDsH4zYqvND2Gg"
SESSION_S = 90
FEN = 10_000


@pytest.fixture(scope="module")
async def running() -> AsyncIterator[System]:
    """As `shoudan up` starts it: loopback callers need no token."""
    async with System.start(profile="demo") as system:
        yield system


@pytest.fixture(scope="module")
async def replies(running: System) -> list[Any]:
    """What the page's session prints, answer by answer."""
    (session,) = re.findall(r"```sh\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    process = await asyncio.create_subprocess_exec(
        "bash",
        "-euo",
        "pipefail",
        "-c",
        session,
        env={**os.environ, "GATEWAY": running.gateway_url},
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(SESSION_S):
            printed, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0
    return [json.loads(line) for line in printed.decode().splitlines() if line]


def outcome(reply: Any) -> tuple[str, str, str]:
    return reply["ret"], reply["businessRet"], reply["data"].get("status", "")


async def test_every_built_in_way_of_paying_works_as_the_page_shows(replies) -> None:
    modes, credit, money, uses, cash, wechat, refused, running, queried = replies[:9]
    assert {one["name"] for one in modes["items"]} == {
        *("现金", "银联", "挂账", "微信扫码枪", "支付宝扫码枪", "会员储值", "会员储次")
    }
    for paid in (credit, money, uses, wechat):
        assert outcome(paid) == ("success", "syncOnlinePay", "payed")
    assert outcome(cash) == ("success", "offlinePay", "")
    assert (refused["statusCode"], refused["code"], refused["stack"]) == (500, 9999, "")
    assert outcome(running) == ("success", "syncOnlinePay", "paying")
    assert [one["status"] for one in queried["items"]] == ["payed"]


async def test_refunds_give_back_a_part_and_the_rest_as_the_page_shows(replies) -> None:
    part, rest, cancelled, uses, trades = replies[9:]
    assert [one["data"]["refundAmount"] for one in (part, rest)] == [2000, 3000]
    for given in (part, rest, cancelled, uses):
        assert outcome(given) == ("success", "syncOnlineRefund", "refunded")
    told = [(one["tradeType"], one["status"], one["tradeAmount"]) for one in trades["items"]]
    assert told == [
        ("pay", "unpay", 5000),
        ("pay", "payed", 5000),
        ("refund", "unRefund", 2000),
        ("refund", "refunded", 2000),
        ("pay", "partRefunded", 5000),
        ("refund", "unRefund", 3000),
        ("refund", "refunded", 3000),
        ("pay", "refunded", 5000),
    ]


async def test_the_ledger_agrees_with_the_session(running: System, replies) -> None:
    assert replies
    clients = running.clients()
    customer = ledger.AccountKey(ident=SHOP, groups="sign_account", eid=CUSTOMER)
    member = ledger.AccountKey(ident=SHOP, groups="member", eid=MEMBER)
    asked: Any = ledger_grpc.LedgerServiceStub(clients.channel("pay"))
    balances = [
        (await asked.GetAccount(ledger.GetAccountRequest(key=key))).account.balance_micros // FEN
        for key in (customer, member)
    ]
    wanted = ledger.GetPackageRequest(account=member, spkg_id="merchandiseUUID-A")
    package = (await asked.GetPackage(wanted)).package
    await clients.close()
    assert balances == [0, 50_000 - 3_000]
    assert package.total_remain == 10
    database = Database(running.databases["pay"].owner, pool_size=1)
    assert await broken(database) == {}
    await database.dispose()
    async with running.postgres.admin("shoudan_pay") as db:
        for name, statement in INVARIANTS.items():
            assert await db.fetch(statement) == [], name
