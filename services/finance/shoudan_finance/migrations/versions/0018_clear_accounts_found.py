"""Accounts that lie in clear are found, to be hidden."""

import sqlalchemy as sa
from alembic import op

PHASE: str = "index"
revision: str = "0018"
down_revision: str | None = "0017"


def upgrade() -> None:
    """Forward; what was made before it was cut off stays."""
    op.create_index(
        "entry_clear",
        "entry",
        ["entry_id"],
        postgresql_where=sa.text(
            "account <> '' AND account NOT LIKE '%~%' AND account NOT LIKE '%*%'"
        ),
        postgresql_concurrently=True,
        if_not_exists=True,
    )
