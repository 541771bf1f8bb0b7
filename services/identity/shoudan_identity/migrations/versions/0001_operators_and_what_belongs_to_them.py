"""Operators, sessions, API tokens, signing keys, failed logins and the audit of all of it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "event",
        sa.Column(
            "event_id", sa.BigInteger(), autoincrement=False, nullable=False, comment="事件编号"
        ),
        sa.Column(
            "subject", sa.Text(), nullable=False, comment="shoudan.events.<service>.<noun>.<what>"
        ),
        sa.Column("key", sa.Text(), nullable=False, comment="订单号: order, refund, account …"),
        sa.Column("tag", sa.Text(), nullable=False, comment="生命周期标签 (lcs)"),
        sa.Column("text", sa.Text(), nullable=False, comment="内容: one line for people"),
        sa.Column(
            "body", sa.LargeBinary(), nullable=False, comment="the service's message, protobuf"
        ),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False, comment="创建时间"),
        sa.PrimaryKeyConstraint("event_id", name=op.f("event_pkey")),
        comment="生命周期与事件 (lcs)",
        postgresql_partition_by="RANGE (event_id)",
    )
    # The part for what fits no other; the monthly ones are made by `shoudan migrate`.
    op.execute(
        "CREATE TABLE event_rest PARTITION OF event DEFAULT"
        " WITH (autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05)"
    )
    op.create_index(op.f("event_key"), "event", ["key"], unique=False)
    op.create_table(
        "login_attempt",
        sa.Column("scope", sa.SmallInteger(), nullable=False, comment="states.AttemptScope"),
        sa.Column(
            "key", sa.LargeBinary(), nullable=False, comment="keyed digest of what is counted"
        ),
        sa.Column(
            "failures", sa.Integer(), nullable=False, comment="in a row, this attempt included"
        ),
        sa.Column(
            "next_time",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="no attempt is checked before",
        ),
        sa.Column(
            "update_time", sa.DateTime(timezone=True), nullable=False, comment="last attempt"
        ),
        sa.CheckConstraint(
            "scope IN (1, 2, 3) AND failures >= 0", name=op.f("login_attempt_scope_known")
        ),
        sa.PrimaryKeyConstraint("scope", "key", name=op.f("login_attempt_pkey")),
        comment="失败的登录: counted, forgotten after a day",
        postgresql_with={"fillfactor": "70"},
    )
    op.create_index("login_attempt_old", "login_attempt", ["update_time"], unique=False)
    op.create_table(
        "operator",
        sa.Column(
            "operator_id", sa.BigInteger(), autoincrement=False, nullable=False, comment="number"
        ),
        sa.Column("name", sa.Text(), nullable=False, comment="login name, small letters"),
        sa.Column("display_name", sa.Text(), nullable=False, comment="name for people"),
        sa.Column("roles", sa.ARRAY(sa.Text()), nullable=False, comment="what it may do"),
        sa.Column(
            "disabled",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="may not log in",
        ),
        sa.Column("password_hash", sa.Text(), nullable=False, comment="argon2id"),
        sa.Column(
            "password_until",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="a one-time password ends here and is changed at login; null for others",
        ),
        sa.Column(
            "totp_sealed",
            sa.LargeBinary(),
            nullable=True,
            comment="encrypted: the authenticator's secret in force",
        ),
        sa.Column(
            "totp_next_sealed",
            sa.LargeBinary(),
            nullable=True,
            comment="encrypted: the secret not confirmed yet",
        ),
        sa.Column(
            "totp_step",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="30 s step of the last code used; no code of it or before counts",
        ),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False, comment="created"),
        sa.Column("created_by", sa.Text(), nullable=False, comment="by whom"),
        sa.Column(
            "update_time", sa.DateTime(timezone=True), nullable=False, comment="last changed"
        ),
        sa.Column("changed_by", sa.Text(), nullable=False, comment="by whom"),
        sa.CheckConstraint(
            "roles <@ ARRAY['viewer', 'support', 'ops', 'finance-maker', 'finance-checker', 'admin']::text[]",
            name=op.f("operator_roles_known"),
        ),
        sa.CheckConstraint(
            "name = lower(name) AND length(name) BETWEEN 1 AND 40", name=op.f("operator_name_form")
        ),
        sa.PrimaryKeyConstraint("operator_id", name=op.f("operator_pkey")),
        comment="操作员: who may log in",
    )
    op.create_index("operator_name", "operator", ["name"], unique=True)
    op.create_table(
        "operator_audit",
        sa.Column(
            "audit_id", sa.BigInteger(), autoincrement=False, nullable=False, comment="number"
        ),
        sa.Column("action", sa.Text(), nullable=False, comment="login, refresh, create, roles …"),
        sa.Column("outcome", sa.Text(), nullable=False, comment="done, or why not"),
        sa.Column(
            "actor_id", sa.BigInteger(), nullable=False, comment="operator who acted; 0 unknown"
        ),
        sa.Column(
            "actor", sa.Text(), nullable=False, comment="its login name, or the name that was tried"
        ),
        sa.Column(
            "subject",
            sa.Text(),
            nullable=False,
            comment="operator, session, token or key acted upon",
        ),
        sa.Column(
            "address",
            sa.Text(),
            nullable=False,
            comment="called from; empty for the service itself",
        ),
        sa.Column(
            "facts",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="before and after, never a secret",
        ),
        sa.Column("request_id", sa.Text(), nullable=False, comment="request it came with"),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False, comment="when"),
        sa.PrimaryKeyConstraint("audit_id", name=op.f("operator_audit_pkey")),
        comment="操作员审计: logins, refusals and changes, never changed",
        postgresql_with={
            "autovacuum_vacuum_insert_scale_factor": "0.05",
            "autovacuum_analyze_scale_factor": "0.05",
        },
    )
    op.create_table(
        "outbox",
        sa.Column("batch_id", sa.BigInteger(), autoincrement=False, nullable=False, comment="批次"),
        sa.Column("event_ids", sa.ARRAY(sa.BigInteger()), nullable=False, comment="its events"),
        sa.Column(
            "published",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="JetStream has it",
        ),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False, comment="创建时间"),
        sa.PrimaryKeyConstraint("batch_id", name=op.f("outbox_pkey")),
        comment="发件箱",
        postgresql_with={"fillfactor": "70"},
    )
    op.create_index(
        "outbox_unpublished",
        "outbox",
        ["batch_id"],
        unique=False,
        postgresql_where=sa.text("NOT published"),
    )
    op.create_table(
        "signing_key",
        sa.Column("key_no", sa.BigInteger(), autoincrement=False, nullable=False, comment="number"),
        sa.Column("key_id", sa.Text(), nullable=False, comment="kid: thumbprint of the public key"),
        sa.Column("status", sa.SmallInteger(), nullable=False, comment="states.KeyStatus"),
        sa.Column("public_key", sa.LargeBinary(), nullable=False, comment="Ed25519, raw"),
        sa.Column("sealed", sa.LargeBinary(), nullable=False, comment="encrypted: the private key"),
        sa.Column(
            "create_time", sa.DateTime(timezone=True), nullable=False, comment="published from"
        ),
        sa.Column("use_time", sa.DateTime(timezone=True), nullable=True, comment="signs from"),
        sa.Column(
            "retire_time", sa.DateTime(timezone=True), nullable=True, comment="signs no more from"
        ),
        sa.CheckConstraint("status IN (10, 20, 30, 90)", name=op.f("signing_key_status_known")),
        sa.PrimaryKeyConstraint("key_no", name=op.f("signing_key_pkey")),
        comment="签名密钥: of operators' tokens",
    )
    op.create_index(
        "signing_key_one_each",
        "signing_key",
        ["status"],
        unique=True,
        postgresql_where=sa.text("status IN (10, 20)"),
    )
    op.create_index(
        "signing_key_published",
        "signing_key",
        ["key_no"],
        unique=False,
        postgresql_where=sa.text("status IN (10, 20, 30)"),
    )
    op.create_table(
        "task",
        sa.Column(
            "task_id", sa.BigInteger(), autoincrement=False, nullable=False, comment="任务编号"
        ),
        sa.Column("name", sa.Text(), nullable=False, comment="任务名称: kind of work"),
        sa.Column("queue_name", sa.Text(), nullable=False, comment="消息队列"),
        sa.Column("order_no", sa.Text(), nullable=True, comment="订单号: what it belongs to"),
        sa.Column(
            "exclusive",
            sa.Boolean(),
            nullable=False,
            comment="only one pending of its name and order_no",
        ),
        sa.Column("msg_content", sa.Text(), nullable=False, comment="消息内容: payload, JSON"),
        sa.Column(
            "status", sa.SmallInteger(), nullable=False, comment="20 等待 30 处理中 0 完成 90 失败"
        ),
        sa.Column("count", sa.Integer(), nullable=False, comment="执行次数"),
        sa.Column("max_count", sa.Integer(), nullable=False, comment="最大执行次数"),
        sa.Column("next_interval", sa.Integer(), nullable=False, comment="seconds to the next try"),
        sa.Column(
            "delete_interval", sa.Integer(), nullable=False, comment="seconds it is kept when ended"
        ),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False, comment="创建时间"),
        sa.Column(
            "last_execute_time", sa.DateTime(timezone=True), nullable=True, comment="上次执行时间"
        ),
        sa.Column(
            "next_execute_time",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="下次执行时间: due, or end of the lease of who works on it",
        ),
        sa.Column(
            "max_execute_time", sa.DateTime(timezone=True), nullable=False, comment="执行期限"
        ),
        sa.Column("delete_time", sa.DateTime(timezone=True), nullable=True, comment="删除时间"),
        sa.Column(
            "last_error", sa.Text(), nullable=True, comment="why the last try left it undone"
        ),
        sa.PrimaryKeyConstraint("task_id", name=op.f("task_pkey")),
        comment="任务 (qtask)",
        postgresql_with={"autovacuum_vacuum_scale_factor": "0.02", "fillfactor": "70"},
    )
    op.create_index(
        "task_due",
        "task",
        ["next_execute_time"],
        unique=False,
        postgresql_where=sa.text("status IN (20, 30)"),
    )
    op.create_index(
        "task_ended",
        "task",
        ["delete_time"],
        unique=False,
        postgresql_where=sa.text("status IN (0, 90)"),
    )
    op.create_index(
        "task_failed",
        "task",
        ["name", "task_id"],
        unique=False,
        postgresql_where=sa.text("status = 90"),
    )
    op.create_index(
        "task_failed_key",
        "task",
        ["order_no", "name"],
        unique=False,
        postgresql_where=sa.text("exclusive AND status = 90"),
    )
    op.create_index(
        "task_one_pending",
        "task",
        ["order_no", "name"],
        unique=True,
        postgresql_where=sa.text("exclusive AND status IN (20, 30)"),
    )
    op.create_index(
        "task_set_aside",
        "task",
        ["queue_name", "task_id"],
        unique=False,
        postgresql_where=sa.text("next_execute_time = 'infinity'"),
    )
    op.create_table(
        "task_pause",
        sa.Column("queue_name", sa.Text(), nullable=False, comment="paused queue"),
        sa.Column("paused_by", sa.Text(), nullable=False, comment="who"),
        sa.Column("reason", sa.Text(), nullable=False, comment="why"),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False, comment="when"),
        sa.PrimaryKeyConstraint("queue_name", name=op.f("task_pause_pkey")),
        comment="暂停的队列",
    )
    op.create_table(
        "api_token",
        sa.Column(
            "token_id", sa.BigInteger(), autoincrement=False, nullable=False, comment="number"
        ),
        sa.Column("operator_id", sa.BigInteger(), nullable=False, comment="whose"),
        sa.Column("name", sa.Text(), nullable=False, comment="unique among those in force"),
        sa.Column("roles", sa.ARRAY(sa.Text()), nullable=False, comment="at most its operator's"),
        sa.Column("token_hash", sa.LargeBinary(), nullable=False, comment="of the secret"),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False, comment="created"),
        sa.Column("expire_time", sa.DateTime(timezone=True), nullable=False, comment="good until"),
        sa.Column(
            "use_time",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="last exchanged, to the minute",
        ),
        sa.Column("revoke_time", sa.DateTime(timezone=True), nullable=True, comment="revoked"),
        sa.CheckConstraint(
            "roles <@ ARRAY['viewer', 'support', 'ops', 'finance-maker', 'finance-checker', 'admin']::text[]",
            name=op.f("api_token_roles_known"),
        ),
        sa.ForeignKeyConstraint(
            ["operator_id"], ["operator.operator_id"], name=op.f("api_token_operator_id_fkey")
        ),
        sa.PrimaryKeyConstraint("token_id", name=op.f("api_token_pkey")),
        comment="接口令牌: for programs",
    )
    op.create_index(
        "api_token_name",
        "api_token",
        ["operator_id", "name"],
        unique=True,
        postgresql_where=sa.text("revoke_time IS NULL"),
    )
    op.create_table(
        "known_device",
        sa.Column(
            "device_hash", sa.LargeBinary(), nullable=False, comment="of what the device keeps"
        ),
        sa.Column("operator_id", sa.BigInteger(), nullable=False, comment="whose"),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False, comment="first login"),
        sa.Column("use_time", sa.DateTime(timezone=True), nullable=False, comment="last login"),
        sa.ForeignKeyConstraint(
            ["operator_id"], ["operator.operator_id"], name=op.f("known_device_operator_id_fkey")
        ),
        sa.PrimaryKeyConstraint("device_hash", name=op.f("known_device_pkey")),
        comment="已知设备: others' failures do not lock it out",
    )
    op.create_index(
        "known_device_operator", "known_device", ["operator_id", "use_time"], unique=False
    )
    op.create_table(
        "recovery_code",
        sa.Column(
            "operator_id", sa.BigInteger(), autoincrement=False, nullable=False, comment="whose"
        ),
        sa.Column(
            "code_hash", sa.LargeBinary(), nullable=False, comment="keyed digest; gone once used"
        ),
        sa.ForeignKeyConstraint(
            ["operator_id"], ["operator.operator_id"], name=op.f("recovery_code_operator_id_fkey")
        ),
        sa.PrimaryKeyConstraint("operator_id", "code_hash", name=op.f("recovery_code_pkey")),
        comment="恢复码: each replaces one code of the authenticator",
    )
    op.create_table(
        "session",
        sa.Column(
            "session_id", sa.BigInteger(), autoincrement=False, nullable=False, comment="number"
        ),
        sa.Column("operator_id", sa.BigInteger(), nullable=False, comment="whose"),
        sa.Column(
            "family_hash", sa.LargeBinary(), nullable=False, comment="of what all its tokens share"
        ),
        sa.Column(
            "refresh_hash", sa.LargeBinary(), nullable=False, comment="of the token good now"
        ),
        sa.Column(
            "previous_hash",
            sa.LargeBinary(),
            nullable=True,
            comment="of the token before, for a lost answer",
        ),
        sa.Column(
            "second_factor",
            sa.Boolean(),
            nullable=False,
            comment="opened with a code of the authenticator",
        ),
        sa.Column("address", sa.Text(), nullable=False, comment="opened from"),
        sa.Column("agent", sa.Text(), nullable=False, comment="program and machine, as they said"),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False, comment="opened"),
        sa.Column("use_time", sa.DateTime(timezone=True), nullable=False, comment="last refreshed"),
        sa.Column(
            "end_time", sa.DateTime(timezone=True), nullable=False, comment="ends at the latest"
        ),
        sa.Column(
            "ended_time", sa.DateTime(timezone=True), nullable=True, comment="ended before that"
        ),
        sa.Column(
            "ended_why",
            sa.Text(),
            nullable=True,
            comment="logout, reused, ended, disabled, reset, password …",
        ),
        sa.CheckConstraint(
            "(ended_time IS NULL) = (ended_why IS NULL)", name=op.f("session_ended")
        ),
        sa.ForeignKeyConstraint(
            ["operator_id"], ["operator.operator_id"], name=op.f("session_operator_id_fkey")
        ),
        sa.PrimaryKeyConstraint("session_id", name=op.f("session_pkey")),
        comment="登录会话",
    )
    op.create_index(
        "session_address", "session", ["operator_id", "address", "create_time"], unique=False
    )
    op.create_index(
        "session_open",
        "session",
        ["operator_id", "session_id"],
        unique=False,
        postgresql_where=sa.text("ended_time IS NULL"),
    )
    op.create_index("session_over", "session", ["end_time"], unique=False)
