"""No operator that was there before accounts of partners has channels beside its roles."""

from alembic import op

PHASE: str = "validate"
revision: str = "0007"
down_revision: str | None = "0006"


def upgrade() -> None:
    """Forward."""
    op.execute("ALTER TABLE operator VALIDATE CONSTRAINT operator_roles_or_channels")
