"""Promises of `shoudan up`: ready soon, taken ports avoided or told, nothing left after Ctrl-C or a kill."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from shoudan_cli.system import PortTaken, System, default_data_dir
from shoudan_cli.wiring import choose_ports, own_environment
from shoudan_kit.embedded_home import blocked_at, unprivileged_user
from shoudan_kit.probe import free_port, http_status
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


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.system
@pytest.mark.timeout(300)  # five processes start, on a machine that may be busy
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
        *("postgres", "nats", "sandbox", "order", "pay", "delivery", "erp_ingest", "gateway")
    }
    await eventually(lambda: all(gone(pid) for pid in pids.values()), timeout=20)
    assert os.access(ready["logs"], os.F_OK) == (number == signal.SIGKILL)


@pytest.mark.system
@pytest.mark.timeout(300)  # five processes start, on a machine that may be busy
async def test_a_killed_service_and_a_killed_server_come_back():
    async with System.start() as system:
        for name in ("pay", "postgres", "nats", "gateway"):
            await system.kill(name)
            await system.wait_healthy(name)
        for name in ("order", "pay", "delivery", "erp_ingest", "gateway"):
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
    assert "port 8600 (gateway) is taken, 8601 is used instead" in ports.moved
    assert len(set(ports.numbers.values())) == len(ports.numbers)


def test_the_default_folder_is_one_postgresql_may_enter():
    folder = default_data_dir()
    assert folder.name == "shoudan"
    assert blocked_at(folder, unprivileged_user(), mode=1) is None
    assert folder.is_absolute()


def environ_of(pid: int) -> dict[str, str]:
    entries = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)


@pytest.mark.system
@pytest.mark.timeout(300)  # five processes start, on a machine that may be busy
async def test_each_process_gets_its_own_password_and_nothing_else(monkeypatch):
    monkeypatch.setenv("SHOUDAN_PAY_COMPONENT_SECRET", "only-for-pay")
    async with System.start() as system:
        for name in ("order", "pay", "delivery", "erp_ingest", "gateway", "sandbox"):
            given = environ_of(system.supervisor.pid(name))
            urls = {key for key in given if "DATABASE_URL" in key}
            own = {f"SHOUDAN_{name.upper()}_DATABASE_URL"}
            assert urls == (own if name in system.databases else set()), name
            for other, database in system.databases.items():
                assert database.owner not in given.values(), name
                assert (database.service in given.values()) == (other == name), name
            assert ("only-for-pay" in given.values()) == (name == "pay"), name


def test_a_shared_setting_that_begins_like_a_service_reaches_its_readers():
    env = {"SHOUDAN_PAY_TARGET": "a:1", "SHOUDAN_PAY_CALL_S": "2", "SHOUDAN_PAY_DATABASE_URL": "p"}
    known = {"pay_target", "pay_call_s"}
    assert own_environment("order", known, env) == {
        "SHOUDAN_PAY_TARGET": "a:1",
        "SHOUDAN_PAY_CALL_S": "2",
    }
    assert own_environment("pay", set(), env) == env
