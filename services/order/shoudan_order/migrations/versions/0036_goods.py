"""Goods of the 虚拟货源 interface: which channels are notified of changes, and when a change was."""

from alembic import op

from shoudan_kit.db.revising import BIG, TEXT, TIME, column, table

revision: str = "0036"
down_revision: str | None = "0035"


def upgrade() -> None:
    """Forward; the release before looks at neither."""
    table(
        "oms_goods_subscription",
        column("channel_no", TEXT, "渠道编号"),
        column("product_id", BIG, "商品编号"),
        column("token", TEXT, "订阅标识, the channel's own word for it"),
        column("notify_url", TEXT, "where it is notified of changes"),
        column("create_time", TIME, "订阅时间", default="shoudan_now()"),
        key=["channel_no", "product_id", "token"],
        comment="商品订阅: which channels are notified of changes of goods",
    )
    comment = "when that was; NULL for what changed before there was this column"
    op.add_column("oms_shelf_version", column("change_time", TIME, comment, null=True))
