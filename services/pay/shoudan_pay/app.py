"""Composition of the pay service."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan.core.v1 import core_pb2
from shoudan.pay.v1 import ledger_service_pb2_grpc as ledger_stubs
from shoudan.pay.v1 import payment_service_pb2_grpc as payment_stubs
from shoudan.pay.v1 import platform_service_pb2_grpc as platform_stubs
from shoudan.pay.v1 import setup_service_pb2_grpc as setup_stubs
from shoudan_kit.credentials.sealed import CREDENTIALS
from shoudan_kit.db.schema import Schema
from shoudan_kit.secrets.reseal import SealedData
from shoudan_kit.secrets.sealing import KeyRing
from shoudan_kit.service import App, Running, Service
from shoudan_pay import open_work
from shoudan_pay.chinaums import tables as chinaums_tables
from shoudan_pay.config import PaySettings
from shoudan_pay.context import compose
from shoudan_pay.dingdang import tables as dingdang_tables
from shoudan_pay.ledger import events
from shoudan_pay.ledger import tables as ledger_tables
from shoudan_pay.ledger.folders import make_folder
from shoudan_pay.ledger.head_log import HeadLog
from shoudan_pay.ledger.nightly import arm_forever
from shoudan_pay.ledger.store import laws as account_laws
from shoudan_pay.ledger.store import records
from shoudan_pay.ledger.store.retention import RECORDS
from shoudan_pay.payserver import tables as payserver_tables
from shoudan_pay.payserver.store import laws as pay_laws
from shoudan_pay.platforms import tables as platforms_tables
from shoudan_pay.rpc.chinaums import ChinaumsServicer
from shoudan_pay.rpc.dingdang import DingdangServicer
from shoudan_pay.rpc.ledger import LedgerServicer
from shoudan_pay.rpc.payment import PaymentServicer
from shoudan_pay.rpc.platform import PlatformServicer
from shoudan_pay.rpc.proposals import kinds
from shoudan_pay.rpc.setup import SetupServicer
from shoudan_pay.tables import METADATA
from shoudan_pay.tasks import HANDLERS

TABLES = (ledger_tables, payserver_tables, chinaums_tables, dingdang_tables, platforms_tables)
NAMES = (
    "shoudan.pay.v1.LedgerService",
    "shoudan.pay.v1.PaymentService",
    "shoudan.pay.v1.SetupService",
    "shoudan.pay.v1.ChinaumsService",
    "shoudan.pay.v1.DingdangService",
    "shoudan.pay.v1.PlatformService",
)


async def start(app: App[PaySettings]) -> Running:
    """One context per shard, so that all of its postings share group commits."""
    is_first = app.first is app
    context = compose(app)
    if is_first:
        await context.credentials.open()
    await make_folder(app)
    payserver, signatures, heads = context.payserver, context.signatures, HeadLog(app)
    ledger = LedgerServicer(app, context.ledger)
    waiting = open_work.sources(app, payserver.settlement.history)
    registers = (
        partial(ledger_stubs.add_LedgerServiceServicer_to_server, ledger),
        partial(payment_stubs.add_PaymentServiceServicer_to_server, PaymentServicer(payserver)),
        partial(
            setup_stubs.add_SetupServiceServicer_to_server, SetupServicer(app, payserver.components)
        ),
        partial(
            platform_stubs.add_ChinaumsServiceServicer_to_server,
            ChinaumsServicer(app, signatures, context.ums_notifies),
        ),
        partial(
            platform_stubs.add_DingdangServiceServicer_to_server,
            DingdangServicer(
                signatures,
                context.trades,
                context.merchant_pays,
                app.settings.component_timeout_s + 1,
            ),
        ),
        partial(
            platform_stubs.add_PlatformServiceServicer_to_server,
            PlatformServicer(app, context.order_holds),
        ),
    )
    return Running(
        context=context,
        registers=registers,
        names=NAMES,
        handlers=HANDLERS,
        background=[
            partial(arm_forever, app),
            heads.run,
            # PayServer and the platforms are in the first shard.
            *([signatures.forget_forever, payserver.exchange.run] if is_first else []),
        ],
        history=_history,
        credentials=context.credentials if is_first else None,
        sealed=_sealed(context.credentials.ring),
        open_work=waiting,
        resting=context.resting,
        proposals=kinds(app.settings, waiting, payserver.components),
        closers=[ledger.aclose, *context.closers, heads.aclose],
    )


def _sealed(ring: KeyRing | None) -> SealedData:
    """Nothing where there is no key: then nothing is sealed."""
    return SealedData(KeyRing({}, b""), ()) if ring is None else SealedData(ring, (CREDENTIALS,))


async def _history(db: AsyncConnection, keys: Sequence[str], most: int) -> Sequence[core_pb2.Event]:
    """What was posted under these trade numbers, from the records: postings publish no event of their own."""
    return events.history(await records.of_trades(db, keys, most))


SERVICE = Service(
    "pay",
    PaySettings,
    start,
    Schema(
        "shoudan_pay",
        METADATA,
        append_only=tuple(name for one in TABLES for name in one.APPEND_ONLY),
        keys=("SELECT DISTINCT ident, eid FROM account_info WHERE contra_account_id IS NOT NULL",),
        chains=RECORDS,
    ),
    laws=(account_laws.SUBJECT, pay_laws.SUBJECT),
)
