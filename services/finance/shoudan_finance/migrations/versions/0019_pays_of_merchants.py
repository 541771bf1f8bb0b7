"""What ended in PayServer is here by days, and its merchants have bills."""

import sqlalchemy as sa
from alembic import op

from shoudan_kit.db.revising import BIG, SMALL, TIME, check, column, index, table

revision: str = "0019"
down_revision: str | None = "0018"

REST = (
    "CREATE TABLE pay_trade_rest PARTITION OF pay_trade DEFAULT"
    " WITH (autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05)"
)


def upgrade() -> None:
    """Forward; the release before leaves a day's pays unsaid and makes no such bill."""
    words = sa.String(64)
    table(
        "pay_trade",
        column("day_no", BIG, "the day as a number of ids"),
        column("record_id", BIG, "交易记录编号: the result"),
        column("kind", SMALL, "5 支付 6 支付退款 7 支付更正 8 退款更正"),
        column("number", BIG, "平台流水号 tractionNo"),
        column("pay_number", BIG, "tractionNo of the pay"),
        column("merchant", words, "商户 merchantUUID"),
        column(
            "component", sa.String(32), "支付组件, as sources are named; empty when none moved it"
        ),
        column("client_no", words, "商户单号"),
        column("third_no", words, "第三方单号; empty without"),
        column("mode_name", words, "支付方式"),
        column("succeeded", SMALL, "1 成功 0 失败"),
        column("amount_micros", BIG, "金额, 10^-6 元"),
        column("moved_micros", BIG, "what moved, 10^-6 元; below zero when corrected away"),
        column("end_time", TIME, "结束时间"),
        check("pay_trade_kind", "kind BETWEEN 5 AND 8"),
        key=["day_no", "record_id"],
        comment="支付交易: PayServer's pays and refunds as they ended, and what was corrected",
        partition_by="RANGE (day_no)",
    )
    index("pay_trade_merchant", "pay_trade", ["day_no", "merchant", "end_time", "number"])
    index("pay_trade_component", "pay_trade", ["day_no", "component", "record_id"])
    op.execute(REST)
    pays = "PayServer's results of the day that are here; null before all are"
    op.add_column("trade_day", column("pays", BIG, pays, null=True))
    ident = "系统标识; payserver of a merchant's trade bill 商户交易账单"
    op.alter_column("bill", "ident", comment=ident)
