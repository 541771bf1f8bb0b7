"""One shard of a process: what its service composes over one schema, and what runs beside the calls.

A service with one shard has one of these, and nothing stands before it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast

from shoudan.core.v1 import audit_log_service_pb2_grpc as audit_log_grpc
from shoudan.core.v1 import credential_service_pb2_grpc as credential_grpc
from shoudan.core.v1 import operations_service_pb2_grpc as operations_grpc
from shoudan.core.v1 import proposal_service_pb2_grpc as proposal_grpc
from shoudan.core.v1 import sealing_service_pb2_grpc as sealing_grpc
from shoudan.core.v1 import work_service_pb2_grpc as work_grpc
from shoudan_kit import log, metrics
from shoudan_kit.audit_log.refusals import Refusals
from shoudan_kit.audit_log.sealing import sealing
from shoudan_kit.audit_log.servicer import NAME as AUDIT_LOG
from shoudan_kit.audit_log.servicer import AuditLog
from shoudan_kit.config import ProcessSettings, ServiceSettings
from shoudan_kit.credentials.servicer import NAME as CREDENTIALS
from shoudan_kit.credentials.servicer import CredentialServicer
from shoudan_kit.db import partitions
from shoudan_kit.db.errors import away, describe
from shoudan_kit.db.revisions import SchemaCheck
from shoudan_kit.process.shutdown import bounded, cancel_all
from shoudan_kit.proposals.proposals import Proposals
from shoudan_kit.proposals.servicer import NAME as PROPOSALS
from shoudan_kit.proposals.servicer import ProposalServicer
from shoudan_kit.proposals.watch import watch
from shoudan_kit.seal_keys import SealKeys
from shoudan_kit.secrets.reseal import NAME as SEALING
from shoudan_kit.secrets.reseal import SealingServicer
from shoudan_kit.tasks.laws import LawWatch
from shoudan_kit.tasks.open_work import NAME as OPEN_WORK
from shoudan_kit.tasks.open_work import OpenWork, gauging
from shoudan_kit.tasks.operations import Operations
from shoudan_kit.tasks.worker import Worker

if TYPE_CHECKING:
    from shoudan_kit.service import App, Check, Register, Running, Service

S = TypeVar("S", bound=ProcessSettings)

OPERATIONS: Final = "shoudan.core.v1.OperationsService"
IDLE_S_MAX: Final = (
    5.0  # between looks at the tasks of a shard without any, however many shards there are
)
STEP_S: Final = 3.0  # for each step of a stop that has nothing to finish

_log = log.get_logger("service")


class Cell(Generic[S]):
    """The part of a process that works on one shard."""

    def __init__(self, service: Service[S], app: App[S], running: Running) -> None:
        self.app, self.running = app, running
        self.proposals: Proposals | None = None
        self.refusals: Refusals | None = None
        self.is_open = False
        self._service = service
        self._background: list[asyncio.Task[None]] = []
        self.checks: dict[str, Check] = {}
        if app.lease is not None:
            self.checks["database"] = app.lease.prove
            if service.schema is not None:
                self.checks["schema"] = SchemaCheck(app.db, service.schema.package)

    async def open(self) -> None:
        """Wait for the database, compose, start the tasks. Raises ConfigError, WrongShard."""
        app = self.app
        with metrics.cell(app.home.shard):
            await app.open()
            self.running = await self._service.start(app)
            if self.running.proposals:
                self.proposals = Proposals(cast("Any", app), self.running.proposals)
            self._start_tasks()
            if app.has_db:
                self.refusals = Refusals(app.db, app.ids, app.origin, app.clock)
            self.is_open = True

    def run(self) -> None:
        """Start what runs beside the calls."""
        with metrics.cell(self.app.home.shard):
            self._background = [
                asyncio.create_task(forever(one), name=getattr(one, "__name__", "background"))
                for one in self._loops()
            ]
            if self.app.lease is not None:
                task = asyncio.create_task(self.app.lease.run(), name="renew node")
                self._background.append(task)

    def registers(self) -> tuple[list[Register], list[str]]:
        """What adds the servicers to a server, and their names."""
        registers, names = list(self.running.registers), list(self.running.names)
        for add, servicer, name in self._shared():
            registers, names = [*registers, partial(add, servicer)], [*names, name]
        return registers, names

    async def reason(self) -> str | None:
        """Why no call can be answered here; None when they can."""
        if not self.is_open:
            return "not open"
        for check in self.checks.values():
            if (why := await check()) is not None:
                return why
        return None

    async def stop(self, until: float) -> None:
        """Finish what runs until this moment (monotonic), close. A step that hangs is cut off."""

        def left_s() -> float:
            return max(1.0, until - time.monotonic())

        app = self.app
        await cancel_all(self._background)
        if app.worker is not None:
            await bounded("worker", app.worker.stop(left_s()), left_s() + STEP_S)
        for close in self.running.closers:
            await bounded("service", close(), left_s())
        if app.relay is not None:
            await bounded("relay", app.relay.stop(), STEP_S)
        await bounded("app", app.close(), STEP_S)

    def _loops(self) -> Iterator[Callable[[], Awaitable[None]]]:
        """What runs beside the calls: the service's own, and what every service has."""
        app, settings = self.app, self.app.settings
        yield from self.running.background
        if self.proposals is not None:
            yield partial(watch, self.proposals)
        if self.running.open_work:
            yield gauging(self.running.open_work, app.clock)
        if self.running.credentials is not None:
            yield self.running.credentials.run
        if app.clock_watch is not None and app.clock_watch.turnable:
            yield app.clock_watch.run
        if app.has_db:
            yield partitions.watching(app.db)
        if self._service.laws:
            yield LawWatch(app.db, app.clock, self._service.laws).run
        if self.refusals is not None:
            yield self.refusals.run
        if isinstance(settings, ServiceSettings) and "tasks" in app.roles:
            every_s = settings.audit_log_seal_s
            begin = partial(app.work, "audit_log")
            keys, shard = audit_log_keys(settings), app.home.shard
            yield sealing(app.db, begin, app.name, keys, every_s, shard)

    def _start_tasks(self) -> None:
        app, settings = self.app, self.app.settings
        if not isinstance(settings, ServiceSettings):
            return
        if "tasks" in app.roles and self.running.handlers:
            worker: Worker[Any] = Worker(
                app.db,
                self.running.context,
                self.running.handlers,
                queues=frozenset(settings.task_queues) or None,
                lease_s=settings.task_lease_s,
                scan_s=settings.task_scan_s,
                idle_s=min(settings.task_scan_s * app.home.shards, IDLE_S_MAX),
            )
            app.worker = worker
            if app.clock_watch is not None:
                app.clock_watch.serve(worker)
            app.bus.on_wake(worker.queues, worker.wake, app.home.shard)
            worker.start()
        if app.relay is not None:
            app.relay.start()

    def _shared(self) -> Iterator[tuple[Any, Any, str]]:
        """The servicers that services have in common: what adds each to a server, and its name."""
        app, running = self.app, self.running
        if app.has_db:
            watch = app.clock_watch
            follow = watch.follow if watch is not None and watch.turnable else None
            add: Any = operations_grpc.add_OperationsServiceServicer_to_server
            yield add, Operations(app.db, running.history, running.resting, follow), OPERATIONS
            add = audit_log_grpc.add_AuditLogServiceServicer_to_server
            yield add, AuditLog(app.db, app.name, audit_log_keys(app.settings)), AUDIT_LOG
        if running.open_work:
            add = work_grpc.add_WorkServiceServicer_to_server
            yield add, OpenWork(running.open_work), OPEN_WORK
        if running.credentials is not None:
            prod = app.settings.profile == "prod"
            add = credential_grpc.add_CredentialServiceServicer_to_server
            yield add, CredentialServicer(running.credentials, prod=prod), CREDENTIALS
        if running.sealed is not None:
            add = sealing_grpc.add_SealingServiceServicer_to_server
            yield add, SealingServicer(running.sealed, app.work), SEALING
        if self.proposals is not None:
            add = proposal_grpc.add_ProposalServiceServicer_to_server
            yield add, ProposalServicer(self.proposals), PROPOSALS


def audit_log_keys(settings: ProcessSettings) -> SealKeys:
    """The keys that seal the audit log of a service with a database."""
    assert isinstance(settings, ServiceSettings)
    return SealKeys.parse(settings.audit_log_keys.reveal())


async def forever(run_once: Callable[[], Awaitable[None]]) -> None:
    """A background loop that ends is started again: it may be a bug, but never a silent standstill."""
    while True:
        try:
            await run_once()
        except Exception as error:  # noqa: BLE001 - seen in the log, tried again
            name = getattr(run_once, "__name__", "")
            if away(error):  # no bug, and nothing a person could do about this task
                _log.warning("background_waits", task=name, error=describe(error))
            else:
                _log.error("background_failed", task=name, exc_info=True)
        await asyncio.sleep(1)
