"""The chassis: from a service's declaration to a running, draining process."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import Any, Final, Generic, TypeVar, cast

import uvloop
from grpc import aio
from sqlalchemy.exc import DBAPIError

from shoudan.identity.v1 import identity_service_pb2 as identity_pb
from shoudan.identity.v1 import identity_service_pb2_grpc as identity_grpc
from shoudan_kit import faults, log, metrics
from shoudan_kit.audit_log.calls import CallAudit
from shoudan_kit.audit_log.entries import Origin
from shoudan_kit.cell import Cell, forever
from shoudan_kit.clock import ShiftedClock, SystemClock
from shoudan_kit.clock_watch import ClockWatch
from shoudan_kit.config import ConfigError, ProcessSettings, ServiceSettings
from shoudan_kit.credentials.book import Credentials
from shoudan_kit.db import shard_marks
from shoudan_kit.db.errors import survived
from shoudan_kit.db.lender import Places
from shoudan_kit.db.node_lease import NodeLease
from shoudan_kit.db.pool import Database
from shoudan_kit.db.schema import Schema
from shoudan_kit.db.server_version import ServerTooOld
from shoudan_kit.db.shard_map import ONLY, Home, ShardMapInvalid, shards_in
from shoudan_kit.db.shard_marks import WrongShard
from shoudan_kit.db.shard_settings import served_map
from shoudan_kit.events.nats import Bus
from shoudan_kit.events.relay import Relay
from shoudan_kit.ids import IdMaker
from shoudan_kit.limits.bulkhead import Resting
from shoudan_kit.process.gc_tuning import tune_gc
from shoudan_kit.process.health import OpsServer
from shoudan_kit.process.shutdown import bounded, cancel_all, exit_after, show_crashes
from shoudan_kit.proposals.kinds import Kind
from shoudan_kit.proposals.proposals import Proposals
from shoudan_kit.rpc.callers import Callers, Mode, mode_of
from shoudan_kit.rpc.client import connect
from shoudan_kit.rpc.server import NO_WATCH, CallWatch, RpcServer
from shoudan_kit.secrets import named_secret
from shoudan_kit.secrets.reseal import SealedData
from shoudan_kit.secrets.tokens import KeyFetcher, TokenVerifier
from shoudan_kit.shards import MapWatch, Shards
from shoudan_kit.tasks.kinds import Handler
from shoudan_kit.tasks.laws import Subject
from shoudan_kit.tasks.open_work import Source
from shoudan_kit.tasks.operations import History
from shoudan_kit.tasks.unit_of_work import UnitOfWork
from shoudan_kit.tasks.worker import Worker
from shoudan_kit.tls.identity import Identity
from shoudan_kit.tracing import spans
from shoudan_kit.tracing.process import observe

S = TypeVar("S", bound=ProcessSettings)
T = TypeVar("T")

ROLES: Final = frozenset({"rpc", "tasks"})
GROUP: Final = "shoudan.services"
IDENTITY: Final = "identity"
OPERATIONS: Final = "shoudan.core.v1.OperationsService"
HEALTH_EVERY_S: Final = 1.0  # between looks at the checks; gRPC health says what they say
STEP_S: Final = 3.0  # for each step of a stop that has nothing to finish
STOP_GRACE_S: Final = 8.0  # after drain_s the process exits; together below the 30 s containers get

_UNCHECKED: Final = "who calls from this machine without a token may call everything"

_log = log.get_logger("service")

Register = Callable[[aio.Server], None]
Check = Callable[[], Awaitable[str | None]]


@dataclass(frozen=True, slots=True)
class Shared:
    """What a process has once, whatever its shards."""

    identity: Identity | None
    bus: Bus
    tokens: TokenVerifier
    channels: dict[str, aio.Channel] = field(default_factory=dict[str, aio.Channel])
    made: dict[type[Any], Any] = field(default_factory=dict[type[Any], Any])

    @classmethod
    def of(cls, name: str, settings: ProcessSettings) -> Shared:
        """Those of a process with these settings."""
        files = settings.tls_files
        identity = Identity(files) if files is not None else None
        bus = Bus(settings.nats_servers, name, settings.nats_replicas, identity)
        tokens = TokenVerifier(settings.system_id, map(Path, settings.token_keys))
        return cls(identity, bus, tokens)


class App(Generic[S]):
    """What a service's code is given: settings, database, ids, clock, other services.

    In a process with several shards there is one for each, `home` says which; what a system has once is in
    the database of the `first` one.
    """

    def __init__(
        self,
        name: str,
        settings: S,
        roles: frozenset[str] = ROLES,
        home: Home = ONLY,
        first: App[S] | None = None,
        places: Places | None = None,
    ) -> None:
        self.name, self.settings, self.roles, self.home = name, settings, roles, home
        self.first = first or self
        self.clock = ShiftedClock()
        self.wall_clock = (
            SystemClock()
        )  # what the outside world has: for signatures and their windows
        self.origin = Origin(name, settings.masked)  # of what the audit log records
        self.worker: Worker[Any] | None = None
        self.relay: Relay | None = None
        self.watchers: list[Callable[[UnitOfWork], None]] = []
        self._database: Database | None = None
        self._ids: IdMaker | None = None
        self.lease: NodeLease | None = None
        self.clock_watch: ClockWatch | None = None
        self.shared = first.shared if first is not None else Shared.of(name, settings)
        self.identity, self.bus = self.shared.identity, self.shared.bus
        self.tokens = self.shared.tokens
        if isinstance(settings, ServiceSettings):
            self._database = Database(
                home.url or settings.database_url.reveal(),
                pool_size=settings.db_pool_size,
                application=f"shoudan-{name}",
                settings=home.session,
                places=places,
            )
            self.relay = Relay(self.bus, self._database, name, shard=home.shard)
            self.lease = NodeLease(self._database, self.clock, shard=home.shard)
            if (
                settings.profile != "prod" and name != IDENTITY
            ):  # sessions and tokens are of real time
                self.clock_watch = ClockWatch(self._database, self.clock, self.lease)

    def once(self, kind: type[T], make: Callable[[], T]) -> T:
        """What a process has once: made for the first shard, and the same for all others."""
        made = self.shared.made
        if kind not in made:
            made[kind] = make()
        return cast("T", made[kind])

    @property
    def db(self) -> Database:
        """The service's own database."""
        assert self._database is not None, f"{self.name} has no database"
        return self._database

    @property
    def has_db(self) -> bool:
        """Whether this process has a database."""
        return self._database is not None

    @property
    def ids(self) -> IdMaker:
        """The maker of this process's ids."""
        assert self._ids is not None, "ids are made after the start"
        return self._ids

    def work(self, name: str = "work") -> UnitOfWork:
        """One transaction with its tasks and events; `name` is its fault point."""
        return UnitOfWork(
            self.db,
            self.ids,
            self.worker,
            self.relay,
            name,
            self.watchers,
            origin=self.origin,
        )

    def channel(self, service: str) -> aio.Channel:
        """The channel to another service, at the setting `<service>_target`; made once."""
        channels = self.shared.channels
        if service not in channels:
            target: str = getattr(self.settings, f"{service}_target")
            channels[service] = connect(target, service, self.identity, serving_only=True)
        return channels[service]

    async def open(self) -> None:
        """Lease a node number; waits for the database. Raises ConfigError when its server is too old."""
        if self.lease is None:
            self._ids = IdMaker(0, self.clock)
            return
        while True:
            try:
                # Services start in any order.
                with survived(_log, "database_waits", but=(ServerTooOld, WrongShard)):
                    await self._check_mark()
                    if self.clock_watch is not None:
                        await self.clock_watch.begin()
                    await self.lease.claim()
                    await self._check_mark()  # a service may have got its map before the lease
                    self._ids = self.lease.ids
                    return
            except ServerTooOld as error:
                raise ConfigError(self.name, [f"database_url: {error}"]) from error
            except WrongShard as error:
                raise ConfigError(self.name, [f"shards: {error}"]) from error
            await asyncio.sleep(0.5)

    async def _check_mark(self) -> None:
        async with self.db.connect() as db:
            await shard_marks.check(db, self.home)

    async def close(self) -> None:
        """Let go of everything."""
        if self.first is self:
            for channel in self.shared.channels.values():
                await channel.close()
            await self.bus.close()
        if self.lease is not None:
            with suppress(DBAPIError, OSError, TimeoutError):  # then it ends by itself
                await self.lease.release()
        if self._database is not None:
            await self._database.dispose()


