"""Refunds have the reason that the order service keeps of them."""

import sqlalchemy as sa
from alembic import op

from shoudan_kit.db.revising import column

revision: str = "0020"
down_revision: str | None = "0019"


def upgrade() -> None:
    """Forward; the release before leaves it empty."""
    op.add_column(
        "trade", column("reason", sa.String(256), "退款原因; empty of others", default="''")
    )
