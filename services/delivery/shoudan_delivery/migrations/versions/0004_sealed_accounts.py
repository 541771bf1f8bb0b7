"""Recharge accounts are stored sealed; `shoudan personal seal` seals the rows of before."""

from alembic import op

revision: str = "0004"
down_revision: str | None = "0003"


def upgrade() -> None:
    """Forward only: the column stays text, what it holds is said."""
    op.alter_column(
        "vds_order_info",
        "account",
        comment="充值账号, sealed; empty for vouchers and when it was erased",
        existing_comment="充值账号; empty for vouchers",
    )
