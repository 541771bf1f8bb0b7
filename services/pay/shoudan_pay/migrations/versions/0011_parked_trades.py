"""A Dingdang trade that pays only an order says why it waits for a person, and since when."""

import sqlalchemy as sa
from alembic import op

revision: str = "0011"
down_revision: str | None = "0010"

TABLE = "dingdang_trade"


def upgrade() -> None:
    """Forward; with defaults, so that the release before goes on writing trades."""
    op.add_column(
        TABLE,
        sa.Column(
            "parked_reason",
            sa.String(length=128),
            nullable=False,
            server_default="",
            comment="why it waits for a person; empty otherwise",
        ),
    )
    op.add_column(
        TABLE,
        sa.Column(
            "parked_time",
            sa.DateTime(timezone=True),
            comment="since when it waits for a person",
        ),
    )
