"""Dingdang trades that wait for a person are found through an index."""

import sqlalchemy as sa
from alembic import op

PHASE: str = "index"
revision: str = "0012"
down_revision: str | None = "0011"


def upgrade() -> None:
    """Forward; what was made before it was cut off stays."""
    op.create_index(
        "dingdang_trade_parked",
        "dingdang_trade",
        [sa.text("(domain_id || ':' || trade_no)")],
        postgresql_where=sa.text("parked_reason <> ''"),
        postgresql_concurrently=True,
        if_not_exists=True,
    )
