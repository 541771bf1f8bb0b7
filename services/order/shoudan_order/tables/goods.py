"""The table of which channels are notified of changes of goods."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, MetaData, Table

from shoudan_kit.db.foundation import rights
from shoudan_order.tables.columns import now, text_key, words


def declare(made: MetaData) -> None:
    """Add the table to `made`."""
    Table(
        "oms_goods_subscription",
        made,
        text_key("channel_no", "渠道编号"),
        Column("product_id", BigInteger, primary_key=True, autoincrement=False, comment="商品编号"),
        text_key("token", "订阅标识, the channel's own word for it"),
        words("notify_url", "where it is notified of changes", None),
        now("create_time", "订阅时间"),
        comment="商品订阅: which channels are notified of changes of goods",
        info=rights(update=("notify_url",), delete=True),
    )
