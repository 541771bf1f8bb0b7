"""The tables of ChinaUMS (003) and Dingdang (004); comments become the data dictionary.

Secrets are never here, only their names.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from shoudan_kit.db.foundation import by_month, rights
from shoudan_kit.db.moves import lifecycles, steps
from shoudan_pay.tables import METADATA

APPEND_ONLY: Final = ("dingdang_notice_attempt",)


def _column(name: str, kind: Any, comment: str, *, key: bool = False) -> Column[Any]:
    return Column(name, kind, nullable=False, comment=comment, primary_key=key, autoincrement=False)


def _moment(name: str, comment: str) -> Column[Any]:
    return _column(name, DateTime(timezone=True), comment)


# The moves of platforms/states.py and dingdang/states.py; a test compares them.
_TOLD: Final = ("processing", "success", "fail")
REFUND_STEPS: Final = steps(unknown=_TOLD, processing=_TOLD)
TRADE_STEPS: Final = steps(notpay=_TOLD, processing=_TOLD)

UMS_APP = Table(
    "ums_app",
    METADATA,
    _column("app_id", String(64), "appId", key=True),
    _column("merchant_uuid", String(64), "whose refunds it sees, whose money it gives back"),
    _column("mid", String(32), "mid 商户号"),
    _column("tid", String(32), "tid 终端号"),
    _column("mer_name", String(64), "merName 商户名称"),
    _column("secret_name", String(64), "name of the secret: AppKey"),
    _column("notify_secret_name", String(64), "name of the secret: communication key 通讯密钥"),
    _column("base_url", String(2048), "where ChinaUMS is called, up to /v1; empty: never"),
    _column("source_id", String(4), "msgSrcId: what our numbers begin with"),
    _column("enabled", Boolean, "whether it is taken"),
    _moment("modify_time", "last change"),
    Index("ums_app_mid", "mid", "tid"),
    comment="银联商务开发者 (003): one per AppId",
    info=rights(
        update=(
            "merchant_uuid",
            "mid",
            "tid",
            "mer_name",
            "secret_name",
            "notify_secret_name",
            "base_url",
            "source_id",
            "enabled",
            "modify_time",
        )
    ),
)

UMS_TOKEN = Table(
    "ums_token",
    METADATA,
    _column("token_hash", LargeBinary, "SHA-256 of the accessToken", key=True),
    _column("app_id", String(64), "whose"),
    _moment("create_time", "when"),
    _moment("expire_time", "until when"),
    Index("ums_token_app", "app_id", "create_time"),
    comment="access tokens (003); at most ten live ones per AppId",
    info=rights(update=(), delete=True),
)

PROOF_NONCE = Table(
    "proof_nonce",
    METADATA,
    _column("scope", String(128), "protocol, caller and, for Dingdang, the call", key=True),
    _column("nonce", String(128), "as it came, or its hash when longer", key=True),
    _column("content_hash", LargeBinary, "SHA-256 of the body it came with"),
    _moment("expire_time", "when it may be forgotten"),
    Index("proof_nonce_expire", "expire_time"),
    comment="used nonces, shared by all replicas",
    info=rights(update=("content_hash", "expire_time"), delete=True),
)

UMS_REFUND = Table(
    "ums_refund",
    METADATA,
    _column("traction_no", String(16), "tractionNo of the refund", key=True),
    _column("app_id", String(64), "with which AppId it is asked for"),
    _column("mer_order_id", String(32), "merOrderId of the pay"),
    _column("refund_order_id", String(32), "refundOrderId: ours, the same at every repeat"),
    _column("refund_fen", BigInteger, "refundAmount, 分"),
    _column("status", String(16), "unknown processing success fail"),
    _column(
        "sent", Boolean, "a call may have arrived, so that it is asked about before it is repeated"
    ),
    _column("asked", Integer, "calls made"),
    _column("last_code", String(64), "errCode of the last answer, or why there was none"),
    _column("detail", Text, "what ChinaUMS told, JSON of UmsDetail; the card number is masked"),
    _moment("create_time", "first call"),
    _moment("modify_time", "last change"),
    UniqueConstraint("app_id", "refund_order_id", name="ums_refund_order"),
    Index("ums_refund_mer_order", "mer_order_id"),
    Index(
        "ums_refund_open",
        "traction_no",
        postgresql_where=text("status IN ('unknown', 'processing')"),
    ),
    CheckConstraint("refund_fen > 0", name="amount"),
    CheckConstraint("status IN ('unknown', 'processing', 'success', 'fail')", name="status"),
    comment="退款 sent through 银联商务 (003)",
    info=rights(update=("status", "sent", "asked", "last_code", "detail", "modify_time"))
    | lifecycles(status=REFUND_STEPS),
    postgresql_with={"fillfactor": "70"},
)

DINGDANG_DOMAIN = Table(
    "dingdang_domain",
    METADATA,
    _column("role", String(8), "platform: its partner asks us; partner: we ask it", key=True),
    _column("domain_id", String(64), "domainId 技能ID", key=True),
    _column("merchant_uuid", String(64), "whose pays it is about"),
    _column("scheme", String(32), "how it signs: tsk_hmac tsk_rsa2 tvs_hmac"),
    _column("secret_name", String(64), "name of the secret that verifies"),
    _column("own_secret_name", String(64), "name of the secret that signs; empty: the same"),
    _column("credential_key", String(64), "CredentialKey of TVS"),
    _column("paid_url", String(2048), "通知发货 URL of the partner"),
    _column("refunded_url", String(2048), "退款结果通知 URL of the partner"),
    _column("base_url", String(2048), "URL of the platform, up to /paycgi"),
    _column("enabled", Boolean, "whether it is taken"),
    _moment("modify_time", "last change"),
    Index("dingdang_domain_merchant", "merchant_uuid"),
    CheckConstraint("role IN ('platform', 'partner')", name="role"),
    CheckConstraint("scheme IN ('tsk_hmac', 'tsk_rsa2', 'tvs_hmac')", name="scheme"),
    comment="叮当技能 (004)",
    info=rights(
        update=(
            "merchant_uuid",
            "scheme",
            "secret_name",
            "own_secret_name",
            "credential_key",
            "paid_url",
            "refunded_url",
            "base_url",
            "enabled",
            "modify_time",
        )
    ),
)

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
    Index(
        "dingdang_trade_pay",
        "pay_traction_no",
        unique=True,
        postgresql_where=text("pay_traction_no <> ''"),
    ),
    CheckConstraint("total_fen > 0", name="amount"),
    CheckConstraint("status IN ('notpay', 'processing', 'success', 'fail')", name="status"),
    CheckConstraint("(status = 'success') = (paid_time IS NOT NULL)", name="paid"),
    comment="订单 paid through 叮当, as its partner (004)",
    info=rights(update=("status", "transaction_id", "paid_time")) | lifecycles(status=TRADE_STEPS),
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
