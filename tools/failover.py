"""Run PostgreSQL under Patroni, etcd and HAProxy for real, and take its primary away under load.

    .venv/bin/python tools/failover.py PATRONI_BIN [POSTGRES_BIN]

On Debian: `apt-get install haproxy etcd-server`, and a virtual environment of its own Python, whose `bin`
is PATRONI_BIN, with `patroni[etcd3]` and `psycopg[binary]` (Debian 12's Patroni is older than PostgreSQL 18).
All on loopback with ports of their own, on the files of deploy/patroni. A whole system of ours has its ledger
there, behind HAProxy, and takes orders: a switchover, then kill -9 of the primary and its Patroni. At last
every order has ended once and the ledger proves whole. docs/operations.md says what the last run showed.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import aiohttp
import asyncpg

from shoudan.pay.v1 import ledger_service_pb2 as pay
from shoudan.pay.v1 import ledger_service_pb2_grpc as pay_grpc
from shoudan_cli.system import System
from shoudan_kit.db.migrate import upgrade
from shoudan_kit.embedded.binaries import postgres_bin
from shoudan_kit.embedded.home import unprivileged_user
from shoudan_kit.process.child import Child, tail
from shoudan_kit.process.polling import until
from shoudan_kit.process.ports import free_port
from shoudan_kit.service import services
from tests.system import invariants
from tests.system.conftest import Partner

DEPLOY: Final = ROOT / "deploy/patroni"
NODES: Final = ("db-1", "db-2", "db-3")
LOOPBACK: Final = "127.0.0.1"
PER_S: Final = 10
CALM_S: Final = 10  # of load before the first fault and behind each
UP_S: Final = 120


@dataclass(frozen=True)
class Node:
    """One PostgreSQL with its Patroni."""

    name: str
    port: int
    api: int
    data: Path
    patroni: Child


@dataclass
class Cluster:
    """Three nodes, and HAProxy in front of whichever is primary."""

    nodes: dict[str, Node]
    port: int
    password: str

    async def api(self, node: Node, path: str) -> tuple[int, Any]:
        try:
            async with (
                aiohttp.ClientSession() as http,
                http.get(
                    f"http://{LOOPBACK}:{node.api}{path}", timeout=aiohttp.ClientTimeout(total=2)
                ) as answer,
            ):
                return answer.status, await answer.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, OSError):
            return 0, None

    async def primary(self) -> Node | None:
        for node in self.nodes.values():
            if (await self.api(node, "/primary"))[0] == 200:
                return node
        return None

    async def standby(self) -> Node | None:
        """One that a commit waits for."""
        for node in self.nodes.values():
            if (await self.api(node, "/sync"))[0] == 200:
                return node
        return None

    async def sql(self, database: str, query: str) -> Any:
        db: Any = await asyncpg.connect(
            host=LOOPBACK,
            port=self.port,
            user="postgres",
            password=self.password,
            database=database,
        )
        try:
            return await db.fetch(query)
        finally:
            await db.close()


@asynccontextmanager
async def running(patroni_bin: Path, bin_dir: Path) -> AsyncGenerator[Cluster]:
    """etcd, three nodes and HAProxy; gone at the end."""
    user = unprivileged_user()
    home = Path(tempfile.mkdtemp(prefix="shoudan-failover-"))
    children: list[Child] = []

    def spawn(name: str, *argv: str) -> Child:
        folder = home / name
        child = Child.spawn(
            argv,
            env=ENV,
            output=folder / "log",
            user=user,
            death_signal=signal.SIGKILL,
            cwd=Path("/"),
        )
        children.append(child)
        return child

    def folder_of(name: str) -> Path:
        folder = home / name
        folder.mkdir()
        folder.chmod(0o700)
        if user is not None:
            os.chown(folder, user.uid, user.gid)
        return folder

    def file(name: str, source: str, changed: Mapping[str, str]) -> str:
        text = (DEPLOY / source).read_text()
        for old, new in changed.items():
            text = text.replace(old, new)
        place = home / name / source
        place.write_text(text)
        place.chmod(0o644)
        return str(place)

    home.chmod(0o755)
    shutil.chown(home, user.uid if user else os.geteuid())
    try:
        etcd, password = await _etcd(spawn, folder_of), "superuser-of-this-run"
        nodes: dict[str, Node] = {}
        for name in NODES:
            port, api, folder = free_port(), free_port(), folder_of(name)
            config = file(
                name, "patroni.yml", _node(name, port, api, etcd, folder, bin_dir, password)
            )
            child = spawn(name, str(patroni_bin / "patroni"), config)
            nodes[name] = Node(name, port, api, folder / "data", child)
        cluster = Cluster(nodes, free_port(), password)
        folder_of("haproxy")
        config = file("haproxy", "haproxy.cfg", _proxy(cluster))
        _without_gateways(Path(config))
        spawn("haproxy", "/usr/sbin/haproxy", "-db", "-f", config)
        if not await until(lambda: _whole(cluster), UP_S, every_s=0.5):
            raise SystemExit("\n".join(f"{n}: {tail(home / n / 'log')}" for n in NODES))
        yield cluster
    finally:
        for child in reversed(children):
            await child.stop(signal.SIGTERM, 10)
        shutil.rmtree(home, ignore_errors=True)


ENV: Final = {"PATH": "/usr/bin:/bin", "LANG": "C", "LC_ALL": "C", "TZ": "UTC"}


def _without_gateways(config: Path) -> None:
    """The part of HAProxy's file that is about PostgreSQL."""
    text = config.read_text()
    config.write_text(text[: text.index("# Partners.")])


