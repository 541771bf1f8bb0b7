"""Promises of the one resolver: a command acts on the system that is meant, or on none."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import sys
import tempfile
from asyncio import create_subprocess_exec, subprocess
from base64 import b64encode
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_bytes
from typing import Any

import pytest
import typer

from shoudan_cli import choice, clients, kept_logins
from shoudan_cli.clients import ClientSettings, settings
from shoudan_cli.credentials import present
from shoudan_cli.kept_logins import ACCESS_VARIABLE
from shoudan_cli.systems import (
    Answer,
    SystemUnclear,
    answering,
    folder,
    free_name,
    proved,
    running,
    starting,
)
from shoudan_kit.process.child import Child, tail
from shoudan_kit.process.ports import free_port, listens
from shoudan_kit.tls.authority import CA, CERT, CURRENT, KEY
from shoudan_kit.tls.identity import Files, Identity
from tests import command
from tests.conftest import Databases
from tests.credentials import token_of, trusted_keys
from tests.poll import eventually

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
        for service in ("order", "pay", "delivery", "erp_ingest", "identity", "finance")
    )
    (folder() / f"{name}.toml").write_text(
        f'[system]\nid = "id-{name}"\npid = {pid or os.getpid()}\nhome = "/data/{name}"\n'
        f'[cli]\ngateway_url = "http://127.0.0.1:{gateway}"\n{targets}\n'
    )


async def shoudan(*args: str, typed: str | None = None, **env: str) -> tuple[int, str]:
    """The command, with nobody at a keyboard or with somebody who types."""
    if typed is None:
        return await command.shoudan(*args, env={**os.environ, **env})
    keyboard, stdin = pty.openpty()
    process = await create_subprocess_exec(
        *(sys.executable, "-m", "shoudan_cli", *args),
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, **env},
    )
    os.write(keyboard, f"{typed}\n".encode())
    said, _ = await process.communicate()
    for one in (keyboard, stdin):
        os.close(one)
    return process.returncode or 0, said.decode()


@dataclass(frozen=True)
class Delivery:
    """A delivery service as a process of its own."""

    target: str

    async def paused(self) -> bool:
        """Whether the last `channel hold` or `resume` of channel up held it."""
        code, said = await shoudan("channel", "ls", "--target", self.target)
        assert code == 0, said
        return "held" in said


CODES = ", ".join(
    f"{{error_code: R_{deal}, deal_code: {deal}, error_code_desc: x}}" for deal in (0, 10, 90)
)
SUPPLIER = f"""
suppliers: [{{channel_no: up, service_class: 10, request_url: "https://1.1.1.1/x",
  error_codes: [{CODES}]}}]
