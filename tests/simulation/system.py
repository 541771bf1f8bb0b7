"""The product's processes on a virtual machine: their own handlers, rules and senders, on stores in memory.

Every process is what its `app.py` composes, without sockets: the same contexts, the same worker, the
same task handlers, the same servicers behind the same stubs. Two replicas of each, killed and started anew.
"""

from __future__ import annotations

import random
import time
from asyncio import events
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from random import Random
from typing import Any, Final

import structlog

from shoudan_delivery.config import DeliverySettings
from shoudan_delivery.context import Context as DeliveryContext
from shoudan_delivery.context import Parts
from shoudan_delivery.inbound import Attempts, NotifyTokens, NotifyVerifier
from shoudan_delivery.order_client import OrderClient
from shoudan_delivery.result_writers import ResultWriters, WriterRules
from shoudan_delivery.results import Results
from shoudan_delivery.rpc.delivery import DeliveryServicer
from shoudan_delivery.senders import Senders
from shoudan_delivery.senders.sender import Sender
from shoudan_delivery.senders.shared_limits import SharedLimits
from shoudan_delivery.stock import Stock
from shoudan_delivery.store.rows import Supplier as SupplierRow
from shoudan_delivery.suppliers import Suppliers
from shoudan_delivery.tasks import HANDLERS as DELIVERY_HANDLERS
from shoudan_kit.audit_log.entries import Origin
from shoudan_kit.config import Secret
from shoudan_kit.db.shard_map import ONLY
from shoudan_kit.events.relay import Relay
from shoudan_kit.ids import IdMaker
from shoudan_kit.limits.shares import Shares
from shoudan_kit.secrets.sealing import SealedColumn
from shoudan_kit.service import App
from shoudan_kit.tasks.unit_of_work import UnitOfWork
from shoudan_kit.tasks.worker import Worker
from shoudan_order.catalogue.model import DownChannel
from shoudan_order.config import OrderSettings
from shoudan_order.context import Context as OrderContext
from shoudan_order.context import Known
from shoudan_order.delivery_client import DeliveryClient
from shoudan_order.endings import Endings
from shoudan_order.notifies import Notifier
from shoudan_order.order_cache import OrdersInMemory
from shoudan_order.pay_client import PayClient
from shoudan_order.rpc.audit import AuditServicer
from shoudan_order.rpc.channel import ChannelServicer
from shoudan_order.rpc.order import OrderServicer
from shoudan_order.tasks import HANDLERS as ORDER_HANDLERS
from shoudan_pay.config import PaySettings
from shoudan_pay.ledger.entries import PLATFORM
from shoudan_pay.ledger.group_commit import Ledger
from shoudan_pay.rpc.postings import PostingCalls
from tests.simulation import outside
from tests.simulation.goods import CATALOGUE, CHANNELS, SUPPLIERS, YUAN, suppliers_known
from tests.simulation.loop import Node, SimLoop
from tests.simulation.network import Channel, Http, Network
from tests.simulation.outside import Supplier
from tests.simulation.statements import (
    decisions,
    deliveries,
    ledger,
    orders,
    refunds,
    shared,
    supply,
)
from tests.simulation.store import Pool, Store

LEASE_S: Final = 20.0
DOWN_S: Final = 6.0  # until a process that died is started anew


class SimClock:
    """The loop's time."""

    shift_s = 0

    def __init__(self, loop: SimLoop) -> None:
        self._loop = loop

    def now(self) -> datetime:
        """The moment."""
        return self._loop.moment

    def monotonic(self) -> float:
        """Seconds since the start."""
        return self._loop.now


