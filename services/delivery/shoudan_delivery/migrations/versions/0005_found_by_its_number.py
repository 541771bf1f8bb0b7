"""Deliveries are found by the supplier's number."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

# Rows are only added: without these a vacuum, which lets an index alone answer, comes when a fifth is new.
GROWING = ("event", "vds_order_exp")
EAGER = ("autovacuum_vacuum_insert_scale_factor", "autovacuum_analyze_scale_factor")


def upgrade() -> None:
    """Forward."""
    op.create_index(
        "vds_order_info_up_order_no",
        "vds_order_info",
        ["up_order_no"],
        postgresql_where=sa.text("up_order_no <> ''"),
    )
    for table in GROWING:
        op.execute(f"ALTER TABLE {table} SET ({EAGER[0]} = 0.05, {EAGER[1]} = 0.05)")


def downgrade() -> None:
    """Back."""
    for table in GROWING:
        op.execute(f"ALTER TABLE {table} RESET ({', '.join(EAGER)})")
    op.drop_index("vds_order_info_up_order_no", table_name="vds_order_info")
