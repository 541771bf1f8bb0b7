"""Credentials of partners: sealed secrets with their times, and who stored them."""

from collections.abc import Sequence

from alembic import op

from shoudan_kit.credentials import first_tables

revision: str = "0015"
down_revision: str | None = "0014"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    """Forward."""
    first_tables.create_tables()


def downgrade() -> None:
    """Back."""
    op.drop_table("credential")
