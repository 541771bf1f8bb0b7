"""The tables of who may call over ChinaUMS (003) and Dingdang (004); comments become the data dictionary.

Secrets are never here, only their names.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Boolean, Index, LargeBinary, String, Table

from shoudan_kit.db.columns import column, moment, one_of
from shoudan_kit.db.foundation import rights
from shoudan_pay.tables import METADATA

APPEND_ONLY: Final[tuple[str, ...]] = ()


UMS_APP = Table(
    "ums_app",
    METADATA,
    column("app_id", String(64), "appId", key=True),
    column("merchant_uuid", String(64), "whose refunds it sees, whose money it gives back"),
    column("mid", String(32), "mid 商户号"),
    column("tid", String(32), "tid 终端号"),
    column("mer_name", String(64), "merName 商户名称"),
    column("secret_name", String(64), "name of the secret: AppKey"),
    column("notify_secret_name", String(64), "name of the secret: communication key 通讯密钥"),
    column("base_url", String(2048), "where ChinaUMS is called, up to /v1; empty: never"),
    column("source_id", String(4), "msgSrcId: what our numbers begin with"),
    column("enabled", Boolean, "whether it is taken"),
    moment("modify_time", "last change"),
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
    column("token_hash", LargeBinary, "SHA-256 of the accessToken", key=True),
    column("app_id", String(64), "whose"),
    moment("create_time", "when"),
    moment("expire_time", "until when"),
    Index("ums_token_app", "app_id", "create_time"),
    comment="access tokens (003); at most ten live ones per AppId",
    info=rights(update=(), delete=True),
)

PROOF_NONCE = Table(
    "proof_nonce",
    METADATA,
    column("scope", String(128), "protocol, caller and, for Dingdang, the call", key=True),
    column("nonce", String(128), "as it came, or its hash when longer", key=True),
    column("content_hash", LargeBinary, "SHA-256 of the body it came with"),
    moment("expire_time", "when it may be forgotten"),
    Index("proof_nonce_expire", "expire_time"),
    comment="used nonces, shared by all replicas",
    info=rights(update=("content_hash", "expire_time"), delete=True),
)


DINGDANG_DOMAIN = Table(
    "dingdang_domain",
    METADATA,
    column("role", String(8), "platform: its partner asks us; partner: we ask it", key=True),
    column("domain_id", String(64), "domainId 技能ID", key=True),
    column("merchant_uuid", String(64), "whose pays it is about"),
    column("scheme", String(32), "how it signs: tsk_hmac tsk_rsa2 tvs_hmac"),
    column("secret_name", String(64), "name of the secret that verifies"),
    column("own_secret_name", String(64), "name of the secret that signs; empty: the same"),
    column("credential_key", String(64), "CredentialKey of TVS"),
    column("paid_url", String(2048), "通知发货 URL of the partner"),
    column("refunded_url", String(2048), "退款结果通知 URL of the partner"),
    column("base_url", String(2048), "URL of the platform, up to /paycgi"),
    column("enabled", Boolean, "whether it is taken"),
    moment("modify_time", "last change"),
    Index("dingdang_domain_merchant", "merchant_uuid"),
    one_of("role", ("platform", "partner")),
    one_of("scheme", ("tsk_hmac", "tsk_rsa2", "tvs_hmac")),
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
