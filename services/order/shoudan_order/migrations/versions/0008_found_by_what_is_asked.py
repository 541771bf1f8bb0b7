"""Open orders, suppliers' numbers, audits and dead notifies are found through an index."""

import sqlalchemy as sa
from alembic import op

PHASE: str = "index"
revision: str = "0008"
down_revision: str | None = "0007"

ORDER = "oms_order_info"
NOTIFY = "oms_notify_info"
ADDED = (
    ("oms_order_info_open", ORDER, ["order_id"], "end_time IS NULL"),
    (
        "oms_order_delivery_up_delivery_no",
        "oms_order_delivery",
        ["up_delivery_no"],
        "up_delivery_no <> ''",
    ),
    (
        "oms_refund_up_return_up_return_no",
        "oms_refund_up_return",
        ["up_return_no"],
        "up_return_no <> ''",
    ),
    ("oms_notify_info_dead_channel", NOTIFY, ["down_channel_no", "notify_id"], "given_up"),
    ("oms_audit_info_waiting", "oms_audit_info", ["audit_id"], "audit_status = 20"),
)


def upgrade() -> None:
    """Forward; what was made before it was cut off stays."""
    for name, table, columns, where in ADDED:
        op.create_index(
            name,
            table,
            columns,
            postgresql_where=sa.text(where),
            postgresql_concurrently=True,
            if_not_exists=True,
        )
