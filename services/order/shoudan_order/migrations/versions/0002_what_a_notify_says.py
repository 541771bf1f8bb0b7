"""A notify says what it was owed for: its status and words are stored with its first attempt."""

import sqlalchemy as sa
from alembic import op

revision: str = "0002"
down_revision: str | None = "0001"


def upgrade() -> None:
    """Forward; null or with a default, so that the release before goes on writing notifies."""
    op.add_column(
        "oms_notify_info",
        sa.Column(
            "owed_status",
            sa.SmallInteger(),
            nullable=True,
            comment="what it says, fixed when it was owed",
        ),
    )
    for name, comment in (("owed_code", "错误码 it says"), ("owed_msg", "错误描述 it says")):
        op.add_column(
            "oms_notify_info",
            sa.Column(name, sa.Text(), nullable=False, server_default="", comment=comment),
        )
