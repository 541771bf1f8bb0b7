"""The tables of the ledger, with the documented names; comments become the data dictionary."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Date,
    ForeignKey,
    Index,
    LargeBinary,
    Sequence,
    SmallInteger,
    String,
    Table,
    UniqueConstraint,
    false,
    text,
)

from shoudan_kit.db.columns import column, maybe, moment, one_of
from shoudan_kit.db.ended_tables import lots
from shoudan_kit.db.foundation import GROWING, copied_as, rights
from shoudan_pay.ledger.states import AccountStatus
from shoudan_pay.tables import METADATA

# Granted SELECT and INSERT only: a correction is a new row.
APPEND_ONLY: Final = (
    "account_day",
    "account_record",
    "ledger_day",
    "ledger_statement",
    "package_record",
)

# The documents start their numbers here.
ACCOUNT_ID = Sequence("account_info_id_seq", start=86_000, metadata=METADATA)
PACKAGE_ID = Sequence("package_info_id_seq", start=620_000, metadata=METADATA)

_WITHIN = "BETWEEN -9007199254740992 AND 9007199254740992"


def _numbered(by: Sequence) -> dict[str, Any]:
    return {"primary_key": True, "server_default": by.next_value()}


# What may be posted, as docs/ledger.md has it: signs, trade types and whether a record is quoted.
LAW: Final = (
    "CASE change_type"
    " WHEN 1 THEN trade_type = 1 AND amount_micros >= 0 OR trade_type = 4 AND amount_micros <= 0"
    " WHEN 2 THEN trade_type = 1 AND amount_micros <= 0 OR trade_type = 4 AND amount_micros >= 0"
    " WHEN 3 THEN trade_type = 1 AND amount_micros <= 0 OR trade_type IN (2, 3)"
    " WHEN 4 THEN trade_type = 1 AND amount_micros >= 0 OR trade_type IN (2, 3)"
    " WHEN 5 THEN trade_type IN (1, 2, 3, 5) WHEN 6 THEN trade_type IN (1, 2, 3, 5)"
    " ELSE false END AND (ext_no <> '') = (change_type = 4 OR trade_type = 4)"
)

ACCOUNT_INFO = Table(
    "account_info",
    METADATA,
    column("account_id", BigInteger, "账户编号, 86000 and up", ACCOUNT_ID, **_numbered(ACCOUNT_ID)),
    column("account_name", String(64), "账户名称"),
    column("ident", String(32), "系统标识: system that owns it"),
    column(
        "groups", String(32), "账户分组; - when the system has one; platform for contra accounts"
    ),
    column("eid", String(64), "外部用户编号: channel_no, member number"),
    maybe(
        "contra_account_id",
        BigInteger,
        "platform account that moves the other way; null for platform accounts",
        ForeignKey("account_info.account_id"),
        index=True,
    ),
    column(
        "balance_micros", BigInteger, "余额, 10^-6 元; 0 for platform accounts: theirs is derived"
    ),
    column("credit_micros", BigInteger, "信用额度, 10^-6 元"),
    column("status", SmallInteger, "状态: 0 正常 1 锁定"),
    column("limited", Boolean, "whether spending stops at minus credit"),
    column("watched", Boolean, "whether account_alert has rows for it", server_default=false()),
    column("seq", BigInteger, "seq of its last record, 0 before the first"),
    column("head_hash", LargeBinary, "hash of its last record; empty before the first"),
    moment("create_time", "创建时间"),
    moment("moved_time", "create_time of its last record, its own before the first"),
    maybe(
        "open_day",
        Date,
        "记账日: no record is added of a day before it; null before the first record of a day",
    ),
    UniqueConstraint("ident", "groups", "eid", name="beanpay_account_info_eid"),
    CheckConstraint("credit_micros >= 0", name="credit"),
    CheckConstraint(f"balance_micros {_WITHIN}", name="balance"),
    one_of("status", AccountStatus),
    CheckConstraint(
        "seq >= 0 AND (seq = 0) = (head_hash = '') AND (seq > 0 OR balance_micros = 0)", name="head"
    ),
    CheckConstraint(
        "contra_account_id IS NOT NULL OR (balance_micros = 0 AND seq = 0 AND NOT limited)",
        name="platform",
    ),
    comment="资金账户 (beanpay)",
    info=rights(
        update=(
            "account_name",
            "balance_micros",
            "credit_micros",
            "status",
            "watched",
            "seq",
            "head_hash",
            "moved_time",
            "open_day",
        )
    )
    | copied_as("beanpay_account_info"),
    # Every group commit updates the rows it touched; free space keeps those updates off the indexes.
    postgresql_with={"fillfactor": "50", "autovacuum_vacuum_scale_factor": "0.02"},
)

# No foreign keys: rows are written under the lock of their account row, and a trigger per row is the
# dearest thing PostgreSQL could do here; `shoudan ledger verify` finds records without an account.
ACCOUNT_RECORD = Table(
    "account_record",
    METADATA,
    column("record_id", BigInteger, "变动编号, by time", key=True),
    column("account_id", BigInteger, "账户编号"),
    column("contra_account_id", BigInteger, "platform account that moved by the opposite amount"),
    column("trade_no", String(64), "交易编号"),
    column("ext_no", String(64), "扩展编号: what a refund or reversal quotes; empty otherwise"),
    column("trade_type", SmallInteger, "交易类型: 1 交易 2 手续费/服务费 3 佣金 4 红冲 5 平账"),
    column(
        "change_type", SmallInteger, "变动类型: 1 加款 2 提款 3 扣款 4 退款 5 交易平账 6 余额平账"
    ),
    column("amount_micros", BigInteger, "变动金额, signed, 10^-6 元; 0 closes the key (void)"),
    column("balance_micros", BigInteger, "变动后余额, 10^-6 元"),
    maybe(
        "floor_micros",
        BigInteger,
        "lowest balance spending might leave then (minus credit); null when unlimited",
    ),
    column("seq", BigInteger, "position within the account, from 1 without gaps"),
    column("memo", String(1024), "备注"),
    moment("create_time", "创建时间, never before the account's previous record"),
    column(
        "hash", LargeBinary, "key id and HMAC-SHA-256 over the previous record's hash and this row"
    ),
    maybe("day", Date, "记账日, Asia/Shanghai; null for records of before there were days"),
    column(
        "about",
        SmallInteger,
        "业务类型: states.About, 0 when it was not said",
        server_default=text("0"),
    ),
    column(
        "source", String(32), "来源: the service that posted it, or operator", server_default=""
    ),
    column("operator", String(64), "操作员, empty when it was a service", server_default=""),
    # trade_no first: new numbers sort last, so the index grows at one end, and it finds a trade, too.
    UniqueConstraint(
        "trade_no", "account_id", "trade_type", "change_type", name="account_record_key"
    ),
    UniqueConstraint("account_id", "seq", name="account_record_seq"),
    # Not the credit of today: lowering credit below a debt is allowed, spending below it never was.
    CheckConstraint(
        "amount_micros >= 0 OR floor_micros IS NULL OR balance_micros >= floor_micros", name="limit"
    ),
    CheckConstraint(f"amount_micros {_WITHIN}", name="amount"),
    CheckConstraint(f"balance_micros {_WITHIN}", name="balance"),
    CheckConstraint("amount_micros % 10 = 0", name="decimals"),
    CheckConstraint(LAW, name="law"),
    CheckConstraint(
        "seq > 0 AND account_id <> contra_account_id AND octet_length(hash) IN (32, 36)",
        name="chain",
    ),
    Index("account_record_ext_no", "ext_no", "account_id", postgresql_where=text("ext_no <> ''")),
    Index(
        "account_record_reversed_once",
        "account_id",
        "ext_no",
        "change_type",
        unique=True,
        postgresql_where=text("trade_type = 4 AND amount_micros <> 0"),
    ),
    # Rows come in order of time, so a few pages of summaries answer any period.
    Index(
        "account_record_create_time",
        "create_time",
        postgresql_using="brin",
        postgresql_with={"autosummarize": "on"},
    ),
    comment="账户资金变动记录 (beanpay), append-only",
    info=copied_as("beanpay_account_record"),
    postgresql_with={"autovacuum_vacuum_insert_scale_factor": "0.1"},
)

# Records of closed days leave from the front of their chain. Only the owner of the tables writes these three:
# a service that could add a key here could have a posting taken for one that was made.
ARCHIVED_LOT = lots(METADATA, "ledger_archived_lot", "records", "number of its day", insert=False)
ARCHIVED_LOT.append_column(column("day", Date, "记账日, Asia/Shanghai"))

ACCOUNT_ARCHIVED = Table(
    "account_archived",
    METADATA,
    column("account_id", BigInteger, "账户编号", key=True),
    column("seq", BigInteger, "seq of its last record that has left"),
    column("balance_micros", BigInteger, "余额 it left, 10^-6 元"),
    column("hash", LargeBinary, "hash of it: what the next record's seal covers"),
    CheckConstraint("seq > 0", name="seq"),
    comment="归档起点: where the records of accounts begin that have left from the front",
    info=rights(insert=False),
)

ARCHIVED_RECORD = Table(
    "account_archived_record",
    METADATA,
    column("trade_no", String(64), "交易编号", key=True),
    column("account_id", BigInteger, "账户编号", key=True),
    column("trade_type", SmallInteger, "交易类型", key=True),
    column("change_type", SmallInteger, "变动类型", key=True),
    column("record_id", BigInteger, "变动编号"),
    column("ext_no", String(64), "扩展编号: what a refund or reversal quotes"),
    column("amount_micros", BigInteger, "变动金额, signed, 10^-6 元"),
    column("balance_micros", BigInteger, "变动后余额, 10^-6 元"),
    column("seq", BigInteger, "position within the account"),
    moment("create_time", "创建时间"),
    Index(
        "account_archived_record_ext_no",
        "ext_no",
        "account_id",
        postgresql_where=text("ext_no <> ''"),
    ),
    comment="归档变动: what stays known of records that have left the database",
    info=rights(insert=False),
)

ACCOUNT_ALERT = Table(
    "account_alert",
    METADATA,
    column("account_id", BigInteger, "账户编号", ForeignKey("account_info.account_id"), key=True),
    column("threshold_micros", BigInteger, "tell when the balance falls below", key=True),
    column("hysteresis_micros", BigInteger, "quiet until it has risen this far above again"),
    column("low", Boolean, "published as low, and not yet as recovered"),
    column(
        "crossed_seq",
        BigInteger,
        "seq of the record with which it was crossed last, or after which it was set",
        server_default=text("0"),
    ),
    moment("crossed_time", "when that was, if it is known", null=True),
    CheckConstraint("hysteresis_micros >= 0", name="hysteresis"),
    comment="余额预警",
    info=rights(update=("hysteresis_micros", "low", "crossed_seq", "crossed_time"), delete=True),
)

# Not what proves anything, that is the file: what the files of a folder are held to, so that the newest
# cannot be missing unnoticed and two folders cannot each go on with a series of their own.
LEDGER_STATEMENT = Table(
    "ledger_statement",
    METADATA,
    column("statement_no", BigInteger, "from 1 without gaps", key=True),
    column("day", Date, "day it was made, Asia/Shanghai"),
    column("hash", LargeBinary, "SHA-256 of its signed line; the next statement quotes it"),
    moment("create_time", "创建时间"),
    CheckConstraint("statement_no > 0", name="number"),
    comment="账本签名声明: signed statements of the ledger that were made, append-only",
)

# What an account's day came to. The range of seq is what belongs to the day, whatever a clock says later.
ACCOUNT_DAY = Table(
    "account_day",
    METADATA,
    column("account_id", BigInteger, "账户编号", key=True),
    column("day", Date, "记账日, Asia/Shanghai", key=True),
    column("seq_from", BigInteger, "seq of its first record of the day"),
    column("seq_to", BigInteger, "seq of its last record of the day"),
    column("opening_micros", BigInteger, "期初余额, 10^-6 元"),
    column("debits_micros", BigInteger, "支出合计, 10^-6 元, without a sign"),
    column("credits_micros", BigInteger, "收入合计, 10^-6 元"),
    column("closing_micros", BigInteger, "期末余额, 10^-6 元"),
    column("head_hash", LargeBinary, "hash of its last record of the day"),
    CheckConstraint("seq_from > 0 AND seq_to >= seq_from", name="range"),
    CheckConstraint(
        "debits_micros >= 0 AND credits_micros >= 0"
        " AND closing_micros = opening_micros - debits_micros + credits_micros",
        name="sum",
    ),
    Index("account_day_of", "day", "account_id"),
    comment="账户日结: the days of accounts that moved, append-only",
)

LEDGER_DAY = Table(
    "ledger_day",
    METADATA,
    column("day", Date, "记账日, Asia/Shanghai", key=True),
    column("accounts", BigInteger, "accounts that moved"),
    column("records", BigInteger, "records they got"),
    column("debits_micros", BigInteger, "支出合计, 10^-6 元, without a sign"),
    column("credits_micros", BigInteger, "收入合计, 10^-6 元"),
    moment("create_time", "日结时间"),
    CheckConstraint("accounts >= 0 AND records >= accounts", name="counts"),
    comment="账本日结: days that are closed, append-only",
)

PACKAGE_INFO = Table(
    "package_info",
    METADATA,
    column("pkg_id", BigInteger, "服务包编号, 620000 and up", PACKAGE_ID, **_numbered(PACKAGE_ID)),
    column("account_id", BigInteger, "账户编号", ForeignKey("account_info.account_id")),
    column("spkg_id", String(32), "外部服务包编号"),
    column("pkg_name", String(64), "服务包名称"),
    column("total_capacity", BigInteger, "总数量: put in less drawn"),
    column("total_remain", BigInteger, "剩余数量"),
    column("capacity_daily", BigInteger, "日限制数量; 0 when the package has no limit of its own"),
    column("deduct_today", BigInteger, "当日已扣数量, of deduct_date"),
    column("deduct_date", Date, "day deduct_today counts, Asia/Shanghai"),
    column("expires", Date, "有效期: last day of use, Asia/Shanghai"),
    moment("book_time", "创建时间"),
    moment("last_update", "最后变动时间"),
    UniqueConstraint("account_id", "spkg_id", name="beanpay_package_info_spkg"),
    CheckConstraint("total_remain BETWEEN 0 AND 9007199254740992", name="remain"),
    CheckConstraint("capacity_daily >= 0 AND deduct_today >= 0", name="daily"),
    comment="服务包 (beanpay)",
    info=rights(
        update=("total_capacity", "total_remain", "deduct_today", "deduct_date", "last_update")
    )
    | copied_as("beanpay_package_info"),
    postgresql_with={"fillfactor": "70"},
)

PACKAGE_RECORD = Table(
    "package_record",
    METADATA,
    column("record_id", BigInteger, "变动编号", key=True),
    column("pkg_id", BigInteger, "服务包编号"),
    column("trade_no", String(64), "交易编号; a refund has that of its deduct"),
    column("change_type", SmallInteger, "变动类型: 1 增加 2 减少 3 扣减 4 退回"),
    column("num", BigInteger, "变动数量, signed"),
    column("remain", BigInteger, "变动后剩余数量"),
    column("memo", String(1024), "备注"),
    moment("create_time", "创建时间"),
    UniqueConstraint("pkg_id", "change_type", "trade_no", name="package_record_key"),
    Index("package_record_of", "pkg_id", "record_id"),
    CheckConstraint("remain >= 0", name="remain"),
    CheckConstraint(
        "CASE WHEN change_type IN (1, 4) THEN num > 0 ELSE change_type IN (2, 3) AND num < 0 END",
        name="law",
    ),
    comment="服务包变动记录 (beanpay), append-only",
    postgresql_with=GROWING,
    info=copied_as("beanpay_package_record"),
)
