"""Recharge accounts are stored sealed; `shoudan personal seal` seals the rows of before."""

from collections.abc import Sequence

from alembic import op

revision: str = "0007"
down_revision: str | None = "0006"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    """Forward only: the column stays text, what it holds is said."""
    op.alter_column(
        "oms_order_info",
        "rechage_account",
        comment="用户账户, sealed; empty when it was erased",
        existing_comment="用户账户",
    )
