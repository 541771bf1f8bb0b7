"""The whole system on one machine: servers, migrations, services, gateway, the outside world."""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
import time
import typing
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from secrets import token_hex
from typing import Any, ClassVar, Final, Literal, Self

from shoudan_cli.credentials import HOME_VARIABLE, make_owner_key, present
from shoudan_cli.wiring import (
    CONSOLE,
    GATEWAY,
    LOOPBACK,
    SANDBOX,
    SERVICES,
    STORES,
    Ports,
    choose_ports,
    environment,
    own_environment,
    ownerless,
    replica,
)
from shoudan_kit import log
from shoudan_kit.embedded import DatabaseUrls, EmbeddedError, Nats, Postgres
from shoudan_kit.embedded.home import Home, blocked_at, unprivileged_user
from shoudan_kit.embedded.postgres import CONNECTIONS
from shoudan_kit.process.ports import http_status, listens, port_taken
from shoudan_kit.process.shutdown import cancel_all
from shoudan_kit.process.supervise import Process, Program, Supervisor
from shoudan_kit.tls.identity import Identity

if typing.TYPE_CHECKING:
    from shoudan_cli.certificates import Certificates
    from shoudan_cli.clients import Clients

Profile = Literal["demo", "test"]

CATALOGUE: Final = "catalogue.yaml"
SYSTEM_ID: Final = "system.id"  # stands in operators' tokens: those of before a restart go on
LEDGER_KEYS: Final = "ledger.keys"
STATEMENT_KEYS: Final = "ledger.statement.keys"
STATEMENTS: Final = "statements"
READY_S_MAX: Final = 60
APPLIED_BY: Final = "shoudan up"


class PortTaken(RuntimeError):
    """The wanted port is in use by another process."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of the start that is done."""

    name: str
    text: str
    seconds: float


def log_to_stderr() -> None:
    """What the kit logs in this process is no answer of the command: warnings and worse go to stderr."""
    log.setup("shoudan", "warning", sys.stderr.buffer)


def ignore(_: object) -> None:
    """Drops the lines, for callers without a console."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to start. `env` is added to every process; without a `catalogue` none is applied.

    `replicas` is the number of processes of each service and of the gateway, `connections` what PostgreSQL
    takes from all of them.
    """

    ephemeral: bool = True
    port: int | None = None
    data_dir: Path | None = None
    usual_ports: bool = False
    profile: Profile = "test"
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    catalogue: Path | None = None
    tls: bool = True
    stage: Callable[[Stage], None] = ignore
    report: Callable[[object], None] = ignore
    replicas: int = 1
    connections: int = CONNECTIONS