@dataclass
class Running:
    """What a service's `start` gives back. `context` is what its task handlers are called with.

    `history` adds to GetHistory what the service's own tables say of a key; `open_work` are the kinds of
    what waits for a person; `credentials` are those the service owns, opened; `sealed` is what its
    keys seal; `resting` are hosts outside that do not answer; `proposals` need two persons.
    """

    context: Any = None
    registers: Sequence[Register] = ()
    names: Sequence[str] = ()
    handlers: Sequence[Handler[Any]] = ()
    background: Sequence[Callable[[], Awaitable[None]]] = ()
    closers: Sequence[Callable[[], Awaitable[None]]] = ()
    checks: Mapping[str, Check] = field(default_factory=dict[str, Check])
    history: History | None = None
    open_work: Sequence[Source] = ()
    credentials: Credentials | None = None
    sealed: SealedData | None = None
    resting: Callable[[], Sequence[Resting]] = tuple
    proposals: Sequence[Kind] = ()


@dataclass(frozen=True)
class Service(Generic[S]):
    """One service's declaration; `<package>.app:SERVICE`, found by entry point.

    `seed` fills an empty database after its first migration and gives what a person must read, once. `laws`
    are looked at while it serves.
    """

    name: str
    settings: type[S]
    start: Callable[[App[S]], Awaitable[Running]]
    schema: Schema | None = None
    seed: Callable[[App[S]], Awaitable[str | None]] | None = None
    laws: Sequence[Subject] = ()


