"""One system for all tests of the console, with some orders in it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import aiohttp
import pytest

from shoudan.core.v1 import proposal_service_pb2 as proposal
from shoudan.core.v1.proposal_service_pb2_grpc import ProposalServiceStub
from shoudan.pay.v1 import ledger_service_pb2 as ledger
from shoudan_cli.system import Stage, System
from shoudan_kit.rpc.rights import ROLES
from tests.console.chromium import PROGRAM
from tests.console.harness import Desk, Person
from tests.console.visited import Places, places
from tests.poll import eventually
from tests.system.conftest import Partner
from tests.system.turned import turn

# Real browsers are steered where there is one; the head of a run says so where there is none.
collect_ignore = [] if PROGRAM else ["test_browser.py"]

PUSH = Path(__file__).parents[1] / "erp_ingest" / "examples" / "push_data.json"
SENDER = "BudweiserTmall"
UNKNOWN = "1000110000000003"  # the sandbox never says what became of it
ORDERS = 6
LOST = 4  # the first and the last are decided one by one, those between them together
OVERTIME_S = 700


@pytest.fixture(scope="session")
async def desk() -> AsyncIterator[Desk]:
    """Everything runs: delivered orders, and one whose outcome nobody knows."""
    shown: list[Stage] = []
    short = {"SHOUDAN_IDENTITY_ACCESS_TOKEN_S": "60"}
    async with System.start(profile="test", env=short, stage=shown.append) as system:
        clients = system.clients()
        said = next(one.text for one in shown if one.name == "identity")
        password = re.search(r"one login: (\S+)", said)
        assert password is not None
        async with aiohttp.ClientSession() as http:
            partner = Partner(system, http, clients, prefix="desk")
            made = Desk(system, partner, clients, Person("admin"), "")
            made.admin = made.people["admin"] = await made.begin("admin", password[1])
            await placed(made)
            await known(made)
            yield made
            for one in made.open:
                await one.close()
        await clients.close()


async def known(desk: Desk) -> None:
    """Wait until every service has fetched the key that operators' tokens are signed with."""
    browser = await desk.logged_in("first", "ops")

    async def answered() -> bool:
        page = await browser.get("/audit-log")
        return page.status == 200 and "does not answer" not in page.text

    await eventually(answered, 60, every_s=0.2)


async def placed(desk: Desk) -> None:
    """Some orders that end, and some that become work for a person."""
    for _ in range(ORDERS):
        await desk.partner.order_again_and_again(desk.partner.number())
    await desk.partner.all_ended("desk", ORDERS)
    for number in range(LOST):
        status, _ = await desk.partner.order(request_no=f"lost-{number}", rechage_account=UNKNOWN)
        assert status == 200
    await eventually(partial(sent, desk), 30)
    await turn(desk.system, OVERTIME_S)
    waiting = f"SELECT count(*) = {LOST} FROM oms_audit_info WHERE audit_status = 20"
    await eventually(partial(desk.partner.sql, "order", waiting), 60, every_s=0.5)


async def sent(desk: Desk) -> bool:
    count = f"SELECT count(*) = {LOST} FROM oms_order_delivery WHERE delivery_status = 30"
    return await desk.partner.sql("order", count)


async def push(desk: Desk, body: bytes) -> str:
    url = f"{desk.system.gateway_url}/pushData"
    async with desk.partner.http.post(url, params={"customerid": SENDER}, data=body) as answer:
        return await answer.text()


@pytest.fixture(scope="session")
async def pushed(desk: Desk) -> Desk:
    """A trade that was understood, and a push that was not."""
    assert "success" in await push(desk, PUSH.read_bytes())
    await push(desk, b'{"trades": [{"tid": 7}, "neither"]}')

    async def there() -> bool:
        count = "SELECT count(*) FROM trade"
        return bool(await desk.partner.sql("erp_ingest", count))

    await eventually(there, 20, every_s=0.2)
    return desk


@pytest.fixture(scope="session")
async def everything(pushed: Desk) -> Places:
    """An address of every page with something in it, as an operator with every role finds them."""
    desk = pushed
    await desk.person("proposes", "finance-maker")
    token = await desk.token("proposes")
    await desk.clients.call(
        "pay", ProposalServiceStub, "Propose", top_up("everywhere"), token=token
    )
    async with desk.system.postgres.admin("shoudan_delivery") as db:
        await db.execute(
            "INSERT INTO vds_unmapped_code"
            " SELECT channel_no, service_class, 'R_SEEN', 'seen', 1, '7', now(), now()"
            " FROM vds_channel_info WHERE channel_no = 'dearup'"
        )
    await desk.account("of-closed", "closed")
    browser = await desk.logged_in("everywhere", *ROLES)
    once = (await browser.get("/partners/closed")).field("once")
    key = {"do": "rotate", "kind": "notify", "reason": "a test", "once": once}
    assert (await browser.post("/partners/closed", key)).status == 200
    return await places(browser)


def top_up(key: str) -> proposal.ProposeRequest:
    """Money for a channel, which needs two persons."""
    posting = ledger.Posting(
        account=ledger.AccountKey(ident="oms", groups="down_channel", eid="test"),
        trade_no=key,
        change_type=ledger.CHANGE_TYPE_ADD,
        trade_type=ledger.TRADE_TYPE_TRADE,
        amount_micros=5_000_000,
    )
    request = ledger.PostEntriesRequest(
        groups=[ledger.PostEntriesRequest.Group(postings=[posting])]
    )
    return proposal.ProposeRequest(
        method="shoudan.pay.v1.LedgerService/PostEntries",
        request=request.SerializeToString(),
        reason="paid in",
        key=key,
    )
