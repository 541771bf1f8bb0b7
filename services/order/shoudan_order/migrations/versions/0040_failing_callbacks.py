"""What a shelf's or a subscription's channel did not acknowledge is listed through an index."""

import sqlalchemy as sa
from alembic import op

PHASE: str = "index"
revision: str = "0040"
down_revision: str | None = "0039"

ADDED = (
    ("oms_shelf_cursor_failing", "oms_shelf_cursor", ["channel_no"]),
    (
        "oms_goods_subscription_failing",
        "oms_goods_subscription",
        ["channel_no", "product_id", "token"],
    ),
)


def upgrade() -> None:
    """Forward; what was made before it was cut off stays."""
    for name, table, columns in ADDED:
        op.create_index(
            name,
            table,
            columns,
            postgresql_where=sa.text("fails > 0"),
            postgresql_concurrently=True,
            if_not_exists=True,
        )
