"""Open orders, suppliers' numbers, audits and dead notifies are found through an index."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0008"
down_revision: str | None = "0007"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

# Rows are only added: without these a vacuum, which lets an index alone answer, comes when a fifth is new.
GROWING = ("event", "oms_notify_attempt", "oms_operation")
EAGER = ("autovacuum_vacuum_insert_scale_factor", "autovacuum_analyze_scale_factor")

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
    """Forward."""
    for name, table, columns, where in ADDED:
        op.create_index(name, table, columns, postgresql_where=sa.text(where))
    for table in GROWING:
        op.execute(f"ALTER TABLE {table} SET ({EAGER[0]} = 0.05, {EAGER[1]} = 0.05)")


def downgrade() -> None:
    """Back."""
    for table in GROWING:
        op.execute(f"ALTER TABLE {table} RESET ({', '.join(EAGER)})")
    for name, table, _, _ in ADDED[::-1]:
        op.drop_index(name, table_name=table)
