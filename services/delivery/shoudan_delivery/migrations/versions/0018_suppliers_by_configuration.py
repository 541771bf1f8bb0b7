"""How a supplier is called may be configured; how much of our money it has left is watched."""

import sqlalchemy as sa
from alembic import op

revision: str = "0018"
down_revision: str | None = "0016"

TABLE = "vds_channel_info"


def upgrade() -> None:
    """Forward."""
    for column in (
        sa.Column(
            "template",
            sa.Text,
            nullable=False,
            server_default="",
            comment="of protocol template: how it is called and read, JSON",
        ),
        sa.Column(
            "balance_low",
            sa.Boolean,
            nullable=False,
            server_default=sa.text("false"),
            comment="too little of our money is left there: held as if an operator had",
        ),
        sa.Column(
            "balance_micros",
            sa.BigInteger,
            comment="余额 there, as it was read last, micro-yuan",
        ),
        sa.Column(
            "balance_ask_time",
            sa.DateTime(timezone=True),
            comment="until then no other process asks for the balance",
        ),
    ):
        op.add_column(TABLE, column)


def downgrade() -> None:
    """Back."""
    for name in ("template", "balance_low", "balance_micros", "balance_ask_time"):
        op.drop_column(TABLE, name)
