"""The tables of the finance service: facts, copied from the services that own them."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Date,
    Index,
    LargeBinary,
    SmallInteger,
    String,
    Table,
    text,
)

from shoudan_finance.states import DAY, DayStatus
from shoudan_kit.db.columns import column, literals, moment, one_of
from shoudan_kit.db.foundation import GROWING, by_month, rights
from shoudan_kit.db.moves import lifecycles
from shoudan_kit.tasks.tables import metadata

METADATA: Final = metadata()
# Granted SELECT and INSERT only: a fact does not change.
APPEND_ONLY: Final = ("account_fact", "movement")

OPEN: Final = literals(sorted(DAY.states - DAY.final))

FINANCE_DAY: Final = Table(
    "finance_day",
    METADATA,
    column("day", Date, "记账日, Asia/Shanghai", key=True),
    column("status", SmallInteger, "states.DayStatus"),
    column("accounts", BigInteger, "accounts that moved, as the ledger closed the day"),
    column("movements", BigInteger, "movements they made, as the ledger closed the day"),
    column("debits_micros", BigInteger, "支出合计, 10^-6 元, without a sign"),
    column("credits_micros", BigInteger, "收入合计, 10^-6 元"),
    moment("close_time", "日结时间: when the ledger closed it"),
    moment("create_time", "创建时间"),
    moment("prove_time", "proved last", null=True),
    column("digest", LargeBinary, "SHA-256 over the ends of its accounts' chains; empty before"),
    column("what", String(256), "what differs first; empty unless it differs"),
    one_of("status", DayStatus),
    CheckConstraint(
        "(status = 20) = (digest <> '') AND (status = 80) = (what <> '')", name="proof"
    ),
    Index("finance_day_open", "day", postgresql_where=text(f"status IN ({OPEN})")),
    comment="记账日: closed days of the ledger, and whether their movements are here",
    info=rights(update=("status", "prove_time", "digest", "what")) | lifecycles(status=DAY.moves),
)

ACCOUNT_FACT: Final = Table(
    "account_fact",
    METADATA,
    column("day", Date, "记账日, Asia/Shanghai", key=True),
    column("account_id", BigInteger, "账户编号", key=True),
    column("ident", String(32), "系统标识"),
    column("groups", String(32), "账户分组"),
    column("eid", String(64), "外部用户编号"),
    column("name", String(64), "账户名称, when the day was fetched"),
    column("seq_from", BigInteger, "seq of its first record of the day"),
    column("seq_to", BigInteger, "seq of its last record of the day"),
    column("opening_micros", BigInteger, "期初余额, 10^-6 元"),
    column("debits_micros", BigInteger, "支出合计, 10^-6 元, without a sign"),
    column("credits_micros", BigInteger, "收入合计, 10^-6 元"),
    column("closing_micros", BigInteger, "期末余额, 10^-6 元"),
    column("head_hash", LargeBinary, "hash of its last record of the day"),
    CheckConstraint("seq_from > 0 AND seq_to >= seq_from", name="range"),
    CheckConstraint("closing_micros = opening_micros - debits_micros + credits_micros", name="sum"),
    Index("account_fact_of", "ident", "eid", "day"),
    comment="账户日结 as the ledger closed it; written when all its movements of the day are here",
    postgresql_with=GROWING,
)

# Parts are months of accounting days: day_no is the first number of ids at midnight of the day, read as UTC.
MOVEMENT: Final = Table(
    "movement",
    METADATA,
    column("day_no", BigInteger, "the accounting day as a number of ids", key=True),
    column("account_id", BigInteger, "账户编号", key=True),
    column("seq", BigInteger, "position within the account, from 1 without gaps", key=True),
    column("record_id", BigInteger, "变动编号"),
    column("contra_account_id", BigInteger, "platform account that moved by the opposite amount"),
    column("trade_no", String(64), "交易编号"),
    column("ext_no", String(64), "扩展编号: what a refund or reversal quotes"),
    column(
        "change_type", SmallInteger, "变动类型: 1 加款 2 提款 3 扣款 4 退款 5 交易平账 6 余额平账"
    ),
    column("trade_type", SmallInteger, "交易类型: 1 交易 2 手续费/服务费 3 佣金 4 红冲 5 平账"),
    column("about", SmallInteger, "业务类型: 0 not said 1 订单 2 退款 3 发货 4 退货 5 支付 6 人工"),
    column("amount_micros", BigInteger, "变动金额, signed, 10^-6 元"),
    column("balance_micros", BigInteger, "变动后余额, 10^-6 元"),
    column("memo", String(1024), "备注"),
    column("source", String(32), "来源: the service that posted it, or operator"),
    column("operator", String(64), "操作员"),
    moment("create_time", "变动时间"),
    column("hash", LargeBinary, "seal of the record over the one before"),
    CheckConstraint("seq > 0", name="seq"),
    comment="资金变动: the records of closed days, as the ledger has them",
    **by_month("day_no"),
)
