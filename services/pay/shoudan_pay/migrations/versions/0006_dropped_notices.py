"""A notice's status may be dropped since 0004; its column says so."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


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
