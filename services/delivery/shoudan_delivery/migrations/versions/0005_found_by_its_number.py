"""Deliveries are found by the supplier's number."""

import sqlalchemy as sa
from alembic import op

PHASE: str = "index"
revision: str = "0005"
down_revision: str | None = "0004"


def upgrade() -> None:
    """Forward; what was made before it was cut off stays."""
    op.create_index(
        "vds_order_info_up_order_no",
        "vds_order_info",
        ["up_order_no"],
        postgresql_where=sa.text("up_order_no <> ''"),
        postgresql_concurrently=True,
        if_not_exists=True,
    )
