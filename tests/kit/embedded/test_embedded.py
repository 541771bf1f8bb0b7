"""Promises of the embedded servers: private, durable, one at a time, gone with us, back after a kill."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import asyncpg
import nats as nats_client
import pytest
from sqlalchemy import make_url

from shoudan_kit.embedded import EmbeddedError, Nats, Postgres, binaries
from shoudan_kit.embedded import home as embedded_home
from shoudan_kit.embedded.home import Home, blocked_at, unprivileged_user
from shoudan_kit.embedded.roles import quoted, scram_verifier
from shoudan_kit.process.child import Child, User
from shoudan_kit.process.ports import free_port, port_taken
from tests.poll import eventually


async def connect(url: str, **changed: str) -> asyncpg.Connection:
    parts = make_url(url)
    arguments = {
        "host": parts.query.get("host") or parts.host,
        "port": int(parts.query.get("port") or parts.port),
        "user": parts.username,
        "password": parts.password,
        "database": parts.database,
    }
    return await asyncpg.connect(**arguments | changed)


async def ask(url: str, sql: str) -> object:
    db = await connect(url)
    try:
        return await db.fetchval(sql)
    finally:
        await db.close()


def stranger() -> User:
    """Somebody to whom nothing here belongs."""
    return User("stranger", os.geteuid() + 4242, os.getegid() + 4242)


async def told(port: int, text: str, end: bytes = b"") -> str:
    """What a server on loopback answers, until it hangs up or `end` has come."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(text.encode())
    answer = await (reader.readuntil(end) if end else reader.read())
    writer.close()
    await writer.wait_closed()
    return answer.decode()


