"""The ledger: accounts, records, alerts, service packages; tasks and events."""

import sqlalchemy as sa
from alembic import op

from shoudan_kit.db.revising import (
    BIG,
    BOOL,
    BYTES,
    SMALL,
    TIME,
    check,
    column,
    index,
    refers,
    table,
)
from shoudan_kit.tasks import first_tables

revision: str = "0001"
down_revision: str | None = None


def upgrade() -> None:
    """Forward; every step leaves the tables usable by the code of the release before."""
    first_tables.create_tables()
    _accounts()
    _records()
    _packages()


def _accounts() -> None:
    """Accounts and their alerts."""
    op.execute(sa.schema.CreateSequence(sa.Sequence("account_info_id_seq", start=86_000)))
    table(
        "account_info",
        column(
            "account_id", BIG, "账户编号, 86000 and up", default="nextval('account_info_id_seq')"
        ),
        column("account_name", sa.String(64), "账户名称"),
        column("ident", sa.String(32), "系统标识: system that owns it"),
        column(
            "groups",
            sa.String(32),
            "账户分组; - when the system has one; platform for contra accounts",
        ),
        column("eid", sa.String(64), "外部用户编号: channel_no, member number"),
        column(
            "contra_account_id",
            BIG,
            "platform account that moves the other way; null for platform accounts",
            null=True,
        ),
        column("balance_micros", BIG, "余额, 10^-6 元; 0 for platform accounts: theirs is derived"),
        column("credit_micros", BIG, "信用额度, 10^-6 元"),
        column("status", SMALL, "状态: 0 正常 1 锁定"),
        column("limited", BOOL, "whether spending stops at minus credit"),
        column("watched", BOOL, "whether account_alert has rows for it", default="false"),
        column("seq", BIG, "seq of its last record, 0 before the first"),
        column("head_hash", BYTES, "hash of its last record; empty before the first"),
        column("create_time", TIME, "创建时间"),
        column("moved_time", TIME, "create_time of its last record, its own before the first"),
        check(
            "account_info_balance", "balance_micros BETWEEN -9007199254740992 AND 9007199254740992"
        ),
        check(
            "account_info_platform",
            "contra_account_id IS NOT NULL OR (balance_micros = 0 AND seq = 0 AND NOT limited)",
        ),
        check("account_info_credit", "credit_micros >= 0"),
        check("account_info_status", "status IN (0, 1)"),
        refers(
            "account_info_contra_account_id_fkey",
            ["contra_account_id"],
            ["account_info.account_id"],
        ),
        sa.UniqueConstraint("ident", "groups", "eid", name="beanpay_account_info_eid"),
        key=["account_id"],
        comment="资金账户 (beanpay)",
        storage={"fillfactor": "50", "autovacuum_vacuum_scale_factor": "0.02"},
    )
    index("account_info_contra_account_id", "account_info", ["contra_account_id"])
    table(
        "account_alert",
        column("account_id", BIG, "账户编号"),
        column("threshold_micros", BIG, "tell when the balance falls below"),
        column("hysteresis_micros", BIG, "quiet until it has risen this far above again"),
        column("low", BOOL, "told that it is low, and not yet that it has recovered"),
        check("account_alert_hysteresis", "hysteresis_micros >= 0"),
        refers("account_alert_account_id_fkey", ["account_id"], ["account_info.account_id"]),
        key=["account_id", "threshold_micros"],
        comment="余额预警",
    )


