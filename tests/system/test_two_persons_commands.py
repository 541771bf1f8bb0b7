"""Commands of operators where two persons are needed, and of partners' keys, on a whole system."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from shoudan_cli.credentials import OWNER_KEY
from shoudan_cli.system import System, demo_catalogue
from shoudan_kit.rpc.rights import ADMIN, FINANCE_CHECKER, OPS, SUPPORT
from shoudan_kit.secrets.tokens import TokenSigner, kept_key
from tests.command import shoudan
from tests.poll import eventually
from tests.system.conftest import Partner
from tests.system.turned import turn

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(240)]

OVERTIME_S = 700
UNKNOWN = "100011000000003"[:-4] + "0003"  # the sandbox never says what became of it


@dataclass
class Operator:
    """One person at the system's commands."""

    system: System
    number: str
    roles: tuple[str, ...]

    async def __call__(self, *words: str) -> tuple[int, str]:
        """Exit code, and all that the command said."""
        signer = TokenSigner(kept_key(self.system.home / OWNER_KEY), self.system.id)
        token = signer.issue(self.number, f"op-{self.number}", self.roles)
        env = {**self.system.env, "SHOUDAN_ACCESS_TOKEN": token}
        return await shoudan("--yes", *words, env=env)


@dataclass
class Office:
    """The system with who works there."""

    system: System
    partner: Partner
    maker: Operator
    checker: Operator

    async def approved(self, said: str) -> None:
        """The checker approves what a command proposed; the maker itself may not."""
        number = next(word.strip(".,()") for word in said.split() if word.startswith("order:"))
        code, own = await self.maker("proposal", "approve", number)
        assert code == 1, own
        code, done = await self.checker("proposal", "approve", number, "--reason", "seen")
        assert code == 0, done
        assert "applied" in done


@pytest.fixture(scope="module")
async def office() -> AsyncIterator[Office]:
    """Two orders wait for a person's decision."""
    async with (
        System.start(profile="test", env={"SHOUDAN_TWO_PERSONS": "on"}) as system,
        aiohttp.ClientSession() as http,
    ):
        clients = system.clients()
        partner = Partner(system, http, clients)
        maker = Operator(system, "71", (SUPPORT, OPS, ADMIN, "finance-maker"))
        checker = Operator(system, "72", (FINANCE_CHECKER,))
        # What `up` applied is a proposal here, too.
        _, listed = await checker("proposal", "ls")
        for number in sorted(set(re.findall(r"(?:order|pay):\d+", listed))):
            code, said = await checker("proposal", "approve", number)
            assert code == 0, said

        async def placed(number: int) -> bool:
            wanted = {"request_no": f"two-{number}", "rechage_account": UNKNOWN}
            return (await partner.order(**wanted))[0] == 200

        for n in range(2):  # what was approved is sold when all processes have read it
            await eventually(partial(placed, n))
        sent = "SELECT count(*) FROM oms_order_delivery WHERE delivery_status = 30"

        async def on_their_way() -> bool:
            return await partner.sql("order", sent) == 2

        await eventually(on_their_way, 30)
        await turn(system, OVERTIME_S)
        yield Office(system, partner, maker, checker)
        await clients.close()


async def waiting(office: Office) -> list[Any]:
    """What `work ls` lists of the orders, once there is something."""
    found: list[Any] = []

    async def listed() -> bool:
        code, said = await office.maker("work", "ls", "--kind", "delivery", "--json")
        found[:] = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
        return code == 0 and bool(found)

    await eventually(listed, 60, every_s=1)
    return found


async def test_work_and_audits_are_decided_by_two_from_the_command_line(office: Office) -> None:
    first = (await waiting(office))[0]
    words = (first["kind"], first["key"], "success", "--reason", "told by phone")
    code, said = await office.maker("work", "decide", *words)
    assert code == 0, said
    assert "would change" in said
    await office.approved(said)
    second = next(one for one in await waiting(office) if one["key"] != first["key"])
    code, said = await office.maker("audit", "decide", second["key"], "failed", "--reason", "no")
    assert code == 0, said
    assert "would change" in said
    await office.approved(said)

    async def ended() -> bool:
        query = "SELECT count(*) FROM oms_order_info WHERE order_status IN (0, 90)"
        return await office.partner.sql("order", query) == 2

    await eventually(ended, 30)


async def test_a_changed_price_is_proposed_by_config_apply(office: Office, tmp_path: Path) -> None:
    whole = yaml.safe_load(demo_catalogue().read_text("utf-8"))
    product = whole["down_channels"][0]["shelves"][0]["products"][0]
    product["sell_discount"] = 0.5
    file = tmp_path / "catalogue.yaml"
    file.write_text(yaml.safe_dump(whole, allow_unicode=True), "utf-8")
    rate = (
        f"SELECT sell_discount_ppm FROM oms_down_product WHERE product_id = {product['product_id']}"
    )
    before = await office.partner.sql("order", rate)
    code, said = await office.maker("config", "apply", str(file))
    assert code == 0, said
    assert await office.partner.sql("order", rate) == before
    await office.approved(said)
    assert await office.partner.sql("order", rate) == 500_000


async def test_a_partners_key_is_issued_rotated_listed_and_revoked(office: Office) -> None:
    of = ("channel", "test")
    code, said = await office.maker("partner", "key", "issue", *of, "--reason", "new", "--json")
    assert code == 0, said
    issued = json.loads(said.splitlines()[-1])
    code, said = await office.maker("partner", "key", "rotate", *of, "--reason", "old", "--json")
    assert code == 0, said
    assert json.loads(said.splitlines()[-1])["secret"] != issued["secret"]
    code, said = await office.maker("partner", "key", "ls", *of, "--json")
    rows = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    assert (code, len(rows)) == (0, 2), said
    assert issued["secret"] not in said
    code, said = await office.maker("partner", "key", "revoke", *of, "--reason", "lost")
    assert (code, "which one?" in said) == (1, True)
    code, said = await office.maker("partner", "key", "revoke", *of, "--all", "--reason", "lost")
    assert code == 0, said
    code, said = await office.maker("partner", "key", "ls", *of, "--json")
    assert [line for line in said.splitlines() if line.startswith("{")] == [], said
    code, said = await office.checker("partner", "key", "issue", *of, "--reason", "mine")
    assert code == 1, said
