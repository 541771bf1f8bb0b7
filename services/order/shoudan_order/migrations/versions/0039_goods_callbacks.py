"""Subscriptions to goods are called: what each has acknowledged, and what came of the last attempt."""

from alembic import op

from shoudan_kit.db.revising import BIG, INT, TEXT, TIME, column

revision: str = "0039"
down_revision: str | None = "0038"

TABLE = "oms_goods_subscription"


def upgrade() -> None:
    """Forward; the release before calls none of them. What is there is called once."""
    newest = "catalogue version of the newest change that was acknowledged"
    op.add_column(TABLE, column("version", BIG, newest, default="0"))
    fails = "attempts in a row that were not acknowledged; 10: given up"
    op.add_column(TABLE, column("fails", INT, fails, default="0"))
    op.add_column(TABLE, column("answer", TEXT, "what the last of them came to", default="''"))
    op.add_column(TABLE, column("notify_time", TIME, "last attempt", null=True))
