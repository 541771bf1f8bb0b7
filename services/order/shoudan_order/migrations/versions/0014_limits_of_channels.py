"""The operator says how many calls a channel may make."""

import sqlalchemy as sa
from alembic import op

revision: str = "0014"
down_revision: str | None = "0013"

ADDED = (
    ("rate_per_s", "calls a second it may make; 0 as the gateways' settings say"),
    ("calls_max", "calls it may have in flight; 0 as the gateways' settings say"),
)


def upgrade() -> None:
    """Forward; 0 is what the release before does."""
    for name, comment in ADDED:
        default = sa.text("0")
        column = sa.Column(
            name, sa.Integer(), server_default=default, nullable=False, comment=comment
        )
        op.add_column("oms_down_channel", column)
