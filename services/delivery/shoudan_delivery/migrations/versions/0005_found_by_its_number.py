"""Deliveries are found by the supplier's number."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

PHASE: str = "index"
revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


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
