"""Suppliers are asked for their prices."""

from alembic import op

from shoudan_kit.db.revising import INT, TIME, column

revision: str = "0019"
down_revision: str | None = "0018"


def upgrade() -> None:
    """Forward; the release before asks for none."""
    until = "until then no process asks for prices"
    op.add_column("vds_channel_info", column("price_ask_time", TIME, until, null=True))
    fails = "price lists in a row that could not be read"
    op.add_column("vds_channel_info", column("price_fails", INT, fails, default="0"))
