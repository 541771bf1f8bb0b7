"""The table of what partners called: blocks of requests, kept for 28 days."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Date, Index, LargeBinary, MetaData, Table

from shoudan_kit.db.foundation import rights
from shoudan_order.tables.columns import count, now, number, text_key


def declare(made: MetaData) -> None:
    """Add the table to `made`."""
    Table(
        "oms_request_block",
        made,
        text_key("party", "whose: channel, merchant or supplier and its number"),
        Column(
            "block_no",
            BigInteger,
            primary_key=True,
            autoincrement=False,
            comment="milliseconds of its last request, and 20 random bits",
        ),
        count("record_count", "requests in it"),
        number("lost_count", "requests lost at its gateway since the block before"),
        Column("data", LargeBinary, nullable=False, comment="JSON of the requests, zlib"),
        now("create_time", "创建时间"),
        Index("oms_request_block_create_time", "create_time"),
        comment="请求日志: what partners called, masked",
        info=rights(delete=True),
    )
    Table(
        "oms_call_day",
        made,
        text_key("party", "whose: channel or merchant and its number"),
        Column("day", Date, primary_key=True, comment="day of Beijing"),
        text_key("protocol", "protocol at the gateway"),
        text_key("call", "path of the call"),
        text_key("version", "version it was answered in"),
        number("count", "how often it was made"),
        Index("oms_call_day_day", "day"),
        comment="调用统计: what partners call, in which version, by day",
        info=rights(update=("count",), delete=True),
    )
