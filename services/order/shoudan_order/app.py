"""The order service, composed."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from functools import partial

from shoudan.core.v1 import personal_service_pb2_grpc
from shoudan.order.v1 import (
    audit_service_pb2_grpc,
    catalogue_service_pb2_grpc,
    order_service_pb2_grpc,
    retention_service_pb2_grpc,
    risk_service_pb2_grpc,
)
from shoudan.order.v1.channel_service_pb2_grpc import add_ChannelServiceServicer_to_server
from shoudan.order.v1.dictionary_service_pb2_grpc import add_DictionaryServiceServicer_to_server
from shoudan.order.v1.endpoint_service_pb2_grpc import add_EndpointServiceServicer_to_server
from shoudan.order.v1.goods_service_pb2_grpc import add_GoodsServiceServicer_to_server
from shoudan.order.v1.request_log_service_pb2_grpc import (
    add_RequestLogServiceServicer_to_server,
)
from shoudan.order.v1.sandbox_service_pb2_grpc import add_SandboxServiceServicer_to_server
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
from shoudan_kit.service import App, Register, Running, Service
from shoudan_order import (
    endpoints,
    goods_changes,
    nonces,
    open_work,
    parked_gauge,
    request_log,
    routes,
    shelf_notices,
)
from shoudan_order.catalogue import admin, segment_admin
from shoudan_order.config import OrderSettings
from shoudan_order.context import Context, Known
from shoudan_order.credential_kinds import KINDS
from shoudan_order.delivery_client import DeliveryClient
from shoudan_order.endings import Endings
from shoudan_order.endpoint_notices import EndpointNotices
from shoudan_order.notifies import Notifier
from shoudan_order.order_cache import OrdersInMemory
from shoudan_order.pay_client import PayClient
from shoudan_order.risk import admin as risk_admin
from shoudan_order.risk import guard
from shoudan_order.rpc import proposals
from shoudan_order.rpc.audit import AuditServicer
from shoudan_order.rpc.catalogue import CatalogueServicer
from shoudan_order.rpc.channel import ChannelServicer
from shoudan_order.rpc.dictionary import DictionaryServicer
from shoudan_order.rpc.endpoint import EndpointServicer
from shoudan_order.rpc.goods import GoodsServicer
from shoudan_order.rpc.order import OrderServicer
from shoudan_order.rpc.request_log import RequestLogServicer
from shoudan_order.rpc.retention import RetentionServicer
from shoudan_order.rpc.risk import RiskServicer
from shoudan_order.rpc.sandbox import SandboxServicer
from shoudan_order.sandbox_client import SandboxClient
from shoudan_order.shelf_notices import ShelfNotices
from shoudan_order.store import laws
from shoudan_order.store.retention import ORDERS
from shoudan_order.store.sealed import SEALED
from shoudan_order.tables import ACCOUNTS, APPEND_ONLY, METADATA
from shoudan_order.tasks import HANDLERS

BUCKET = "order_shares"
KEYS = (
    "SELECT channel_no FROM oms_down_channel",
    "SELECT DISTINCT down_channel_no FROM oms_order_info",
)
NAMES = (
    "shoudan.order.v1.OrderService",
    "shoudan.order.v1.CatalogueService",
    "shoudan.order.v1.AuditService",
    "shoudan.order.v1.DictionaryService",
    "shoudan.order.v1.RiskService",
    "shoudan.order.v1.RetentionService",
    "shoudan.order.v1.GoodsService",
    "shoudan.order.v1.ChannelService",
    "shoudan.order.v1.RequestLogService",
    "shoudan.order.v1.EndpointService",
    "shoudan.order.v1.SandboxService",
    PERSONAL,
)


async def _credentials(app: App[OrderSettings]) -> Credentials:
    """Those of the channels, read for the first time by the first shard."""
    made = app.once(
        Credentials,
        lambda: Credentials(app, KINDS, app.settings.key_ring(), "shoudan.events.order."),
    )
    if app.first is app:
        await made.open()
    return made


async def start(app: App[OrderSettings]) -> Running:
    """Everything one process needs; the catalogue is there before the first order."""
    settings, ring, is_first = app.settings, app.settings.key_ring(), app.first is app
    context = Context(
        app,
        PayClient(app.channel("pay"), ident=settings.ledger_ident, call_s=settings.pay_call_s),
        DeliveryClient(app.channel("delivery"), call_s=settings.delivery_call_s),
        OrdersInMemory(settings.orders_in_memory_max // app.home.shards),
        SealedColumn(ACCOUNTS.table, ring, settings.seal_accounts),
        await _credentials(app),
        app.once(Known, Known),
    )
    # Each shard of a process takes its share of the calls to a host, as one more replica.
    shares = Shares(secrets.token_hex(8), LEASE_S, app.home.shards)
    context.endings = endings = Endings(context)
    notifier = Notifier(context, shares, endings)
    context.notifier = notifier
    context.shelf_notices = shelf = ShelfNotices(context, shelf_notices.notify)
    context.endpoint_notices = endpoint_calls = EndpointNotices(context)
    context.goods_changes = goods = ShelfNotices(context, goods_changes.notify)
    if is_first:
        await admin.refresh(context)
        await risk_admin.refresh(context)
        await segment_admin.refresh(context)
    await routes.refresh(context)
    orders, sandbox = OrderServicer(context), SandboxClient(settings.sandbox_url)
    return Running(
        context=context,
        registers=_registers(context, orders, sandbox),
        names=NAMES,
        handlers=HANDLERS,
        background=(*_background(context), *_exchange(app, shares, notifier)),
        closers=(
            orders.aclose,
            shelf.aclose,
            goods.aclose,
            notifier.aclose,
            endpoint_calls.aclose,
            sandbox.aclose,
        ),
        open_work=open_work.sources(context),
        credentials=context.credentials if is_first else None,
        sealed=SealedData(ring, SEALED),
        resting=notifier.resting,
        proposals=proposals.kinds(context),
    )


def _registers(
    context: Context, orders: OrderServicer, sandbox: SandboxClient
) -> tuple[Register, ...]:
    """What adds each service of NAMES to the server."""
    personal = Personal("order", ACCOUNTS, context.accounts, context.app.work)
    return (
        partial(order_service_pb2_grpc.add_OrderServiceServicer_to_server, orders),
        partial(
            catalogue_service_pb2_grpc.add_CatalogueServiceServicer_to_server,
            CatalogueServicer(context),
        ),
        partial(audit_service_pb2_grpc.add_AuditServiceServicer_to_server, AuditServicer(context)),
        partial(add_DictionaryServiceServicer_to_server, DictionaryServicer(context)),
        partial(
            retention_service_pb2_grpc.add_RetentionServiceServicer_to_server,
            RetentionServicer(context),
        ),
        partial(risk_service_pb2_grpc.add_RiskServiceServicer_to_server, RiskServicer(context)),
        partial(add_GoodsServiceServicer_to_server, GoodsServicer(context)),
        partial(add_ChannelServiceServicer_to_server, ChannelServicer(context)),
        partial(add_RequestLogServiceServicer_to_server, RequestLogServicer(context)),
        partial(add_EndpointServiceServicer_to_server, EndpointServicer(context)),
        partial(add_SandboxServiceServicer_to_server, SandboxServicer(context, sandbox)),
        partial(personal_service_pb2_grpc.add_PersonalServiceServicer_to_server, personal),
    )


def _background(context: Context) -> tuple[Callable[[], Awaitable[None]], ...]:
    """What a process does beside its calls and tasks; the first shard follows what a system has once."""

    async def poll_catalogue() -> None:
        await admin.poll(context)

    async def gauge_parked() -> None:
        await parked_gauge.gauge_forever(context)

    async def forget_nonces() -> None:
        await nonces.forget_forever(context)

    async def poll_risk() -> None:
        await risk_admin.poll(context)

    async def poll_segments() -> None:
        await segment_admin.poll(context)

    async def forget_counters() -> None:
        await guard.forget_forever(context)

    async def poll_routes() -> None:
        await routes.poll(context)

    async def forget_routes() -> None:
        await routes.forget_forever(context)

    async def forget_requests() -> None:
        await request_log.forget_forever(context)

    own = gauge_parked, forget_nonces, forget_counters, poll_routes, forget_routes
    own = *own, partial(endpoints.forget_forever, context)
    once = poll_catalogue, poll_risk, poll_segments, forget_requests
    return (*once, *own) if context.app.first is context.app else own


def _exchange(
    app: App[OrderSettings], shares: Shares, notifier: Notifier
) -> tuple[Callable[[], Awaitable[None]], ...]:
    """How this process gets its shares. One that takes calls alone sends no notify, so it holds none."""
    sharing = Sharing(notifier.asked, metrics.REPLICAS_SHARING().set, notifier.used)
    exchange = ShareExchange(Kept(app.bus, BUCKET), shares, sharing, app.clock)
    return (exchange.run,) if "tasks" in app.roles else ()


SERVICE = Service(
    "order",
    OrderSettings,
    start,
    Schema("shoudan_order", METADATA, APPEND_ONLY, ORDERS, KEYS),
    laws=(laws.SUBJECT,),
)