class SimApp:
    """One process: what `App` is to the code of a service."""

    name: str
    roles = frozenset({"rpc", "tasks"})
    home = ONLY

    def __init__(self, system: System, name: str, number: int, settings: Any, store: Store) -> None:
        self.name, self.settings, self.system = name, settings, system
        self.node = Node(system.loop, f"{name}-{number}")
        self.clock = self.wall_clock = SimClock(system.loop)
        self.db = Pool(store, self.node)
        self.ids = IdMaker(system.next_node(), self.clock)
        self.origin = Origin(name, frozenset())
        self.worker: Worker[Any] | None = None
        self.relay: Any = None
        self.first: Any = self
        self.number = number
        self.node.at_death.append(self._died)

    def _died(self) -> None:
        loop = self.system.loop
        loop.add(loop.now + DOWN_S, None, self.system.start, (self.name, self.number), None)

    def work(self, name: str = "work") -> UnitOfWork:
        """One transaction with its tasks and events."""
        database: Any = self.db
        return UnitOfWork(database, self.ids, self.worker, self.relay, name, (), origin=self.origin)

    def begin_work(self, context: Any, handlers: Sequence[Any]) -> None:
        """Start the worker, and the relay of its events."""
        database: Any = self.db
        worker = self.worker = Worker(
            database, context, handlers, lease_s=LEASE_S, scan_s=1.0, idle_s=4.0
        )
        relay = self.relay = Relay(self.system.bus_of(self), database, self.name)
        relay._refill = _Looked()
        self.node.soon(worker.start)
        self.node.soon(relay.start)


class _Looked:
    """There is one stream, and it is never lost."""

    looked = True

    async def look(self) -> None:
        """Nothing to look at."""


class SimNotifier(Notifier):
    """Its calls go to the partners of this world."""

    def through(self, channel: DownChannel | None) -> Any:
        """The client."""
        app: Any = self._context.app
        return Http(app.system.network, app.node, 10.0, app.system.partners.serve)


class SimSender(Sender):
    """Its calls go to the suppliers of this world."""

    def _new_http(self, supplier: SupplierRow) -> Any:
        database: Any = self._db
        system = database.node.loop.system
        serve = system.suppliers[supplier.channel_no].serve
        return Http(system.network, database.node, supplier.timeout_s, serve)


@dataclass
class Bus:
    """A stream in memory; a message may be lost un-acknowledged, or stored without a word."""

    system: System
    node: Node
    configured: bool = True
    connected: bool = True

    async def publish(self, subject: str, payload: bytes, message_id: str) -> None:
        """Store a message; raises when there is no acknowledgement."""
        roll = self.system.random.randrange(1000)
        if roll < self.system.bus_lost:
            raise ConnectionError("no acknowledgement")
        self.system.stream.append((message_id, payload))
        if roll < 2 * self.system.bus_lost:
            raise ConnectionError("the acknowledgement was lost")

    def wake(self, queues: Any, shard: int = 0) -> None:
        """A hint to the other replicas; may be lost."""
        for other in self.system.apps:
            there = other.node.alive and other.worker is not None
            if there and other.node is not self.node and self.system.random.randrange(10):
                other.node.soon(other.worker.wake)


class LedgerCalls(PostingCalls):
    """The calls of the ledger that orders need."""

    def __init__(self, app: Any, ledger: Ledger) -> None:
        self._ledger = ledger


def _settings() -> tuple[OrderSettings, PaySettings, DeliverySettings]:
    url = Secret("postgresql://nobody@nowhere/nothing")
    return (
        OrderSettings(profile="test", database_url=url, seal_accounts=False),
        PaySettings(profile="test", database_url=url),
        DeliverySettings(profile="test", database_url=url, seal_accounts=False),
    )


SETTINGS: Final = _settings()


