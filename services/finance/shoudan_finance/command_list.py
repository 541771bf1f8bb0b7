"""The sub-commands of `shoudan` that the finance service brings along."""

from __future__ import annotations

from typing import Final

from shoudan_kit.command_list import Command

FINANCE: Final = Command(
    "shoudan_finance.commands:app",
    "The books (财务): accounting days and the proof that they are complete.",
)

STATEMENT: Final = Command(
    "shoudan_finance.statement_commands:app",
    "Statements (对账单) of suppliers, payment components and banks: import, list, show.",
)
BILL: Final = Command(
    "shoudan_finance.bill_commands:app",
    "Bills (账单) of complete days: make, list, export, verify.",
)

RECONCILE: Final = Command(
    "shoudan_finance.reconcile_commands:app",
    "Reconciliation (对账): match statements with what our services did.",
)

EXCEPTION: Final = Command(
    "shoudan_finance.exception_commands:app",
    "Exceptions (差错): differences of the reconciliation, asked about, disputed, decided.",
)
BOOKS: Final = Command(
    "shoudan_finance.book_commands:app",
    "What the books say of a period (试算平衡、收入、应收应付、开票数据), and its closing (结账).",
)

ALERTS: Final = Command(
    "shoudan_finance.alert_commands:app",
    "Alerts of low balances (余额预警): thresholds, who is alerted, and what they were sent.",
)
