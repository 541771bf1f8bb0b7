"""Composition of the pay service."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, cast

from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan.core.v1 import core_pb2
from shoudan.pay.v1 import ledger_service_pb2_grpc as grpc_stubs
from shoudan.pay.v1 import setup_service_pb2_grpc as setup_stubs
from shoudan_kit.migrate import Schema
from shoudan_kit.service import App, Running, Service
from shoudan_pay import events
from shoudan_pay.config import PaySettings
from shoudan_pay.rpc import NAME, LedgerServicer, open_work
from shoudan_pay.rpc.commits import Ledger
from shoudan_pay.rpc.payserver import NAME as PAYMENT_NAME
from shoudan_pay.rpc.payserver import PayServer
from shoudan_pay.rpc.platforms import owing
from shoudan_pay.rpc.platforms.service import NAMES as PLATFORM_NAMES
from shoudan_pay.rpc.platforms.service import Platforms
from shoudan_pay.rpc.setup import NAME as SETUP_NAME
from shoudan_pay.rpc.setup import Setup
from shoudan_pay.store import records
from shoudan_pay.store.payserver.tables import APPEND_ONLY as PAYSERVER_APPEND_ONLY
from shoudan_pay.store.platforms.tables import APPEND_ONLY as PLATFORM_APPEND_ONLY
from shoudan_pay.tables import APPEND_ONLY, METADATA
from shoudan_pay.tasks.ledger import arm_forever, prove
from shoudan_pay.tasks.payserver import HANDLERS


async def start(app: App[PaySettings]) -> Running:
    """One Ledger for the process: whoever posts here posts through it."""
    ledger = Ledger(app)
    servicer = LedgerServicer(app, ledger)
    payserver = PayServer(app, [owing.SUBSCRIBER])
    platforms = Platforms(payserver)
    add = cast("Any", grpc_stubs.add_LedgerServiceServicer_to_server)
    add_setup = cast("Any", setup_stubs.add_SetupServiceServicer_to_server)
    return Running(
        context=payserver,
        registers=[
            partial(add, servicer),
            payserver.register,
            partial(add_setup, Setup(app, payserver.components)),
            *platforms.registers,
        ],
        names=[NAME, PAYMENT_NAME, SETUP_NAME, *PLATFORM_NAMES],
        handlers=[*HANDLERS, prove, *platforms.handlers],
        background=[platforms.forget, partial(arm_forever, app)],
        history=_history,
        open_work=open_work.sources(app, payserver.settling.history),
        resting=lambda: [*payserver.components.resting(), *platforms.telling.resting()],
        closers=[servicer.aclose, payserver.aclose, platforms.aclose, ledger.aclose],
    )


async def _history(db: AsyncConnection, keys: Sequence[str], most: int) -> Sequence[core_pb2.Event]:
    """What was posted under these trade numbers: the records tell it, no event need repeat them."""
    return events.history(await records.of_trades(db, keys, most))


SERVICE = Service(
    "pay",
    PaySettings,
    start,
    Schema(
        "shoudan_pay",
        METADATA,
        append_only=(*APPEND_ONLY, *PAYSERVER_APPEND_ONLY, *PLATFORM_APPEND_ONLY),
    ),
)
