"""Proves the rules that the revision before added; writers go on meanwhile."""

from alembic import op

PHASE: str = "validate"
revision: str = "0007"
down_revision: str | None = "0006"

RULES = (
    ("vds_channel_info", "toggles"),
    ("vds_channel_info", "tripped"),
    ("vds_order_info", "ended"),
    ("vds_order_info", "sent"),
    ("vds_order_info", "delivered"),
    ("vds_order_query", "status_check"),
    ("vds_order_notify", "status_check"),
    ("vds_order_notify", "ended"),
)


def upgrade() -> None:
    """Forward; a row that breaks a rule is named by the error, and nothing is changed."""
    for table, name in RULES:
        op.execute(f"ALTER TABLE {table} VALIDATE CONSTRAINT {table}_{name}")
