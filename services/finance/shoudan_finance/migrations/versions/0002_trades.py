"""Days of trades, their trades, and movements found by the number of the trade."""

import sqlalchemy as sa
from alembic import op

from shoudan_kit.db.revising import BIG, DATE, SMALL, TIME, check, column, index, table

revision: str = "0002"
down_revision: str | None = "0001"

# The parts for what fits no other; the monthly ones are made by `shoudan migrate`.
REST = (
    "CREATE TABLE {0}_rest PARTITION OF {0} DEFAULT"
    " WITH (autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05)"
)


def upgrade() -> None:
    """Forward."""
    table(
        "trade_day",
        column("day", DATE, "业务日 in Beijing, on which its trades ended"),
        column("status", SMALL, "states.TradeDayStatus"),
        column("trades", BIG, "trades that are here"),
        column(
            "page_token",
            sa.String(256),
            "where the order service goes on; empty at both ends",
        ),
        column("apart", BIG, "trades whose money is not what they say, when it was proved last"),
        column("what", sa.String(256), "which of them is first; empty when all agree"),
        column("create_time", TIME, "创建时间"),
        column("fetch_time", TIME, "when the last trade was fetched", null=True),
        column("prove_time", TIME, "held to the ledger last", null=True),
        column(
            "list_time",
            TIME,
            "when the accounting day's movements were listed by number",
            null=True,
        ),
        check("trade_day_status", "status IN (10, 15, 20, 80)"),
        check("trade_day_apart", "(apart = 0) = (what = '')"),
        key=["day"],
        comment="业务日: whether its orders, refunds, deliveries and returns are here, and agree",
    )
    index("trade_day_open", "trade_day", ["day"], where="status IN (10, 15, 80)")
    index("trade_day_unlisted", "trade_day", ["day"], where="list_time IS NULL")
    _trades()
    table(
        "trade_money",
        column("day_no", BIG, "the accounting day as a number of ids"),
        column("account_id", BIG, "账户编号"),
        column("seq", BIG, "position within the account"),
        column("trade_no", sa.String(64), "交易编号"),
        column("about", SMALL, "业务类型: 1 订单 2 退款 3 发货 4 退货"),
        column("amount_micros", BIG, "变动金额, signed, 10^-6 元"),
        key=["day_no", "account_id", "seq"],
        comment="交易资金: movements about trades, found by the number of the trade",
        partition_by="RANGE (day_no)",
    )
    index("trade_money_no", "trade_money", ["trade_no"])
    for name in ("trade", "trade_money"):
        op.execute(REST.format(name))


def _trades() -> None:
    words, number = sa.String(64), BIG
    table(
        "trade",
        column("day_no", number, "the day as a number of ids"),
        column("number", number, "订单、退款、发货、退货编号"),
        column("kind", SMALL, "1 订单 2 退款 3 发货 4 退货"),
        column("order_id", number, "订单编号"),
        column("down_channel_no", words, "下游渠道编号"),
        column("up_channel_no", words, "上游渠道编号; empty of orders and refunds"),
        column("line_id", number, "产品线编号"),
        column("their_no", words, "the channel's or supplier's number of it"),
        column("product_no", words, "the channel's or supplier's number of the product"),
        column("carrier_no", words, "运营商"),
        column("invoice_type", SMALL, "开票方式: 0 不限制 1 不开发票 2 需要发票"),
        column("face_micros", number, "面值, 10^-6 元"),
        column("num", number, "数量"),
        column("result", SMALL, "0 成功 90 失败 91 部分成功"),
        column("done_face_micros", number, "成功面值, 10^-6 元"),
        column("amount_micros", number, "sale, or cost of a delivery or return, 10^-6 元"),
        column("commission_micros", number, "佣金, 10^-6 元"),
        column("service_micros", number, "服务费, 10^-6 元"),
        column("fee_micros", number, "手续费, 10^-6 元"),
        column("end_time", TIME, "结束时间"),
        check("trade_kind", "kind BETWEEN 1 AND 4"),
        key=["day_no", "number"],
        comment="交易: orders, refunds, deliveries and returns as they stood when they ended",
        partition_by="RANGE (day_no)",
    )
    index("trade_number", "trade", ["number"])
    for side, kinds in (("down", "1, 2"), ("up", "3, 4")):
        of_channel = ["day_no", f"{side}_channel_no", "end_time", "number"]
        index(f"trade_{side}", "trade", of_channel, where=f"kind IN ({kinds})")
