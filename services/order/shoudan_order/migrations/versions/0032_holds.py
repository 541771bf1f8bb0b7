"""Holds keep orders in the database whatever their age."""

from shoudan_kit.db.revising import BIG, TEXT, TIME, check, column, table

revision: str = "0032"
down_revision: str | None = "0031"


def upgrade() -> None:
    """Forward."""
    table(
        "oms_order_hold",
        column("hold_no", TEXT, "编号: of the case, given by people"),
        column("order_id", BIG, "订单编号; 0 for any"),
        column("down_channel_no", TEXT, "下游渠道编号; empty for any", default="''"),
        column("start_time", TIME, "orders made from then on; empty for any", null=True),
        column("end_time", TIME, "orders made before; empty for any", null=True),
        column("reason", TEXT, "why"),
        column("made_by", TEXT, "操作人"),
        column("create_time", TIME, "创建时间", default="shoudan_now()"),
        check(
            "oms_order_hold_some",
            "order_id <> 0 OR down_channel_no <> '' OR start_time IS NOT NULL OR end_time IS NOT NULL",
        ),
        check("oms_order_hold_period", "start_time < end_time"),
        key=["hold_no"],
        comment="保留: orders that stay in the database whatever their age",
    )