def services() -> dict[str, Service[Any]]:
    """Every installed service by name."""
    return {one.name: cast("Service[Any]", one.load()) for one in entry_points(group=GROUP)}


async def seeded(service: Service[S], settings: S) -> str | None:
    """Fill an empty database of the service; what a person must read, None when there is nothing."""
    if service.seed is None:
        return None
    app: App[S] = App(service.name, settings)
    try:
        await app.open()
        return await service.seed(app)
    finally:
        await app.close()


def run(service: Service[Any], roles: frozenset[str] = ROLES) -> None:
    """Serve until SIGTERM or SIGINT, then drain. Raises ConfigError before anything is opened."""
    show_crashes()
    settings = service.settings.load(service.name)
    _refuse_demo_secrets(service.name, settings)
    _refuse_another_name(service.name, settings)
    observe(service.name, settings)
    faults.arm(settings.profile)
    named_secret.arm(settings.profile)
    uvloop.run(_serve(service, settings, roles))


def _refuse_demo_secrets(name: str, settings: ProcessSettings) -> None:
    """In prod no partner, supplier or platform is believed by a public secret."""
    if settings.profile != "prod":
        return
    folder: str | Path | None = getattr(settings, "secrets_dir", None)
    places = named_secret.demo_ones(os.environ, Path(folder) if folder else None)
    if mistakes := [f"{one}: {named_secret.REFUSED}" for one in places]:
        raise ConfigError(name, mistakes)


def _refuse_another_name(name: str, settings: ProcessSettings) -> None:
    """With the certificate of another service this one would be taken for it."""
    files = settings.tls_files
    if files is not None and (named := files.read().name) != name:
        mistake = f"tls_cert: {files.cert} is the certificate of {named}, this is {name}"
        raise ConfigError(name, [mistake])


