"""Channels are pinned to a version of their protocol; what partners call is counted by day."""

from alembic import op

from shoudan_kit.db.revising import BIG, DATE, TEXT, column, index, table

revision: str = "0044"
down_revision: str | None = "0043"


def upgrade() -> None:
    """Forward; the release before answers all channels in version 0, as the column's default says."""
    pinned = "version its calls are answered in; empty for the documents"
    op.add_column("oms_down_channel", column("api_version", TEXT, pinned, default="''"))
    table(
        "oms_call_day",
        column("party", TEXT, "whose: channel or merchant and its number"),
        column("day", DATE, "day of Beijing"),
        column("protocol", TEXT, "protocol at the gateway"),
        column("call", TEXT, "path of the call"),
        column("version", TEXT, "version it was answered in"),
        column("count", BIG, "how often it was made"),
        key=["party", "day", "protocol", "call", "version"],
        comment="调用统计: what partners call, in which version, by day",
    )
    index("oms_call_day_day", "oms_call_day", ["day"])
