"""Promises of `shoudan audit-log`: who did what in any service, with names, and the proof of it."""

from __future__ import annotations

import csv
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from io import StringIO
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from grpc import StatusCode, aio

from shoudan.core.v1 import operations_service_pb2 as core
from shoudan.core.v1 import operations_service_pb2_grpc as operations
from shoudan.identity.v1 import identity_service_pb2 as identity_pb
from shoudan.pay.v1 import ledger_service_pb2 as pb
from shoudan.pay.v1 import ledger_service_pb2_grpc as stubs
from shoudan_kit.config import Secret
from shoudan_kit.embedded import DatabaseUrls
from shoudan_kit.service import Process
from shoudan_pay.app import SERVICE
from shoudan_pay.config import PaySettings
from tests.identity.harness import SYSTEM, IdentityHarness, Person
from tests.identity.test_commands import Shell
from tests.poll import eventually
from tests.test_every_field import serving

OTHERS = ("order", "pay", "delivery", "erp_ingest", "finance")
KEY = pb.AccountKey(ident="oms", groups="down_channel", eid="acme")


@pytest.fixture
async def pay_urls(new_database: Any) -> DatabaseUrls:
    return await new_database("pay")


@pytest.fixture
async def pay(harness: IdentityHarness, pay_urls: DatabaseUrls) -> AsyncIterator[int]:
    """A pay service that believes identity's tokens; its port."""
    process: Process[PaySettings] = Process(
        SERVICE,
        PaySettings(
            profile="test",
            database_url=Secret(pay_urls.service),
            drain_s=1,
            system_id=SYSTEM,
            callers="enforce",
            identity_target=f"127.0.0.1:{harness.process.port}",
            audit_log_seal_s=0.1,
        ),
    )
    await process.start()
    yield process.port
    await process.stop()


@pytest.fixture
async def eve(harness: IdentityHarness) -> Person:
    """An operator who may move money and look at the audit log."""
    return await harness.person(await harness.admin(), "eve", "finance-maker", "finance-checker")


@pytest.fixture
def shell(harness: IdentityHarness, pay: int, eve: Person, tmp_path: Path) -> Shell:
    env = {
        "XDG_STATE_HOME": str(tmp_path),
        "HOME": str(tmp_path),
        "PATH": "/usr/bin:/bin",
        "SHOUDAN_IDENTITY_TARGET": f"127.0.0.1:{harness.process.port}",
        "SHOUDAN_PAY_TARGET": f"127.0.0.1:{pay}",
        "SHOUDAN_ACCESS_TOKEN": eve.tokens.access_token,
    }
    return Shell(tmp_path, env)


async def change(pay: int, eve: Person) -> None:
    """Eve makes an account and gives it credit."""
    async with aio.insecure_channel(f"127.0.0.1:{pay}") as channel:
        ledger = stubs.LedgerServiceStub(channel)
        item = pb.CreateAccountsRequest.Item(key=KEY, name="Acme")

        async def made() -> bool:
            try:
                request = pb.CreateAccountsRequest(items=[item])
                await ledger.CreateAccounts(request, metadata=eve.auth)
            except aio.AioRpcError:  # until pay has identity's keys
                return False
            return True

        await eventually(made, within_s=30)
        update = pb.UpdateAccountRequest(key=KEY, credit_micros=5_000_000)
        await ledger.UpdateAccount(update, metadata=eve.auth)
        await ledger.GetAccount(pb.GetAccountRequest(key=KEY), metadata=eve.auth)


async def sealed(urls: DatabaseUrls) -> Any:
    db = await asyncpg.connect(urls.owner.replace("+asyncpg", ""))
    try:
        return await db.fetchval("SELECT count(*) FROM audit_log_sealed")
    finally:
        await db.close()


