"""A channel may have a task queue of its own, so that it can be given processes of its own."""

import sqlalchemy as sa
from alembic import op

revision: str = "0002"
down_revision: str | None = "0001"


def upgrade() -> None:
    """Forward; with a default, so that the release before goes on writing channels."""
    op.add_column(
        "vds_channel_info",
        sa.Column(
            "queue_name",
            sa.Text(),
            nullable=False,
            server_default="",
            comment="任务队列 of its requests and queries; empty for the common ones",
        ),
    )
