"""A channel's orders and refunds are listed through an index, in the order of their numbers."""

import sqlalchemy as sa
from alembic import op

PHASE: str = "index"
revision: str = "0037"
down_revision: str | None = "0036"

ADDED = (
    ("oms_order_info_channel", "oms_order_info", ["down_channel_no", "order_id"], "order_id > 0"),
    (
        "oms_refund_info_channel",
        "oms_refund_info",
        ["down_channel_no", "refund_id"],
        "refund_id > 0",
    ),
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
