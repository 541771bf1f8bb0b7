"""Operators, their second factor, sessions, devices and API tokens; keys, failed logins, the audit."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    false,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from shoudan_identity.states import SIGNING_KEY
from shoudan_kit.db.foundation import GROWING, rights
from shoudan_kit.db.moves import lifecycles
from shoudan_kit.tasks.tables import metadata

METADATA: Final = metadata()
APPEND_ONLY: Final = ("operator_audit",)
KNOWN_ROLES: Final = (
    "ARRAY['viewer', 'support', 'ops', 'finance-maker', 'finance-checker', 'admin']::text[]"
)


def _when(name: str, comment: str, *, null: bool = False) -> Column[Any]:
    return Column(name, DateTime(timezone=True), nullable=null, comment=comment)


def _operator_id() -> Column[Any]:
    return Column(
        "operator_id",
        BigInteger,
        ForeignKey("operator.operator_id"),
        nullable=False,
        comment="whose",
    )


Table(
    "operator",
    METADATA,
    Column("operator_id", BigInteger, primary_key=True, autoincrement=False, comment="number"),
    Column("name", Text, nullable=False, comment="login name, small letters"),
    Column("display_name", Text, nullable=False, comment="name for people"),
    Column("roles", ARRAY(Text), nullable=False, comment="what it may do"),
    Column(
        "channels",
        ARRAY(Text),
        nullable=False,
        server_default=text("'{}'"),
        comment="of a partner's account: the down channels whose rows it sees; none of an operator",
    ),
    Column("disabled", Boolean, nullable=False, server_default=false(), comment="may not log in"),
    Column("password_hash", Text, nullable=False, comment="argon2id"),
    _when(
        "password_until",
        "a one-time password ends here and is changed at login; null for others",
        null=True,
    ),
    Column("totp_sealed", LargeBinary, comment="encrypted: the authenticator's secret in force"),
    Column("totp_next_sealed", LargeBinary, comment="encrypted: the secret not confirmed yet"),
    Column(
        "totp_step",
        BigInteger,
        nullable=False,
        server_default=text("0"),
        comment="30 s step of the last code used; no code of it or before counts",
    ),
    _when("create_time", "created"),
    Column("created_by", Text, nullable=False, comment="by whom"),
    _when("update_time", "last changed"),
    Column("changed_by", Text, nullable=False, comment="by whom"),
    Index("operator_name", "name", unique=True),
    CheckConstraint(f"roles <@ {KNOWN_ROLES}", name="roles_known"),
    CheckConstraint("name = lower(name) AND length(name) BETWEEN 1 AND 40", name="name_form"),
    CheckConstraint("channels = '{}' OR roles = '{}'", name="roles_or_channels"),
    comment="操作员: who may log in",
    info=rights(
        update=(
            "name",
            "display_name",
            "roles",
            "channels",
            "disabled",
            "password_hash",
            "password_until",
            "totp_sealed",
            "totp_next_sealed",
            "totp_step",
            "update_time",
            "created_by",
            "changed_by",
        )
    ),
)

Table(
    "recovery_code",
    METADATA,
    Column(
        "operator_id",
        BigInteger,
        ForeignKey("operator.operator_id"),
        primary_key=True,
        autoincrement=False,
        comment="whose",
    ),
    Column("code_hash", LargeBinary, primary_key=True, comment="keyed digest; gone once used"),
    comment="恢复码: each replaces one code of the authenticator",
    info=rights(delete=True),
)

Table(
    "operator_link",
    METADATA,
    Column("issuer", Text, primary_key=True, comment="OpenID provider, as it names itself"),
    Column("subject", Text, primary_key=True, comment="sub: the person at the provider"),
    _operator_id(),
    _when("create_time", "linked"),
    Column("created_by", Text, nullable=False, comment="by whom"),
    Index("operator_link_operator", "operator_id", "issuer", unique=True),
    CheckConstraint("length(subject) BETWEEN 1 AND 255", name="subject_form"),
    comment="登录关联: who an operator is at an OpenID provider",
    info=rights(delete=True),
)

Table(
    "session",
    METADATA,
    Column("session_id", BigInteger, primary_key=True, autoincrement=False, comment="number"),
    _operator_id(),
    Column("family_hash", LargeBinary, nullable=False, comment="of what all its tokens share"),
    Column("refresh_hash", LargeBinary, nullable=False, comment="of the token good now"),
    Column("previous_hash", LargeBinary, comment="of the token before, for a lost answer"),
    Column(
        "second_factor", Boolean, nullable=False, comment="opened with a code of the authenticator"
    ),
    Column("address", Text, nullable=False, comment="opened from"),
    Column("agent", Text, nullable=False, comment="program and machine, as they said"),
    _when("create_time", "opened"),
    _when("use_time", "last refreshed"),
    _when("end_time", "ends at the latest"),
    _when("ended_time", "ended before that", null=True),
    Column("ended_why", Text, comment="logout, reused, ended, disabled, reset, password …"),
    Index("session_open", "operator_id", "session_id", postgresql_where=text("ended_time IS NULL")),
    Index("session_address", "operator_id", "address", "create_time"),
    Index("session_over", "end_time"),
    CheckConstraint("(ended_time IS NULL) = (ended_why IS NULL)", name="ended"),
    comment="登录会话",
    info=rights(
        update=("refresh_hash", "previous_hash", "use_time", "ended_time", "ended_why"),
        delete=True,
    ),
)

Table(
    "known_device",
    METADATA,
    Column("device_hash", LargeBinary, primary_key=True, comment="of what the device keeps"),
    _operator_id(),
    _when("create_time", "first login"),
    _when("use_time", "last login"),
    Index("known_device_operator", "operator_id", "use_time"),
    comment="已知设备: others' failures do not lock it out",
    info=rights(update=("use_time",), delete=True),
)

Table(
    "api_token",
    METADATA,
    Column("token_id", BigInteger, primary_key=True, autoincrement=False, comment="number"),
    _operator_id(),
    Column("name", Text, nullable=False, comment="unique among those in force"),
    Column("roles", ARRAY(Text), nullable=False, comment="at most its operator's"),
    Column("token_hash", LargeBinary, nullable=False, comment="of the secret"),
    _when("create_time", "created"),
    _when("expire_time", "good until"),
    _when("use_time", "last exchanged, to the minute", null=True),
    _when("revoke_time", "revoked", null=True),
    Index(
        "api_token_name",
        "operator_id",
        "name",
        unique=True,
        postgresql_where=text("revoke_time IS NULL"),
    ),
    CheckConstraint(f"roles <@ {KNOWN_ROLES}", name="roles_known"),
    comment="接口令牌: for programs",
    info=rights(update=("use_time", "revoke_time")),
)

Table(
    "signing_key",
    METADATA,
    Column("key_no", BigInteger, primary_key=True, autoincrement=False, comment="number"),
    Column("key_id", Text, nullable=False, comment="kid: thumbprint of the public key"),
    Column("status", SmallInteger, nullable=False, comment="states.KeyStatus"),
    Column("public_key", LargeBinary, nullable=False, comment="Ed25519, raw"),
    Column("sealed", LargeBinary, nullable=False, comment="encrypted: the private key"),
    _when("create_time", "published from"),
    _when("use_time", "signs from", null=True),
    _when("retire_time", "signs no more from", null=True),
    Index(
        "signing_key_one_each",
        "status",
        unique=True,
        postgresql_where=text("status IN (10, 20)"),
    ),
    Index("signing_key_published", "key_no", postgresql_where=text("status IN (10, 20, 30)")),
    CheckConstraint("status IN (10, 20, 30, 90)", name="status_known"),
    comment="签名密钥: of operators' tokens",
    info=rights(update=("status", "sealed", "use_time", "retire_time"))
    | lifecycles(status=SIGNING_KEY.moves),
)

Table(
    "login_attempt",
    METADATA,
    Column("scope", SmallInteger, primary_key=True, comment="states.AttemptScope"),
    Column("key", LargeBinary, primary_key=True, comment="keyed digest of what is counted"),
    Column("failures", Integer, nullable=False, comment="in a row, this attempt included"),
    _when("next_time", "no attempt is checked before"),
    _when("update_time", "last attempt"),
    Index("login_attempt_old", "update_time"),
    CheckConstraint("scope IN (1, 2, 3) AND failures >= 0", name="scope_known"),
    comment="失败的登录: counted, forgotten after a day",
    info=rights(update=("failures", "next_time", "update_time"), delete=True),
    postgresql_with={"fillfactor": "70"},
)

# Written by an earlier release; its rows are in audit_log, too.
Table(
    "operator_audit",
    METADATA,
    Column("audit_id", BigInteger, primary_key=True, autoincrement=False, comment="number"),
    Column("action", Text, nullable=False, comment="login, refresh, create, roles …"),
    Column("outcome", Text, nullable=False, comment="done, or why not"),
    Column("actor_id", BigInteger, nullable=False, comment="operator who acted; 0 unknown"),
    Column("actor", Text, nullable=False, comment="its login name, or the name that was tried"),
    Column("subject", Text, nullable=False, comment="operator, session, token or key acted upon"),
    Column("address", Text, nullable=False, comment="called from; empty for the service itself"),
    Column("facts", JSONB, nullable=False, comment="before and after, never a secret"),
    Column("request_id", Text, nullable=False, comment="request it came with"),
    _when("create_time", "when"),
    comment="操作员审计: logins, refusals and changes, never changed",
    postgresql_with=GROWING,
)
