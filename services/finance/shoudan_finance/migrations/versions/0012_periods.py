"""Closed periods."""

import sqlalchemy as sa

from shoudan_kit.db.revising import BIG, BYTES, DATE, TIME, check, column, table

revision: str = "0012"
down_revision: str | None = "0011"


def upgrade() -> None:
    """Forward."""
    table(
        "period",
        column("first_day", DATE, "first day"),
        column("last_day", DATE, "last day"),
        column("accounts", BIG, "accounts that the books have at its end"),
        column("opening_micros", BIG, "期初余额合计, 10^-6 元"),
        column("debits_micros", BIG, "支出合计, 10^-6 元, without a sign"),
        column("credits_micros", BIG, "收入合计, 10^-6 元"),
        column("closing_micros", BIG, "期末余额合计, 10^-6 元"),
        column("digest", BYTES, "SHA-256 over its trial balance"),
        column("closed_by", sa.String(64), "who closed it"),
        column("close_time", TIME, "结账时间"),
        check("period_days", "last_day >= first_day"),
        check("period_sum", "closing_micros = opening_micros - debits_micros + credits_micros"),
        key=["first_day", "last_day"],
        comment="会计期间: closed days and months, and what they came to",
    )
