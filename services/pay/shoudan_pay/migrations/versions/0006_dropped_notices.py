"""A notice's status may be dropped since 0004; its column says so."""

import sqlalchemy as sa
from alembic import op

revision: str = "0006"
down_revision: str | None = "0005"


def upgrade() -> None:
    """Forward; only a comment."""
    op.alter_column(
        "dingdang_notice",
        "status",
        existing_type=sa.String(8),
        existing_nullable=False,
        comment="waiting done given_up dropped",
        existing_comment="waiting done given_up",
    )
