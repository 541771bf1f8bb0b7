"""Exceptions are found by the dispute that they name."""

import sqlalchemy as sa
from alembic import op

PHASE: str = "index"
revision: str = "0022"
down_revision: str | None = "0021"


def upgrade() -> None:
    """Forward; what was made before it was cut off stays."""
    op.create_index(
        "exception_of_dispute",
        "exception",
        ["dispute_id", "exception_id"],
        postgresql_where=sa.text("dispute_id > 0"),
        postgresql_concurrently=True,
        if_not_exists=True,
    )
