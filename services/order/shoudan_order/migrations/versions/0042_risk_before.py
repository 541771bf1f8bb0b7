"""A risk counter keeps when the last order before its last batch was taken."""

from alembic import op

from shoudan_kit.db.revising import TIME, column

revision: str = "0042"
down_revision: str | None = "0041"


def upgrade() -> None:
    """Forward; what the release before writes leaves it as it is, and no statement reads that."""
    comment = "when the last one before that batch was taken"
    op.add_column("oms_risk_counter", column("before_time", TIME, comment, null=True))
