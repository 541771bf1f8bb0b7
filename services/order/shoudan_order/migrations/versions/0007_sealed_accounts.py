"""Recharge accounts are stored sealed; `shoudan personal seal` seals the rows of before."""

from alembic import op

revision: str = "0007"
down_revision: str | None = "0006"


def upgrade() -> None:
    """Forward only: the column stays text, what it holds is said."""
    op.alter_column(
        "oms_order_info",
        "rechage_account",
        comment="用户账户, sealed; empty when it was erased",
        existing_comment="用户账户",
    )