async def _whole(cluster: Cluster) -> bool:
    return await cluster.primary() is not None and await cluster.standby() is not None


async def _etcd(spawn: Any, folder_of: Any) -> int:
    port, peer, folder = free_port(), free_port(), folder_of("etcd")
    url = f"http://{LOOPBACK}:{port}"
    peer_url = f"http://{LOOPBACK}:{peer}"
    spawn(
        "etcd",
        *("/usr/bin/etcd", "--name", "etcd-1", "--data-dir", str(folder / "data")),
        *("--listen-client-urls", url, "--advertise-client-urls", url),
        *("--listen-peer-urls", peer_url, "--initial-advertise-peer-urls", peer_url),
        *("--initial-cluster", f"etcd-1={peer_url}"),
    )
    return port


def _node(
    name: str, port: int, api: int, etcd: int, folder: Path, bin_dir: Path, password: str
) -> dict[str, str]:
    """This machine's ports and folders in the place of a host's. Loopback does without TLS."""
    members = ",".join(f"etcd-{n}.example.com:2379" for n in (1, 2, 3))
    return {
        "name: NODE": f"name: {name}",
        "HOST:8008": f"{LOOPBACK}:{api}",
        "HOST:5432": f"{LOOPBACK}:{port}",
        members: f"{LOOPBACK}:{etcd}",
        "/var/lib/postgresql/18/shoudan": str(folder / "data"),
        "/usr/lib/postgresql/18/bin": str(bin_dir),
        "/var/lib/postgresql/.pgpass.patroni": str(folder / "pgpass"),
        "/var/run/postgresql": str(folder),
        "SUPERUSER_PASSWORD": password,
        "REPLICATOR_PASSWORD": f"replicator-{password}",
        "REWINDER_PASSWORD": f"rewinder-{password}",
        'ssl: "on"': 'ssl: "off"',
        "    ssl_cert_file: /etc/postgresql/tls/tls.crt\n": "",
        "    ssl_key_file: /etc/postgresql/tls/tls.key\n": "",
        "hostssl": "hostnossl",
        "shared_buffers: 4GB": "shared_buffers: 128MB",
        "mode: automatic": 'mode: "off"',
    }


def _proxy(cluster: Cluster) -> dict[str, str]:
    changed = {
        "bind 127.0.0.1:5432": f"bind {LOOPBACK}:{cluster.port}",
        "maxconn 20000": "maxconn 2000",
    }
    for name, node in cluster.nodes.items():
        old = f"{name} {name}.example.com:5432 check port 8008"
        changed[old] = f"{name} {LOOPBACK}:{node.port} check port {node.api}"
    return changed


@dataclass
class Load:
    """Orders at a steady pace, each repeated until it is taken; when a first try was answered."""

    partner: Partner
    placed: int = 0
    refused: int = 0  # tries that were no 200
    answered: list[float] = field(default_factory=list[float])
    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def one(self, number: int) -> None:
        request_no = f"{self.partner.prefix}-{number}"

        async def placed() -> bool:
            try:
                status, _ = await self.partner.order(request_no=request_no)
            except (aiohttp.ClientError, TimeoutError, OSError):
                status = 0
            self.refused += status != 200
            return status == 200

        if await until(placed, 90, every_s=0.3):
            self.answered.append(time.monotonic())

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            while not await until(self.over.is_set, 1 / PER_S, every_s=0.05):
                group.create_task(self.one(self.placed))
                self.placed += 1


async def paid(cluster: Cluster) -> int:
    (row,) = await cluster.sql("shoudan_pay", "SELECT count(*) FROM account_record")
    return int(row[0])