class System:
    """A running system. Processes are named order, pay, delivery, erp_ingest, identity, finance, gateway,
    console, sandbox, postgres, nats; each can be killed, paused, stopped and started again by name."""

    server: ClassVar[type[Postgres]] = Postgres

    def __init__(self, plan: Plan, home: Path, ports: Ports) -> None:
        self.plan, self.home, self.ports = plan, home, ports
        self.supervisor = Supervisor(plan.report)
        self.env: dict[str, str] = {}
        self.id = _kept(home / SYSTEM_ID, token_hex(8))
        self.settings: dict[str, frozenset[str]] = {}
        self.databases: dict[str, DatabaseUrls] = {}
        self.postgres: Postgres
        self.nats: Nats
        self.certificates = _certificates(home) if plan.tls else None

    @classmethod
    @asynccontextmanager
    async def start(
        cls,
        *,
        ephemeral: bool = True,
        port: int | None = None,
        data_dir: Path | None = None,
        usual_ports: bool = False,
        profile: Profile = "test",
        env: Mapping[str, str] | None = None,
        catalogue: Path | Literal["demo"] | None = "demo",
        tls: bool = True,
        stage: Callable[[Stage], None] = ignore,
        report: Callable[[object], None] = ignore,
        replicas: int = 1,
        connections: int = CONNECTIONS,
    ) -> AsyncGenerator[Self]:
        """`async with System.start() as system:` - ready inside, everything stopped after.

        With `tls` every hop of gRPC and NATS is mutual TLS; without it, for comparison, plaintext.
        Raises PortTaken for a `port` that is not free; EmbeddedError or NotStarted when something
        does not come up, with the end of its output.
        """
        if port is not None and port_taken(port):
            raise PortTaken(f"port {port} is taken; leave --port out or name another")
        plan = Plan(
            ephemeral,
            port,
            data_dir,
            usual_ports,
            profile,
            env or {},
            demo_catalogue() if catalogue == "demo" else catalogue,
            tls,
            stage,
            report,
            replicas,
            connections,
        )
        async with AsyncExitStack() as stack:
            home = _home(plan, stack)
            ports = choose_ports(port, usual=usual_ports, replicas=replicas)
            system = cls(plan, home, ports)
            await system._start(stack)
            yield system

    # ------------------------------------------------------------ where things are
    @property
    def gateway_url(self) -> str:
        return self.env["SHOUDAN_GATEWAY_URL"]

    @property
    def console_url(self) -> str:
        """Where operators work in a browser."""
        return f"http://{LOOPBACK}:{self.ports[CONSOLE]}"

    @property
    def internal_url(self) -> str:
        """The gateway's internal listener (ledger)."""
        return f"http://{LOOPBACK}:{self.ports['internal']}"

    @property
    def sandbox_url(self) -> str:
        return self.env["SHOUDAN_SANDBOX_URL"]

    def target(self, service: str) -> str:
        """The gRPC address of a service."""
        return f"{LOOPBACK}:{self.ports[service]}"

    def clients(self) -> Clients:
        """Clients of the services, with the certificate of the command."""
        from shoudan_cli.clients import Clients

        return Clients({name: self.target(name) for name in SERVICES}, identity=self.identity)

    @property
    def identity(self) -> Identity | None:
        """Who the command is to the services; None in plaintext."""
        return Identity(self.certificates.files("cli")) if self.certificates else None

    def log_path(self, name: str) -> Path:
        """The file a process writes its output to."""
        return self.home / "logs" / f"{name}.log"

    # ------------------------------------------------------------ doing harm and good
    async def kill(self, name: str) -> None:
        """kill -9; it comes back by itself."""
        await self.supervisor.kill(name)

    async def stop(self, name: str) -> None:
        """Drain it and leave it away until `start_again`."""
        await self.supervisor.stop(name)

    async def start_again(self, name: str) -> None:
        await self.supervisor.start_again(name)

    async def restart(self, name: str) -> None:
        await self.supervisor.restart(name)

    def pause(self, name: str) -> None:
        self.supervisor.pause(name)

    def resume(self, name: str) -> None:
        self.supervisor.resume(name)

    async def wait_healthy(self, name: str, timeout_s: float = 30) -> None:
        await self.supervisor.wait_healthy(name, timeout_s)

    # ------------------------------------------------------------ the start, step by step
    async def _start(self, stack: AsyncExitStack) -> None:
        if self.ports.moved:
            self.plan.report(f"ports that others use, moved: {', '.join(self.ports.moved)}")
        for variable in ownerless({**os.environ, **self.plan.env}):
            name = variable.removeprefix("SHOUDAN_")
            self.plan.report(f"{variable} reaches no service: name its own, SHOUDAN_GATEWAY_{name}")
        loading = asyncio.ensure_future(asyncio.to_thread(declared))
        try:
            await self._start_servers(stack)
            self.databases = await self.postgres.provision(STORES)
            found = self._environment()
            found |= _of_ledger(self.home)
            found["SHOUDAN_TOKEN_KEYS"] = str(make_owner_key(self.home))
            whose = {"SHOUDAN_SYSTEM_ID": self.id, HOME_VARIABLE: str(self.home)}
            self.env = {**found, **whose, **self.plan.env}
            present(self.id, self.home, map(self.target, SERVICES))
            services = await loading
            self.settings = {
                name: frozenset(one.settings.model_fields) for name, one in services.items()
            }
        finally:
            loading.cancel()
        # Pushed after the servers: stopped before them.
        stack.push_async_callback(self.supervisor.aclose)
        self.supervisor.adopt(self.postgres, watch=False)
        self.supervisor.adopt(self.nats, watch=True)
        await self._start_services([services[name] for name in STORES])
        await self._apply()
        await self._start_gateway()

    def _environment(self) -> dict[str, str]:
        """Where the processes find each other, and each its certificate."""
        plan = self.plan
        found = environment(plan.profile, self.ports, self.databases, self.nats.url, plan.replicas)
        return found | (self.certificates.environment() if self.certificates else {})

    async def _start_servers(self, stack: AsyncExitStack) -> None:
        ephemeral = self.plan.ephemeral
        root = None if ephemeral else self.home
        profile = "test" if self.plan.profile == "test" else "production"
        timer = _timer()
        self.postgres = await stack.enter_async_context(
            await self.server.start(
                root and root / "postgres",
                port=self.ports["postgres"],
                profile=profile,
                connections=self.plan.connections,
            )
        )
        where = "gone at the end" if ephemeral else f"data {self.postgres.home.path}"
        text = f"{self.postgres.version}  127.0.0.1:{self.postgres.port}  ({where})"
        self._done("postgres", text, timer())
        self.nats = await stack.enter_async_context(
            await Nats.start(
                root and root / "nats",
                port=self.ports["nats"],
                tls=self.certificates and self.certificates.files("nats"),
                services=(*SERVICES, GATEWAY),
            )
        )
        if self.certificates is not None:
            renewing = self.certificates.renew_forever(self.nats.reload)
            task = asyncio.create_task(renewing, name="renew certificates")
            stack.push_async_callback(cancel_all, [task])
        secured = "TLS" if self.certificates else "plaintext"
        self._done("nats", f"127.0.0.1:{self.nats.port}  JetStream on, {secured}", timer())

    async def _start_services(self, services: Sequence[Any]) -> None:
        """Each process as soon as its database is ready: the next one is migrated while it starts."""
        timer = _timer()
        starting = [asyncio.ensure_future(self.supervisor.start(self._sandbox()))]
        migrated: list[str] = []
        try:
            for one in services:
                migrated.append(await self._migrate(one))
                await self._seed(one)
                started = self.supervisor.start(*self._processes(one.name))
                starting.append(asyncio.ensure_future(started))
            self._done("migrate", " · ".join(migrated), timer())
            await asyncio.gather(*starting)
        except BaseException:
            await cancel_all(starting)
            raise
        addresses = "  ".join(f"{name} :{self.ports[name]}" for name in SERVICES)
        self._done("services", f"{addresses}  healthy", timer())
        self._done(CONSOLE, f"{self.console_url}/  for operators, in a browser", timer())
        self._done(
            "sandbox", f"{self.sandbox_url}/  supplier, notify inbox, payment component", timer()
        )

    async def _migrate(self, service: Any) -> str:
        """How many revisions were new, over all shards of a map."""
        from shoudan_kit.db.migrate import role_of, upgrade
        from shoudan_kit.db.shard_map import read, single

        urls = self.databases[service.name]
        settings = service.settings.load(service.name, environ={**os.environ, **self.env})
        file = getattr(settings, "shards", None)
        found = single(*urls) if file is None else read(file, *urls, owner=True)
        pending = 0
        for home in found.homes:
            role = role_of(home.url, home.owner_url)
            args = (service.name, service.schema, home.owner_url, role)
            plan = await upgrade(*args, turnable=True, home=home)
            pending += len(plan.pending)
        return f"{service.name} {pending}"

    async def _seed(self, service: Any) -> None:
        """What an empty database begins with; what a person must read is shown now and never again."""
        from shoudan_kit.service import seeded

        if service.seed is None:
            return
        timer = _timer()
        settings = service.settings.load(service.name, environ={**os.environ, **self.env})
        if (text := await seeded(service, settings)) is not None:
            self._done(service.name, text, timer())

    async def _apply(self) -> None:
        if self.plan.catalogue is None:
            return
        from shoudan_cli.apply import apply
        from shoudan_cli.everywhere import catalogue_everywhere
        from shoudan_configuration.document import load

        timer = _timer()
        document = load(self.plan.catalogue, self.env)
        clients = self.clients()
        try:
            changes = await apply(clients, document, APPLIED_BY, dry_run=False)
        finally:
            await clients.close()
        names = [replica("order", number) for number in range(1, self.plan.replicas + 1)]
        targets = [self.target(name) for name in names]
        present(self.id, self.home, targets)
        await catalogue_everywhere(targets, self.identity)
        self._done("catalogue", f"{len(changes)} changed", timer())

    async def _start_gateway(self) -> None:
        """After the catalogue: its first reading then has every channel."""
        timer = _timer()
        await self.supervisor.start(*self._replicas(GATEWAY))
        self._done(GATEWAY, self.gateway_url, timer())

    def _processes(self, name: str) -> list[Process]:
        """The replicas of a service; one console, for browsers have one address."""
        return [self._serve(name, 1)] if name == CONSOLE else self._replicas(name)

    def _replicas(self, name: str) -> list[Process]:
        return [self._serve(name, number) for number in range(1, self.plan.replicas + 1)]

    def _serve(self, name: str, number: int) -> Process:
        argv, called = (sys.executable, "-m", "shoudan_cli", "serve", name), replica(name, number)
        port, ops, big = self.ports[called], self.ports[f"{called} ops"], name.upper()
        env: dict[str, str] = {}
        if number > 1:
            env = {f"SHOUDAN_{big}_LISTEN_PORT": str(port), f"SHOUDAN_{big}_OPS_PORT": str(ops)}
        if number > 1 and name == GATEWAY:
            env["SHOUDAN_GATEWAY_INTERNAL_PORT"] = "0"
        return self._process(called, argv, ops, "/readyz", port, name, env)

    def _sandbox(self) -> Process:
        port, journal = self.ports[SANDBOX], self.home / "sandbox.jsonl"
        argv = (sys.executable, "-m", "shoudan_fakes", "upstream")
        argv += ("--port", str(port), "--journal", str(journal))
        return self._process(SANDBOX, argv, port, "/healthz", port, SANDBOX, {})

    def _process(
        self,
        name: str,
        argv: tuple[str, ...],
        port: int,
        path: str,
        served: int,
        service: str,
        more: Mapping[str, str],
    ) -> Process:
        async def healthy() -> bool:
            # Another program on the port may be healthy, too: what answers must be what was started.
            if await http_status(port, path) != 200:
                return False
            return all(listens(process.pid, one) for one in {port, served})

        env = {**os.environ, **self.env, **more}
        own = own_environment(service, self.settings.get(service, frozenset()), env)
        program = Program(name, argv, own, healthy, READY_S_MAX)
        process = Process(program, self.log_path(name))
        return process

    def _done(self, name: str, text: str, seconds: float) -> None:
        self.plan.stage(Stage(name, text, seconds))


