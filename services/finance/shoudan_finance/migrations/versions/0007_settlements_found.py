"""The lines of a settlement are found by its number."""

import sqlalchemy as sa
from alembic import op

PHASE: str = "index"
revision: str = "0007"
down_revision: str | None = "0005"


def upgrade() -> None:
    """Forward; what was made before it was cut off stays."""
    op.create_index(
        "entry_settle",
        "entry",
        ["source", "settle_no", "book"],
        postgresql_where=sa.text("settle_no <> ''"),
        postgresql_concurrently=True,
        if_not_exists=True,
    )
