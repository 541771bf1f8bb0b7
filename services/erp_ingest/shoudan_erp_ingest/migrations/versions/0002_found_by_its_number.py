"""A trade and a refund are found by their number first: one index does what two did."""

from collections.abc import Sequence

from alembic import op

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

# Rows are only added: without these a vacuum, which lets an index alone answer, comes when a fifth is new.
GROWING = ("event", "history", "audit")
EAGER = ("autovacuum_vacuum_insert_scale_factor", "autovacuum_analyze_scale_factor")

# table, index, its number and its sender, the index that becomes needless
FOUND = (
    ("trade", "trade_natural", "tid", "customerid", "trade_tid"),
    ("refund", "refund_natural", "refund_no", "app_key", "refund_number"),
)


def upgrade() -> None:
    """Forward; the new index is there before the old one goes."""
    for table, name, number, sender, needless in FOUND:
        op.create_index(f"{name}_new", table, [number, sender], unique=True)
        op.drop_index(name, table_name=table)
        op.drop_index(needless, table_name=table)
        op.execute(f"ALTER INDEX {name}_new RENAME TO {name}")
    for table in GROWING:
        op.execute(f"ALTER TABLE {table} SET ({EAGER[0]} = 0.05, {EAGER[1]} = 0.05)")


def downgrade() -> None:
    """Back."""
    for table in GROWING:
        op.execute(f"ALTER TABLE {table} RESET ({', '.join(EAGER)})")
    for table, name, number, sender, needless in FOUND:
        op.drop_index(name, table_name=table)
        op.create_index(name, table, [sender, number], unique=True)
        op.create_index(needless, table, [number])