"""


@asynccontextmanager
async def delivery(
    new_database: Databases, home: Path, *, profile: str, name: str = ""
) -> AsyncGenerator[Delivery]:
    port, log = free_port(), home / f"delivery-{profile}-{name}.log"
    own = {k: v for k, v in os.environ.items() if not k.startswith("SHOUDAN_")}
    env = own | {
        "SHOUDAN_PROFILE": profile,
        "SHOUDAN_SYSTEM_ID": name,
        "SHOUDAN_TOKEN_KEYS": str(trusted_keys(home)),
        "SHOUDAN_DELIVERY_DATABASE_URL": (await new_database("delivery")).service,
        "SHOUDAN_DELIVERY_LISTEN_PORT": str(port),
        "SHOUDAN_DELIVERY_NOTIFY_KEY": "a-key-of-these-tests",
        "SHOUDAN_DELIVERY_PERSONAL_KEYS": f"k1:{b64encode(token_bytes(32)).decode()}",
        "SHOUDAN_DELIVERY_AUDIT_LOG_KEYS": f"k1:{b64encode(token_bytes(32)).decode()}",
        "SHOUDAN_DELIVERY_INDEX_KEY": b64encode(token_bytes(32)).decode(),
    }
    command = [sys.executable, "-m", "shoudan_cli", "serve", "delivery", "--roles", "rpc"]
    child = Child.spawn(command, env=env, output=log)
    target = f"127.0.0.1:{port}"

    async def up() -> bool:
        return await answering(target) == Answer(target, name, profile)

    try:
        await eventually(up, 60, every_s=0.1)
        yield Delivery(target)
    except AssertionError:
        print(tail(log))
        raise
    finally:
        await child.stop()


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


async def test_one_system_starts_at_a_time() -> None:
    async with starting():
        with pytest.raises(SystemUnclear, match="too long"):
            async with starting(0.3):
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
        code, said = await shoudan("whoami")
        assert (code, said.startswith(f"owner of {mine.home}, every role\n")) == (0, True), said
        assert await kept_logins.context_of(settings()) == mine.id
        code, said = await shoudan(
            "--system", "mine", "channel", "suspend", "ycup", "--reason", "x"
        )
        assert code == 0, said
        assert f"system mine ({mine.id}), {mine.gateway_url}" in said
        mine.file.unlink()
        note("other", port=int(mine.targets["delivery"].rpartition(":")[2]))
        code, said = await shoudan("channel", "resume", "ycup")
        assert code == 1
        assert "is not the system other" in said
    finally:
        up.terminate()
        await up.communicate()


HOLD = ("channel", "hold", "up", "--reason", "x")
RESUME = ("channel", "resume", "up")


@pytest.mark.timeout(240)  # a dozen commands, a second each on a machine that may be busy
async def test_production_is_changed_only_when_a_person_or_yes_says_so(
    new_database: Databases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "up.yaml"
    file.write_text(SUPPLIER)
    async with delivery(new_database, tmp_path, profile="prod", name="acme") as one:
        monkeypatch.setenv(ACCESS_VARIABLE, token_of("acme"))
        here = {"SHOUDAN_DELIVERY_TARGET": one.target}
        named = f"system acme, profile prod, at {one.target}"
        await _supplied(one)
        code, said = await shoudan(*HOLD, **here)
        assert (code, f"{named} is in production: shoudan --yes" in said) == (1, True), said
        code, said = await shoudan(*HOLD, typed="n", **here)
        assert (code, f"{named}\n" in said, "Change it?" in said) == (1, True, True), said
        assert not await one.paused()
        code, said = await shoudan(*HOLD, typed="y", **here)
        assert code == 0, said
        assert await one.paused()
        code, said = await shoudan("--yes", *RESUME, "--target", one.target)
        assert (code, named in said) == (0, True), said
        assert not await one.paused()


async def _supplied(one: Delivery) -> None:
    """Give delivery its channel `up`."""
    from shoudan.delivery.v1 import delivery_service_pb2 as pb
    from shoudan.delivery.v1 import delivery_service_pb2_grpc as delivery_grpc
    from shoudan_configuration.document import parse
    from shoudan_configuration.messages import suppliers_of

    message = pb.ApplySuppliersRequest(suppliers=suppliers_of(parse(SUPPLIER, "x.yaml", {})))
    present("acme", None, [one.target], login=token_of("acme"))
    opened = clients.Clients({"delivery": one.target})
    await opened.call("delivery", delivery_grpc.SupplierServiceStub, "ApplySuppliers", message)
    await opened.close()


@pytest.mark.timeout(240)  # several commands, a second each on a machine that may be busy
async def test_an_address_of_the_command_line_is_checked_and_named(
    new_database: Databases, tmp_path: Path
) -> None:
    async with delivery(new_database, tmp_path, profile="demo", name="other") as one:
        note("mine")
        target = ("--target", one.target)
        code, said = await shoudan("--system", "mine", *HOLD, *target)
        assert (code, "is not the system mine" in said) == (1, True), said
        code, said = await shoudan("channel", "ls", *target)
        assert (code, f"system other, profile demo, at {one.target}" in said) == (0, True), said
        note("mine", port=int(one.target.rpartition(":")[2]))
        for command in (HOLD, ("channel", "ls")):
            code, said = await shoudan(*command, *target)
            assert (code, "is not the system mine" in said) == (1, True), said


@pytest.mark.timeout(240)
async def test_what_answers_at_the_usual_ports_is_named_or_left_alone(
    new_database: Databases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    async def hold(target: str) -> str:
        """What is said before `channel hold` runs, when the usual port is that of `target`."""
        usual = ClientSettings.model_validate({"delivery_target": target})

        def meant(**_: object) -> tuple[ClientSettings, None]:
            return usual, None

        monkeypatch.setattr(clients, "resolved", meant)
        try:
            await asyncio.to_thread(choice.prepare, HOLD, yes=False)
        except typer.Exit:
            return f"refused: {capsys.readouterr().err}"
        finally:
            for service in ("ORDER", "PAY", "DELIVERY", "ERP_INGEST", "IDENTITY", "FINANCE"):
                monkeypatch.delenv(f"SHOUDAN_{service}_TARGET", raising=False)
        return capsys.readouterr().err

    async with (
        delivery(new_database, tmp_path, profile="demo", name="one") as one,
        delivery(new_database, tmp_path, profile="demo") as nameless,
    ):
        assert await hold(one.target) == f"system one, profile demo, at {one.target}\n"
        assert "refused: system without an id" in await hold(nameless.target)
        assert "refused: no service of a system answers" in await hold(f"127.0.0.1:{free_port()}")
        with pytest.raises(
            SystemUnclear, match=r"system one, .*; system without an id, .*: not one"
        ):
            await proved(None, {one.target: "delivery", nameless.target: "delivery"})


async def test_a_demo_orders_only_where_it_can_look() -> None:
    note("mine")
    code, said = await shoudan("demo", "--url", "http://127.0.0.1:9")
    assert (code, "no system http://127.0.0.1:9 is up here; up: mine" in said) == (1, True), said


@asynccontextmanager
async def up(*options: str, **env: str) -> AsyncGenerator[subprocess.Process]:
    process = await create_subprocess_exec(
        *(sys.executable, "-m", "shoudan_cli", "up", "--json", *options),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **env},
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


async def ready(process: subprocess.Process) -> dict[str, Any] | str:
    """What it says when it is ready, or why it ended."""
    assert process.stdout is not None
    assert process.stderr is not None
    while line := await process.stdout.readline():
        said: dict[str, Any] = json.loads(line)
        if said.get("ready"):
            return said
    why = (await process.stderr.read()).decode()
    assert await process.wait() == 1, why
    return why


async def proves(said: dict[str, Any]) -> None:
    """What was said to be ready is what was started, and stays."""
    place = Path(said["logs"]).parent / "pki" / "cli" / CURRENT
    who = Identity(Files(place / CERT, place / KEY, place / CA))
    heard = [await answering(target, name, who) for name, target in said["targets"].items()]
    assert {one.id for one in heard if one} == {said["id"]}, heard
    assert len([one for one in heard if one]) == len(said["targets"])
    ports = {"gateway": int(said["gateway"].rpartition(":")[2])}
    ports |= {name: int(target.rpartition(":")[2]) for name, target in said["targets"].items()}
    for name, port in ports.items():
        assert listens(said["pids"][name], port), name


@pytest.mark.system
@pytest.mark.timeout(400)  # ten processes start, on a machine that may be busy
async def test_two_that_start_together_get_ports_of_their_own(tmp_path: Path) -> None:
    async with up("--ephemeral") as first, up("--ephemeral") as second:
        both = await asyncio.gather(ready(first), ready(second))
        up_now = [said for said in both if isinstance(said, dict)]
        assert len(up_now) == 2, both
        for said in up_now:
            await proves(said)
        assert len({one["gateway"] for one in up_now}) == 2
        assert len(running()) == 2
        for one in running():
            code, told = await shoudan("--system", one.name, "status")
            assert (code, f"system {one.name} ({one.id}), {one.gateway_url}" in told) == (0, True)
        one = running()[0]
        code, told = await shoudan("demo", "--url", one.gateway_url)
        assert (code, f"system {one.name} ({one.id})" in told) == (0, True), told


@pytest.mark.system
@pytest.mark.timeout(400)  # ten processes start, on a machine that may be busy
async def test_two_that_do_not_see_each_other_are_ready_each_or_say_why_not(
    tmp_path: Path,
) -> None:
    """As two users of a machine: no lock is shared, so both take the usual ports at once."""
    users = [{"XDG_STATE_HOME": str(tmp_path / name)} for name in "ab"]
    async with up("--ephemeral", **users[0]) as first, up("--ephemeral", **users[1]) as second:
        both = await asyncio.gather(ready(first), ready(second))
        up_now = [said for said in both if isinstance(said, dict)]
        assert up_now, both
        for said in up_now:
            await proves(said)
        assert len({one["gateway"] for one in up_now}) == len(up_now)
        assert all(said.strip() for said in both if isinstance(said, str))


@pytest.mark.system
@pytest.mark.timeout(400)  # five processes start, on a machine that may be busy
async def test_of_those_that_want_the_same_one_starts_and_the_others_say_why_not() -> None:
    port = free_port()
    with _enterable() as home:
        same = ("--data", f"{home}/data", "--name", "twin", "--port", str(port))
        async with up(*same) as first, up(*same) as second:
            both = await asyncio.gather(ready(first), ready(second))
            (winner,) = [said for said in both if isinstance(said, dict)]
            (loser,) = [said for said in both if isinstance(said, str)]
            assert "a system twin is up already" in " ".join(loser.split())
            for options, why in {
                ("--data", f"{home}/data"): "data folder is in use by process",
                ("--ephemeral", "--name", "twin"): "a system twin is up already",
                ("--ephemeral", "--port", str(port)): f"port {port} is taken",
            }.items():
                async with up(*options) as late:
                    said = await ready(late)
                    assert isinstance(said, str)
                    assert why in " ".join(said.split())
            await proves(winner)


def _enterable() -> tempfile.TemporaryDirectory[str]:
    """A folder that PostgreSQL's user may enter, unlike a test's own."""
    home = tempfile.TemporaryDirectory(prefix="shoudan-test-")
    Path(home.name).chmod(0o755)
    return home
