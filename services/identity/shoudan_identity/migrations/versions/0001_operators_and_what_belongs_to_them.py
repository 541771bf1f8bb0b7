"""Operators, sessions, API tokens, signing keys, failed logins and the audit of all of it."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from shoudan_kit.db.revising import (
    BIG,
    BOOL,
    BYTES,
    INT,
    SMALL,
    TEXT,
    TIME,
    check,
    column,
    index,
    refers,
    table,
)
from shoudan_kit.tasks import first_tables

revision = "0001"
down_revision = None


def upgrade() -> None:
    first_tables.create_tables(by_month=True)
    first_tables.index_set_aside(concurrently=False)
    table(
        "login_attempt",
        column("scope", SMALL, "states.AttemptScope"),
        column("key", BYTES, "keyed digest of what is counted"),
        column("failures", INT, "in a row, this attempt included"),
        column("next_time", TIME, "no attempt is checked before"),
        column("update_time", TIME, "last attempt"),
        check("login_attempt_scope_known", "scope IN (1, 2, 3) AND failures >= 0"),
        key=["scope", "key"],
        comment="失败的登录: counted, forgotten after a day",
        storage={"fillfactor": "70"},
    )
    index("login_attempt_old", "login_attempt", ["update_time"])
    table(
        "operator",
        column("operator_id", BIG, "number"),
        column("name", TEXT, "login name, small letters"),
        column("display_name", TEXT, "name for people"),
        column("roles", sa.ARRAY(sa.Text()), "what it may do"),
        column("disabled", BOOL, "may not log in", default="false"),
        column("password_hash", TEXT, "argon2id"),
        column(
            "password_until",
            TIME,
            "a one-time password ends here and is changed at login; null for others",
            null=True,
        ),
        column("totp_sealed", BYTES, "encrypted: the authenticator's secret in force", null=True),
        column("totp_next_sealed", BYTES, "encrypted: the secret not confirmed yet", null=True),
        column(
            "totp_step",
            BIG,
            "30 s step of the last code used; no code of it or before counts",
            default="0",
        ),
        column("create_time", TIME, "created"),
        column("created_by", TEXT, "by whom"),
        column("update_time", TIME, "last changed"),
        column("changed_by", TEXT, "by whom"),
        check(
            "operator_roles_known",
            "roles <@ ARRAY['viewer', 'support', 'ops', 'finance-maker', 'finance-checker', 'admin']::text[]",
        ),
        check("operator_name_form", "name = lower(name) AND length(name) BETWEEN 1 AND 40"),
        key=["operator_id"],
        comment="操作员: who may log in",
    )
    index("operator_name", "operator", ["name"], unique=True)
    table(
        "operator_audit",
        column("audit_id", BIG, "number"),
        column("action", TEXT, "login, refresh, create, roles …"),
        column("outcome", TEXT, "done, or why not"),
        column("actor_id", BIG, "operator who acted; 0 unknown"),
        column("actor", TEXT, "its login name, or the name that was tried"),
        column("subject", TEXT, "operator, session, token or key acted upon"),
        column("address", TEXT, "called from; empty for the service itself"),
        column(
            "facts", postgresql.JSONB(astext_type=sa.Text()), "before and after, never a secret"
        ),
        column("request_id", TEXT, "request it came with"),
        column("create_time", TIME, "when"),
        key=["audit_id"],
        comment="操作员审计: logins, refusals and changes, never changed",
        storage={
            "autovacuum_vacuum_insert_scale_factor": "0.05",
            "autovacuum_analyze_scale_factor": "0.05",
        },
    )
    table(
        "signing_key",
        column("key_no", BIG, "number"),
        column("key_id", TEXT, "kid: thumbprint of the public key"),
        column("status", SMALL, "states.KeyStatus"),
        column("public_key", BYTES, "Ed25519, raw"),
        column("sealed", BYTES, "encrypted: the private key"),
        column("create_time", TIME, "published from"),
        column("use_time", TIME, "signs from", null=True),
        column("retire_time", TIME, "signs no more from", null=True),
        check("signing_key_status_known", "status IN (10, 20, 30, 90)"),
        key=["key_no"],
        comment="签名密钥: of operators' tokens",
    )
    index(
        "signing_key_one_each", "signing_key", ["status"], unique=True, where="status IN (10, 20)"
    )
    index("signing_key_published", "signing_key", ["key_no"], where="status IN (10, 20, 30)")
    table(
        "api_token",
        column("token_id", BIG, "number"),
        column("operator_id", BIG, "whose"),
        column("name", TEXT, "unique among those in force"),
        column("roles", sa.ARRAY(sa.Text()), "at most its operator's"),
        column("token_hash", BYTES, "of the secret"),
        column("create_time", TIME, "created"),
        column("expire_time", TIME, "good until"),
        column("use_time", TIME, "last exchanged, to the minute", null=True),
        column("revoke_time", TIME, "revoked", null=True),
        check(
            "api_token_roles_known",
            "roles <@ ARRAY['viewer', 'support', 'ops', 'finance-maker', 'finance-checker', 'admin']::text[]",
        ),
        refers("api_token_operator_id_fkey", ["operator_id"], ["operator.operator_id"]),
        key=["token_id"],
        comment="接口令牌: for programs",
    )
    index(
        "api_token_name",
        "api_token",
        ["operator_id", "name"],
        unique=True,
        where="revoke_time IS NULL",
    )
    table(
        "known_device",
        column("device_hash", BYTES, "of what the device keeps"),
        column("operator_id", BIG, "whose"),
        column("create_time", TIME, "first login"),
        column("use_time", TIME, "last login"),
        refers("known_device_operator_id_fkey", ["operator_id"], ["operator.operator_id"]),
        key=["device_hash"],
        comment="已知设备: others' failures do not lock it out",
    )
    index("known_device_operator", "known_device", ["operator_id", "use_time"])
    table(
        "recovery_code",
        column("operator_id", BIG, "whose"),
        column("code_hash", BYTES, "keyed digest; gone once used"),
        refers("recovery_code_operator_id_fkey", ["operator_id"], ["operator.operator_id"]),
        key=["operator_id", "code_hash"],
        comment="恢复码: each replaces one code of the authenticator",
    )
    table(
        "session",
        column("session_id", BIG, "number"),
        column("operator_id", BIG, "whose"),
        column("family_hash", BYTES, "of what all its tokens share"),
        column("refresh_hash", BYTES, "of the token good now"),
        column("previous_hash", BYTES, "of the token before, for a lost answer", null=True),
        column("second_factor", BOOL, "opened with a code of the authenticator"),
        column("address", TEXT, "opened from"),
        column("agent", TEXT, "program and machine, as they said"),
        column("create_time", TIME, "opened"),
        column("use_time", TIME, "last refreshed"),
        column("end_time", TIME, "ends at the latest"),
        column("ended_time", TIME, "ended before that", null=True),
        column("ended_why", TEXT, "logout, reused, ended, disabled, reset, password …", null=True),
        check("session_ended", "(ended_time IS NULL) = (ended_why IS NULL)"),
        refers("session_operator_id_fkey", ["operator_id"], ["operator.operator_id"]),
        key=["session_id"],
        comment="登录会话",
    )
    index("session_address", "session", ["operator_id", "address", "create_time"])
    index("session_open", "session", ["operator_id", "session_id"], where="ended_time IS NULL")
    index("session_over", "session", ["end_time"])
