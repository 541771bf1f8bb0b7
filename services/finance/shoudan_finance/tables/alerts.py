"""What others are notified of: balances that crossed a threshold, and bills that are ready."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Boolean, Integer, String, Table

from shoudan_finance.tables import METADATA
from shoudan_kit.db.columns import column, moment
from shoudan_kit.db.foundation import GROWING, rights

TARGET_MAX: Final = 32

EDGE: Final = Table(
    "balance_edge",
    METADATA,
    column("account_id", BigInteger, "账户编号", key=True),
    column("threshold_micros", BigInteger, "预警线, 10^-6 元", key=True),
    column("seq", BigInteger, "seq of the record that crossed it: which crossing it is", key=True),
    column("ident", String(32), "系统标识"),
    column("groups", String(32), "账户分组"),
    column("eid", String(64), "外部用户编号"),
    column("low", Boolean, "fell below; otherwise recovered"),
    column("balance_micros", BigInteger, "余额 then, 10^-6 元"),
    moment("edge_time", "when the ledger said so"),
    moment("create_time", "创建时间"),
    comment="余额预警: crossings of thresholds, append-only",
    postgresql_with=GROWING,
)

ROUTE: Final = Table(
    "alert_route",
    METADATA,
    column("account_id", BigInteger, "账户编号", key=True),
    column("threshold_micros", BigInteger, "预警线, 10^-6 元", key=True),
    column("target", String(TARGET_MAX), "target of the settings; partner: its channel", key=True),
    column(
        "notified_seq",
        BigInteger,
        "newest crossing that it was notified of or that is no news; -1 before",
    ),
    column("notified_low", Boolean, "whether it was notified of a low balance last"),
    column("tries", Integer, "attempts in a row that were not acknowledged"),
    column("answer", String(256), "what the last of them came to"),
    moment("low_time", "when it was last notified of a low balance", null=True),
    moment("notify_time", "when it was notified last", null=True),
    moment("create_time", "创建时间"),
    comment="预警通知: what each target was notified of, by threshold",
    info=rights(
        update=("notified_seq", "notified_low", "tries", "answer", "low_time", "notify_time")
    ),
)

NOTICE: Final = Table(
    "bill_notice",
    METADATA,
    column("bill_id", BigInteger, "账单编号", key=True),
    column("channel_no", String(64), "渠道编号"),
    column("tries", Integer, "attempts in a row that were not acknowledged"),
    column("answer", String(256), "what the last of them came to; empty when it was acknowledged"),
    moment("create_time", "创建时间"),
    moment("try_time", "last attempt", null=True),
    moment("end_time", "when it was acknowledged, or given up", null=True),
    comment="账单通知: bills that channels are notified of",
    info=rights(update=("tries", "answer", "try_time", "end_time")),
    postgresql_with=GROWING,
)
