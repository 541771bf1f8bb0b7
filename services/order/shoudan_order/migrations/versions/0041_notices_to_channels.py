"""Channels may be notified of their bills and balance."""

from alembic import op

from shoudan_kit.db.revising import TEXT, column

revision: str = "0041"
down_revision: str | None = "0040"


def upgrade() -> None:
    """Forward; no address is what the release before does."""
    where = "where it is notified of its bills and balance; empty for nowhere"
    op.add_column("oms_down_channel", column("notice_url", TEXT, where, default="''"))
