"""Runs that failed are found."""

import sqlalchemy as sa
from alembic import op

PHASE: str = "index"
revision: str = "0016"
down_revision: str | None = "0015"


def upgrade() -> None:
    """Forward; what was made before it was cut off stays."""
    op.create_index(
        "reconcile_run_failed",
        "reconcile_run",
        ["run_id"],
        postgresql_where=sa.text("status = 80"),
        postgresql_concurrently=True,
        if_not_exists=True,
    )
