"""The ledger: accounts, records, alerts, service packages; tasks and events."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0001"
down_revision: str | None = None
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    """Forward; every step leaves the tables usable by the code of the release before."""
    _tasks()
    _events()
    _accounts()
    _records()
    _packages()


def _tasks() -> None:
    """The shared tables of tasks."""
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
        "task_one_pending",
        "task",
        ["order_no", "name"],
        unique=True,
        postgresql_where=sa.text("exclusive AND status IN (20, 30)"),
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


def _events() -> None:
    """The shared tables of events."""
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
    )
    op.create_index(op.f("event_key"), "event", ["key"], unique=False)
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


def _accounts() -> None:
    """Accounts and their alerts."""
    op.execute(sa.schema.CreateSequence(sa.Sequence("account_info_id_seq", start=86_000)))
    op.create_table(
        "account_info",
        sa.Column(
            "account_id",
            sa.BigInteger(),
            server_default=sa.text("nextval('account_info_id_seq')"),
            nullable=False,
            comment="账户编号, 86000 and up",
        ),
        sa.Column("account_name", sa.String(length=64), nullable=False, comment="账户名称"),
        sa.Column(
            "ident", sa.String(length=32), nullable=False, comment="系统标识: system that owns it"
        ),
        sa.Column(
            "groups",
            sa.String(length=32),
            nullable=False,
            comment="账户分组; - when the system has one; platform for contra accounts",
        ),
        sa.Column(
            "eid",
            sa.String(length=64),
            nullable=False,
            comment="外部用户编号: channel_no, member number",
        ),
        sa.Column(
            "contra_account_id",
            sa.BigInteger(),
            nullable=True,
            comment="platform account that moves the other way; null for platform accounts",
        ),
        sa.Column(
            "balance_micros",
            sa.BigInteger(),
            nullable=False,
            comment="余额, 10^-6 元; 0 for platform accounts: theirs is derived",
        ),
        sa.Column("credit_micros", sa.BigInteger(), nullable=False, comment="信用额度, 10^-6 元"),
        sa.Column("status", sa.SmallInteger(), nullable=False, comment="状态: 0 正常 1 锁定"),
        sa.Column(
            "limited",
            sa.Boolean(),
            nullable=False,
            comment="whether spending stops at minus credit",
        ),
        sa.Column(
            "watched",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="whether account_alert has rows for it",
        ),
        sa.Column(
            "seq",
            sa.BigInteger(),
            nullable=False,
            comment="seq of its last record, 0 before the first",
        ),
        sa.Column(
            "head_hash",
            sa.LargeBinary(),
            nullable=False,
            comment="hash of its last record; empty before the first",
        ),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False, comment="创建时间"),
        sa.Column(
            "moved_time",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="create_time of its last record, its own before the first",
        ),
        sa.CheckConstraint(
            "balance_micros BETWEEN -9007199254740992 AND 9007199254740992",
            name=op.f("account_info_balance"),
        ),
        sa.CheckConstraint(
            "contra_account_id IS NOT NULL OR (balance_micros = 0 AND seq = 0 AND NOT limited)",
            name=op.f("account_info_platform"),
        ),
        sa.CheckConstraint("credit_micros >= 0", name=op.f("account_info_credit")),
        sa.CheckConstraint("status IN (0, 1)", name=op.f("account_info_status")),
        sa.ForeignKeyConstraint(
            ["contra_account_id"],
            ["account_info.account_id"],
            name=op.f("account_info_contra_account_id_fkey"),
        ),
        sa.PrimaryKeyConstraint("account_id", name=op.f("account_info_pkey")),
        sa.UniqueConstraint("ident", "groups", "eid", name="beanpay_account_info_eid"),
        comment="资金账户 (beanpay)",
        postgresql_with={"fillfactor": "50", "autovacuum_vacuum_scale_factor": "0.02"},
    )
    op.create_index(
        op.f("account_info_contra_account_id"), "account_info", ["contra_account_id"], unique=False
    )
    op.create_table(
        "account_alert",
        sa.Column("account_id", sa.BigInteger(), nullable=False, comment="账户编号"),
        sa.Column(
            "threshold_micros",
            sa.BigInteger(),
            autoincrement=False,
            nullable=False,
            comment="tell when the balance falls below",
        ),
        sa.Column(
            "hysteresis_micros",
            sa.BigInteger(),
            nullable=False,
            comment="quiet until it has risen this far above again",
        ),
        sa.Column(
            "low",
            sa.Boolean(),
            nullable=False,
            comment="told that it is low, and not yet that it has recovered",
        ),
        sa.CheckConstraint("hysteresis_micros >= 0", name=op.f("account_alert_hysteresis")),
        sa.ForeignKeyConstraint(
            ["account_id"], ["account_info.account_id"], name=op.f("account_alert_account_id_fkey")
        ),
        sa.PrimaryKeyConstraint("account_id", "threshold_micros", name=op.f("account_alert_pkey")),
        comment="余额预警",
    )


def _records() -> None:
    """What moved: append-only."""
    op.create_table(
        "account_record",
        sa.Column(
            "record_id",
            sa.BigInteger(),
            autoincrement=False,
            nullable=False,
            comment="变动编号, by time",
        ),
        sa.Column("account_id", sa.BigInteger(), nullable=False, comment="账户编号"),
        sa.Column(
            "contra_account_id",
            sa.BigInteger(),
            nullable=False,
            comment="platform account that moved by the opposite amount",
        ),
        sa.Column("trade_no", sa.String(length=64), nullable=False, comment="交易编号"),
        sa.Column(
            "ext_no",
            sa.String(length=64),
            nullable=False,
            comment="扩展编号: what a refund or reversal quotes; empty otherwise",
        ),
        sa.Column(
            "trade_type",
            sa.SmallInteger(),
            nullable=False,
            comment="交易类型: 1 交易 2 手续费/服务费 3 佣金 4 红冲 5 平账",
        ),
        sa.Column(
            "change_type",
            sa.SmallInteger(),
            nullable=False,
            comment="变动类型: 1 加款 2 提款 3 扣款 4 退款 5 交易平账 6 余额平账",
        ),
        sa.Column(
            "amount_micros",
            sa.BigInteger(),
            nullable=False,
            comment="变动金额, signed, 10^-6 元; 0 closes the key (void)",
        ),
        sa.Column(
            "balance_micros", sa.BigInteger(), nullable=False, comment="变动后余额, 10^-6 元"
        ),
        sa.Column(
            "floor_micros",
            sa.BigInteger(),
            nullable=True,
            comment="lowest balance spending might leave then (minus credit); null when unlimited",
        ),
        sa.Column(
            "seq",
            sa.BigInteger(),
            nullable=False,
            comment="position within the account, from 1 without gaps",
        ),
        sa.Column("memo", sa.String(length=1024), nullable=False, comment="备注"),
        sa.Column(
            "create_time",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="创建时间, never before the account's previous record",
        ),
        sa.Column(
            "hash",
            sa.LargeBinary(),
            nullable=False,
            comment="SHA-256 over the previous record's hash and this row",
        ),
        sa.CheckConstraint("amount_micros % 10 = 0", name=op.f("account_record_decimals")),
        sa.CheckConstraint(
            "amount_micros >= 0 OR floor_micros IS NULL OR balance_micros >= floor_micros",
            name=op.f("account_record_limit"),
        ),
        sa.CheckConstraint(
            "amount_micros BETWEEN -9007199254740992 AND 9007199254740992",
            name=op.f("account_record_amount"),
        ),
        sa.CheckConstraint(
            "balance_micros BETWEEN -9007199254740992 AND 9007199254740992",
            name=op.f("account_record_balance"),
        ),
        sa.PrimaryKeyConstraint("record_id", name=op.f("account_record_pkey")),
        sa.UniqueConstraint("account_id", "seq", name="account_record_seq"),
        sa.UniqueConstraint(
            "trade_no", "account_id", "trade_type", "change_type", name="account_record_key"
        ),
        comment="账户资金变动记录 (beanpay), append-only",
        postgresql_with={"autovacuum_vacuum_insert_scale_factor": "0.1"},
    )
    op.create_index(
        "account_record_create_time",
        "account_record",
        ["create_time"],
        unique=False,
        postgresql_using="brin",
    )
    op.create_index(
        "account_record_ext_no",
        "account_record",
        ["ext_no", "account_id"],
        unique=False,
        postgresql_where=sa.text("ext_no <> ''"),
    )
    op.create_index(
        "account_record_reversed_once",
        "account_record",
        ["account_id", "ext_no", "change_type"],
        unique=True,
        postgresql_where=sa.text("trade_type = 4 AND amount_micros <> 0"),
    )


def _packages() -> None:
    """Service packages and their records."""
    op.execute(sa.schema.CreateSequence(sa.Sequence("package_info_id_seq", start=620_000)))
    op.create_table(
        "package_record",
        sa.Column(
            "record_id", sa.BigInteger(), autoincrement=False, nullable=False, comment="变动编号"
        ),
        sa.Column("pkg_id", sa.BigInteger(), nullable=False, comment="服务包编号"),
        sa.Column(
            "trade_no",
            sa.String(length=64),
            nullable=False,
            comment="交易编号; a refund has that of its deduct",
        ),
        sa.Column(
            "change_type",
            sa.SmallInteger(),
            nullable=False,
            comment="变动类型: 1 增加 2 减少 3 扣减 4 退回",
        ),
        sa.Column("num", sa.BigInteger(), nullable=False, comment="变动数量, signed"),
        sa.Column("remain", sa.BigInteger(), nullable=False, comment="变动后剩余数量"),
        sa.Column("memo", sa.String(length=1024), nullable=False, comment="备注"),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False, comment="创建时间"),
        sa.CheckConstraint("remain >= 0", name=op.f("package_record_remain")),
        sa.PrimaryKeyConstraint("record_id", name=op.f("package_record_pkey")),
        sa.UniqueConstraint("pkg_id", "change_type", "trade_no", name="package_record_key"),
        comment="服务包变动记录 (beanpay), append-only",
    )
    op.create_table(
        "package_info",
        sa.Column(
            "pkg_id",
            sa.BigInteger(),
            server_default=sa.text("nextval('package_info_id_seq')"),
            nullable=False,
            comment="服务包编号, 620000 and up",
        ),
        sa.Column("account_id", sa.BigInteger(), nullable=False, comment="账户编号"),
        sa.Column("spkg_id", sa.String(length=32), nullable=False, comment="外部服务包编号"),
        sa.Column("pkg_name", sa.String(length=64), nullable=False, comment="服务包名称"),
        sa.Column(
            "total_capacity", sa.BigInteger(), nullable=False, comment="总数量: put in less drawn"
        ),
        sa.Column("total_remain", sa.BigInteger(), nullable=False, comment="剩余数量"),
        sa.Column(
            "capacity_daily",
            sa.BigInteger(),
            nullable=False,
            comment="日限制数量; 0 when the package has no limit of its own",
        ),
        sa.Column(
            "deduct_today", sa.BigInteger(), nullable=False, comment="当日已扣数量, of deduct_date"
        ),
        sa.Column(
            "deduct_date",
            sa.Date(),
            nullable=False,
            comment="day deduct_today counts, Asia/Shanghai",
        ),
        sa.Column(
            "expires", sa.Date(), nullable=False, comment="有效期: last day of use, Asia/Shanghai"
        ),
        sa.Column("book_time", sa.DateTime(timezone=True), nullable=False, comment="创建时间"),
        sa.Column(
            "last_update", sa.DateTime(timezone=True), nullable=False, comment="最后变动时间"
        ),
        sa.CheckConstraint(
            "capacity_daily >= 0 AND deduct_today >= 0", name=op.f("package_info_daily")
        ),
        sa.CheckConstraint(
            "total_remain BETWEEN 0 AND 9007199254740992", name=op.f("package_info_remain")
        ),
        sa.ForeignKeyConstraint(
            ["account_id"], ["account_info.account_id"], name=op.f("package_info_account_id_fkey")
        ),
        sa.PrimaryKeyConstraint("pkg_id", name=op.f("package_info_pkey")),
        sa.UniqueConstraint("account_id", "spkg_id", name="beanpay_package_info_spkg"),
        comment="服务包 (beanpay)",
        postgresql_with={"fillfactor": "70"},
    )