def _records() -> None:
    """What moved: append-only."""
    table(
        "account_record",
        column("record_id", BIG, "变动编号, by time"),
        column("account_id", BIG, "账户编号"),
        column("contra_account_id", BIG, "platform account that moved by the opposite amount"),
        column("trade_no", sa.String(64), "交易编号"),
        column(
            "ext_no", sa.String(64), "扩展编号: what a refund or reversal quotes; empty otherwise"
        ),
        column("trade_type", SMALL, "交易类型: 1 交易 2 手续费/服务费 3 佣金 4 红冲 5 平账"),
        column("change_type", SMALL, "变动类型: 1 加款 2 提款 3 扣款 4 退款 5 交易平账 6 余额平账"),
        column("amount_micros", BIG, "变动金额, signed, 10^-6 元; 0 closes the key (void)"),
        column("balance_micros", BIG, "变动后余额, 10^-6 元"),
        column(
            "floor_micros",
            BIG,
            "lowest balance spending might leave then (minus credit); null when unlimited",
            null=True,
        ),
        column("seq", BIG, "position within the account, from 1 without gaps"),
        column("memo", sa.String(1024), "备注"),
        column("create_time", TIME, "创建时间, never before the account's previous record"),
        column("hash", BYTES, "SHA-256 over the previous record's hash and this row"),
        check("account_record_decimals", "amount_micros % 10 = 0"),
        check(
            "account_record_limit",
            "amount_micros >= 0 OR floor_micros IS NULL OR balance_micros >= floor_micros",
        ),
        check(
            "account_record_amount", "amount_micros BETWEEN -9007199254740992 AND 9007199254740992"
        ),
        check(
            "account_record_balance",
            "balance_micros BETWEEN -9007199254740992 AND 9007199254740992",
        ),
        sa.UniqueConstraint("account_id", "seq", name="account_record_seq"),
        sa.UniqueConstraint(
            "trade_no", "account_id", "trade_type", "change_type", name="account_record_key"
        ),
        key=["record_id"],
        comment="账户资金变动记录 (beanpay), append-only",
        storage={"autovacuum_vacuum_insert_scale_factor": "0.1"},
    )
    index("account_record_create_time", "account_record", ["create_time"], using="brin")
    index("account_record_ext_no", "account_record", ["ext_no", "account_id"], where="ext_no <> ''")
    index(
        "account_record_reversed_once",
        "account_record",
        ["account_id", "ext_no", "change_type"],
        unique=True,
        where="trade_type = 4 AND amount_micros <> 0",
    )


def _packages() -> None:
    """Service packages and their records."""
    op.execute(sa.schema.CreateSequence(sa.Sequence("package_info_id_seq", start=620_000)))
    table(
        "package_record",
        column("record_id", BIG, "变动编号"),
        column("pkg_id", BIG, "服务包编号"),
        column("trade_no", sa.String(64), "交易编号; a refund has that of its deduct"),
        column("change_type", SMALL, "变动类型: 1 增加 2 减少 3 扣减 4 退回"),
        column("num", BIG, "变动数量, signed"),
        column("remain", BIG, "变动后剩余数量"),
        column("memo", sa.String(1024), "备注"),
        column("create_time", TIME, "创建时间"),
        check("package_record_remain", "remain >= 0"),
        sa.UniqueConstraint("pkg_id", "change_type", "trade_no", name="package_record_key"),
        key=["record_id"],
        comment="服务包变动记录 (beanpay), append-only",
    )
    table(
        "package_info",
        column(
            "pkg_id", BIG, "服务包编号, 620000 and up", default="nextval('package_info_id_seq')"
        ),
        column("account_id", BIG, "账户编号"),
        column("spkg_id", sa.String(32), "外部服务包编号"),
        column("pkg_name", sa.String(64), "服务包名称"),
        column("total_capacity", BIG, "总数量: put in less drawn"),
        column("total_remain", BIG, "剩余数量"),
        column("capacity_daily", BIG, "日限制数量; 0 when the package has no limit of its own"),
        column("deduct_today", BIG, "当日已扣数量, of deduct_date"),
        column("deduct_date", sa.Date(), "day deduct_today counts, Asia/Shanghai"),
        column("expires", sa.Date(), "有效期: last day of use, Asia/Shanghai"),
        column("book_time", TIME, "创建时间"),
        column("last_update", TIME, "最后变动时间"),
        check("package_info_daily", "capacity_daily >= 0 AND deduct_today >= 0"),
        check("package_info_remain", "total_remain BETWEEN 0 AND 9007199254740992"),
        refers("package_info_account_id_fkey", ["account_id"], ["account_info.account_id"]),
        sa.UniqueConstraint("account_id", "spkg_id", name="beanpay_package_info_spkg"),
        key=["pkg_id"],
        comment="服务包 (beanpay)",
        storage={"fillfactor": "70"},
    )
