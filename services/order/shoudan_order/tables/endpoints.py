"""The tables of what endpoints of channels are sent: each notify, and how an endpoint does."""

from __future__ import annotations

from sqlalchemy import Column, Index, LargeBinary, MetaData, Table, UniqueConstraint, text

from shoudan_kit.db.foundation import rights
from shoudan_kit.db.moves import lifecycles
from shoudan_order import endpoint_states as s
from shoudan_order.tables.columns import (
    count,
    fact,
    holds,
    key,
    now,
    number,
    status,
    text_key,
    when,
    words,
)

NOTIFY_CHANGES = ("tries", "tries_max", "http_status", "answer", "end_time", "given_up")
HEALTH_CHANGES = (
    *("state", "reason", "change_time", "fails", "fail_time", "recent", "answer", "answer_time"),
    *("sent", "acknowledged", "alert_level", "alert_time"),
)


def declare(made: MetaData) -> None:
    """Add the tables to `made`."""
    Table(
        "oms_endpoint_notify",
        made,
        key("notify_id", "通知编号"),
        words("endpoint_no", "通知端点编号", None),
        words("channel_no", "渠道编号", None),
        words("event_key", "what it is about: the same at every attempt", None),
        words("event", "kind of what happened", None),
        Column("body", LargeBinary, nullable=False, comment="what is sent, fixed when it was owed"),
        number("order_id", "订单编号; 0 for none"),
        count("tries", "attempts made", 0),
        count("tries_max", "attempts allowed"),
        count("http_status", "状态码 of the last attempt; 0 none", 0),
        words("answer", "what the last attempt came to, masked"),
        now("create_time", "创建时间"),
        when("end_time", "when it was acknowledged", null=True),
        fact("given_up", "tries_max reached, or skipped"),
        holds("open", "NOT given_up OR end_time IS NULL"),
        UniqueConstraint("endpoint_no", "event_key"),
        Index("oms_endpoint_notify_create_time", "create_time"),
        Index("oms_endpoint_notify_of", "endpoint_no", "notify_id"),
        Index(
            "oms_endpoint_notify_dead",
            "endpoint_no",
            "notify_id",
            postgresql_where=text("given_up"),
        ),
        comment="通知端点的通知: what endpoints are sent",
        info=rights(update=NOTIFY_CHANGES, delete=True),
    )
    Table(
        "oms_endpoint_health",
        made,
        text_key("endpoint_no", "通知端点编号"),
        words("channel_no", "渠道编号", None),
        *status("state", s.EndpointState, "状态", 0),
        words("reason", "why it is so"),
        when("change_time", "since when", null=True),
        count("fails", "attempts in a row that were not acknowledged", 0),
        when("fail_time", "the first of them", null=True),
        words("recent", "the last attempts, oldest first: 1 acknowledged, 0 not"),
        words("answer", "what the last that was not acknowledged came to, masked"),
        when("answer_time", "last attempt", null=True),
        number("sent", "attempts"),
        number("acknowledged", "acknowledged ones"),
        count("alert_level", "percent of the threshold that was alerted last; 0 none", 0),
        when("alert_time", "when that was", null=True),
        comment="通知端点状态: how endpoints do",
        info=rights(update=HEALTH_CHANGES) | lifecycles(state=s.ENDPOINT.moves),
    )
