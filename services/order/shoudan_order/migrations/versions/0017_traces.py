"""Tasks and events name the request behind them."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0017"
down_revision: str | None = "0016"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

ABOUT = "W3C traceparent;request id of the request behind it"


def upgrade() -> None:
    """Forward."""
    for table in ("task", "event"):
        op.add_column(table, sa.Column("trace", sa.Text(), comment=ABOUT))
