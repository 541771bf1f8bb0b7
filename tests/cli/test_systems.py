"""Promises of the one resolver: a command acts on the system that is meant, or on none."""

from __future__ import annotations

import json
import os
import sys
from asyncio import create_subprocess_exec, subprocess
from pathlib import Path

import pytest

from shoudan_cli.clients import settings
from shoudan_cli.systems import SystemUnclear, folder, free_name, running, starting
from shoudan_kit.probe import free_port, listens

NOWHERE = "127.0.0.1:9"


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No system of this machine is known here."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for variable in list(os.environ):
        if variable.startswith("SHOUDAN_"):
            monkeypatch.delenv(variable)


def note(name: str, *, pid: int | None = None, port: int = 50051, gateway: int = 8600) -> None:
    """What `shoudan up` writes."""
    folder().mkdir(parents=True, exist_ok=True)
    targets = "\n".join(
        f'{service}_target = "127.0.0.1:{port}"'
        for service in ("order", "pay", "delivery", "erp_ingest")
    )
    (folder() / f"{name}.toml").write_text(
        f'[system]\nid = "id-{name}"\npid = {pid or os.getpid()}\nhome = "/data/{name}"\n'
        f'[cli]\ngateway_url = "http://127.0.0.1:{gateway}"\n{targets}\n'
    )


async def shoudan(*args: str, **env: str) -> tuple[int, str]:
    process = await create_subprocess_exec(
        *(sys.executable, "-m", "shoudan_cli", *args),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, **env},
    )
    said, _ = await process.communicate()
    return process.returncode or 0, said.decode()


def test_the_only_system_that_is_up_is_meant_whatever_its_ports() -> None:
    note("one", port=50099)
    assert settings().delivery_target == "127.0.0.1:50099"


def test_a_system_that_is_gone_is_not_meant() -> None:
    note("one", port=50099, pid=2**22)
    assert running() == []
    assert settings().delivery_target == "127.0.0.1:50053"


def test_two_systems_are_never_guessed_between() -> None:
    note("one")
    note("two", port=50099, gateway=8699)
    with pytest.raises(SystemUnclear, match="2 systems are up: one, two"):
        settings()


@pytest.mark.parametrize("wanted", ["two", "/data/two", "http://127.0.0.1:8699/"])
def test_a_system_is_named_by_name_folder_or_url(
    wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    note("one")
    note("two", port=50099, gateway=8699)
    monkeypatch.setenv("SHOUDAN_SYSTEM", wanted)
    monkeypatch.setenv("SHOUDAN_PAY_TARGET", NOWHERE)  # what is named wins over what is left around
    assert settings().pay_target == "127.0.0.1:50099"


@pytest.mark.parametrize("variable", ["SHOUDAN_PAY_TARGET", "SHOUDAN_CLI_PAY_TARGET"])
def test_both_families_of_variables_mean_the_same(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, NOWHERE)
    assert settings().pay_target == NOWHERE


def test_a_second_system_gets_a_name_of_its_own() -> None:
    assert free_name(None) == "main"
    note("main")
    assert free_name(None) == f"main-{os.getpid()}"
    with pytest.raises(SystemUnclear, match="main is up already"):
        free_name("main")


async def test_one_system_starts_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shoudan_cli.systems.START_S_MAX", 0.3)
    async with starting():
        with pytest.raises(SystemUnclear, match="too long"):
            async with starting():
                pass
    async with starting():
        pass


async def test_what_listens_is_what_was_started() -> None:
    import asyncio

    server = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", free_port())
    port = server.sockets[0].getsockname()[1]
    assert listens(os.getpid(), port)
    assert not listens(os.getppid(), port)
    server.close()
    await server.wait_closed()
    assert not listens(os.getpid(), port)


@pytest.mark.parametrize(
    "command",
    [
        ("channel", "suspend", "ycup", "--reason", "x"),
        ("account", "lock", "oms", "down_channel", "test"),
        ("order", "pause", "1", "--reason", "x"),
        ("audit", "retry", "pay", "1", "--reason", "x"),
        ("erp", "search"),
        ("ledger", "verify"),
    ],
)
async def test_a_command_that_could_mean_two_systems_does_nothing(command: tuple[str, ...]) -> None:
    note("one")
    note("two", gateway=8699)
    code, said = await shoudan(*command)
    assert code == 1
    assert "2 systems are up" in said


@pytest.mark.system
@pytest.mark.timeout(300)  # five processes start, on a machine that may be busy
async def test_a_command_follows_moved_ports_and_refuses_a_neighbour() -> None:
    up = await create_subprocess_exec(
        *(sys.executable, "-m", "shoudan_cli", "up", "--ephemeral", "--json", "--name", "mine"),
        stdout=subprocess.PIPE,
    )
    try:
        assert up.stdout is not None
        ready: dict[str, object] = {}
        while not ready.get("ready"):
            ready = json.loads(await up.stdout.readline())
        (mine,) = running()
        assert (mine.name, mine.id) == ("mine", ready["id"])
        code, said = await shoudan("channel", "ls")
        assert code == 0, said
        code, said = await shoudan(
            "--system", "mine", "channel", "suspend", "ycup", "--reason", "x"
        )
        assert code == 0, said
        assert f"system mine, {mine.gateway_url}" in said
        mine.file.unlink()
        note("other", port=int(mine.targets["delivery"].rpartition(":")[2]))
        code, said = await shoudan("channel", "resume", "ycup")
        assert code == 1
        assert "is not the system other" in said
    finally:
        up.terminate()
        await up.communicate()
