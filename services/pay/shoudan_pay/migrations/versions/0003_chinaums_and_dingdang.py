"""ChinaUMS and Dingdang: callers, nonces, refunds, trades, notices."""

import sqlalchemy as sa

from shoudan_kit.db.revising import (
    BIG,
    BOOL,
    BYTES,
    INT,
    TEXT,
    TIME,
    check,
    column,
    index,
    table,
)

revision: str = "0003"
down_revision: str | None = "0002"


def upgrade() -> None:
    """Forward; every step leaves the tables usable by the code of the release before."""
    table(
        "dingdang_domain",
        column("role", sa.String(8), "platform: its partner asks us; partner: we ask it"),
        column("domain_id", sa.String(64), "domainId 技能ID"),
        column("merchant_uuid", sa.String(64), "whose pays it is about"),
        column("scheme", sa.String(32), "how it signs: tsk_hmac tsk_rsa2 tvs_hmac"),
        column("secret_name", sa.String(64), "name of the secret that verifies"),
        column("own_secret_name", sa.String(64), "name of the secret that signs; empty: the same"),
        column("credential_key", sa.String(64), "CredentialKey of TVS"),
        column("paid_url", sa.String(2048), "通知发货 URL of the partner"),
        column("refunded_url", sa.String(2048), "退款结果通知 URL of the partner"),
        column("base_url", sa.String(2048), "URL of the platform, up to /paycgi"),
        column("enabled", BOOL, "whether it is taken"),
        column("modify_time", TIME, "last change"),
        check("dingdang_domain_role", "role IN ('platform', 'partner')"),
        check("dingdang_domain_scheme", "scheme IN ('tsk_hmac', 'tsk_rsa2', 'tvs_hmac')"),
        key=["role", "domain_id"],
        comment="叮当技能 (004)",
    )
    index("dingdang_domain_merchant", "dingdang_domain", ["merchant_uuid"])
    table(
        "dingdang_notice",
        column("notice_id", BIG, "通知编号"),
        column("kind", sa.String(8), "paid 通知发货, refunded 退款结果通知"),
        column("domain_id", sa.String(64), "whom"),
        column("traction_no", sa.String(16), "tractionNo of the pay or refund: what"),
        column("status", sa.String(8), "waiting done given_up"),
        column("count", INT, "attempts made"),
        column("http_status", INT, "of the last attempt; 0 without an answer"),
        column("answer", sa.String(256), "of the last attempt, or why there was none"),
        column("create_time", TIME, "when it was owed"),
        column("modify_time", TIME, "last attempt"),
        check("dingdang_notice_status", "status IN ('waiting', 'done', 'given_up')"),
        sa.UniqueConstraint("kind", "traction_no", "domain_id", name="dingdang_notice_once"),
        key=["notice_id"],
        comment="通知 owed to partners of 叮当 (004)",
        storage={"fillfactor": "70"},
    )
    index("dingdang_notice_domain", "dingdang_notice", ["domain_id", "notice_id"])
    table(
        "dingdang_notice_attempt",
        column("attempt_id", BIG, "尝试编号"),
        column("notice_id", BIG, "which notice"),
        column("http_status", INT, "0 without an answer"),
        column("answer", sa.String(256), "its answer, or why there was none"),
        column("took_ms", INT, "how long it took"),
        column("create_time", TIME, "when"),
        key=["attempt_id"],
        comment="attempts of notices, append-only",
    )
    index("dingdang_notice_attempt_notice", "dingdang_notice_attempt", ["notice_id"])
    table(
        "dingdang_refund",
        column("domain_id", sa.String(64), "domainId"),
        column("refund_trade_no", sa.String(64), "refundTradeNo 合作方退款订单号: ours"),
        column("trade_no", sa.String(64), "tradeNo of what it gives back"),
        column("refund_fen", BIG, "refundAmt, 分"),
        column("traction_no", sa.String(16), "tractionNo of our refund; empty: none"),
        column("refund_transaction_id", sa.String(64), "refundTransactionId, once known"),
        column("status", sa.String(16), "unknown processing success fail"),
        column("create_time", TIME, "when it was asked for"),
        column("modify_time", TIME, "last change"),
        check("dingdang_refund_status", "status IN ('unknown', 'processing', 'success', 'fail')"),
        check("dingdang_refund_amount", "refund_fen > 0"),
        key=["domain_id", "refund_trade_no"],
        comment="退款 through 叮当, as its partner (004)",
    )
    index(
        "dingdang_refund_traction",
        "dingdang_refund",
        ["traction_no"],
        unique=True,
        where="traction_no <> ''",
    )
    index("dingdang_refund_trade", "dingdang_refund", ["domain_id", "trade_no"])
    table(
        "dingdang_trade",
        column("domain_id", sa.String(64), "domainId"),
        column("trade_no", sa.String(64), "tradeNo 合作方订单号: ours"),
        column("total_fen", BIG, "totalAmt, 分"),
        column("pay_traction_no", sa.String(16), "pay order that it pays; empty: none"),
        column("channel_no", sa.String(32), "order that it releases; empty: none"),
        column("request_no", sa.String(64), "its request_no"),
        column("transaction_id", sa.String(64), "transactionId, once known"),
        column("status", sa.String(16), "notpay processing success fail"),
        column("create_time", TIME, "when it was bound"),
        column("paid_time", TIME, "when it was said to be paid", null=True),
        check("dingdang_trade_status", "status IN ('notpay', 'processing', 'success', 'fail')"),
        check("dingdang_trade_amount", "total_fen > 0"),
        key=["domain_id", "trade_no"],
        comment="订单 paid through 叮当, as its partner (004)",
    )
    index(
        "dingdang_trade_pay",
        "dingdang_trade",
        ["pay_traction_no"],
        unique=True,
        where="pay_traction_no <> ''",
    )
    table(
        "proof_nonce",
        column("scope", sa.String(128), "protocol, caller and, for Dingdang, the call"),
        column("nonce", sa.String(128), "as it came, or its hash when longer"),
        column("content_hash", BYTES, "SHA-256 of the body it came with"),
        column("expire_time", TIME, "when it may be forgotten"),
        key=["scope", "nonce"],
        comment="used nonces, shared by all replicas",
    )
    index("proof_nonce_expire", "proof_nonce", ["expire_time"])
    table(
        "ums_app",
        column("app_id", sa.String(64), "appId"),
        column("merchant_uuid", sa.String(64), "whose refunds it sees, whose money it gives back"),
        column("mid", sa.String(32), "mid 商户号"),
        column("tid", sa.String(32), "tid 终端号"),
        column("mer_name", sa.String(64), "merName 商户名称"),
        column("secret_name", sa.String(64), "name of the secret: AppKey"),
        column(
            "notify_secret_name", sa.String(64), "name of the secret: communication key 通讯密钥"
        ),
        column("base_url", sa.String(2048), "where ChinaUMS is called, up to /v1; empty: never"),
        column("source_id", sa.String(4), "msgSrcId: what our numbers begin with"),
        column("enabled", BOOL, "whether it is taken"),
        column("modify_time", TIME, "last change"),
        key=["app_id"],
        comment="银联商务开发者 (003): one per AppId",
    )
    index("ums_app_mid", "ums_app", ["mid", "tid"])
    table(
        "ums_refund",
        column("traction_no", sa.String(16), "tractionNo of the refund"),
        column("app_id", sa.String(64), "with which AppId it is asked for"),
        column("mer_order_id", sa.String(32), "merOrderId of the pay"),
        column("refund_order_id", sa.String(32), "refundOrderId: ours, the same at every repeat"),
        column("refund_fen", BIG, "refundAmount, 分"),
        column("status", sa.String(16), "unknown processing success fail"),
        column(
            "sent", BOOL, "a call may have arrived, so that it is asked about before it is repeated"
        ),
        column("asked", INT, "calls made"),
        column("last_code", sa.String(64), "errCode of the last answer, or why there was none"),
        column("detail", TEXT, "what ChinaUMS told, JSON of UmsDetail; the card number is masked"),
        column("create_time", TIME, "first call"),
        column("modify_time", TIME, "last change"),
        check("ums_refund_status", "status IN ('unknown', 'processing', 'success', 'fail')"),
        check("ums_refund_amount", "refund_fen > 0"),
        sa.UniqueConstraint("app_id", "refund_order_id", name="ums_refund_order"),
        key=["traction_no"],
        comment="退款 sent through 银联商务 (003)",
        storage={"fillfactor": "70"},
    )
    table(
        "ums_token",
        column("token_hash", BYTES, "SHA-256 of the accessToken"),
        column("app_id", sa.String(64), "whose"),
        column("create_time", TIME, "when"),
        column("expire_time", TIME, "until when"),
        key=["token_hash"],
        comment="access tokens (003); at most ten live ones per AppId",
    )
    index("ums_token_app", "ums_token", ["app_id", "create_time"])
