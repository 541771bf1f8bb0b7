"""Periods may be opened again."""

import sqlalchemy as sa

from shoudan_kit.db.revising import BIG, BYTES, DATE, TIME, column, table

revision: str = "0015"
down_revision: str | None = "0014"


def upgrade() -> None:
    """Forward; the release before opens none."""
    table(
        "period_reopening",
        column("reopening_id", BIG, "重开编号"),
        column("first_day", DATE, "first day"),
        column("last_day", DATE, "last day"),
        column("closing_micros", BIG, "期末余额合计 it had been closed with, 10^-6 元"),
        column("digest", BYTES, "SHA-256 over the trial balance it had been closed with"),
        column("closed_by", sa.String(64), "who had closed it"),
        column("close_time", TIME, "when"),
        column("reason", sa.String(256), "why it was opened again"),
        column("reopened_by", sa.String(64), "who proposed it"),
        column("reopen_time", TIME, "重开时间"),
        key=["reopening_id"],
        comment="期间重开: periods that were opened again, append-only",
    )
