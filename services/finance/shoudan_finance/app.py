"""Composition of the finance service."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from shoudan.finance.v1 import alert_service_pb2_grpc as alert_grpc
from shoudan.finance.v1 import bill_service_pb2_grpc as bill_grpc
from shoudan.finance.v1 import book_service_pb2_grpc as book_grpc
from shoudan.finance.v1 import exception_service_pb2_grpc as exception_grpc
from shoudan.finance.v1 import finance_service_pb2_grpc as pb_grpc
from shoudan.finance.v1 import reconcile_service_pb2_grpc as reconcile_grpc
from shoudan.finance.v1 import statement_service_pb2_grpc as statement_grpc
from shoudan.finance.v1 import trade_service_pb2_grpc as trade_grpc
from shoudan_finance import (
    alert_targets,
    alerts,
    day_books,
    deciding,
    fetching,
    periods,
    reconciling,
    statement_imports,
    tax_rates,
    templates,
)
from shoudan_finance.accounts import Accounts
from shoudan_finance.alert_senders import Senders
from shoudan_finance.alert_targets import TargetWrong
from shoudan_finance.config import FinanceSettings
from shoudan_finance.context import Context
from shoudan_finance.delivery_client import DeliveryClient
from shoudan_finance.order_client import OrderClient
from shoudan_finance.pay_client import PayClient
from shoudan_finance.rpc.alerts import AlertServicer
from shoudan_finance.rpc.bill import BillServicer
from shoudan_finance.rpc.book import BookServicer
from shoudan_finance.rpc.exceptions import ExceptionServicer
from shoudan_finance.rpc.finance import FinanceServicer
from shoudan_finance.rpc.reconcile import ReconcileServicer
from shoudan_finance.rpc.statements import StatementServicer
from shoudan_finance.rpc.trade import TradeServicer
from shoudan_finance.tables import APPEND_ONLY, COPIED, METADATA
from shoudan_finance.tasks import HANDLERS
from shoudan_finance.tax_rates import RateWrong
from shoudan_finance.templates import Template, TemplateWrong
from shoudan_kit.config import ConfigError
from shoudan_kit.db.schema import Schema
from shoudan_kit.service import App, Running, Service

NAMES: Final = tuple(
    f"shoudan.finance.v1.{name}Service"
    for name in ("Finance", "Trade", "Statement", "Reconcile", "Exception", "Bill", "Book", "Alert")
)


async def start(app: App[FinanceSettings]) -> Running:
    """Serve the RPCs; a process with the tasks follows the ledger's days."""
    settings = app.settings
    pay = PayClient(app.channel("pay"), call_s=settings.pay_call_s, export_s=settings.pay_export_s)
    order = OrderClient(app.channel("order"), call_s=settings.order_call_s)
    delivery = DeliveryClient(app.channel("delivery"), call_s=settings.delivery_call_s)
    context = _context(app, pay, order, delivery)
    statements = StatementServicer(context)
    return Running(
        context=context,
        registers=(
            partial(pb_grpc.add_FinanceServiceServicer_to_server, FinanceServicer(context)),
            partial(trade_grpc.add_TradeServiceServicer_to_server, TradeServicer(context)),
            partial(
                exception_grpc.add_ExceptionServiceServicer_to_server, ExceptionServicer(context)
            ),
            partial(
                reconcile_grpc.add_ReconcileServiceServicer_to_server, ReconcileServicer(context)
            ),
            partial(statement_grpc.add_StatementServiceServicer_to_server, statements),
            partial(bill_grpc.add_BillServiceServicer_to_server, BillServicer(context)),
            partial(book_grpc.add_BookServiceServicer_to_server, BookServicer(context)),
            partial(alert_grpc.add_AlertServiceServicer_to_server, AlertServicer(context)),
        ),
        names=NAMES,
        handlers=HANDLERS,
        proposals=(deciding.kind(context), periods.kind(context)),
        closers=(context.senders.aclose,),
        background=_background(context) if "tasks" in app.roles else (),
    )


def _context(
    app: App[FinanceSettings], pay: PayClient, order: OrderClient, delivery: DeliveryClient
) -> Context:
    settings = app.settings
    found, places = _templates(settings)
    try:
        targets = alert_targets.load(settings.alert_targets)
    except TargetWrong as error:
        raise ConfigError("finance", [f"alert_targets: {error}"]) from None
    try:
        rates = tax_rates.load(settings.tax_rates)
    except RateWrong as error:
        raise ConfigError("finance", [f"tax_rates: {error}"]) from None
    accounts = Accounts(settings.account_key())
    senders = Senders(app.wall_clock)
    return Context(app, pay, order, delivery, accounts, found, targets, senders, places, rates)


def _templates(
    settings: FinanceSettings,
) -> tuple[dict[str, Template], tuple[templates.Watched, ...]]:
    try:
        found = templates.load(settings.statement_templates)
        return found, templates.places(settings.statement_templates, found)
    except TemplateWrong as error:
        raise ConfigError("finance", [f"statement_templates: {error}"]) from None


def _background(context: Context) -> tuple[Callable[[], Awaitable[None]], ...]:
    always = (
        day_books.arm_forever,
        day_books.watch_forever,
        statement_imports.forget_forever,
        reconciling.reconcile_forever,
        reconciling.watch_forever,
        fetching.fetch_forever,
    )
    followed = (day_books.heed_events, alerts.heed_events)
    wanted = (*always, *followed) if context.app.bus.configured else always
    return tuple(partial(one, context) for one in wanted)


SERVICE: Final = Service(
    "finance",
    FinanceSettings,
    start,
    Schema("shoudan_finance", METADATA, APPEND_ONLY, copied=COPIED),
)
