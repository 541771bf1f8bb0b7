"""What stayed in the outbox is claimed by one process at a time."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0013"
down_revision: str | None = "0012"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    """Forward."""
    claimed = sa.Column(
        "claimed_until",
        sa.DateTime(timezone=True),
        nullable=True,
        comment="until then one process publishes what stayed behind",
    )
    op.add_column("outbox", claimed)


def downgrade() -> None:
    """Back."""
    op.drop_column("outbox", "claimed_until")
