"""The audit log: rows, which of them are in no block yet, and the blocks."""

from collections.abc import Sequence

from shoudan_kit.audit_log import first_tables

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    """Forward."""
    first_tables.create_tables()


def downgrade() -> None:
    """Back."""
    first_tables.drop_tables()
