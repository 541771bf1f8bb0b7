"""Promises of `shoudan ledger` and `shoudan account`: plain words, exit code 1 on damage or refusal."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from sqlalchemy import text
from typer.testing import CliRunner, Result

from shoudan_kit.db import Database
from shoudan_pay.commands import account, ledger
from tests.pay.bank import YUAN, Bank, posting

Run = Callable[..., Awaitable[Result]]


def runner(bank: Bank, app: Any) -> Run:
    """`await run("verify")`: the command in a thread of its own, against the running service."""
    target = f"127.0.0.1:{bank.process.port}"
    environ = {"SHOUDAN_PAY_TARGET": target, "COLUMNS": "200", "TERM": "dumb"}

    async def run(*words: str) -> Result:
        return await asyncio.to_thread(CliRunner().invoke, app, list(words), env=environ)

    return run


async def test_an_operator_makes_fills_empties_and_locks_an_account(bank: Bank) -> None:
    run = runner(bank, account)
    of = ("ops", "-", "7")
    assert "made: account" in (await run("create", *of, "--name", "seven")).output
    assert "existed" in (await run("create", *of)).output
    assert "balance 100.5 元" in (await run("add", *of, "100.5", "a1")).output
    assert "was there before" in (await run("add", *of, "100.5", "a1")).output
    assert "balance 80.5 元" in (await run("drawing", *of, "20", "d1")).output
    assert "balance 100.5 元" in (await run("reverse", *of, "d1", "x1", "--drawing")).output
    assert "credit 50 元" in (await run("credit", *of, "50")).output
    assert "locked" in (await run("lock", *of)).output
    refused = await run("add", *of, "1", "a2")
    assert refused.exit_code == 1
    assert "ACCOUNT_LOCKED" in refused.output
    assert "open" in (await run("unlock", *of)).output
    assert (await run("add", *of, "1.234567", "a3")).exit_code == 2


async def test_the_ledger_is_looked_into(bank: Bank) -> None:
    run = runner(bank, ledger)
    key = await bank.account(12 * YUAN, ident="look", groups="-")
    assert "12 元 after 1 records" in (await run("balance", "look", "-", key.eid)).output
    past = await run("balance", "look", "-", key.eid, "--at", "2020-01-01 00:00:00")
    assert "0 元 after 0 records" in past.output
    assert (await run("balance", "look", "-", key.eid, "--at", "yesterday")).exit_code == 2
    assert (await run("balance", "look", "-", "nobody")).exit_code == 1
    shown = (await run("accounts", "--ident", "look")).output
    assert key.eid in shown
    assert "platform" in shown
    assert "add" in (await run("records", "look", "-", key.eid)).output


async def test_verify_ends_with_1_and_the_first_broken_row_on_damage(bank: Bank) -> None:
    run = runner(bank, ledger)
    key = await bank.account(ident="hurt")
    made = [await bank.post(posting(key, YUAN)) for _ in range(3)]
    whole = await run("verify", "--ident", "hurt")
    assert (whole.exit_code, "3 records: all hold" in whole.output) == (0, True)
    owner = Database(bank.urls.owner)
    sql = text("UPDATE account_record SET memo = 'x' WHERE record_id = :id")
    async with owner.begin() as db:
        await db.execute(sql, {"id": made[1].record.record_id})
    await owner.dispose()
    hurt = await run("verify", "--ident", "hurt")
    assert hurt.exit_code == 1
    assert f"record {made[1].record.record_id}: the hash does not fit" in hurt.output
