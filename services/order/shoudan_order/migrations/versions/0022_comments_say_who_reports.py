"""Comments of columns name who reports what."""

from alembic import op

revision: str = "0022"
down_revision: str | None = "0021"
COMMENTS = (
    ("oms_down_channel", "notify_networks", "private networks it may be notified at"),
    (
        "oms_order_delivery",
        "courier_cost_amount_micros",
        "渠道费用: real cost reported by the supplier",
    ),
    (
        "oms_order_delivery",
        "result_params",
        "结果数据: further facts reported by the supplier, JSON",
    ),
    ("oms_order_delivery", "conflict", "the supplier has reported another end since"),
    ("oms_refund_up_return", "conflict", "the supplier has reported another end since"),
)


def upgrade() -> None:
    """Forward."""
    for table, column, comment in COMMENTS:
        op.alter_column(table, column, comment=comment)
