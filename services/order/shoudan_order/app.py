"""The order service, composed."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from functools import partial

from shoudan.core.v1 import personal_service_pb2_grpc
from shoudan.order.v1 import (
    audit_service_pb2_grpc,
    catalogue_service_pb2_grpc,
    dictionary_service_pb2_grpc,
    order_service_pb2_grpc,
    risk_service_pb2_grpc,
)
from shoudan_kit import metrics
from shoudan_kit.credentials.book import Credentials
from shoudan_kit.db.schema import Schema
from shoudan_kit.events.kept import Kept
from shoudan_kit.events.share_exchange import LEASE_S, ShareExchange, Sharing
from shoudan_kit.limits.shares import Shares
from shoudan_kit.secrets.personal import NAME as PERSONAL
from shoudan_kit.secrets.personal import Personal
from shoudan_kit.secrets.reseal import SealedData
from shoudan_kit.secrets.sealing import SealedColumn
from shoudan_kit.service import App, Running, Service
from shoudan_order import nonces, open_work, parked_gauge
from shoudan_order.catalogue import admin
from shoudan_order.config import OrderSettings
from shoudan_order.context import Context
from shoudan_order.credential_kinds import KINDS
from shoudan_order.delivery_client import DeliveryClient
from shoudan_order.notifies import Notifier
from shoudan_order.order_cache import OrdersInMemory
from shoudan_order.pay_client import PayClient
from shoudan_order.risk import admin as risk_admin
from shoudan_order.risk import guard
from shoudan_order.rpc.audit import AuditServicer
from shoudan_order.rpc.catalogue import CatalogueServicer
from shoudan_order.rpc.dictionary import DictionaryServicer
from shoudan_order.rpc.order import OrderServicer
from shoudan_order.rpc.proposals import kinds
from shoudan_order.rpc.risk import RiskServicer
from shoudan_order.store.sealed import SEALED
from shoudan_order.tables import ACCOUNTS, APPEND_ONLY, METADATA
from shoudan_order.tasks import HANDLERS

BUCKET = "order_shares"
NAMES = (
    "shoudan.order.v1.OrderService",
    "shoudan.order.v1.CatalogueService",
    "shoudan.order.v1.AuditService",
    "shoudan.order.v1.DictionaryService",
    "shoudan.order.v1.RiskService",
    PERSONAL,
)


async def _credentials(app: App[OrderSettings]) -> Credentials:
    """Those of the channels, read for the first time."""
    made = Credentials(app, KINDS, app.settings.key_ring(), "shoudan.events.order.")
    await made.open()
    return made


async def start(app: App[OrderSettings]) -> Running:
    """Everything one process needs; the catalogue is there before the first order."""
    settings, ring = app.settings, app.settings.key_ring()
    context = Context(
        app,
        PayClient(app.channel("pay"), ident=settings.ledger_ident, call_s=settings.pay_call_s),
        DeliveryClient(app.channel("delivery"), call_s=settings.delivery_call_s),
        OrdersInMemory(settings.orders_in_memory_max),
        SealedColumn(ACCOUNTS.table, ring, settings.seal_accounts),
        await _credentials(app),
    )
    shares = Shares(secrets.token_hex(8), LEASE_S)
    notifier = Notifier(context, shares)
    context.notifier = notifier
    await admin.refresh(context)
    await risk_admin.refresh(context)
    orders = OrderServicer(context)

    personal = Personal("order", ACCOUNTS, context.accounts, app.work)
    return Running(
        context=context,
        registers=(
            partial(order_service_pb2_grpc.add_OrderServiceServicer_to_server, orders),
            partial(
                catalogue_service_pb2_grpc.add_CatalogueServiceServicer_to_server,
                CatalogueServicer(context),
            ),
            partial(
                audit_service_pb2_grpc.add_AuditServiceServicer_to_server,
                AuditServicer(context),
            ),
            partial(
                dictionary_service_pb2_grpc.add_DictionaryServiceServicer_to_server,
                DictionaryServicer(context),
            ),
            partial(risk_service_pb2_grpc.add_RiskServiceServicer_to_server, RiskServicer(context)),
            partial(personal_service_pb2_grpc.add_PersonalServiceServicer_to_server, personal),
        ),
        names=NAMES,
        handlers=HANDLERS,
        background=(*_background(context), *_exchange(app, shares, notifier)),
        closers=(orders.aclose, notifier.aclose),
        open_work=open_work.sources(context),
        credentials=context.credentials,
        sealed=SealedData(ring, SEALED),
        resting=notifier.resting,
        proposals=kinds(context),
    )


def _background(context: Context) -> tuple[Callable[[], Awaitable[None]], ...]:
    """What a process does beside its calls and tasks."""

    async def poll_catalogue() -> None:
        await admin.poll(context)

    async def gauge_parked() -> None:
        await parked_gauge.gauge_forever(context)

    async def forget_nonces() -> None:
        await nonces.forget_forever(context)

    async def poll_risk() -> None:
        await risk_admin.poll(context)

    async def forget_counters() -> None:
        await guard.forget_forever(context)

    return poll_catalogue, gauge_parked, forget_nonces, poll_risk, forget_counters


def _exchange(
    app: App[OrderSettings], shares: Shares, notifier: Notifier
) -> tuple[Callable[[], Awaitable[None]], ...]:
    """How this process gets its shares. One that takes calls alone sends no notify, so it holds none."""
    sharing = Sharing(notifier.asked, metrics.REPLICAS_SHARING().set, notifier.used)
    exchange = ShareExchange(Kept(app.bus, BUCKET), shares, sharing, app.clock)
    return (exchange.run,) if "tasks" in app.roles else ()


SERVICE = Service("order", OrderSettings, start, Schema("shoudan_order", METADATA, APPEND_ONLY))
