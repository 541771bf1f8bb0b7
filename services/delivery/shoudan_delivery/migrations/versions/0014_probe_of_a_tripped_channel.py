"""A tripped channel is tried by one process at a time."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0014"
down_revision: str | None = "0013"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    """Forward."""
    probe = sa.Column(
        "probe_until",
        sa.DateTime(timezone=True),
        nullable=True,
        comment="until then one process tries it, and no other",
    )
    op.add_column("vds_channel_info", probe)


def downgrade() -> None:
    """Back."""
    op.drop_column("vds_channel_info", "probe_until")
