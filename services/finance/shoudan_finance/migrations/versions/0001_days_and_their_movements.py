"""Accounting days, what they came to in each account, and their movements; tasks, events, the audit log."""

import sqlalchemy as sa
from alembic import op

from shoudan_kit.audit_log import first_tables as audit_log
from shoudan_kit.db.revising import BIG, BYTES, DATE, SMALL, TIME, check, column, index, table
from shoudan_kit.tasks import first_tables

revision: str = "0001"
down_revision: str | None = None

GROWING = {
    "autovacuum_vacuum_insert_scale_factor": "0.05",
    "autovacuum_analyze_scale_factor": "0.05",
}
# The part for what fits no other; the monthly ones are made by `shoudan migrate`.
REST = (
    "CREATE TABLE movement_rest PARTITION OF movement DEFAULT"
    " WITH (autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05)"
)


def upgrade() -> None:
    """Forward."""
    first_tables.create_tables(by_month=True)
    first_tables.index_set_aside(concurrently=False)
    for name in ("task", "event"):
        about = "W3C traceparent;request id of the request behind it"
        op.add_column(name, sa.Column("trace", sa.Text(), comment=about))
    claimed = column(
        "claimed_until", TIME, "until then one process publishes what stayed behind", null=True
    )
    op.add_column("outbox", claimed)
    audit_log.create_tables()
    _days()
    _movements()


def _days() -> None:
    table(
        "finance_day",
        column("day", DATE, "记账日, Asia/Shanghai"),
        column("status", SMALL, "states.DayStatus"),
        column("accounts", BIG, "accounts that moved, as the ledger closed the day"),
        column("movements", BIG, "movements they made, as the ledger closed the day"),
        column("debits_micros", BIG, "支出合计, 10^-6 元, without a sign"),
        column("credits_micros", BIG, "收入合计, 10^-6 元"),
        column("close_time", TIME, "日结时间: when the ledger closed it"),
        column("create_time", TIME, "创建时间"),
        column("prove_time", TIME, "proved last", null=True),
        column("digest", BYTES, "SHA-256 over the ends of its accounts' chains; empty before"),
        column("what", sa.String(256), "what differs first; empty unless it differs"),
        check("finance_day_status", "status IN (10, 20, 80)"),
        check(
            "finance_day_proof",
            "(status = 20) = (digest <> '') AND (status = 80) = (what <> '')",
        ),
        key=["day"],
        comment="记账日: closed days of the ledger, and whether their movements are here",
    )
    index("finance_day_open", "finance_day", ["day"], where="status IN (10, 80)")
    table(
        "account_fact",
        column("day", DATE, "记账日, Asia/Shanghai"),
        column("account_id", BIG, "账户编号"),
        column("ident", sa.String(32), "系统标识"),
        column("groups", sa.String(32), "账户分组"),
        column("eid", sa.String(64), "外部用户编号"),
        column("name", sa.String(64), "账户名称, when the day was fetched"),
        column("seq_from", BIG, "seq of its first record of the day"),
        column("seq_to", BIG, "seq of its last record of the day"),
        column("opening_micros", BIG, "期初余额, 10^-6 元"),
        column("debits_micros", BIG, "支出合计, 10^-6 元, without a sign"),
        column("credits_micros", BIG, "收入合计, 10^-6 元"),
        column("closing_micros", BIG, "期末余额, 10^-6 元"),
        column("head_hash", BYTES, "hash of its last record of the day"),
        check("account_fact_range", "seq_from > 0 AND seq_to >= seq_from"),
        check(
            "account_fact_sum",
            "closing_micros = opening_micros - debits_micros + credits_micros",
        ),
        key=["day", "account_id"],
        comment="账户日结 as the ledger closed it; written when all its movements of the day are here",
        storage=GROWING,
    )
    index("account_fact_of", "account_fact", ["ident", "eid", "day"])


def _movements() -> None:
    table(
        "movement",
        column("day_no", BIG, "the accounting day as a number of ids"),
        column("account_id", BIG, "账户编号"),
        column("seq", BIG, "position within the account, from 1 without gaps"),
        column("record_id", BIG, "变动编号"),
        column("contra_account_id", BIG, "platform account that moved by the opposite amount"),
        column("trade_no", sa.String(64), "交易编号"),
        column("ext_no", sa.String(64), "扩展编号: what a refund or reversal quotes"),
        column("change_type", SMALL, "变动类型: 1 加款 2 提款 3 扣款 4 退款 5 交易平账 6 余额平账"),
        column("trade_type", SMALL, "交易类型: 1 交易 2 手续费/服务费 3 佣金 4 红冲 5 平账"),
        column("about", SMALL, "业务类型: 0 not said 1 订单 2 退款 3 发货 4 退货 5 支付 6 人工"),
        column("amount_micros", BIG, "变动金额, signed, 10^-6 元"),
        column("balance_micros", BIG, "变动后余额, 10^-6 元"),
        column("memo", sa.String(1024), "备注"),
        column("source", sa.String(32), "来源: the service that posted it, or operator"),
        column("operator", sa.String(64), "操作员"),
        column("create_time", TIME, "变动时间"),
        column("hash", BYTES, "seal of the record over the one before"),
        check("movement_seq", "seq > 0"),
        key=["day_no", "account_id", "seq"],
        comment="资金变动: the records of closed days, as the ledger has them",
        partition_by="RANGE (day_no)",
    )
    op.execute(REST)
