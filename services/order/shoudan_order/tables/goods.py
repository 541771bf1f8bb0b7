"""The table of which channels are notified of changes of goods."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, MetaData, Table, text

from shoudan_kit.db.foundation import rights
from shoudan_order.tables.columns import count, now, text_key, when, words


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
        Column(
            "version",
            BigInteger,
            nullable=False,
            server_default=text("0"),
            comment="catalogue version of the newest change that was acknowledged",
        ),
        count("fails", "attempts in a row that were not acknowledged; 10: given up", 0),
        words("answer", "what the last of them came to"),
        when("notify_time", "last attempt", null=True),
        Index(
            "oms_goods_subscription_failing",
            "channel_no",
            "product_id",
            "token",
            postgresql_where=text("fails > 0"),
        ),
        comment="商品订阅: which channels are notified of changes of goods",
        info=rights(
            update=("notify_url", "version", "fails", "answer", "notify_time"), delete=True
        ),
    )
