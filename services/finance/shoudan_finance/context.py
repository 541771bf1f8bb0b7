"""What the rules of the finance service work with, made once per process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from shoudan_finance.accounts import Accounts
from shoudan_finance.alert_senders import Senders
from shoudan_finance.alert_targets import Target
from shoudan_finance.config import FinanceSettings
from shoudan_finance.delivery_client import DeliveryClient
from shoudan_finance.order_client import OrderClient
from shoudan_finance.pay_client import PayClient
from shoudan_finance.tax_rates import Rates
from shoudan_finance.templates import Template, Watched
from shoudan_kit.service import App


@dataclass(frozen=True, slots=True)
class Context:
    """One process's finance service."""

    app: App[FinanceSettings]
    pay: PayClient
    order: OrderClient
    delivery: DeliveryClient
    accounts: Accounts
    templates: Mapping[str, Template]
    targets: Mapping[str, Target]
    senders: Senders
    places: tuple[Watched, ...] = ()
    rates: Rates = field(default_factory=Rates)
