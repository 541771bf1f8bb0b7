"""Channels may be notified of what changes on their shelves."""

from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from shoudan_kit.db.revising import BIG, INT, TEXT, TIME, column, table

revision: str = "0034"
down_revision: str | None = "0033"


def upgrade() -> None:
    """Forward; no address is what the release before does."""
    where = "where it is notified of what changed on its shelves; empty for nowhere"
    op.add_column("oms_down_channel", column("shelf_url", TEXT, where, default="''"))
    which = "price, stock, shelf: of which changes; empty for all"
    op.add_column("oms_down_channel", column("shelf_events", JSONB(), which, default="'[]'"))
    table(
        "oms_shelf_cursor",
        column("channel_no", TEXT, "渠道编号"),
        column(
            "version", BIG, "catalogue version up to which the channel acknowledged its changes"
        ),
        column("product_id", BIG, "product of that version up to which it did"),
        column("fails", INT, "attempts in a row that were not acknowledged", default="0"),
        column("answer", TEXT, "what the last of them came to", default="''"),
        column("notify_time", TIME, "last attempt", null=True),
        key=["channel_no"],
        comment="货架通知: what subscribed channels acknowledged of their shelves",
    )
