"""Orders and refunds keep when they were paid, ended and settled in money; the deadline stays what it was."""

import sqlalchemy as sa
from alembic import op

revision: str = "0005"
down_revision: str | None = "0004"

ORDER = "oms_order_info"
REFUND = "oms_refund_info"
DELIVERY = "oms_order_delivery"
RETURN = "oms_refund_up_return"
ADDED = (
    (ORDER, "pay_time", "支付时间"),
    (ORDER, "end_time", "结束时间: its first end, the moment of its sale in reports"),
    (ORDER, "money_time", "退款时间: what it paid and did not get went back"),
    (REFUND, "end_time", "结束时间: decided, the moment it counts in reports"),
    (REFUND, "money_time", "退款时间: the channel has its money"),
    (DELIVERY, "money_time", "支付时间: the supplier's account has moved"),
    (RETURN, "money_time", "支付时间: the supplier's account has moved"),
)


def upgrade() -> None:
    """Forward; what ended before is given the last moment known of it, as no better one was kept."""
    moment = sa.DateTime(timezone=True)
    for table, name, comment in ADDED:
        op.add_column(table, sa.Column(name, moment, nullable=True, comment=comment))
    for table in (ORDER, REFUND):
        modified = sa.Column(
            "modify_time",
            moment,
            nullable=False,
            server_default=sa.text("shoudan_now()"),
            comment="修改时间",
        )
        op.add_column(table, modified)
    op.execute("""
        UPDATE oms_order_info o SET end_time = coalesce((SELECT max(d.end_time)
            FROM oms_order_delivery d WHERE d.order_id = o.order_id), o.create_time)
        WHERE o.order_status IN (0, 90, 91)
    """)
    op.execute("UPDATE oms_refund_info SET end_time = create_time WHERE refund_status <> 10")
    op.alter_column(ORDER, "order_overtime", comment="订单超时时间")
    for table in (ORDER, REFUND):
        op.create_index(
            f"{table}_end_time",
            table,
            ["end_time"],
            postgresql_using="brin",
            postgresql_with={"autosummarize": "on"},
        )
    for name in (f"{ORDER}_create_time", f"{DELIVERY}_create_time", f"{DELIVERY}_end_time",
                 f"{RETURN}_end_time"):  # fmt: skip
        op.execute(f"ALTER INDEX {name} SET (autosummarize = on)")
