"""ChinaUMS and Dingdang: callers, nonces, refunds, trades, notices."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    """Forward; every step leaves the tables usable by the code of the release before."""
    op.create_table(
        "dingdang_domain",
        sa.Column(
            "role",
            sa.String(length=8),
            autoincrement=False,
            nullable=False,
            comment="platform: its partner asks us; partner: we ask it",
        ),
        sa.Column(
            "domain_id",
            sa.String(length=64),
            autoincrement=False,
            nullable=False,
            comment="domainId 技能ID",
        ),
        sa.Column(
            "merchant_uuid",
            sa.String(length=64),
            autoincrement=False,
            nullable=False,
            comment="whose pays it is about",
        ),
        sa.Column(
            "scheme",
            sa.String(length=32),
            autoincrement=False,
            nullable=False,
            comment="how it signs: tsk_hmac tsk_rsa2 tvs_hmac",
        ),
        sa.Column(
            "secret_name",
            sa.String(length=64),
            autoincrement=False,
            nullable=False,
            comment="name of the secret that verifies",
        ),
        sa.Column(
            "own_secret_name",
            sa.String(length=64),
            autoincrement=False,
            nullable=False,
            comment="name of the secret that signs; empty: the same",
        ),
        sa.Column(
            "credential_key",
            sa.String(length=64),
            autoincrement=False,
            nullable=False,
            comment="CredentialKey of TVS",
        ),
        sa.Column(
            "paid_url",
            sa.String(length=2048),
            autoincrement=False,
            nullable=False,
            comment="通知发货 URL of the partner",
        ),
        sa.Column(
            "refunded_url",
            sa.String(length=2048),
            autoincrement=False,
            nullable=False,
            comment="退款结果通知 URL of the partner",
        ),
        sa.Column(
            "base_url",
            sa.String(length=2048),
            autoincrement=False,
            nullable=False,
            comment="URL of the platform, up to /paycgi",
        ),
        sa.Column(
            "enabled",
            sa.Boolean(),
            autoincrement=False,
            nullable=False,
            comment="whether it is taken",
        ),
        sa.Column(
            "modify_time",
            sa.DateTime(timezone=True),
            autoincrement=False,
            nullable=False,
            comment="last change",
        ),
        sa.CheckConstraint("role IN ('platform', 'partner')", name=op.f("dingdang_domain_role")),
        sa.CheckConstraint(
            "scheme IN ('tsk_hmac', 'tsk_rsa2', 'tvs_hmac')", name=op.f("dingdang_domain_scheme")
        ),
        sa.PrimaryKeyConstraint("role", "domain_id", name=op.f("dingdang_domain_pkey")),
        comment="叮当技能 (004)",
    )
    op.create_index("dingdang_domain_merchant", "dingdang_domain", ["merchant_uuid"], unique=False)
    op.create_table(
        "dingdang_notice",
        sa.Column(
            "notice_id", sa.BigInteger(), autoincrement=False, nullable=False, comment="通知编号"
        ),
        sa.Column(
            "kind",
            sa.String(length=8),
            autoincrement=False,
            nullable=False,
            comment="paid 通知发货, refunded 退款结果通知",
        ),
        sa.Column(
            "domain_id", sa.String(length=64), autoincrement=False, nullable=False, comment="whom"
        ),
        sa.Column(
            "traction_no",
            sa.String(length=16),
            autoincrement=False,
            nullable=False,
            comment="tractionNo of the pay or refund: what",
        ),
        sa.Column(
            "status",
            sa.String(length=8),
            autoincrement=False,
            nullable=False,
            comment="waiting done given_up",
        ),
        sa.Column(
            "count", sa.Integer(), autoincrement=False, nullable=False, comment="attempts made"
        ),
        sa.Column(
            "http_status",
            sa.Integer(),
            autoincrement=False,
            nullable=False,
            comment="of the last attempt; 0 without an answer",
        ),
        sa.Column(
            "answer",
            sa.String(length=256),
            autoincrement=False,
            nullable=False,
            comment="of the last attempt, or why there was none",
        ),
        sa.Column(
            "create_time",
            sa.DateTime(timezone=True),
            autoincrement=False,
            nullable=False,
            comment="when it was owed",
        ),
        sa.Column(
            "modify_time",
            sa.DateTime(timezone=True),
            autoincrement=False,
            nullable=False,
            comment="last attempt",
        ),
        sa.CheckConstraint(
            "status IN ('waiting', 'done', 'given_up')", name=op.f("dingdang_notice_status")
        ),
        sa.PrimaryKeyConstraint("notice_id", name=op.f("dingdang_notice_pkey")),
        sa.UniqueConstraint("kind", "traction_no", "domain_id", name="dingdang_notice_once"),
        comment="通知 owed to partners of 叮当 (004)",
        postgresql_with={"fillfactor": "70"},
    )
    op.create_index(
        "dingdang_notice_domain", "dingdang_notice", ["domain_id", "notice_id"], unique=False
    )
    op.create_table(
        "dingdang_notice_attempt",
        sa.Column(
            "attempt_id", sa.BigInteger(), autoincrement=False, nullable=False, comment="尝试编号"
        ),
        sa.Column(
            "notice_id",
            sa.BigInteger(),
            autoincrement=False,
            nullable=False,
            comment="which notice",
        ),
        sa.Column(
            "http_status",
            sa.Integer(),
            autoincrement=False,
            nullable=False,
            comment="0 without an answer",
        ),
        sa.Column(
            "answer",
            sa.String(length=256),
            autoincrement=False,
            nullable=False,
            comment="its answer, or why there was none",
        ),
        sa.Column(
            "took_ms", sa.Integer(), autoincrement=False, nullable=False, comment="how long it took"
        ),
        sa.Column(
            "create_time",
            sa.DateTime(timezone=True),
            autoincrement=False,
            nullable=False,
            comment="when",
        ),
        sa.PrimaryKeyConstraint("attempt_id", name=op.f("dingdang_notice_attempt_pkey")),
        comment="attempts of notices, append-only",
    )
    op.create_index(
        "dingdang_notice_attempt_notice", "dingdang_notice_attempt", ["notice_id"], unique=False
    )
    op.create_table(
        "dingdang_refund",
        sa.Column(
            "domain_id",
            sa.String(length=64),
            autoincrement=False,
            nullable=False,
            comment="domainId",
        ),
        sa.Column(
            "refund_trade_no",
            sa.String(length=64),
            autoincrement=False,
            nullable=False,
            comment="refundTradeNo 合作方退款订单号: ours",
        ),
        sa.Column(
            "trade_no",
            sa.String(length=64),
            autoincrement=False,
            nullable=False,
            comment="tradeNo of what it gives back",
        ),
        sa.Column(
            "refund_fen",
            sa.BigInteger(),
            autoincrement=False,
            nullable=False,
            comment="refundAmt, 分",
        ),
        sa.Column(
            "traction_no",
            sa.String(length=16),
            autoincrement=False,
            nullable=False,
            comment="tractionNo of our refund; empty: none",
        ),
        sa.Column(
            "refund_transaction_id",
            sa.String(length=64),
            autoincrement=False,
            nullable=False,
            comment="refundTransactionId, once known",
        ),
        sa.Column(
            "status",
            sa.String(length=16),
            autoincrement=False,
            nullable=False,
            comment="unknown processing success fail",
        ),
        sa.Column(
            "create_time",
            sa.DateTime(timezone=True),
            autoincrement=False,
            nullable=False,
            comment="when it was asked for",
        ),
        sa.Column(
            "modify_time",
            sa.DateTime(timezone=True),
            autoincrement=False,
            nullable=False,
            comment="last change",
        ),
        sa.CheckConstraint(
            "status IN ('unknown', 'processing', 'success', 'fail')",
            name=op.f("dingdang_refund_status"),
        ),
        sa.CheckConstraint("refund_fen > 0", name=op.f("dingdang_refund_amount")),
        sa.PrimaryKeyConstraint("domain_id", "refund_trade_no", name=op.f("dingdang_refund_pkey")),
        comment="退款 through 叮当, as its partner (004)",
    )
    op.create_index(
        "dingdang_refund_traction",
        "dingdang_refund",
        ["traction_no"],
        unique=True,
        postgresql_where=sa.text("traction_no <> ''"),
    )
    op.create_index(
        "dingdang_refund_trade", "dingdang_refund", ["domain_id", "trade_no"], unique=False
    )
    op.create_table(
        "dingdang_trade",
        sa.Column(
            "domain_id",
            sa.String(length=64),
            autoincrement=False,
            nullable=False,
            comment="domainId",
        ),
        sa.Column(
            "trade_no",
            sa.String(length=64),
            autoincrement=False,
            nullable=False,
            comment="tradeNo 合作方订单号: ours",
        ),
        sa.Column(
            "total_fen",
            sa.BigInteger(),
            autoincrement=False,
            nullable=False,
            comment="totalAmt, 分",
        ),
        sa.Column(
            "pay_traction_no",
            sa.String(length=16),
            autoincrement=False,
            nullable=False,
            comment="pay order that it pays; empty: none",
        ),
        sa.Column(
            "channel_no",
            sa.String(length=32),
            autoincrement=False,
            nullable=False,
            comment="order that it releases; empty: none",
        ),
        sa.Column(
            "request_no",
            sa.String(length=64),
            autoincrement=False,
            nullable=False,
            comment="its request_no",
        ),
        sa.Column(
            "transaction_id",
            sa.String(length=64),
            autoincrement=False,
            nullable=False,
            comment="transactionId, once known",
        ),
        sa.Column(
            "status",
            sa.String(length=16),
            autoincrement=False,
            nullable=False,
            comment="notpay processing success fail",
        ),
        sa.Column(
            "create_time",
            sa.DateTime(timezone=True),
            autoincrement=False,
            nullable=False,
            comment="when it was bound",
        ),
        sa.Column(
            "paid_time",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="when it was said to be paid",
        ),
        sa.CheckConstraint(
            "status IN ('notpay', 'processing', 'success', 'fail')",
            name=op.f("dingdang_trade_status"),
        ),
        sa.CheckConstraint("total_fen > 0", name=op.f("dingdang_trade_amount")),
        sa.PrimaryKeyConstraint("domain_id", "trade_no", name=op.f("dingdang_trade_pkey")),
        comment="订单 paid through 叮当, as its partner (004)",
    )
    op.create_index(
        "dingdang_trade_pay",
        "dingdang_trade",
        ["pay_traction_no"],
        unique=True,
        postgresql_where=sa.text("pay_traction_no <> ''"),
    )
    op.create_table(
        "proof_nonce",
        sa.Column(
            "scope",
            sa.String(length=128),
            autoincrement=False,
            nullable=False,
            comment="protocol, caller and, for Dingdang, the call",
        ),
        sa.Column(
            "nonce",
            sa.String(length=128),
            autoincrement=False,
            nullable=False,
            comment="as it came, or its hash when longer",
        ),
        sa.Column(
            "content_hash",
            sa.LargeBinary(),
            autoincrement=False,
            nullable=False,
            comment="SHA-256 of the body it came with",
        ),
        sa.Column(
            "expire_time",
            sa.DateTime(timezone=True),
            autoincrement=False,
            nullable=False,
            comment="when it may be forgotten",
        ),
        sa.PrimaryKeyConstraint("scope", "nonce", name=op.f("proof_nonce_pkey")),
        comment="used nonces, shared by all replicas",
    )
    op.create_index("proof_nonce_expire", "proof_nonce", ["expire_time"], unique=False)
    op.create_table(
        "ums_app",
        sa.Column(
            "app_id", sa.String(length=64), autoincrement=False, nullable=False, comment="appId"
        ),
        sa.Column(
            "merchant_uuid",
            sa.String(length=64),
            autoincrement=False,
            nullable=False,
            comment="whose refunds it sees, whose money it gives back",
        ),
        sa.Column(
            "mid", sa.String(length=32), autoincrement=False, nullable=False, comment="mid 商户号"
        ),
        sa.Column(
            "tid", sa.String(length=32), autoincrement=False, nullable=False, comment="tid 终端号"
        ),
        sa.Column(
            "mer_name",
            sa.String(length=64),
            autoincrement=False,
            nullable=False,
            comment="merName 商户名称",
        ),
        sa.Column(
            "secret_name",
            sa.String(length=64),
            autoincrement=False,
            nullable=False,
            comment="name of the secret: AppKey",
        ),
        sa.Column(
            "notify_secret_name",
            sa.String(length=64),
            autoincrement=False,
            nullable=False,
            comment="name of the secret: communication key 通讯密钥",
        ),
        sa.Column(
            "base_url",
            sa.String(length=2048),
            autoincrement=False,
            nullable=False,
            comment="where ChinaUMS is called, up to /v1; empty: never",
        ),
        sa.Column(
            "source_id",
            sa.String(length=4),
            autoincrement=False,
            nullable=False,
            comment="msgSrcId: what our numbers begin with",
        ),
        sa.Column(
            "enabled",
            sa.Boolean(),
            autoincrement=False,
            nullable=False,
            comment="whether it is taken",
        ),
        sa.Column(
            "modify_time",
            sa.DateTime(timezone=True),
            autoincrement=False,
            nullable=False,
            comment="last change",
        ),
        sa.PrimaryKeyConstraint("app_id", name=op.f("ums_app_pkey")),
        comment="银联商务开发者 (003): one per AppId",
    )
    op.create_index("ums_app_mid", "ums_app", ["mid", "tid"], unique=False)
    op.create_table(
        "ums_refund",
        sa.Column(
            "traction_no",
            sa.String(length=16),
            autoincrement=False,
            nullable=False,
            comment="tractionNo of the refund",
        ),
        sa.Column(
            "app_id",
            sa.String(length=64),
            autoincrement=False,
            nullable=False,
            comment="with which AppId it is asked for",
        ),
        sa.Column(
            "mer_order_id",
            sa.String(length=32),
            autoincrement=False,
            nullable=False,
            comment="merOrderId of the pay",
        ),
        sa.Column(
            "refund_order_id",
            sa.String(length=32),
            autoincrement=False,
            nullable=False,
            comment="refundOrderId: ours, the same at every repeat",
        ),
        sa.Column(
            "refund_fen",
            sa.BigInteger(),
            autoincrement=False,
            nullable=False,
            comment="refundAmount, 分",
        ),
        sa.Column(
            "status",
            sa.String(length=16),
            autoincrement=False,
            nullable=False,
            comment="unknown processing success fail",
        ),
        sa.Column(
            "sent",
            sa.Boolean(),
            autoincrement=False,
            nullable=False,
            comment="a call may have arrived, so that it is asked about before it is repeated",
        ),
        sa.Column("asked", sa.Integer(), autoincrement=False, nullable=False, comment="calls made"),
        sa.Column(
            "last_code",
            sa.String(length=64),
            autoincrement=False,
            nullable=False,
            comment="errCode of the last answer, or why there was none",
        ),
        sa.Column(
            "detail",
            sa.Text(),
            autoincrement=False,
            nullable=False,
            comment="what ChinaUMS told, JSON of UmsDetail; the card number is masked",
        ),
        sa.Column(
            "create_time",
            sa.DateTime(timezone=True),
            autoincrement=False,
            nullable=False,
            comment="first call",
        ),
        sa.Column(
            "modify_time",
            sa.DateTime(timezone=True),
            autoincrement=False,
            nullable=False,
            comment="last change",
        ),
        sa.CheckConstraint(
            "status IN ('unknown', 'processing', 'success', 'fail')", name=op.f("ums_refund_status")
        ),
        sa.CheckConstraint("refund_fen > 0", name=op.f("ums_refund_amount")),
        sa.PrimaryKeyConstraint("traction_no", name=op.f("ums_refund_pkey")),
        sa.UniqueConstraint("app_id", "refund_order_id", name="ums_refund_order"),
        comment="退款 sent through 银联商务 (003)",
        postgresql_with={"fillfactor": "70"},
    )
    op.create_table(
        "ums_token",
        sa.Column(
            "token_hash",
            sa.LargeBinary(),
            autoincrement=False,
            nullable=False,
            comment="SHA-256 of the accessToken",
        ),
        sa.Column(
            "app_id", sa.String(length=64), autoincrement=False, nullable=False, comment="whose"
        ),
        sa.Column(
            "create_time",
            sa.DateTime(timezone=True),
            autoincrement=False,
            nullable=False,
            comment="when",
        ),
        sa.Column(
            "expire_time",
            sa.DateTime(timezone=True),
            autoincrement=False,
            nullable=False,
            comment="until when",
        ),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("ums_token_pkey")),
        comment="access tokens (003); at most ten live ones per AppId",
    )
    op.create_index("ums_token_app", "ums_token", ["app_id", "create_time"], unique=False)
