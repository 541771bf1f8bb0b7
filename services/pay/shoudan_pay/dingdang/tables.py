"""The tables of Dingdang (004); comments become the data dictionary."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Index,
    Integer,
    String,
    Table,
    UniqueConstraint,
    text,
)

from shoudan_kit.db.columns import column, literal, moment, one_of
from shoudan_kit.db.foundation import by_month, rights
from shoudan_kit.db.moves import lifecycles
from shoudan_pay.dingdang.states import TRADE, NoticeStatus, TradeState
from shoudan_pay.platforms.states import REFUND, RefundState
from shoudan_pay.tables import METADATA, why_parked

APPEND_ONLY: Final = ("dingdang_notice_attempt",)


DINGDANG_NOTICE = Table(
    "dingdang_notice",
    METADATA,
    column("notice_id", BigInteger, "通知编号", key=True),
    column("kind", String(8), "paid 通知发货, refunded 退款结果通知"),
    column("domain_id", String(64), "whom"),
    column("traction_no", String(16), "tractionNo of the pay or refund: what"),
    column("status", String(8), "waiting done given_up dropped"),
    column("count", Integer, "attempts made"),
    column("http_status", Integer, "of the last attempt; 0 without an answer"),
    column("answer", String(256), "of the last attempt, or why there was none"),
    moment("create_time", "when it was owed"),
    moment("modify_time", "last attempt"),
    UniqueConstraint("kind", "traction_no", "domain_id", name="dingdang_notice_once"),
    Index("dingdang_notice_domain", "domain_id", "notice_id"),
    Index(
        "dingdang_notice_given_up",
        "notice_id",
        postgresql_where=text(f"status = {literal(NoticeStatus.GIVEN_UP)}"),
    ),
    one_of("status", NoticeStatus),
    CheckConstraint("kind IN ('paid', 'refunded') AND count >= 0", name="kind"),
    comment="通知 owed to partners of 叮当 (004)",
    info=rights(update=("status", "count", "http_status", "answer", "modify_time")),
    postgresql_with={"fillfactor": "70"},
)

DINGDANG_NOTICE_ATTEMPT = Table(
    "dingdang_notice_attempt",
    METADATA,
    column("attempt_id", BigInteger, "尝试编号", key=True),
    column("notice_id", BigInteger, "which notice"),
    column("http_status", Integer, "0 without an answer"),
    column("answer", String(256), "its answer, or why there was none"),
    column("took_ms", Integer, "how long it took"),
    moment("create_time", "when"),
    Index("dingdang_notice_attempt_notice", "notice_id"),
    comment="attempts of notices, append-only",
    **by_month("attempt_id"),
)

DINGDANG_TRADE = Table(
    "dingdang_trade",
    METADATA,
    column("domain_id", String(64), "domainId", key=True),
    column("trade_no", String(64), "tradeNo 合作方订单号: ours", key=True),
    column("total_fen", BigInteger, "totalAmt, 分"),
    column("pay_traction_no", String(16), "pay order that it pays; empty: none"),
    column("channel_no", String(32), "order that it releases; empty: none"),
    column("request_no", String(64), "its request_no"),
    column("transaction_id", String(64), "transactionId, once known"),
    column("status", String(16), "notpay processing success fail"),
    moment("create_time", "when it was bound"),
    moment("paid_time", "when it was said to be paid", null=True),
    *why_parked(),
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
    one_of("status", TradeState),
    CheckConstraint(
        f"(status = {literal(TradeState.SUCCESS)}) = (paid_time IS NOT NULL)", name="paid"
    ),
    comment="订单 paid through 叮当, as its partner (004)",
    info=rights(update=("status", "transaction_id", "paid_time", "parked_reason", "parked_time"))
    | lifecycles(status=TRADE.moves),
)

DINGDANG_REFUND = Table(
    "dingdang_refund",
    METADATA,
    column("domain_id", String(64), "domainId", key=True),
    column("refund_trade_no", String(64), "refundTradeNo 合作方退款订单号: ours", key=True),
    column("trade_no", String(64), "tradeNo of what it gives back"),
    column("refund_fen", BigInteger, "refundAmt, 分"),
    column("traction_no", String(16), "tractionNo of our refund; empty: none"),
    column("refund_transaction_id", String(64), "refundTransactionId, once known"),
    column("status", String(16), "unknown processing success fail"),
    moment("create_time", "when it was asked for"),
    moment("modify_time", "last change"),
    Index("dingdang_refund_trade", "domain_id", "trade_no"),
    Index(
        "dingdang_refund_traction",
        "traction_no",
        unique=True,
        postgresql_where=text("traction_no <> ''"),
    ),
    CheckConstraint("refund_fen > 0", name="amount"),
    one_of("status", RefundState),
    comment="退款 through 叮当, as its partner (004)",
    info=rights(update=("status", "refund_transaction_id", "modify_time"))
    | lifecycles(status=REFUND.moves),
)
