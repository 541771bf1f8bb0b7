"""Promises of `shoudan up`: ready soon, taken ports avoided or told, nothing left after Ctrl-C or a kill."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from shoudan_cli.system import PortTaken, Stage, System, default_data_dir
from shoudan_cli.wiring import CONSOLE, GATEWAY, SERVICES, choose_ports, own_environment, ownerless
from shoudan_kit.embedded.home import blocked_at, unprivileged_user
from shoudan_kit.process.ports import free_port, http_status
from shoudan_kit.service import services
from tests.poll import eventually


@asynccontextmanager
async def up(*options: str):
    """The command as a process, and what it said when it was ready."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "shoudan_cli", "up", "--json", *options, stdout=subprocess.PIPE
    )
    try:
        ready: dict[str, Any] = {}
        while not ready.get("ready"):
            line = await process.stdout.readline()
            assert line, "it ended before it was ready"
            ready = json.loads(line)
        yield process, ready
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Systems of this machine that start now are not waited for."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that PostgreSQL's user may enter when the tests are root's."""
    with tempfile.TemporaryDirectory(prefix="shoudan-test-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.system
@pytest.mark.timeout(300)  # seven processes start, on a machine that may be busy
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
async def test_nothing_is_left_when_it_ends(number):
    port = free_port()
    async with up("--ephemeral", "--port", str(port)) as (process, ready):
        assert ready["gateway"] == f"http://127.0.0.1:{port}"
        assert await http_status(port, "/openapi.json") == 200
        process.send_signal(number)
        code = await asyncio.wait_for(process.wait(), 30)
    assert code == (0 if number == signal.SIGINT else -signal.SIGKILL)
    pids = ready["pids"]
    assert set(pids) == {
        *(
            "postgres",
            "nats",
            "sandbox",
            "order",
            "pay",
            "delivery",
            "erp_ingest",
            "identity",
            "finance",
            "console",
            "gateway",
        )
    }
    await eventually(lambda: all(gone(pid) for pid in pids.values()), within_s=20)
    assert os.access(ready["logs"], os.F_OK) == (number == signal.SIGKILL)


@pytest.mark.system
@pytest.mark.timeout(300)  # seven processes start, on a machine that may be busy
async def test_a_killed_service_and_a_killed_server_come_back():
    async with System.start() as system:
        for name in ("pay", "postgres", "nats", "gateway"):
            await system.kill(name)
            await system.wait_healthy(name)
        for name in (*SERVICES, CONSOLE, GATEWAY):
            await system.wait_healthy(name)
        assert system.supervisor.restarts("pay") == 1


@pytest.fixture
def holder():
    """A port that somebody else has."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", free_port()))
        taken.listen()
        yield taken.getsockname()[1]


async def test_a_port_asked_for_and_taken_is_told(holder):
    with pytest.raises(PortTaken, match=f"port {holder} is taken"):
        async with System.start(port=holder):
            pass
    command = [sys.executable, "-m", "shoudan_cli", "up", "--ephemeral", "--port", str(holder)]
    process = await asyncio.create_subprocess_exec(*command, stderr=subprocess.PIPE)
    _, said = await process.communicate()
    assert process.returncode == 1
    assert f"port {holder} is taken" in said.decode()


def test_a_usual_port_that_is_taken_is_passed_over_aloud(monkeypatch):
    monkeypatch.setattr(
        "shoudan_cli.wiring.free_port", lambda wanted=None: wanted + (wanted in {8600, 50051})
    )
    ports = choose_ports(None, usual=True)
    assert ports["gateway"] == 8601
    assert ports["internal"] == 8602
    assert ports.moved == (
        "gateway 8600→8601",
        "internal 8601→8602",
        "order 50051→50052",
        *ports.moved[3:],
    )
    assert len(set(ports.numbers.values())) == len(ports.numbers)


def test_the_default_folder_is_one_postgresql_may_enter():
    folder = default_data_dir()
    assert folder.name == "shoudan"
    assert blocked_at(folder, unprivileged_user(), mode=1) is None
    assert folder.is_absolute()


def environ_of(pid: int) -> dict[str, str]:
    entries = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)


# Every secret that somebody may have set when `shoudan up` starts: the processes that have it, and how
# they read it. What is not listed has no reader at all.
SECRETS = {
    "SHOUDAN_PAY_COMPONENT_SECRET": {"pay": "SHOUDAN_PAY_COMPONENT_SECRET"},
    "SHOUDAN_PAY_LEDGER_KEYS": {"pay": "SHOUDAN_PAY_LEDGER_KEYS"},
    "SHOUDAN_LEDGER_KEYS": {"pay": "SHOUDAN_LEDGER_KEYS"},
    "SHOUDAN_DELIVERY_NOTIFY_KEY": {"delivery": "SHOUDAN_DELIVERY_NOTIFY_KEY"},
    "SHOUDAN_NOTIFY_KEY": {"delivery": "SHOUDAN_NOTIFY_KEY"},
    "SHOUDAN_PAY_LEDGER_STATEMENT_KEYS": {"pay": "SHOUDAN_PAY_LEDGER_STATEMENT_KEYS"},
    "SHOUDAN_ORDER_PERSONAL_KEYS": {"order": "SHOUDAN_ORDER_PERSONAL_KEYS"},
    "SHOUDAN_ORDER_INDEX_KEY": {"order": "SHOUDAN_ORDER_INDEX_KEY"},
    "SHOUDAN_DELIVERY_PERSONAL_KEYS": {"delivery": "SHOUDAN_DELIVERY_PERSONAL_KEYS"},
    "SHOUDAN_DELIVERY_INDEX_KEY": {"delivery": "SHOUDAN_DELIVERY_INDEX_KEY"},
    "SHOUDAN_ERP_INGEST_PERSONAL_KEYS": {"erp_ingest": "SHOUDAN_ERP_INGEST_PERSONAL_KEYS"},
    "SHOUDAN_ERP_INGEST_INDEX_KEY": {"erp_ingest": "SHOUDAN_ERP_INGEST_INDEX_KEY"},
    "SHOUDAN_ERP_INGEST_SENDER_RULES": {"erp_ingest": "SHOUDAN_ERP_INGEST_SENDER_RULES"},
    "SHOUDAN_IDENTITY_PERSONAL_KEYS": {"identity": "SHOUDAN_IDENTITY_PERSONAL_KEYS"},
    "SHOUDAN_IDENTITY_INDEX_KEY": {"identity": "SHOUDAN_IDENTITY_INDEX_KEY"},
    "SHOUDAN_IDENTITY_OIDC_CLIENT_SECRET": {"identity": "SHOUDAN_IDENTITY_OIDC_CLIENT_SECRET"},
    "SHOUDAN_PAY_PERSONAL_KEYS": {"pay": "SHOUDAN_PAY_PERSONAL_KEYS"},
    "SHOUDAN_PAY_INDEX_KEY": {"pay": "SHOUDAN_PAY_INDEX_KEY"},
    "SHOUDAN_FINANCE_INDEX_KEY": {"finance": "SHOUDAN_FINANCE_INDEX_KEY"},
    **{
        f"SHOUDAN_{name.upper()}_AUDIT_LOG_KEYS": {name: f"SHOUDAN_{name.upper()}_AUDIT_LOG_KEYS"}
        for name in ("order", "pay", "delivery", "erp_ingest", "identity", "finance")
    },
    "SHOUDAN_COMPONENT_SCANNER": {"pay": "SHOUDAN_COMPONENT_SCANNER"},
    "SHOUDAN_PAY_SECRET_DINGDANG": {"pay": "SHOUDAN_SECRET_DINGDANG"},
    "SHOUDAN_DELIVERY_SECRET_FASTCARD": {"delivery": "SHOUDAN_SECRET_FASTCARD"},
    "SHOUDAN_GATEWAY_SECRET_ACME": {"gateway": "SHOUDAN_SECRET_ACME"},
    "SHOUDAN_ORDER_SECRET_ACME": {"order": "SHOUDAN_SECRET_ACME"},
    "SHOUDAN_MOCK_SECRET": {"sandbox": "SHOUDAN_MOCK_SECRET"},
    "SHOUDAN_SECRET_WHOSE": {},
    "SHOUDAN_SIGN_KEY": {},
    "SHOUDAN_ORDER_OWNER_DATABASE_URL": {},
    "SHOUDAN_OWNER_DATABASE_URL": {},
}
PROCESSES = (*SERVICES, CONSOLE, GATEWAY, "sandbox")


def secret_settings() -> set[str]:
    """The variables of every setting that holds a secret."""
    return {
        f"SHOUDAN_{name}_{field}".upper()
        for name, service in services().items()
        for field, info in service.settings.model_fields.items()
        if "Secret" in str(info.annotation) and not field.endswith("database_url")
    }


def test_every_setting_that_holds_a_secret_is_listed_with_its_process():
    assert secret_settings() <= SECRETS.keys()


@pytest.mark.parametrize("suffix", ["", "_FILE"])
@pytest.mark.parametrize("name", PROCESSES)
def test_a_secret_reaches_the_processes_listed_with_it_and_no_others(name, suffix):
    env = {f"{variable}{suffix}": variable for variable in SECRETS} | {"PATH": "/bin"}
    declared = services().get(name)
    known = frozenset(declared.settings.model_fields) if declared else frozenset()
    expected = {
        f"{readers[name]}{suffix}": variable
        for variable, readers in SECRETS.items()
        if name in readers
    }
    assert own_environment(name, known, env) == expected | {"PATH": "/bin"}


def test_a_secret_that_does_not_say_whose_it_is_is_told():
    assert ownerless({**dict.fromkeys(SECRETS, ""), "PATH": ""}) == ["SHOUDAN_SECRET_WHOSE"]


@pytest.mark.system
@pytest.mark.timeout(300)
async def test_the_first_admin_is_shown_once_and_the_system_keeps_its_id(open_folder):
    shown: list[str] = []
    ids: list[str] = []
    for _ in range(2):
        stages: list[Stage] = []
        async with System.start(
            ephemeral=False, data_dir=open_folder / "data", catalogue=None, stage=stages.append
        ) as system:
            shown += [one.text for one in stages if one.name == "identity"]
            ids.append(system.id)
    (text,) = shown
    assert text.startswith("first operator admin, password for one login: ")
    assert len(set(ids)) == 1


@pytest.mark.system
@pytest.mark.timeout(300)  # seven processes start, on a machine that may be busy
@pytest.mark.usefixtures("loaded_each")
async def test_each_process_gets_its_own_secrets_and_nothing_else(monkeypatch):
    values = {variable: f"value-of-{variable.lower()}-0123456789" for variable in SECRETS}
    # The services start with these alone whatever they are; the others have a form of their own.
    formless = {"SHOUDAN_PAY_COMPONENT_SECRET", "SHOUDAN_DELIVERY_NOTIFY_KEY"}
    for variable in secret_settings() - formless | {"SHOUDAN_ORDER_OWNER_DATABASE_URL"}:
        del values[variable]
    for variable, value in values.items():
        monkeypatch.setenv(variable, value)
    reports = []
    async with System.start(report=lambda line: reports.append(str(line))) as system:
        for name in PROCESSES:
            given = environ_of(system.supervisor.pid(name))
            for variable, value in values.items():
                found = {key for key, text in given.items() if value in text}
                reader = SECRETS[variable].get(name)
                assert found == ({reader} if reader else set()), (name, variable)
            urls = {key for key in given if "DATABASE_URL" in key}
            own = {f"SHOUDAN_{name.upper()}_DATABASE_URL"}
            assert urls == (own if name in system.databases else set()), name
            for other, database in system.databases.items():
                assert database.owner not in given.values(), name
                assert (database.service in given.values()) == (other == name), name
            sealing = {value for key, value in given.items() if key == "SHOUDAN_PAY_LEDGER_KEYS"}
            assert bool(sealing) == (name == "pay"), name
        for name in ("postgres", "nats"):
            given = environ_of(system.supervisor.pid(name))
            assert not any(key.startswith("SHOUDAN_") for key in given), name
    assert any("SHOUDAN_SECRET_WHOSE reaches no service" in line for line in reports)


def test_a_shared_setting_that_begins_like_a_service_reaches_its_readers():
    env = {"SHOUDAN_PAY_TARGET": "a:1", "SHOUDAN_PAY_CALL_S": "2", "SHOUDAN_PAY_DATABASE_URL": "p"}
    known = {"pay_target", "pay_call_s"}
    assert own_environment("order", known, env) == {
        "SHOUDAN_PAY_TARGET": "a:1",
        "SHOUDAN_PAY_CALL_S": "2",
    }
    assert own_environment("pay", set(), env) == env
