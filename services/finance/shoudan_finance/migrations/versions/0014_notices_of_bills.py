"""Channels are notified of their bills."""

import sqlalchemy as sa

from shoudan_kit.db.revising import BIG, INT, TIME, column, table

GROWING = {
    "autovacuum_vacuum_insert_scale_factor": "0.05",
    "autovacuum_analyze_scale_factor": "0.05",
}

revision: str = "0014"
down_revision: str | None = "0013"


def upgrade() -> None:
    """Forward; the release before sends none."""
    answer = "what the last of them came to; empty when it was acknowledged"
    table(
        "bill_notice",
        column("bill_id", BIG, "账单编号"),
        column("channel_no", sa.String(64), "渠道编号"),
        column("tries", INT, "attempts in a row that were not acknowledged"),
        column("answer", sa.String(256), answer),
        column("create_time", TIME, "创建时间"),
        column("try_time", TIME, "last attempt", null=True),
        column("end_time", TIME, "when it was acknowledged, or given up", null=True),
        key=["bill_id"],
        comment="账单通知: bills that channels are notified of",
        storage=GROWING,
    )