def _certificates(home: Path) -> Certificates:
    from shoudan_cli.certificates import Certificates

    return Certificates(home)


def _of_ledger(home: Path) -> dict[str, str]:
    """The ledger's own keys and the folder of its statements; made the first time."""
    statements = home / STATEMENTS
    statements.mkdir(mode=0o700, exist_ok=True)
    return {
        "SHOUDAN_PAY_LEDGER_KEYS": _kept(home / LEDGER_KEYS, secrets.token_urlsafe(32)),
        "SHOUDAN_PAY_LEDGER_STATEMENT_KEYS": _kept(
            home / STATEMENT_KEYS, secrets.token_urlsafe(32)
        ),
        "SHOUDAN_PAY_LEDGER_STATEMENTS_DIR": str(statements),
    }


def _kept(file: Path, fresh: str) -> str:
    """What is in a file only its owner can read; `fresh` the first time."""
    with suppress(FileNotFoundError):
        return file.read_text("ascii")
    fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "w", encoding="ascii") as opened:
        opened.write(fresh)
    return file.read_text("ascii")


def demo_catalogue() -> Path:
    """The demonstration catalogue: beside this file when installed, in demo/ of a checkout."""
    packaged = Path(__file__).parent / CATALOGUE
    return packaged if packaged.is_file() else Path(__file__).parents[2] / "demo" / CATALOGUE


