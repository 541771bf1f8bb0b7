"""The pages of the console, one module each; what is listed here is served and stands in the navigation."""

from __future__ import annotations

from typing import Final

from shoudan_console.page import Entry, Page
from shoudan_console.pages import (
    audit_log,
    finance_bills,
    finance_days,
    finance_exceptions,
    finance_statements,
    ledger,
    login,
    notifies,
    operators,
    order,
    orders,
    overview,
    preferences,
    proposals,
    search,
    suppliers,
    tasks,
    work,
)

_MODULES: Final = (
    overview,
    orders,
    order,
    work,
    notifies,
    suppliers,
    ledger,
    proposals,
    tasks,
    audit_log,
    finance_days,
    finance_bills,
    finance_statements,
    finance_exceptions,
    operators,
    search,
    login,
    preferences,
)

PAGES: Final[tuple[Page, ...]] = tuple(page for module in _MODULES for page in module.PAGES)
NAVIGATION: Final[tuple[Entry, ...]] = (
    *overview.NAVIGATION,
    *orders.NAVIGATION,
    *work.NAVIGATION,
    *notifies.NAVIGATION,
    *suppliers.NAVIGATION,
    *ledger.NAVIGATION,
    *proposals.NAVIGATION,
    *finance_days.NAVIGATION,
    *finance_bills.NAVIGATION,
    *finance_statements.NAVIGATION,
    *finance_exceptions.NAVIGATION,
    *tasks.NAVIGATION,
    *audit_log.NAVIGATION,
    *operators.NAVIGATION,
)
