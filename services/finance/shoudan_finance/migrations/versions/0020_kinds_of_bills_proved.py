"""The rule of kinds of bills holds for those that were there before it."""

from alembic import op

PHASE: str = "validate"
revision: str = "0020"
down_revision: str | None = "0019"


def upgrade() -> None:
    """Forward."""
    op.execute("ALTER TABLE bill VALIDATE CONSTRAINT bill_kind")