async def _serve(service: Service[Any], settings: Any, roles: frozenset[str]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    process = Process(service, settings, roles)
    started = asyncio.ensure_future(process.start())
    stopped = asyncio.ensure_future(stop.wait())
    await asyncio.wait({started, stopped}, return_when=asyncio.FIRST_COMPLETED)
    if started.done():
        started.result()
        tune_gc()
        await stopped
    else:
        await cancel_all([started])
    exit_after(settings.drain_s + STOP_GRACE_S)
    await process.stop()
    await bounded("spans", asyncio.to_thread(spans.close), STEP_S)


def _shards(service: Service[S], settings: S, roles: frozenset[str]) -> Shards[S]:
    """A cell for each shard of the map; a single one without a map. Raises ConfigError."""
    if not isinstance(settings, ServiceSettings) or settings.shards is None:
        return Shards(
            [ONLY], lambda _: Cell(service, App(service.name, settings, roles), Running())
        )
    try:
        found = served_map(settings, settings.db_pool_size)
    except ShardMapInvalid as error:
        raise ConfigError(service.name, error.mistakes) from error
    chosen = [shards_in(one, found.shards) for one in settings.task_shards]
    places: dict[tuple[str, str], Places] = {}
    first: list[App[S]] = []

    def make(home: Home) -> Cell[S]:
        key = (home.server, home.url)
        if key not in places:
            places[key] = Places(settings.db_pool_size)
        above = first[0] if first else None
        works = not chosen or any(home.shard in one for one in chosen)
        ours = roles if works else roles - {"tasks"}
        app: App[S] = App(service.name, settings, ours, home, above, places[key])
        if above is None:
            first.append(app)
        return Cell(service, app, Running())

    return Shards(found.homes, make, found)


class Process(Generic[S]):
    """One running service: a cell for each of its shards. Tests start it inside their own event loop."""

    def __init__(self, service: Service[S], settings: S, roles: frozenset[str] = ROLES) -> None:
        self.service, self.settings, self.roles = service, settings, roles
        self._shards = _shards(service, settings, roles)
        self.app: App[S] = self.cells[0].app
        self.port = 0
        self._rpc: RpcServer | None = None
        self._ops: OpsServer | None = None
        self._background: list[asyncio.Task[None]] = []

    @property
    def cells(self) -> list[Cell[S]]:
        """A cell for each shard, in their order."""
        return self._shards.cells

    @property
    def maps(self) -> Shards[S]:
        """Its shards, with the map they follow."""
        return self._shards

    @property
    def running(self) -> Running:
        """What the service composed over its first shard."""
        return self.cells[0].running

    @property
    def proposals(self) -> Proposals | None:
        """The proposals of a service with calls that need two persons."""
        return self.cells[0].proposals

    async def start(self) -> None:
        """Open, compose, serve. Health answers from the beginning, readiness at the end."""
        app, settings, first = self.app, self.settings, self.cells[0]
        checks = first.checks if self._shards.router is None else {"shards": self._shards.reason}
        self._ops = OpsServer(settings.listen_host, settings.ops_port, checks)
        await self._ops.start()
        app.bus.start()
        await first.open()
        self._ops.add_checks(self.running.checks)
        await self._shards.open()
        if "rpc" in self.roles and self.running.registers:
            await self._start_rpc()
        first.run()
        if self._shards.router is not None and isinstance(settings, ServiceSettings):
            watch = MapWatch(settings, self._shards).run
            self._background.append(asyncio.create_task(forever(watch), name="watch map"))
        if settings.identity_target:
            fetch = KeyFetcher(app.tokens, IDENTITY, self._published_keys).run
            self._background.append(asyncio.create_task(forever(fetch), name="fetch keys"))
        self._background.append(asyncio.create_task(self._watch_health(), name="watch health"))
        metrics.BUILD_INFO(self.service.name, version("shoudan")).set(1)
        self._ops.set_ready()
        _log.info("serving", port=self.port, ops_port=self._ops.port, roles=sorted(self.roles))

    async def _start_rpc(self) -> None:
        registers, names = self.cells[0].registers()
        if self._shards.router is not None:
            registers = [self._shards.router.register]
        identities = [f"shoudan.profile.{self.settings.profile}"]
        if self.settings.system_id:
            identities.append(f"shoudan.system.{self.settings.system_id}")
        if self.app.identity is None:
            _log.info("plaintext", what="gRPC without TLS: this machine alone", why="no tls_cert")
        app, settings = self.app, self.settings
        callers = Callers(self._mode(), app.tokens.caller_of, settings.owner_certificate)
        alone = None if self.proposals is None else self.proposals.check_alone
        self._rpc = RpcServer(
            settings, registers, names, identities, app.identity, callers, self._call_watch(), alone
        )
        self.port = await self._rpc.start()

    def _call_watch(self) -> CallWatch:
        """What records the calls that change something."""
        app, refusals = self.app, self.cells[0].refusals
        return NO_WATCH if refusals is None else CallAudit(app.db, app.ids, app.origin, refusals)

    async def _published_keys(self) -> bytes:
        """The key set that identity publishes now."""
        stub: Any = identity_grpc.IdentityServiceStub(self.app.channel(IDENTITY))
        request = identity_pb.PublishedKeysRequest()
        return (await stub.PublishedKeys(request, timeout=STEP_S)).key_set

    def _mode(self) -> Mode:
        """How callers are checked here, written to the log: who reads it must see what is not checked."""
        mode = mode_of(self.settings)
        if mode == "enforce":
            _log.info("callers", mode=mode)
        else:
            _log.warning("callers", mode=mode, meaning=_UNCHECKED)
        return mode

    async def stop(self) -> None:
        """Refuse new work, finish what runs within `drain_s`, close. A step that hangs is cut off."""
        end = time.monotonic() + self.settings.drain_s

        def left_s() -> float:
            return max(1.0, end - time.monotonic())

        if self._ops is not None:
            self._ops.set_draining()
        for cell in self.cells:
            if (owned := cell.running.credentials) is not None:
                owned.let_go()
        if self._rpc is not None:
            await bounded("rpc", self._rpc.stop(), left_s() + STEP_S)
        await cancel_all(self._background)
        await self._shards.stop(end)
        if self._ops is not None:
            await bounded("ops", self._ops.stop(), STEP_S)
        _log.info("stopped")

    async def reasons(self) -> dict[str, str]:
        """Why this process is not ready, by check; empty when it is."""
        assert self._ops is not None
        return await self._ops.reasons()

    async def _watch_health(self) -> None:
        """Let gRPC health say what the readiness checks say; log each change of the reasons."""
        known: dict[str, str] = {}
        while True:
            reasons = await self.reasons()
            if reasons != known:
                (_log.warning if reasons else _log.info)("readiness", reasons=reasons)
                known = reasons
            if self._rpc is not None:
                await self._rpc.set_serving(serving=not reasons)
            await asyncio.sleep(HEALTH_EVERY_S)