async def without_postings(cluster: Cluster, began: float, before: str) -> float:
    """Seconds from a fault until another node is primary and something was posted there."""

    async def moved() -> bool:
        now = await cluster.primary()
        if now is None or now.name == before:
            return False
        try:
            count = await paid(cluster)
            return await until(lambda: _more(cluster, count), 5, every_s=0.1)
        except (OSError, asyncpg.PostgresError, TimeoutError):
            return False

    assert await until(moved, 60, every_s=0.2), "no other node became primary"
    return time.monotonic() - began


async def _more(cluster: Cluster, than: int) -> bool:
    return await paid(cluster) > than


async def switch_over(cluster: Cluster) -> str:
    """As `patronictl switchover` does."""
    primary, candidate = await cluster.primary(), await cluster.standby()
    assert primary is not None
    assert candidate is not None
    body = {"leader": primary.name, "candidate": candidate.name}
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"http://{LOOPBACK}:{primary.api}/switchover", json=body) as answer,
    ):
        assert answer.status == 200, await answer.text()
    return primary.name


async def kill(cluster: Cluster) -> str:
    """kill -9 of the primary's Patroni and PostgreSQL, as when the machine goes."""
    primary = await cluster.primary()
    assert primary is not None
    primary.patroni.send(signal.SIGKILL)
    postmaster = (primary.data / "postmaster.pid").read_text().splitlines()[0]
    os.kill(int(postmaster), signal.SIGKILL)  # its children end by themselves
    return primary.name


def provide(cluster: Cluster, folder: Path) -> dict[str, str]:
    """Roles and databases as the page makes them; the passwords."""
    made = folder / "made.env"
    argv = ["sh", str(ROOT / "docker/new-env.sh"), "https://pay.example.com", str(made)]
    subprocess.run(argv, check=True)
    secrets = dict(line.split("=", 1) for line in made.read_text().splitlines())
    env = {**ENV, **secrets, "POSTGRES_USER": "postgres", "PGPASSWORD": cluster.password}
    env |= {"PGHOST": LOOPBACK, "PGPORT": str(cluster.port)}
    subprocess.run(["/bin/sh", str(ROOT / "docker/postgres-init.sh")], check=True, env=env)
    return secrets


async def run(cluster: Cluster, folder: Path) -> None:
    """The whole run. Raises AssertionError for what is lost."""
    secrets = provide(cluster, folder)
    where = f"{LOOPBACK}:{cluster.port}/shoudan_pay"
    url = f"postgresql://shoudan_pay:{secrets['SHOUDAN_PAY_PASSWORD']}@{where}"
    owner = f"postgresql://shoudan_pay_owner:{secrets['SHOUDAN_PAY_OWNER_PASSWORD']}@{where}"
    schema = services()["pay"].schema
    assert schema is not None
    await upgrade("pay", schema, owner, "shoudan_pay", turnable=True)
    async with (
        System.start(profile="test", env={"SHOUDAN_PAY_DATABASE_URL": url}) as system,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=15)) as http,
    ):
        clients = system.clients()
        key = pay.AccountKey(ident="oms", groups="down_channel", eid="test")
        credit: Any = pay.UpdateAccountRequest(key=key, credit_micros=10**13)
        await clients.call("pay", pay_grpc.LedgerServiceStub, "UpdateAccount", credit)
        load = Load(Partner(system, http, clients))
        loading = asyncio.ensure_future(load.run())
        for name, fault in (("calm", None), ("switchover", switch_over), ("kill -9", kill)):
            refused, began = load.refused, time.monotonic()
            if fault is not None:
                before = await fault(cluster)
                seconds = await without_postings(cluster, began, before)
                print(f"{name} of {before}: posting again after {seconds:.1f} s", flush=True)
            await asyncio.sleep(CALM_S)
            print(
                f"{name}: {load.placed} placed, {load.refused - refused} tries refused", flush=True
            )
        load.over.set()
        await loading
        partner = load.partner
        await partner.all_ended(f"{partner.prefix}-", load.placed)
        await partner.ledger_is_whole()
        for rule, query in invariants.LEDGER.items():
            assert await cluster.sql("shoudan_pay", query) == [], rule
        print(f"{load.placed} orders ended once each, {await paid(cluster)} postings, ledger whole")
        await clients.close()


async def main() -> None:
    """PATRONI_BIN, and where PostgreSQL's programs are if not in ours."""
    if not 2 <= len(sys.argv) <= 3:
        sys.exit(__doc__)
    bin_dir = Path(sys.argv[2]) if len(sys.argv) == 3 else postgres_bin(unprivileged_user())
    with tempfile.TemporaryDirectory() as folder:
        async with running(Path(sys.argv[1]).resolve(), bin_dir) as cluster:
            await run(cluster, Path(folder))


if __name__ == "__main__":
    asyncio.run(main())
