"""Puts the faults of a plan on the system, each in its time, and takes all of them away at the end."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import asyncpg
from grpc import aio

from shoudan.core.v1 import operations_service_pb2 as operations
from shoudan.core.v1 import operations_service_pb2_grpc as operations_grpc
from shoudan.delivery.v1 import delivery_service_pb2 as delivery
from shoudan.delivery.v1 import delivery_service_pb2_grpc as delivery_grpc
from shoudan.pay.v1 import ledger_service_pb2 as pay
from shoudan.pay.v1 import ledger_service_pb2_grpc as pay_grpc
from shoudan_cli.apply import apply
from shoudan_cli.clients import Clients, Failed
from shoudan_cli.wiring import SANDBOX
from shoudan_configuration.document import parse
from shoudan_kit.embedded import EmbeddedError
from shoudan_kit.process.polling import until
from shoudan_kit.process.supervise import NotStarted
from tests.chaos.lasting import lasting
from tests.chaos.partner import Inbox
from tests.chaos.plan import NATS, POSTGRES, PROCESSES, SUPPLIERS, Fault
from tests.chaos.stage import CONNECTIONS, Stage, catalogue

HEAL_S = 180
UNDO_S = 60
LATENCY_S = 0.04
FLUSH_LATE_US = 100_000  # the most that PostgreSQL takes
JUMP_S = 4  # longer than a task's lease; all jumps of an hour stay below the overtimes
CLOCKS = ("order", "delivery")
BY = "nemesis"
ORDINARY = {"latency_s": 0.0, "script": "", "down": False}
MOODS = {
    "supplier_down": {"down": True},
    "supplier_slow": {"latency_s": 1.5},
    "supplier_unknown": {"script": "0002"},
}
# What may happen to a fault itself: an operator's call that meets another fault, a server that is away.
EXPECTED = (Failed, aiohttp.ClientError, aio.AioRpcError, TimeoutError, OSError, NotStarted)
EXPECTED += (asyncpg.PostgresError, asyncpg.InterfaceError, EmbeddedError)


@dataclass
class Nemesis:
    """Does the harm; `done` counts by kind what was done, `failed` what another fault was in the way of."""

    stage: Stage
    inbox: Inbox
    http: aiohttp.ClientSession
    clients: Clients
    done: Counter[str] = field(default_factory=Counter)
    failed: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    recovered_s: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    shift_s: int = 0
    last: BaseException | None = None
    _one_at_a_time: dict[str, asyncio.Lock] = field(
        default_factory=lambda: defaultdict(asyncio.Lock)
    )

    async def run(self, faults: list[Fault], began: float) -> None:
        """All of them, each from its time on."""
        async with asyncio.TaskGroup() as group:
            for one in faults:
                await lasting(began + one.at_s - time.monotonic())
                group.create_task(self._put(one))

    async def _put(self, fault: Fault) -> None:
        async with self._one_at_a_time[self._victim(fault)]:
            try:
                await self._act(fault)
                self.done[fault.kind] += 1
            except EXPECTED as error:
                self.failed[fault.kind].append(f"{fault.where}: {type(error).__name__} {error}")

    def _victim(self, fault: Fault) -> str:
        return "inbox" if fault.kind.startswith("partner_") else fault.where

    async def _act(self, fault: Fault) -> None:
        if fault.where in self.stage.links:
            return await self._on_link(fault)
        if fault.kind in MOODS:
            return await self._supplier(fault)
        return await getattr(self, f"_{fault.kind.removeprefix('operator_')}", self._mood)(fault)

    # ------------------------------------------------------------ processes and servers
    async def _kill(self, fault: Fault) -> None:
        await self._back(fault, self.stage.kill(fault.where))

    _postgres_kill = _nats_kill = _kill

    async def _roll(self, fault: Fault) -> None:
        await self._back(fault, self._restart(fault.where))

    async def _restart(self, name: str) -> None:
        await self.stage.stop(name)
        await self._start_again(name)

    async def _start_again(self, name: str) -> None:
        """As an operator does: until it comes up."""
        if not await until(lambda: self._did(lambda: self.stage.start_again(name)), HEAL_S):
            raise AssertionError(f"{name} does not start again: {self.last}")

    _postgres_restart = _roll

    async def _back(self, fault: Fault, harm: Awaitable[None]) -> None:
        """Do harm, and see how soon the victim serves again."""
        await harm
        began = time.monotonic()
        await self.stage.wait_healthy(fault.where, HEAL_S)
        self.recovered_s[fault.kind].append(time.monotonic() - began)

    async def _failover(self, fault: Fault) -> None:
        """The standby takes over, and gets one of its own."""
        pair = self.stage.pair
        if pair.copy is None:
            await pair.pair(CONNECTIONS)
        await self._back(fault, pair.fail_over())
        await pair.pair(CONNECTIONS)

    async def _pause(self, fault: Fault) -> None:
        self.stage.pause(fault.where)
        try:
            await lasting(fault.lasts_s)
        finally:
            self.stage.resume(fault.where)

    _supplier_hangs = _pause

    async def _backends(self, fault: Fault) -> None:
        async with self.stage.postgres.admin(f"shoudan_{fault.where}") as db:
            await db.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )

    async def _slow_fsync(self, fault: Fault) -> None:
        """Every commit waits before it is flushed, as on a disk that is slow to say that it has written."""
        await self._set_server(f"ALTER SYSTEM SET commit_delay = {FLUSH_LATE_US}")
        await self._set_server("ALTER SYSTEM SET commit_siblings = 0")
        await lasting(fault.lasts_s)
        await self._flush_at_once()

    async def _flush_at_once(self) -> None:
        await self._set_server("ALTER SYSTEM RESET commit_delay")

    async def _set_server(self, sql: str) -> None:
        async with self.stage.postgres.admin() as db:
            await db.execute(sql)
            await db.execute("SELECT pg_reload_conf()")

    async def _clock_jumps(self, fault: Fault) -> None:
        """Of all databases and their processes, ahead; the product's clock never goes back."""
        self.shift_s += JUMP_S
        for service in CLOCKS:
            request = operations.AdvanceClockRequest(shift_s=self.shift_s)
            stub = operations_grpc.OperationsServiceStub
            await self.clients.call(service, stub, "AdvanceClock", request)

    async def _stream_lost(self, fault: Fault) -> None:
        await self.stage.stop(NATS)
        await asyncio.to_thread(shutil.rmtree, self.stage.nats.home.folder("store"))
        await self._start_again(NATS)

    async def _certificates(self, fault: Fault) -> None:
        """Every process and NATS get new ones, as at the end of their life."""
        certificates = self.stage.certificates
        assert certificates is not None
        renewed = await asyncio.to_thread(certificates.authority.rotate, early=True)
        assert {NATS, "order", "gateway"} <= {one.name for one in renewed}
        self.stage.nats.reload()

    # ------------------------------------------------------------ links
    async def _on_link(self, fault: Fault) -> None:
        link = self.stage.links[fault.where]
        match fault.kind:
            case "reset":
                link.reset()
            case "half_open":
                link.half_open()
            case "orphan":
                link.orphan()
            case "latency":
                link.latency_s = LATENCY_S
            case "sliced":
                link.sliced = True
            case "silent":
                link.cut()
            case _:
                link.cut(fault.kind.removeprefix("silent_"))
        await lasting(fault.lasts_s)
        if fault.lasts_s:
            link.mend()

    # ------------------------------------------------------------ partners and suppliers
    async def _mood(self, fault: Fault) -> None:
        self.inbox.mood = fault.kind
        await lasting(fault.lasts_s)
        self.inbox.mood = ""

    async def _supplier(self, fault: Fault) -> None:
        await self._turn(fault.where, MOODS[fault.kind])
        await lasting(fault.lasts_s)
        await self._turn(fault.where, ORDINARY)

    async def _turn(self, channel: str, knobs: dict[str, Any]) -> None:
        url = f"{self.stage.sandbox_url}/supplier/knobs?channel_no={channel}"
        async with self.http.post(url, json=knobs) as answer:
            answer.raise_for_status()

    # ------------------------------------------------------------ operators
    async def _applies(self, fault: Fault) -> None:
        """A supplier's price, and back."""
        for price in ("0.975", "0.97"):
            text = catalogue().replace("cost_discount: 0.97,", f"cost_discount: {price},")
            await self._apply(text)

    async def _apply(self, text: str) -> None:
        document = parse(text, "catalogue.yaml", self.stage.env)
        await apply(self.clients, document, BY, dry_run=False)

    async def _suspends(self, fault: Fault) -> None:
        await self._set_supplier(fault.where, delivery.SUPPLIER_STATE_SUSPENDED)
        await lasting(fault.lasts_s)
        await self._set_supplier(fault.where, delivery.SUPPLIER_STATE_OPEN)

    async def _set_supplier(self, channel: str, state: Any) -> None:
        message = delivery.SetSupplierStateRequest(
            channel_no=channel, state=state, by=BY, reason="chaos"
        )
        stub = delivery_grpc.SupplierServiceStub
        await self.clients.call("delivery", stub, "SetSupplierState", message)

    async def _locks(self, fault: Fault) -> None:
        await self._lock(fault.where, locked=True)
        await lasting(fault.lasts_s)
        await self._lock(fault.where, locked=False)

    async def _lock(self, channel: str, *, locked: bool) -> None:
        key = pay.AccountKey(ident="oms", groups="up_channel", eid=channel)
        message = pay.UpdateAccountRequest(key=key, locked=locked)
        await self.clients.call("pay", pay_grpc.LedgerServiceStub, "UpdateAccount", message)

    async def _pauses(self, fault: Fault) -> None:
        await self._pause_queue(fault.where, paused=True)
        await lasting(fault.lasts_s)
        await self._pause_queue(fault.where, paused=False)

    async def _pause_queue(self, queue: str, *, paused: bool) -> None:
        service = "delivery" if queue.startswith("vds:") else "order"
        message = operations.PauseQueueRequest(
            queue_name=queue, paused=paused, by=BY, reason="chaos"
        )
        stub = operations_grpc.OperationsServiceStub
        await self.clients.call(service, stub, "PauseQueue", message)

    async def _retries(self, fault: Fault) -> None:
        """Whatever waits in the service is hurried."""
        stub = operations_grpc.OperationsServiceStub
        listed = await self.clients.call(
            fault.where, stub, "ListTasks", operations.ListTasksRequest()
        )
        ids = [one.task_id for one in listed.tasks][:50]
        if ids:
            message = operations.RetryTasksRequest(task_ids=ids)
            await self.clients.call(fault.where, stub, "RetryTasks", message)

    # ------------------------------------------------------------ the end
    async def heal(self, queues: tuple[str, ...]) -> None:
        """Nothing is broken any more, and whatever an operator turned is as before."""
        self.stage.mend()
        self.inbox.mood = ""
        for name in (*PROCESSES, SANDBOX):
            self.stage.resume(name)
        for name in (POSTGRES, NATS, SANDBOX, *PROCESSES):
            await self.stage.wait_healthy(name, HEAL_S)
        undo: list[Callable[[], Awaitable[None]]] = [
            lambda: self._apply(catalogue()),
            self._flush_at_once,
        ]
        for channel in SUPPLIERS:
            undo.append(lambda channel=channel: self._turn(channel, ORDINARY))
            undo.append(
                lambda channel=channel: self._set_supplier(channel, delivery.SUPPLIER_STATE_OPEN)
            )
            undo.append(lambda channel=channel: self._lock(channel, locked=False))
        undo += [lambda queue=queue: self._pause_queue(queue, paused=False) for queue in queues]
        for one in undo:
            if not await until(lambda one=one: self._did(one), UNDO_S, every_s=0.5):
                raise AssertionError(f"an operator's call fails in a whole system: {self.last}")

    async def _did(self, act: Callable[[], Awaitable[None]]) -> bool:
        try:
            await act()
        except EXPECTED as error:
            self.last = error
            return False
        return True
