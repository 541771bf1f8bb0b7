"""Deliveries and returns whose supplier has reported another end since are marked."""

import sqlalchemy as sa
from alembic import op

revision: str = "0003"
down_revision: str | None = "0002"


def upgrade() -> None:
    """Forward; with a default, so that the release before goes on writing rows."""
    for table in ("oms_order_delivery", "oms_refund_up_return"):
        op.add_column(
            table,
            sa.Column(
                "conflict",
                sa.Boolean(),
                nullable=False,
                server_default=sa.false(),
                comment="the supplier has told another end since",
            ),
        )
