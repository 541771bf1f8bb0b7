"""Promises of `shoudan proposal` and of the commands that propose where one person may not act alone."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from google.protobuf import json_format
from typer.testing import CliRunner, Result

from shoudan.pay.v1 import ledger_service_pb2 as ledger
from shoudan_cli.proposals import app as proposal_commands
from shoudan_kit.rpc import client
from shoudan_kit.rpc.rights import FINANCE_CHECKER, FINANCE_MAKER
from shoudan_pay.commands import account
from tests.credentials import token_as
from tests.pay.ledger.harness import YUAN
from tests.pay.ledger.office import LEDGER, SYSTEM, Office


def command(office: Office, monkeypatch: pytest.MonkeyPatch, who: str, *roles: str) -> Any:
    """`await run(app, "ls")` as this operator, with a token as `shoudan login` keeps it."""
    target = f"127.0.0.1:{office.harness.process.port}"
    environ = {
        "SHOUDAN_PAY_TARGET": target,
        "SHOUDAN_CLI_PAY_TARGET": target,
        "COLUMNS": "200",
        "TERM": "dumb",
    }

    async def run(app: Any, *words: str, given: str = "") -> Result:
        monkeypatch.setattr(client, "_tokens", {target: lambda: token_as(SYSTEM, who, *roles)})
        return await asyncio.to_thread(
            CliRunner().invoke, app, list(words), env=environ, input=given
        )

    return run


async def test_a_maker_proposes_with_the_usual_command_and_a_checker_approves(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await office.harness.account(YUAN)
    of = (key.ident, key.groups, key.eid)
    maker = command(office, monkeypatch, "cm", FINANCE_MAKER)
    checker = command(office, monkeypatch, "cc", FINANCE_CHECKER)
    without = await maker(account, "add", *of, "2", "cli1")
    assert (without.exit_code, "--reason" in without.output) == (1, True)
    made = await maker(account, "add", *of, "2", "cli1", "--reason", "bank record 7")
    assert made.exit_code == 0, made.output
    number = next(word for word in made.stdout.split() if word.startswith("pay:"))
    assert f"{key.eid}, 元: 1 -> 3" in made.output
    assert f"shoudan proposal approve {number}" in made.output
    assert await office.harness.balance(key) == YUAN
    own = await maker(proposal_commands, "approve", number)
    assert own.exit_code == 1
    assert "NOT_ALLOWED" in own.output
    listed = await checker(proposal_commands, "ls")
    assert number in listed.output
    assert "bank record 7" in (await checker(proposal_commands, "show", number)).output
    done = await checker(proposal_commands, "approve", number, "--reason", "seen", "--json")
    assert done.exit_code == 0, done.output
    assert '"state": "applied"' in done.output
    assert await office.harness.balance(key) == 3 * YUAN
    assert number not in (await checker(proposal_commands, "ls")).output
    assert number in (await checker(proposal_commands, "ls", "--state", "applied")).output


async def test_any_call_is_proposed_refused_and_withdrawn_by_command(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await office.harness.account()
    maker = command(office, monkeypatch, "dm", FINANCE_MAKER)
    checker = command(office, monkeypatch, "dc", FINANCE_CHECKER)
    credit = json_format.MessageToJson(
        ledger.UpdateAccountRequest(key=key, credit_micros=1_000_000)
    )
    words = ("make", f"{LEDGER}/UpdateAccount", "--reason", "r")
    numbers = [
        (await maker(proposal_commands, *words, given=credit)).stdout.split()[0] for _ in range(2)
    ]
    refused = await checker(proposal_commands, "refuse", numbers[0], "--reason", "too much")
    assert "refused by op-dc: too much" in refused.output
    late_approval = await checker(proposal_commands, "approve", numbers[0])
    assert (late_approval.exit_code, "PROPOSAL_ENDED" in late_approval.output) == (1, True)
    taken_back = await maker(proposal_commands, "withdraw", numbers[1].removeprefix("pay:"))
    assert "withdrawn by op-dm" in taken_back.output
    assert (await maker(proposal_commands, "show", "pay:7")).exit_code == 1
    assert (await maker(proposal_commands, "show", "seven")).exit_code == 1
    assert (await maker(proposal_commands, "make", "a.B/C", "--reason", "r")).exit_code == 2
    wrong = await maker(proposal_commands, *words, given='{"nothing": 1}')
    assert wrong.exit_code == 2
