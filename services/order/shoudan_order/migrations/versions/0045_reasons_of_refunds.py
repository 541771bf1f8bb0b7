"""A refund keeps why it was asked for."""

from alembic import op

from shoudan_kit.db.revising import TEXT, column

revision: str = "0045"
down_revision: str | None = "0044"


def upgrade() -> None:
    """Forward; of refunds of before, and of what the release before writes, nothing was said."""
    comment = "why, as it was asked for; empty when nothing was said"
    op.add_column("oms_refund_info", column("reason", TEXT, comment, default="''"))