def gone(pid: int) -> bool:
    """Not there, or dead and only waiting to be collected by whoever started it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


# ---------------------------------------------------------------- PostgreSQL


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("fsync", "on"),
        ("full_page_writes", "on"),
        ("synchronous_commit", "on"),
        ("data_checksums", "on"),
        ("data_sync_retry", "off"),
        ("server_encoding", "UTF8"),
        ("listen_addresses", "127.0.0.1"),
        ("unix_socket_permissions", "0700"),
        ("password_encryption", "scram-sha-256"),
        ("log_parameter_max_length", "0"),
        ("log_parameter_max_length_on_error", "0"),
        ("statement_timeout", "5s"),
        ("lock_timeout", "2s"),
        ("idle_in_transaction_session_timeout", "2s"),
        ("transaction_timeout", "10s"),
        ("client_connection_check_interval", "1s"),
        ("max_connections", "150"),
        ("shared_buffers", "256MB"),
        ("max_wal_size", "2GB"),
        ("jit", "off"),
    ],
)
async def test_settings_are_those_of_the_reliability_document(postgres, setting, value):
    await postgres.provision(["order"])
    url = postgres.url("postgres", "shoudan_order")
    assert await ask(url, f"SHOW {setting}") == value


async def test_nobody_gets_in_without_a_password(postgres):
    async with postgres.admin() as db:
        methods = await db.fetch("SELECT DISTINCT auth_method FROM pg_hba_file_rules")
    assert [row["auth_method"] for row in methods] == ["scram-sha-256"]
    for url in (postgres.url("postgres"), postgres.tcp_url("postgres")):
        with pytest.raises(asyncpg.InvalidPasswordError):
            await connect(url, password="wrong")


async def test_the_socket_and_the_passwords_are_private(postgres):
    assert stat.S_IMODE(postgres.socket_dir.stat().st_mode) == 0o700
    assert stat.S_IMODE(postgres.home.path.stat().st_mode) == 0o700
    for name in ("superuser.password", "roles.json"):
        assert stat.S_IMODE((postgres.home.path / name).stat().st_mode) == 0o600


async def test_each_service_has_its_own_role_and_the_owner_is_no_superuser(postgres):
    urls = await postgres.provision(["order", "pay"])
    assert urls == await postgres.provision(["order", "pay"])
    assert await ask(urls["order"].service, "SELECT current_user") == "shoudan_order"
    assert await ask(urls["pay"].owner, "SELECT current_user") == "shoudan_owner"
    special = (
        "SELECT rolsuper OR rolcreatedb OR rolcreaterole FROM pg_roles WHERE rolname = current_user"
    )
    for url in (*urls["order"], *urls["pay"]):
        assert await ask(url, special) is False
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await ask(urls["order"].service, "CREATE TABLE mine (id int)")


async def test_migrations_have_all_the_time_they_need(postgres):
    assert await ask(postgres.url("postgres"), "SHOW statement_timeout") == "0"
    assert await ask(postgres.url("postgres"), "SHOW transaction_timeout") == "0"


async def test_a_database_is_copied_from_a_template_and_dropped(postgres):
    await postgres.create_database("first", service="order")
    await ask(postgres.url("first"), "CREATE TABLE kept (id int)")
    await postgres.create_database("second", service="order", template="first")
    assert await ask(postgres.url("second"), "SELECT count(*) FROM kept") == 0
    for name in ("first", "second", "never_there"):
        await postgres.drop_database(name)
    with pytest.raises(asyncpg.InvalidCatalogNameError):
        await connect(postgres.url("first"))


async def test_data_passwords_and_address_outlive_kills_and_starts(tmp_home):
    async with await Postgres.start(tmp_home / "pg", profile="test") as server:
        urls = (await server.provision(["pay"]))["pay"]
        await ask(urls.owner, "CREATE TABLE kept (id int)")
        await ask(urls.owner, "INSERT INTO kept VALUES (7)")
        await server.kill()
        assert not await server.healthy()
        await server.launch()
        assert await ask(urls.owner, "SELECT id FROM kept") == 7
        port = server.port
    assert gone(server.pid)
    async with await Postgres.start(tmp_home / "pg", port=port, profile="test") as again:
        assert (await again.provision(["pay"]))["pay"] == urls
        assert await ask(urls.owner, "SELECT id FROM kept") == 7
        with pytest.raises(EmbeddedError, match=f"in use by process {os.getpid()}"):
            await Postgres.start(tmp_home / "pg")


async def test_a_pid_file_that_names_a_stranger_is_no_obstacle(tmp_home):
    async with await Postgres.start(tmp_home / "pg", profile="test") as server:
        pid_file = tmp_home / "pg" / "data" / "postmaster.pid"
        text = pid_file.read_text()
        await server.kill()
    pid_file.write_text(text.replace(str(server.pid), str(os.getpid()), 1))
    async with await Postgres.start(tmp_home / "pg", profile="test") as again:
        assert await again.healthy()


async def test_a_half_made_folder_is_made_anew(tmp_home):
    async with await Postgres.start(tmp_home / "pg", profile="test"):
        pass
    (tmp_home / "pg" / "data").rename(tmp_home / "pg" / "data.new")
    async with await Postgres.start(tmp_home / "pg", profile="test") as again:
        assert await again.healthy()


async def test_a_taken_port_is_said(postgres, tmp_home):
    with pytest.raises(EmbeddedError, match="could not bind"):
        await Postgres.start(None, port=postgres.port, profile="test", again_s_max=0)


async def test_a_long_path_still_gets_a_socket(tmp_home):
    deep = tmp_home / ("d" * 90)
    async with await Postgres.start(deep, profile="test") as server:
        assert len(str(server.socket_dir)) < 80
        assert await server.healthy()
    assert not server.socket_dir.exists()


START_AND_DIE = """
import asyncio, os, signal
from shoudan_kit.embedded import Nats, Postgres
async def main():
    pg, nats = await Postgres.start(profile="test"), await Nats.start()
    print(pg.pid, nats.pid, pg.home.path, nats.home.path, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""


async def test_a_killed_parent_leaves_no_server_behind():
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", START_AND_DIE, stdout=subprocess.PIPE
    )
    said, _ = await parent.communicate()
    assert parent.returncode == -signal.SIGKILL
    *pids, home, nats_home = said.decode().split()
    await eventually(lambda: all(gone(int(pid)) for pid in pids), within_s=20)
    left = [Path(home), Path(nats_home)]
    await eventually(lambda: not list(left[0].glob("*/postmaster.pid")), within_s=20)
    long_ago = time.time() - embedded_home._LEFT_S - 10
    for path in left:
        os.utime(path, (long_ago, long_ago))
    embedded_home.sweep("postgres")
    embedded_home.sweep("nats")
    assert not any(path.exists() for path in left)


def test_the_verifier_is_that_of_rfc_5803():
    salt = bytes(range(16))
    text = scram_verifier("pencil", salt)
    assert text.startswith("SCRAM-SHA-256$4096:AAECAwQFBgcICQoLDA0ODw==$")
    assert text == scram_verifier("pencil", salt)
    assert text != scram_verifier("pen", salt)


def test_names_that_are_not_plain_are_refused():
    for name in ('a"b', "a b", "", "A", "a;drop"):
        with pytest.raises(ValueError, match="plain name"):
            quoted(name)


# ---------------------------------------------------------------- users and folders


@pytest.fixture
def tmp_home():
    """A folder below /tmp that PostgreSQL's user may pass through."""
    made = Path(tempfile.mkdtemp(prefix="shoudan-test-", dir="/tmp"))
    made.chmod(0o711)
    yield made
    shutil.rmtree(made, ignore_errors=True)


def test_postgresql_never_runs_as_root(postgres):
    user = unprivileged_user()
    expected = user.uid if user else os.geteuid()
    assert Path(f"/proc/{postgres.pid}").stat().st_uid == expected != 0


def test_nobody_serves_where_there_is_no_postgres_user(monkeypatch):
    known = {"nobody": pwd.getpwnam("nobody")}
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(pwd, "getpwnam", lambda name: known[name])
    assert unprivileged_user().name == "nobody"
    known.clear()
    with pytest.raises(EmbeddedError, match="ordinary user"):
        unprivileged_user()


