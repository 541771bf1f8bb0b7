"""Endpoints of channels: where they are sent what happens, each notify of it, and how they do."""

from sqlalchemy.dialects.postgresql import JSONB

from shoudan_kit.db.revising import (
    BIG,
    BOOL,
    BYTES,
    INT,
    SMALL,
    TEXT,
    TIME,
    check,
    column,
    index,
    refers,
    table,
    unique,
)

revision: str = "0043"
down_revision: str | None = "0042"

NOTIFY = "oms_endpoint_notify"


def upgrade() -> None:
    """Forward; the release before sends to none of them."""
    table(
        "oms_notify_endpoint",
        column("endpoint_no", TEXT, "通知端点编号"),
        column("channel_no", TEXT, "渠道编号"),
        column("url", TEXT, "where its channel is sent what happens"),
        column("events", JSONB(), "what of; empty for all", default="'[]'"),
        column(
            "body_version", INT, "form of the body: 0 as documented, 1 in an envelope", default="0"
        ),
        column("status", SMALL, "状态: 0 yes 1 no", default="0"),
        column("create_time", TIME, "创建时间", default="shoudan_now()"),
        check("oms_notify_endpoint_status", "status IN (0, 1)"),
        refers(
            "oms_notify_endpoint_channel_no_fkey", ["channel_no"], ["oms_down_channel.channel_no"]
        ),
        key=["endpoint_no"],
        comment="通知端点: where channels are sent what happens, beside the notify_url of orders",
    )
    table(
        NOTIFY,
        column("notify_id", BIG, "通知编号"),
        column("endpoint_no", TEXT, "通知端点编号"),
        column("channel_no", TEXT, "渠道编号"),
        column("event_key", TEXT, "what it is about: the same at every attempt"),
        column("event", TEXT, "kind of what happened"),
        column("body", BYTES, "what is sent, fixed when it was owed"),
        column("order_id", BIG, "订单编号; 0 for none"),
        column("tries", INT, "attempts made", default="0"),
        column("tries_max", INT, "attempts allowed"),
        column("http_status", INT, "状态码 of the last attempt; 0 none", default="0"),
        column("answer", TEXT, "what the last attempt came to, masked", default="''"),
        column("create_time", TIME, "创建时间", default="shoudan_now()"),
        column("end_time", TIME, "when it was acknowledged", null=True),
        column("given_up", BOOL, "tries_max reached, or skipped", default="false"),
        check("oms_endpoint_notify_open", "NOT given_up OR end_time IS NULL"),
        unique("oms_endpoint_notify_endpoint_no_event_key_key", "endpoint_no", "event_key"),
        key=["notify_id"],
        comment="通知端点的通知: what endpoints are sent",
    )
    index("oms_endpoint_notify_create_time", NOTIFY, ["create_time"])
    index("oms_endpoint_notify_of", NOTIFY, ["endpoint_no", "notify_id"])
    index("oms_endpoint_notify_dead", NOTIFY, ["endpoint_no", "notify_id"], where="given_up")
    table(
        "oms_endpoint_health",
        column("endpoint_no", TEXT, "通知端点编号"),
        column("channel_no", TEXT, "渠道编号"),
        column("state", SMALL, "状态: 0 active 10 paused 90 off", default="0"),
        column("reason", TEXT, "why it is so", default="''"),
        column("change_time", TIME, "since when", null=True),
        column("fails", INT, "attempts in a row that were not acknowledged", default="0"),
        column("fail_time", TIME, "the first of them", null=True),
        column(
            "recent", TEXT, "the last attempts, oldest first: 1 acknowledged, 0 not", default="''"
        ),
        column(
            "answer", TEXT, "what the last that was not acknowledged came to, masked", default="''"
        ),
        column("answer_time", TIME, "last attempt", null=True),
        column("sent", BIG, "attempts"),
        column("acknowledged", BIG, "acknowledged ones"),
        column(
            "alert_level",
            INT,
            "percent of the threshold that was alerted last; 0 none",
            default="0",
        ),
        column("alert_time", TIME, "when that was", null=True),
        check("oms_endpoint_health_state", "state IN (0, 10, 90)"),
        key=["endpoint_no"],
        comment="通知端点状态: how endpoints do",
    )
