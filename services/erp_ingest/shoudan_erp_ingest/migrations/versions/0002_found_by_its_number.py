"""A trade and a refund are found by their number first: one index does what two did."""

from alembic import op

PHASE: str = "index"
revision: str = "0002"
down_revision: str | None = "0001"

# table, index, its number and its sender, the index that becomes needless
FOUND = (
    ("trade", "trade_natural", "tid", "customerid", "trade_tid"),
    ("refund", "refund_natural", "refund_no", "app_key", "refund_number"),
)


def upgrade() -> None:
    """Forward; the new index is there before the old one goes, and gets its name in the next revision."""
    for table, name, number, sender, needless in FOUND:
        op.create_index(
            f"{name}_new",
            table,
            [number, sender],
            unique=True,
            postgresql_concurrently=True,
            if_not_exists=True,
        )
        for old in (name, needless):
            op.drop_index(old, table_name=table, postgresql_concurrently=True, if_exists=True)
