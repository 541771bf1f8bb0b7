"""Nonces of signed writes are used up in the transaction of the write, whichever replica takes it."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0012"
down_revision: str | None = "0011"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    """Forward."""
    op.create_table(
        "oms_used_nonce",
        sa.Column("channel_no", sa.Text(), nullable=False, comment="渠道编号"),
        sa.Column("nonce", sa.Text(), nullable=False, comment="随机串 of a signed write"),
        sa.Column(
            "call_id",
            sa.BigInteger(),
            nullable=False,
            comment="the HTTP request that used it; sent again it is no replay",
        ),
        sa.Column(
            "expire_time",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="when it may be forgotten",
        ),
        sa.PrimaryKeyConstraint("channel_no", "nonce", name=op.f("oms_used_nonce_pkey")),
        comment="随机串记录: used nonces, shared by all replicas of gateway and order",
    )
    op.create_index("oms_used_nonce_expire", "oms_used_nonce", ["expire_time"])


def downgrade() -> None:
    """Back."""
    op.drop_table("oms_used_nonce")
