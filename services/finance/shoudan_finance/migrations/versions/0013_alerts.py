"""Crossings of thresholds, and what targets were sent of them."""

import sqlalchemy as sa

from shoudan_kit.db.revising import BIG, BOOL, INT, TIME, column, table

GROWING = {
    "autovacuum_vacuum_insert_scale_factor": "0.05",
    "autovacuum_analyze_scale_factor": "0.05",
}

revision: str = "0013"
down_revision: str | None = "0012"


def upgrade() -> None:
    """Forward."""
    table(
        "balance_edge",
        column("account_id", BIG, "账户编号"),
        column("threshold_micros", BIG, "预警线, 10^-6 元"),
        column("seq", BIG, "seq of the record that crossed it: which crossing it is"),
        column("ident", sa.String(32), "系统标识"),
        column("groups", sa.String(32), "账户分组"),
        column("eid", sa.String(64), "外部用户编号"),
        column("low", BOOL, "fell below; otherwise recovered"),
        column("balance_micros", BIG, "余额 then, 10^-6 元"),
        column("edge_time", TIME, "when the ledger said so"),
        column("create_time", TIME, "创建时间"),
        key=["account_id", "threshold_micros", "seq"],
        comment="余额预警: crossings of thresholds, append-only",
        storage=GROWING,
    )
    table(
        "alert_route",
        column("account_id", BIG, "账户编号"),
        column("threshold_micros", BIG, "预警线, 10^-6 元"),
        column("target", sa.String(32), "target of the settings; partner: its channel"),
        column(
            "notified_seq",
            BIG,
            "newest crossing that it was notified of or that is no news; -1 before",
        ),
        column("notified_low", BOOL, "whether it was notified of a low balance last"),
        column("tries", INT, "attempts in a row that were not acknowledged"),
        column("answer", sa.String(256), "what the last of them came to"),
        column("low_time", TIME, "when it was last notified of a low balance", null=True),
        column("notify_time", TIME, "when it was notified last", null=True),
        column("create_time", TIME, "创建时间"),
        key=["account_id", "threshold_micros", "target"],
        comment="预警通知: what each target was notified of, by threshold",
    )
