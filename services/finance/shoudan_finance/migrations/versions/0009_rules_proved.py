"""The rule of entries holds for those that were there before it."""

from alembic import op

PHASE: str = "validate"
revision: str = "0009"
down_revision: str | None = "0007"


def upgrade() -> None:
    """Forward."""
    op.execute("ALTER TABLE entry VALIDATE CONSTRAINT entry_rule")