class System:
    """All processes, their stores, the network and the outside."""

    def __init__(self, seed: int, partners: Callable[[System], Any]) -> None:
        self.random = Random(seed)
        self.loop = SimLoop()
        self.loop.system = self
        self.network = Network(self.loop, self.random)
        self.order_store = Store(
            self.loop, "order",
            [
                *shared.tables(), *orders.tables(), *deliveries.tables(), *refunds.tables(),
                *decisions.tables(),
            ],
        )  # fmt: skip
        self.pay_store = Store(self.loop, "pay", [*shared.tables(), *ledger.tables()])
        self.delivery_store = Store(self.loop, "delivery", [*shared.tables(), *supply.tables()])
        self.stores = (self.order_store, self.pay_store, self.delivery_store)
        self.suppliers = {no: Supplier(no, self.network, self.random) for no in SUPPLIERS}
        self.apps: list[SimApp] = []
        self.stream: list[tuple[str, bytes]] = []
        self.bus_lost = 0
        self._nodes = 0
        self._open_accounts()
        self.caller = Node(self.loop, "outside")
        outside.CALLER[:] = [self.caller]
        self.partners = partners(self)

    def next_node(self) -> int:
        """A node number that no living process has."""
        self._nodes = (self._nodes + 1) % 64
        return self._nodes

    def bus_of(self, app: SimApp) -> Any:
        """The bus, as this process sees it."""
        return Bus(self, app.node)

    def _open_accounts(self) -> None:
        """A platform account for each group, three accounts for each channel; one has little credit."""
        number = 1
        transaction = self.pay_store.begin(None)
        put = transaction.written
        for side, channels in (("down", CHANNELS), ("up", SUPPLIERS)):
            for kind in ("channel", "commission", "service"):
                groups = f"{side}_{kind}"
                platform = number
                place = put.setdefault(ledger.ACCOUNTS, {})
                place[platform] = ledger.account(platform, ("oms", PLATFORM, groups), None, None)
                number += 1
                for no in channels:
                    credit = (2_000 if no == "short" else 10_000_000) * YUAN
                    limited = side == "down" and kind == "channel"
                    key = ("oms", groups, no)
                    place[number] = ledger.account(
                        number, key, platform, credit if limited else None
                    )
                    put.setdefault("account_key", {})[key] = {"account_id": number}
                    number += 1
        self.pay_store.end(transaction, commit=True)

    # ------------------------------------------------------------ processes
    def start_all(self) -> None:
        """Two replicas of each service."""
        for number in (1, 2):
            for start in (self.start_pay, self.start_delivery, self.start_order):
                start(number)

    def start(self, name: str, number: int) -> None:
        """One process, anew."""
        {"pay": self.start_pay, "delivery": self.start_delivery, "order": self.start_order}[name](
            number
        )

    def _added(self, app: SimApp) -> SimApp:
        self.apps = [one for one in self.apps if one.node.alive]
        for served in self.network.servers.values():
            served[:] = [one for one in served if one[0].alive]
        self.apps.append(app)
        return app

    def start_pay(self, number: int) -> None:
        """A replica of the ledger."""
        app = self._added(SimApp(self, "pay", number, SETTINGS[1], self.pay_store))

        def compose() -> None:
            whole: Any = app
            app.begin_work(app, ())
            self.network.serve("pay", app.node, LedgerCalls(app, Ledger(whole)))

        app.node.soon(compose)

    def start_delivery(self, number: int) -> None:
        """A replica of the delivery service."""
        settings = SETTINGS[2]
        app = self._added(SimApp(self, "delivery", number, settings, self.delivery_store))
        app.node.soon(self._compose_delivery, app, settings)

    def _compose_delivery(self, app: SimApp, settings: DeliverySettings) -> None:
        whole: Any = app
        database: Any = app.db
        results = Results(app.work, app.ids, "simulated", settings.key_ring())
        writers = ResultWriters(
            results.write, WriterRules(settings.end_batch_max, settings.end_linger_s)
        )
        suppliers = Suppliers(database, settings, _no_secrets())
        tokens = NotifyTokens(settings.notify_keys())
        accounts = SealedColumn("vds_order_info", settings.key_ring(), False)
        verifier = NotifyVerifier(suppliers, tokens, Attempts(app.clock, 1000.0, 1000))
        limits = SharedLimits(settings, Shares(app.node.name, 10.0, 2), app.clock)

        def make(supplier: SupplierRow) -> Sender:
            return SimSender(
                supplier,
                db=database,
                writer=writers.of(*supplier.key),
                clock=app.clock,
                settings=settings,
                tokens=tokens,
                accounts=accounts,
                stock=Stock(app.work, None),
                switch=_no_switch,
                note_used=lambda number: None,
                claim_probe=_probe,
                limits=limits,
            )

        senders = Senders(make)
        suppliers.take(suppliers_known())
        suppliers.watch(senders.update)
        parts = Parts(1)
        client = OrderClient(Channel(self.network, app.node, "order"), call_s=5.0)
        context = DeliveryContext(
            whole, suppliers, senders, writers, verifier, client, accounts, "simulated", parts
        )
        parts.put(0, context)
        app.begin_work(context, DELIVERY_HANDLERS)
        self.network.serve("delivery", app.node, DeliveryServicer(context))

    def start_order(self, number: int) -> None:
        """A replica of the order service."""
        settings = SETTINGS[0]
        app = self._added(SimApp(self, "order", number, settings, self.order_store))
        app.node.soon(self._compose_order, app, settings)

    def _compose_order(self, app: SimApp, settings: OrderSettings) -> None:
        whole: Any = app
        ring = settings.key_ring()
        pay: Any = Channel(self.network, app.node, "pay")
        delivery: Any = Channel(self.network, app.node, "delivery")
        nobody: Any = _NoCredentials()
        context = OrderContext(
            whole,
            PayClient(pay, ident="oms", call_s=3.0),
            DeliveryClient(delivery, call_s=5.0),
            OrdersInMemory(10_000),
            SealedColumn("oms_order_info", ring, False),
            nobody,
            Known(CATALOGUE, loaded=True),
        )
        context.endings = endings = Endings(context)
        context.notifier = SimNotifier(context, Shares(app.node.name, 10.0, 2), endings)
        app.begin_work(context, ORDER_HANDLERS)
        app.context = context
        self.network.serve("order", app.node, OrderServicer(context))
        self.network.serve("audit", app.node, AuditServicer(context))
        self.network.serve("channel", app.node, ChannelServicer(context))

    def close(self) -> None:
        """Nothing of it goes on."""
        old = events._get_running_loop()
        events._set_running_loop(self.loop)
        try:
            for app in self.apps:
                app.node.at_death.clear()
                app.node.kill()
            self.caller.kill()
            self.loop.end()
        finally:
            events._set_running_loop(old)

    @property
    def transitions(self) -> int:
        """Decisions that were applied to the stores."""
        return sum(store.transitions for store in self.stores)


class _Live:
    """No stored secrets."""

    def of(self, kind: str, no: str) -> tuple[Any, ...]:
        return ()

    def texts(self, kind: str, no: str) -> tuple[str, ...]:
        return ()

    def use(self, number: int) -> None:
        """Nothing to note."""


@dataclass
class _NoCredentials:
    live: _Live = field(default_factory=_Live)


def _no_secrets() -> Any:
    return _Live()


async def _no_switch(supplier: SupplierRow, tripped: bool) -> None:
    """A tripped channel is put back by nobody here: breakers do not trip (see `virtual`)."""


async def _probe(supplier: SupplierRow, seconds: float) -> bool:
    return True


@contextmanager
def virtual(loop: SimLoop, seed: int) -> Generator[None]:
    """The loop's clock as everybody's, and the product's own dice from the seed."""
    real, dice = time.monotonic, random.getstate()
    time.monotonic = lambda: loop.now
    random.seed(seed)
    try:
        yield
    finally:
        time.monotonic = real
        random.setstate(dice)


def quiet() -> None:
    """Log lines of a simulated system go nowhere."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))


__all__ = ["App", "System", "quiet", "virtual"]
