"""The calls of FinanceService."""