async def test_what_an_operator_did_is_listed_exported_and_proved(
    harness: IdentityHarness, pay: int, pay_urls: DatabaseUrls, eve: Person, shell: Shell
) -> None:
    await change(pay, eve)
    listed = await shell("audit-log", "ls", "--service", "pay", "--json")
    assert listed.code == 0, listed.err
    update, create = [json.loads(line) for line in listed.out.splitlines()]
    assert (create["action"], update["action"]) == (
        "LedgerService/CreateAccounts",
        "LedgerService/UpdateAccount",
    )
    assert (update["caller_kind"], update["caller_name"]) == ("operator", "eve")
    assert (update["subject_kind"], update["subject_key"]) == ("account", "oms/down_channel/acme")
    assert json.loads(update["before"])["credit_micros"] == 0
    assert json.loads(update["after"])["credit_micros"] == 5_000_000
    both = await shell("audit-log", "ls", "--service", "identity", "--subject", "operator")
    assert both.code == 0, both.err
    assert "created" in both.out

    await eventually(lambda: sealed(pay_urls), within_s=30)
    as_csv = await shell("audit-log", "export", "--service", "pay", "--csv")
    rows = list(csv.DictReader(StringIO(as_csv.out)))
    assert [row["action"] for row in rows] == [create["action"], update["action"]]
    assert "eve" not in as_csv.out
    marked = await shell("audit-log", "export", "--service", "pay", "--csv", "--bom")
    assert marked.out == "\ufeff" + as_csv.out

    heads = shell.home / "heads.json"
    proved = await shell("audit-log", "verify", "--service", "pay", "--heads", str(heads))
    assert proved.code == 0, proved.out + proved.err
    assert proved.out.startswith("pay: whole")
    assert json.loads(heads.read_text())["pay"]["block_no"] > 0

    db = await asyncpg.connect(pay_urls.owner.replace("+asyncpg", ""))
    await db.execute("UPDATE audit_log SET reason = 'other' WHERE id = $1", update["id"])
    await db.close()
    found = await shell("audit-log", "verify", "--service", "pay", "--heads", str(heads))
    assert found.code == 1
    assert (
        f"a row was changed, block {json.loads(heads.read_text())['pay']['block_no']}" in found.out
    )
    assert f"row {update['id']}" in found.out


@pytest.mark.slow
async def test_an_erased_operator_leaves_the_chains_of_all_services_whole(
    harness: IdentityHarness, new_database: Any, tmp_path: Path
) -> None:
    admin = await harness.admin()
    eve = await harness.person(admin, "eve", "ops", "finance-checker")
    given = {
        "system_id": SYSTEM,
        "callers": "enforce",
        "identity_target": f"127.0.0.1:{harness.process.port}",
        "audit_log_seal_s": 0.1,
    }
    env = {
        "XDG_STATE_HOME": str(tmp_path),
        "HOME": str(tmp_path),
        "PATH": "/usr/bin:/bin",
        "SHOUDAN_IDENTITY_TARGET": given["identity_target"],
        "SHOUDAN_ACCESS_TOKEN": eve.tokens.access_token,
    }
    urls = {name: await new_database(name) for name in OTHERS}
    async with AsyncExitStack() as stack:
        for name in OTHERS:
            process, channel = await stack.enter_async_context(
                serving(name, urls[name].service, **given)
            )
            env[f"SHOUDAN_{name.upper()}_TARGET"] = f"127.0.0.1:{process.port}"
            await retried(operations.OperationsServiceStub(channel), eve)
        shell = Shell(tmp_path, env)
        erase = identity_pb.EraseOperatorRequest(name="eve", reason="she left")
        await harness.stub.EraseOperator(erase, metadata=admin.auth)
        for name in OTHERS:
            await eventually(lambda name=name: sealed(urls[name]), 30)
        bob = await harness.person(admin, "bob", "ops")
        as_bob = {"SHOUDAN_ACCESS_TOKEN": bob.tokens.access_token}
        proved = await shell("audit-log", "verify", **as_bob)
        assert proved.code == 0, proved.out + proved.err
        whole = [line.partition(":")[0] for line in proved.out.splitlines() if ": whole" in line]
        assert sorted(whole) == sorted([*OTHERS, "identity"])
        listed = await shell("audit-log", "ls", "--json", **as_bob)
        rows = [json.loads(line) for line in listed.out.splitlines()]
        ours = [row for row in rows if row["action"] == "OperationsService/RetryTasks"]
        assert sorted(row["service"] for row in ours) == sorted(OTHERS)
        assert all(row["caller_name"].startswith("erased-") for row in ours)
        assert "eve" not in listed.out


async def retried(stub: Any, eve: Person) -> None:
    """Eve makes the failed tasks of a kind due again; a service needs identity's keys for it."""

    async def done() -> bool:
        try:
            request = core.RetryTasksRequest(failed_name="none")
            await stub.RetryTasks(request, metadata=eve.auth)
        except aio.AioRpcError as error:
            if error.code() is not StatusCode.UNAUTHENTICATED:
                raise
            return False
        return True

    await eventually(done, 30)


async def test_the_audit_log_is_not_for_everybody(shell: Shell) -> None:
    refused = await shell("audit-log", "ls", "--service", "pay", SHOUDAN_ACCESS_TOKEN="x.y.z")
    assert refused.code == 1
    assert "pay ListAuditLog" in refused.err


async def test_a_service_that_is_away_makes_the_list_not_whole(shell: Shell) -> None:
    away = await shell("audit-log", "ls", "--service", "pay", SHOUDAN_PAY_TARGET="127.0.0.1:1")
    assert away.code == 1
    assert "not whole" in away.err
    wrong = await shell("audit-log", "ls", "--since", "yesterday")
    assert wrong.code == 2
    file = shell.home / "no-heads"
    file.write_text("[]")
    assert (await shell("audit-log", "verify", "--heads", str(file))).code == 2
