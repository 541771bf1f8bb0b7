"""What keeps orders in the database, and what stays there of those that have left it."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Column, Date, Index, LargeBinary, MetaData, Table

from shoudan_kit.db.ended_tables import lots
from shoudan_kit.db.foundation import rights
from shoudan_order.states import NotifyStatus, OrderStatus
from shoudan_order.tables.columns import (
    holds,
    micros,
    now,
    number,
    status,
    text_key,
    when,
    words,
)

_HOLD: Final = ("order_id", "down_channel_no", "start_time", "end_time", "reason", "made_by")
# What reports add up of an order, and of a delivery.
SUMMED: Final = (
    "success_face_micros", "success_sell_amount_micros", "success_commission_micros",
    "success_service_micros", "success_fee_micros",
    "total_face_micros", "cost_amount_micros", "up_commission_amount_micros", "service_amount_micros",
)  # fmt: skip


def declare(made: MetaData) -> None:
    """Add the tables to `made`."""
    Table(
        "oms_order_hold",
        made,
        text_key("hold_no", "编号: of the case, given by people"),
        number("order_id", "订单编号; 0 for any"),
        words("down_channel_no", "下游渠道编号; empty for any"),
        when("start_time", "orders made from then on; empty for any", null=True),
        when("end_time", "orders made before; empty for any", null=True),
        words("reason", "why", None),
        words("made_by", "操作人", None),
        now("create_time", "创建时间"),
        holds(
            "some",
            "order_id <> 0 OR down_channel_no <> '' OR start_time IS NOT NULL OR end_time IS NOT NULL",
        ),
        holds("period", "start_time < end_time"),
        comment="保留: orders that stay in the database whatever their age",
        info=rights(update=_HOLD, delete=True),
    )
    _archived(made)


def _archived(made: MetaData) -> None:
    """What stays known of orders that have left."""
    lots(made, "oms_archived_lot", "orders", "order")
    Table(
        "oms_archived_order",
        made,
        text_key("down_channel_no", "下游渠道编号"),
        text_key("request_no", "下游渠道订单编号"),
        number("order_id", "订单编号"),
        words("lot_no", "批次 that has its rows", None),
        Column("request_hash", LargeBinary, nullable=False, comment="what the first request said"),
        *status("order_status", OrderStatus, "订单状态 at its end"),
        *status("notify_status", NotifyStatus, "通知状态 at its end"),
        words("fail_code", "失败码"),
        words("fail_msg", "失败原因"),
        when("end_time", "结束时间"),
        Index("oms_archived_order_order_id", "order_id", unique=True),
        comment="归档订单: what stays known of orders that have left the database",
    )
    Table(
        "oms_archived_sum",
        made,
        Column("day", Date, primary_key=True, comment="结束日期 of Beijing"),
        Column("line_id", BigInteger, primary_key=True, autoincrement=False, comment="产品线编号"),
        text_key("down_channel_no", "下游渠道编号"),
        text_key("up_channel_no", "上游渠道编号; empty for what was sold"),
        number("orders", "orders that ended"),
        number("deliveries", "deliveries that succeeded"),
        *(micros(name, f"{name} of the rows", given=True) for name in SUMMED),
        comment="归档合计: what reports count of orders and deliveries that have left",
    )
