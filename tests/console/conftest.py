"""One system for all tests of the console, with some orders in it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from functools import partial

import aiohttp
import pytest

from shoudan_cli.system import Stage, System
from tests.console.chromium import PROGRAM
from tests.console.harness import Desk, Person
from tests.poll import eventually
from tests.system.conftest import Partner
from tests.system.turned import turn

# Real browsers are steered where there is one; the head of a run says so where there is none.
collect_ignore = [] if PROGRAM else ["test_browser.py"]

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
