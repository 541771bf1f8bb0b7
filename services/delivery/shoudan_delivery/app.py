"""The composition root: from settings to servicers, senders, task handlers and the writer of results."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Awaitable, Callable
from functools import partial

from shoudan.core.v1 import personal_service_pb2_grpc as personal_grpc
from shoudan.delivery.v1 import card_service_pb2_grpc as card_grpc
from shoudan.delivery.v1 import delivery_service_pb2_grpc as delivery_grpc
from shoudan_delivery import events
from shoudan_delivery.balances import Balances
from shoudan_delivery.config import DeliverySettings
from shoudan_delivery.context import Context, Parts
from shoudan_delivery.credential_kinds import KINDS
from shoudan_delivery.depot import Depot, finish
from shoudan_delivery.inbound import Attempts, NotifyTokens, NotifyVerifier
from shoudan_delivery.order_client import OrderClient
from shoudan_delivery.prices import PricePolls
from shoudan_delivery.result_writers import ResultWriters, WriterRules
from shoudan_delivery.results import Results
from shoudan_delivery.rpc.card import CardServicer
from shoudan_delivery.rpc.delivery import DeliveryServicer
from shoudan_delivery.rpc.supplier import SupplierServicer
from shoudan_delivery.senders import Senders
from shoudan_delivery.senders.sender import Sender
from shoudan_delivery.senders.shared_limits import SharedLimits
from shoudan_delivery.states import SupplierState
from shoudan_delivery.stock import Stock, watch_forever
from shoudan_delivery.stock_states import StockStates
from shoudan_delivery.store import laws
from shoudan_delivery.store import suppliers as supplier_store
from shoudan_delivery.store.retention import DELIVERIES
from shoudan_delivery.store.rows import Supplier
from shoudan_delivery.store.sealed import SEALED
from shoudan_delivery.suppliers import Suppliers
from shoudan_delivery.tables import ACCOUNTS, APPEND_ONLY, METADATA
from shoudan_delivery.tasks import HANDLERS
from shoudan_kit import metrics
from shoudan_kit.credentials.book import Credentials
from shoudan_kit.db.schema import Schema
from shoudan_kit.events.kept import Kept
from shoudan_kit.events.share_exchange import LEASE_S, ShareExchange, Sharing
from shoudan_kit.limits.bulkhead import Resting
from shoudan_kit.limits.shares import Shares
from shoudan_kit.secrets.personal import NAME as PERSONAL
from shoudan_kit.secrets.personal import Personal
from shoudan_kit.secrets.reseal import SealedData
from shoudan_kit.secrets.sealing import SealedColumn
from shoudan_kit.service import App, Register, Running, Service

BUCKET = "delivery_shares"
NAMES = (
    "shoudan.delivery.v1.DeliveryService",
    "shoudan.delivery.v1.SupplierService",
    "shoudan.delivery.v1.CardService",
    PERSONAL,
)


async def start(app: App[DeliverySettings]) -> Running:
    """Compose the service; the channels are known before the first call is taken."""
    settings, is_first = app.settings, app.first is app
    local_ip = f"{socket.gethostname()}/{os.getpid()}"
    results = Results(app.work, app.ids, local_ip, settings.key_ring())
    writers = ResultWriters(
        results.write, WriterRules(settings.end_batch_max, settings.end_linger_s)
    )
    credentials = await _credentials(app)
    suppliers = app.once(Suppliers, lambda: Suppliers(app.db, settings, credentials.live))
    tokens = NotifyTokens(settings.notify_keys())
    accounts = SealedColumn(ACCOUNTS.table, settings.key_ring(), settings.seal_accounts)
    verifier = _verifier(app, suppliers, tokens)
    # Each shard of a process takes its share of a supplier's places, as one more replica.
    shares = Shares(secrets.token_hex(8), LEASE_S, settings.replicas * app.home.shards)
    limits = SharedLimits(settings, shares, app.clock)
    stock = Stock(app.work, None if is_first else Depot(app, accounts.ring).draw)

    def make(supplier: Supplier) -> Sender:
        return Sender(
            supplier,
            db=app.db,
            writer=writers.of(*supplier.key),
            clock=app.wall_clock,
            settings=settings,
            tokens=tokens,
            accounts=accounts,
            stock=stock,
            switch=partial(_switch, app.first),
            note_used=suppliers.note_used,
            claim_probe=partial(_claim_probe, app.first),
            limits=limits,
        )

    senders = Senders(make)
    if is_first:  # the others wait for nothing from here on: who watches is composed whole
        await suppliers.refresh()
    orders = OrderClient(app.channel("order"), call_s=settings.report_timeout_s)
    parts = app.once(Parts, lambda: Parts(app.home.shards))
    context = Context(app, suppliers, senders, writers, verifier, orders, accounts, local_ip, parts)
    parts.put(app.home.shard, context)
    suppliers.watch(senders.update)

    async def close() -> None:
        suppliers.unwatch(senders.update)
        await senders.aclose(settings.drain_s)
        await stock.aclose()
        await writers.aclose()

    return Running(
        context=context,
        registers=_registers(context),
        names=NAMES,
        handlers=HANDLERS,
        credentials=credentials if is_first else None,
        sealed=SealedData(accounts.ring, SEALED),
        background=_background(app, suppliers, shares, senders, parts),
        closers=(close,),
        resting=partial(_resting, suppliers) if is_first else tuple,
    )


def _verifier(
    app: App[DeliverySettings], suppliers: Suppliers, tokens: NotifyTokens
) -> NotifyVerifier:
    rate, burst = app.settings.notify_refused_per_s, app.settings.notify_refused_burst
    return NotifyVerifier(suppliers, tokens, Attempts(app.clock, rate, burst))


def _background(
    app: App[DeliverySettings],
    suppliers: Suppliers,
    shares: Shares,
    senders: Senders,
    parts: Parts,
) -> list[Callable[[], Awaitable[None]]]:
    """What runs as long as the process; what a system has once is followed by the first shard."""
    exchange = _exchange(app, shares, senders)
    if app.first is not app:
        return [*exchange]
    # A process that takes calls alone asks no supplier for its balance or prices.
    asking = (
        [
            Balances(app, suppliers).watch_forever,
            PricePolls(app, suppliers).poll_forever,
            StockStates(app, suppliers).follow_forever,
        ]
        if "tasks" in app.roles
        else []
    )
    watch = partial(watch_forever, app, partial(finish, app, parts.app_of))
    return [suppliers.refresh_forever, watch, *asking, *exchange]


def _registers(context: Context) -> tuple[Register, ...]:
    """What adds each service of NAMES to the server."""
    personal = Personal("delivery", ACCOUNTS, context.accounts, context.app.work)
    return (
        partial(delivery_grpc.add_DeliveryServiceServicer_to_server, DeliveryServicer(context)),
        partial(delivery_grpc.add_SupplierServiceServicer_to_server, SupplierServicer(context)),
        partial(card_grpc.add_CardServiceServicer_to_server, CardServicer(context)),
        partial(personal_grpc.add_PersonalServiceServicer_to_server, personal),
    )


def _resting(suppliers: Suppliers) -> list[Resting]:
    return [
        Resting("supplier", one.channel_no, str(one.service_class), False, 0.0, 0.0)
        for one in suppliers.all()
        if one.state is SupplierState.TRIPPED
    ]


def _exchange(
    app: App[DeliverySettings], shares: Shares, senders: Senders
) -> tuple[Callable[[], Awaitable[None]], ...]:
    """How this process gets its shares. One that takes calls alone sends nothing, so it holds none."""
    show = metrics.REPLICAS_SHARING().set
    sharing = Sharing(senders.asked, show, senders.used, senders.counts, senders.received)
    exchange = ShareExchange(Kept(app.bus, BUCKET), shares, sharing, app.clock)
    return (exchange.run,) if "tasks" in app.roles else ()


async def _credentials(app: App[DeliverySettings]) -> Credentials:
    """Those of the suppliers, read for the first time by the first shard."""
    made = app.once(
        Credentials,
        lambda: Credentials(app, KINDS, app.settings.key_ring(), "shoudan.events.delivery."),
    )
    if app.first is app:
        await made.open()
    return made


async def _claim_probe(app: App[DeliverySettings], supplier: Supplier, probe_s: float) -> bool:
    """Whether this process is the one that tries a rested channel for so long."""
    async with app.db.connect() as db:  # one statement, committed when it returns
        return await supplier_store.claim_probe(db, supplier.key, probe_s)


async def _switch(app: App[DeliverySettings], supplier: Supplier, tripped: bool) -> None:
    """Store that a breaker tripped or closed, unless an operator has set the state."""
    settings = app.settings
    reason = f"breaker: {settings.breaker_failures_ppm // 10_000} % of calls failed"
    async with app.work("delivery.switch") as work:
        if tripped:
            pause_s = settings.breaker_pause_s
            done = await supplier_store.trip(work.db, supplier.key, reason, pause_s)
        else:
            done = await supplier_store.close(work.db, supplier.key)
        if done:
            state = SupplierState.TRIPPED if tripped else SupplierState.OPEN
            events.switched(work, supplier, state, reason if tripped else "breaker: calls succeed")


SERVICE = Service(
    name="delivery",
    settings=DeliverySettings,
    start=start,
    schema=Schema("shoudan_delivery", METADATA, APPEND_ONLY, DELIVERIES),
    laws=(laws.SUBJECT,),
)
