"""The tables of Dingdang (004); comments become the data dictionary."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Index,
    Integer,
    String,
    Table,
    UniqueConstraint,
    text,
)

from shoudan_kit.db.foundation import by_month, rights
from shoudan_kit.db.moves import lifecycles, steps
from shoudan_pay.platforms.tables import REFUND_STEPS
from shoudan_pay.tables import METADATA

APPEND_ONLY: Final = ("dingdang_notice_attempt",)


def _column(name: str, kind: Any, comment: str, *, key: bool = False) -> Column[Any]:
    return Column(name, kind, nullable=False, comment=comment, primary_key=key, autoincrement=False)


def _moment(name: str, comment: str) -> Column[Any]:
    return _column(name, DateTime(timezone=True), comment)


# The moves of dingdang/states.py; a test compares them.
_TOLD: Final = ("processing", "success", "fail")
TRADE_STEPS: Final = steps(notpay=_TOLD, processing=_TOLD)

DINGDANG_NOTICE = Table(
    "dingdang_notice",
    METADATA,
    _column("notice_id", BigInteger, "通知编号", key=True),
    _column("kind", String(8), "paid 通知发货, refunded 退款结果通知"),
    _column("domain_id", String(64), "whom"),
    _column("traction_no", String(16), "tractionNo of the pay or refund: what"),
    _column("status", String(8), "waiting done given_up dropped"),
    _column("count", Integer, "attempts made"),
    _column("http_status", Integer, "of the last attempt; 0 without an answer"),
    _column("answer", String(256), "of the last attempt, or why there was none"),
    _moment("create_time", "when it was owed"),
    _moment("modify_time", "last attempt"),
    UniqueConstraint("kind", "traction_no", "domain_id", name="dingdang_notice_once"),
    Index("dingdang_notice_domain", "domain_id", "notice_id"),
    Index("dingdang_notice_given_up", "notice_id", postgresql_where=text("status = 'given_up'")),
    CheckConstraint("status IN ('waiting', 'done', 'given_up', 'dropped')", name="status"),
    CheckConstraint("kind IN ('paid', 'refunded') AND count >= 0", name="kind"),
    comment="通知 owed to partners of 叮当 (004)",
    info=rights(update=("status", "count", "http_status", "answer", "modify_time")),
    postgresql_with={"fillfactor": "70"},
)

DINGDANG_NOTICE_ATTEMPT = Table(
    "dingdang_notice_attempt",
    METADATA,
    _column("attempt_id", BigInteger, "尝试编号", key=True),
    _column("notice_id", BigInteger, "which notice"),
    _column("http_status", Integer, "0 without an answer"),
    _column("answer", String(256), "its answer, or why there was none"),
    _column("took_ms", Integer, "how long it took"),
    _moment("create_time", "when"),
    Index("dingdang_notice_attempt_notice", "notice_id"),
    comment="attempts of notices, append-only",
    **by_month("attempt_id"),
)

DINGDANG_TRADE = Table(
    "dingdang_trade",
    METADATA,
    _column("domain_id", String(64), "domainId", key=True),
    _column("trade_no", String(64), "tradeNo 合作方订单号: ours", key=True),
    _column("total_fen", BigInteger, "totalAmt, 分"),
    _column("pay_traction_no", String(16), "pay order that it pays; empty: none"),
    _column("channel_no", String(32), "order that it releases; empty: none"),
    _column("request_no", String(64), "its request_no"),
    _column("transaction_id", String(64), "transactionId, once known"),
    _column("status", String(16), "notpay processing success fail"),
    _moment("create_time", "when it was bound"),
    Column("paid_time", DateTime(timezone=True), comment="when it was said to be paid"),
    Column(
        "parked_reason",
        String(128),
        nullable=False,
        server_default="",
        comment="why it waits for a person; empty otherwise",
    ),
    Column("parked_time", DateTime(timezone=True), comment="since when it waits for a person"),
    Index(
        "dingdang_trade_pay",
        "pay_traction_no",
        unique=True,
        postgresql_where=text("pay_traction_no <> ''"),
    ),
    Index(
        "dingdang_trade_parked",
        text("((domain_id || ':') || trade_no)"),  # as PostgreSQL reads it
        postgresql_where=text("parked_reason <> ''"),
    ),
    CheckConstraint("total_fen > 0", name="amount"),
    CheckConstraint("status IN ('notpay', 'processing', 'success', 'fail')", name="status"),
    CheckConstraint("(status = 'success') = (paid_time IS NOT NULL)", name="paid"),
    comment="订单 paid through 叮当, as its partner (004)",
    info=rights(update=("status", "transaction_id", "paid_time", "parked_reason", "parked_time"))
    | lifecycles(status=TRADE_STEPS),
)

DINGDANG_REFUND = Table(
    "dingdang_refund",
    METADATA,
    _column("domain_id", String(64), "domainId", key=True),
    _column("refund_trade_no", String(64), "refundTradeNo 合作方退款订单号: ours", key=True),
    _column("trade_no", String(64), "tradeNo of what it gives back"),
    _column("refund_fen", BigInteger, "refundAmt, 分"),
    _column("traction_no", String(16), "tractionNo of our refund; empty: none"),
    _column("refund_transaction_id", String(64), "refundTransactionId, once known"),
    _column("status", String(16), "unknown processing success fail"),
    _moment("create_time", "when it was asked for"),
    _moment("modify_time", "last change"),
    Index("dingdang_refund_trade", "domain_id", "trade_no"),
    Index(
        "dingdang_refund_traction",
        "traction_no",
        unique=True,
        postgresql_where=text("traction_no <> ''"),
    ),
    CheckConstraint("refund_fen > 0", name="amount"),
    CheckConstraint("status IN ('unknown', 'processing', 'success', 'fail')", name="status"),
    comment="退款 through 叮当, as its partner (004)",
    info=rights(update=("status", "refund_transaction_id", "modify_time"))
    | lifecycles(status=REFUND_STEPS),
)
