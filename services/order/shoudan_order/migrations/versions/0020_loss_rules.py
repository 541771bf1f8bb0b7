"""A line says what is done with parts that cost more than they sell for."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0020"
down_revision: str | None = "0019"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    """Forward; `allow` is what the release before does."""
    column = sa.Column(
        "loss_rule",
        sa.Text(),
        server_default=sa.text("'allow'"),
        nullable=False,
        comment="what is done with a part that costs more than it sells for",
    )
    op.add_column("oms_product_line", column)