def default_data_dir() -> Path:
    """~/.local/share/shoudan; for root, whose home PostgreSQL's user may not enter, /var/lib/shoudan."""
    base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    place = Path(base) / "shoudan"
    if blocked_at(place, unprivileged_user(), mode=1) is not None:
        return Path("/var/lib/shoudan")
    return place


def _home(plan: Plan, stack: AsyncExitStack) -> Path:
    """Logs and the sandbox's journal are ours alone; the servers have folders of their own."""
    if plan.ephemeral:
        temporary = Home.open(None, "system")
        stack.callback(temporary.close)
        home = temporary.path
    else:
        home = (plan.data_dir or default_data_dir()).absolute()
        user = unprivileged_user()
        home.mkdir(parents=True, exist_ok=True, mode=0o755 if user else 0o700)
        if (place := blocked_at(home, user, mode=1)) is not None:
            raise EmbeddedError(f"PostgreSQL's user may not enter {place}: give another --data")
    (home / "logs").mkdir(mode=0o700, exist_ok=True)
    return home


def declared() -> dict[str, Any]:
    """The services' declarations; importing the services takes a second, so it is done aside."""
    return {entry.name: entry.load() for entry in entry_points(group="shoudan.services")}


def _timer() -> Callable[[], float]:
    """Seconds since it was last asked."""
    last = time.monotonic()

    def lap() -> float:
        nonlocal last
        now = time.monotonic()
        last, passed = now, now - last
        return passed

    return lap
