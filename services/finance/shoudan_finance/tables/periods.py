"""Periods that were opened again, as they had been closed."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Date, LargeBinary, String, Table

from shoudan_finance.tables import METADATA
from shoudan_kit.db.columns import column, moment

REOPENING: Final = Table(
    "period_reopening",
    METADATA,
    column("reopening_id", BigInteger, "重开编号", key=True),
    column("first_day", Date, "first day"),
    column("last_day", Date, "last day"),
    column("closing_micros", BigInteger, "期末余额合计 it had been closed with, 10^-6 元"),
    column("digest", LargeBinary, "SHA-256 over the trial balance it had been closed with"),
    column("closed_by", String(64), "who had closed it"),
    moment("close_time", "when"),
    column("reason", String(256), "why it was opened again"),
    column("reopened_by", String(64), "who proposed it"),
    moment("reopen_time", "重开时间"),
    comment="期间重开: periods that were opened again, append-only",
)
