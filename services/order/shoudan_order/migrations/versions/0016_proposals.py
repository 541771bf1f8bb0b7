"""Proposals: calls that wait for a second operator."""

from collections.abc import Sequence

from alembic import op

from shoudan_kit.proposals import first_tables

revision: str = "0016"
down_revision: str | None = "0015"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    """Forward."""
    first_tables.create_tables()


def downgrade() -> None:
    """Back."""
    op.drop_table("proposal")
