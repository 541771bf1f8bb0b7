"""Promises of `shoudan ledger` and `shoudan account`: plain words, exit code 1 on damage or refusal."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from sqlalchemy import text
from typer.testing import CliRunner, Result

from shoudan_cli.choice import READING
from shoudan_kit.db.pool import Database
from shoudan_kit.embedded import DatabaseUrls, Postgres
from shoudan_pay.commands import account, ledger
from shoudan_pay.ledger.statements import Keys
from tests.pay.ledger.harness import YUAN, LedgerHarness, posting
from tests.pay.ledger.signing import Turnable, opened

Run = Callable[..., Awaitable[Result]]


def runner(harness: LedgerHarness, app: Any) -> Run:
    """`await run("verify")`: the command in a thread of its own, against the running service."""
    target = f"127.0.0.1:{harness.process.port}"
    environ = {"SHOUDAN_PAY_TARGET": target, "COLUMNS": "200", "TERM": "dumb"}

    async def run(*words: str) -> Result:
        return await asyncio.to_thread(CliRunner().invoke, app, list(words), env=environ)

    return run


async def test_an_operator_makes_fills_empties_and_locks_an_account(harness: LedgerHarness) -> None:
    run = runner(harness, account)
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


async def test_the_ledger_is_looked_into(harness: LedgerHarness) -> None:
    run = runner(harness, ledger)
    key = await harness.account(12 * YUAN, ident="look", groups="-")
    assert "12 元 after 1 records" in (await run("balance", "look", "-", key.eid)).output
    past = await run("balance", "look", "-", key.eid, "--at", "2020-01-01 00:00:00")
    assert "0 元 after 0 records" in past.output
    assert (await run("balance", "look", "-", key.eid, "--at", "yesterday")).exit_code == 2
    assert (await run("balance", "look", "-", "nobody")).exit_code == 1
    shown = (await run("accounts", "--ident", "look")).output
    assert key.eid in shown
    assert "platform" in shown
    assert "add" in (await run("records", "look", "-", key.eid)).output


async def test_verify_ends_with_1_and_the_first_broken_row_on_damage(
    harness: LedgerHarness,
) -> None:
    run = runner(harness, ledger)
    key = await harness.account(ident="hurt")
    made = [await harness.post(posting(key, YUAN)) for _ in range(3)]
    whole = await run("verify", "--ident", "hurt")
    assert (whole.exit_code, "3 records: all hold" in whole.output) == (0, True)
    owner = Database(harness.urls.owner)
    sql = text("UPDATE account_record SET memo = 'x' WHERE record_id = :id")
    async with owner.begin() as db:
        await db.execute(sql, {"id": made[1].record.record_id})
    await owner.dispose()
    hurt = await run("verify", "--ident", "hurt")
    assert hurt.exit_code == 1
    assert f"record {made[1].record.record_id}: the hash does not fit" in hurt.output


async def test_an_auditor_proves_the_ledger_by_statements_and_keys_of_his_own(
    new_database: Callable[[str], Awaitable[DatabaseUrls]], postgres: Postgres, tmp_path: Path
) -> None:
    base = Turnable(await new_database("pay"), postgres)
    folder, mine = tmp_path / "statements", tmp_path / "mine"
    folder.mkdir()
    async with opened(base, folder, day=-1) as signing:
        run = runner(signing, ledger)
        key = await signing.chain()
        assert "signed: statement 1" in (await run("seal")).output
        assert "was there before: statement 1" in (await run("seal")).output
        (tmp_path / "keys").write_text((await run("keys")).output)
        shutil.copytree(folder, mine)
    async with opened(base, folder) as signing:
        run = runner(signing, ledger)
        against = ["verify", "--against", str(mine), "--keys", str(tmp_path / "keys")]
        await signing.chain(2)
        shown = await run(*against)
        assert (
            shown.exit_code,
            "3 accounts, 2 records since statement 1: all hold" in shown.output,
        ) == (0, True)
        assert "2 records since statement 1: all hold" in (await run("verify")).output
        assert "3 accounts, 7 records: all hold" in (await run(*against, "--full")).output
        # The folder of the service is rewritten together with the ledger: his own copy is not.
        await signing.rewrite(key, 2, 9 * YUAN)
        for one in signing.files() + signing.logs():
            one.unlink()
        await signing.run("DELETE FROM ledger_statement")
        assert (await run("verify", "--full")).exit_code == 0
        hurt = await run(*against)
        assert (hurt.exit_code, "micros, the statement 5000000" in hurt.output) == (1, True)
        file = next(mine.glob("statement-*"))
        alone = await run("verify", "--against", str(file))
        assert (alone.exit_code, "keys: as the service gives them" in alone.output) == (1, True)
        (tmp_path / "others").write_text("\n".join(Keys("another key").lines))
        stranger = await run("verify", "--against", str(file), "--keys", str(tmp_path / "others"))
        assert (stranger.exit_code, "a key that is not known" in stranger.output) == (1, True)


async def test_what_is_no_statement_is_a_plain_refusal(
    harness: LedgerHarness, tmp_path: Path
) -> None:
    run = runner(harness, ledger)
    (tmp_path / "keys").write_text("\n".join(Keys("a key").lines))
    known = ("--keys", str(tmp_path / "keys"))
    assert (await run("verify", "--against", str(tmp_path / "none"), *known)).exit_code == 2
    empty = await run("verify", "--against", str(tmp_path), *known)
    assert (empty.exit_code, "holds no statement" in empty.output) == (2, True)
    assert (await run("verify", "--against", str(tmp_path / "keys"), *known)).exit_code == 1
    assert (await run("verify", "--against", "x", "--keys", "nowhere")).exit_code == 2
    assert (await run("verify", "--against", "x", "--ident", "oms")).exit_code == 2
    off = await run("seal")
    assert (off.exit_code, "STATEMENTS_OFF" in off.output) == (1, True)


def test_to_print_the_public_keys_changes_nothing_and_asks_nobody() -> None:
    names = {
        one.name or getattr(one.callback, "__name__", "") for one in ledger.registered_commands
    }
    assert names - READING == {"seal"}