def test_a_folder_of_somebody_else_is_left_alone(tmp_home):
    theirs = tmp_home / "theirs"
    theirs.mkdir(mode=0o755)
    before = theirs.stat()
    with pytest.raises(EmbeddedError, match="does not belong to stranger"):
        Home.open(theirs, "postgres", stranger())
    assert (theirs.stat().st_mode, theirs.stat().st_uid) == (before.st_mode, before.st_uid)


def test_the_closed_folder_on_the_way_is_named(tmp_home):
    closed = tmp_home / "closed"
    (closed / "below").mkdir(parents=True)
    closed.chmod(0o700)
    assert blocked_at(closed / "below", stranger()) == closed
    assert blocked_at(tmp_home, stranger(), mode=1) is None
    assert blocked_at(closed / "below", None) is None


async def test_programs_below_a_closed_folder_are_copied_not_opened(tmp_home):
    site = binaries._site()
    closed = tmp_home / "venv"
    closed.mkdir(mode=0o700)
    for name in (binaries._PACKAGE, binaries._LIBRARIES):
        (closed / name).mkdir(mode=0o700)
    tree = f"{binaries._PACKAGE}/{binaries._TREE}"
    shutil.copytree(site / tree, closed / tree)
    shutil.rmtree(closed / binaries._LIBRARIES)
    shutil.copytree(site / binaries._LIBRARIES, closed / binaries._LIBRARIES)
    cache = tmp_home / "cache"
    programs = partial(binaries.postgres_bin, site=closed, caches=(cache,))
    user = unprivileged_user() or stranger()
    copied = programs(user)
    assert copied.is_relative_to(cache)
    assert copied == programs(user)
    assert len(list(cache.iterdir())) == 1
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    async with await Postgres.start(profile="test", programs=programs) as server:
        assert await server.healthy()
    cache.chmod(0o777)
    with pytest.raises(EmbeddedError, match="cannot be made"):
        programs(user)


# ---------------------------------------------------------------- NATS


async def test_nats_keeps_what_it_acknowledged(nats):
    client = await nats_client.connect(nats.url, allow_reconnect=False)
    stream = client.jetstream()
    await stream.add_stream(name="KEPT", subjects=["kept"])
    await stream.publish("kept", b"one")
    await client.close()
    await nats.kill()
    assert not await nats.healthy()
    await nats.launch()
    client = await nats_client.connect(nats.url, allow_reconnect=False)
    message = await client.jetstream().get_last_msg("KEPT", "kept")
    assert message.data == b"one"
    await client.jetstream().delete_stream("KEPT")
    await client.close()


async def test_nats_that_was_healthy_once_has_started_though_the_next_look_says_no(
    nats, monkeypatch
):
    """While clients make a lost stream again, the server says for a moment that it could not be recovered."""
    truth, looks = nats.healthy, []

    async def healthy() -> bool:
        if any(looks):
            return False
        looks.append(await truth())
        return looks[-1]

    await nats.stop()
    with monkeypatch.context() as patch:
        patch.setattr(nats, "healthy", healthy)
        await nats.launch()
    assert await nats.healthy()


async def test_nats_writes_through_to_the_disk(nats):
    assert '"sync_always": true' in await told(
        nats.monitor_port, "GET /jsz?config=1 HTTP/1.0\r\n\r\n"
    )


async def test_nats_lets_nobody_in_without_the_password(nats):
    login = 'CONNECT {"user":"shoudan","pass":"wrong"}\r\nPING\r\n'
    assert "Authorization Violation" in await told(nats.port, login)


async def test_nats_folder_is_for_one_server_at_a_time(nats):
    with pytest.raises(EmbeddedError, match="in use by process"):
        await Nats.start(nats.home.path)


# ---------------------------------------------------------------- children and ports


async def test_a_child_that_does_not_obey_is_killed(tmp_path):
    deaf = "import signal, time; signal.signal(15, 1); print('deaf', flush=True); time.sleep(60)"
    output = tmp_path / "out"
    child = Child.spawn([sys.executable, "-c", deaf], env={}, output=output)
    await eventually(lambda: output.read_text() == "deaf\n")
    assert await child.stop(signal.SIGTERM, 0.1) == -signal.SIGKILL
    assert child.code == -signal.SIGKILL


def test_the_next_free_port_is_found():
    taken = free_port()
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", taken))
        holder.listen()
        assert port_taken(taken)
        assert free_port(taken) > taken


RESERVES = """
import sys
from shoudan_kit.process.ports import free_port

print(free_port(int(sys.argv[1])), flush=True)
sys.stdin.read()
"""


async def test_a_port_given_to_a_process_is_given_to_no_other_while_it_lives():
    wanted = free_port()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", RESERVES, str(wanted + 1)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    theirs = int(await process.stdout.readline())
    assert theirs > wanted
    assert not port_taken(theirs), "nobody listens there yet"
    ours = free_port(wanted)
    assert ours not in {wanted, theirs}
    assert free_port(theirs) not in {wanted, theirs, ours}
    await process.communicate(b"")  # its standard input ends, and so does it
    assert free_port(theirs) == theirs
