"""The table of how suppliers did, minute by minute."""

from __future__ import annotations

from sqlalchemy import Column, DateTime, MetaData, Table

from shoudan_kit.db.foundation import rights
from shoudan_order.tables.columns import count, key, number, text_key


def declare(made: MetaData) -> None:
    """Add the table to `made`."""
    Table(
        "oms_route_minute",
        made,
        Column(
            "minute",
            DateTime(timezone=True),
            primary_key=True,
            comment="a minute in which deliveries ended",
        ),
        key("line_id", "产品线编号"),
        text_key("up_channel_no", "上游渠道编号"),
        count("ended", "deliveries that ended in it"),
        count("succeeded", "of them, those that succeeded"),
        number("p90_ms", "milliseconds nine of ten took at most"),
        comment="上游每分钟结果",
        info=rights(delete=True),
    )
