"""What a channel's notifies are believed by."""

import sqlalchemy as sa
from alembic import op

revision: str = "0003"
down_revision: str | None = "0002"


def upgrade() -> None:
    """Forward; with defaults, so that the release before goes on writing channels."""
    op.add_column(
        "vds_channel_info",
        sa.Column(
            "notify_networks",
            sa.Text(),
            nullable=False,
            server_default="",
            comment="networks its notifies come from, comma-separated; empty for any",
        ),
    )
    op.add_column(
        "vds_channel_info",
        sa.Column(
            "notify_without_token",
            sa.Boolean(),
            nullable=False,
            server_default=sa.text("false"),
            comment="cannot keep the query of a notify URL: no token is asked for",
        ),
    )
