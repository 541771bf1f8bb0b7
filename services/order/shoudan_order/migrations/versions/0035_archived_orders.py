"""Orders that have ended leave the database: their keys, their lots and their sums stay."""

import sqlalchemy as sa

from shoudan_kit.db.revising import BIG, BYTES, DATE, SMALL, TEXT, TIME, check, column, index, table

revision: str = "0035"
down_revision: str | None = "0034"

SUMMED = (
    "success_face_micros",
    "success_sell_amount_micros",
    "success_commission_micros",
    "success_service_micros",
    "success_fee_micros",
    "total_face_micros",
    "cost_amount_micros",
    "up_commission_amount_micros",
    "service_amount_micros",
)


def upgrade() -> None:
    """Forward."""
    table(
        "oms_archived_lot",
        column("lot_no", TEXT, "批次: of orders that leave together"),
        column("low", BIG, "its first order"),
        column("high", BIG, "its last order"),
        column("place", TEXT, "address of the archive that has its files"),
        column("chosen_time", TIME, "its keys are known since", default="shoudan_now()"),
        column("written_time", TIME, "its files were read back", null=True),
        column("deleted_time", TIME, "its orders have left", null=True),
        key=["lot_no"],
        comment="归档批次",
    )
    index(
        "oms_archived_lot_open",
        "oms_archived_lot",
        [sa.text("(deleted_time IS NULL)")],
        unique=True,
        where="deleted_time IS NULL",
    )
    table(
        "oms_archived_order",
        column("down_channel_no", TEXT, "下游渠道编号"),
        column("request_no", TEXT, "下游渠道订单编号"),
        column("order_id", BIG, "订单编号"),
        column("lot_no", TEXT, "批次 that has its rows"),
        column("request_hash", BYTES, "what the first request said"),
        column(
            "order_status",
            SMALL,
            "订单状态 at its end: 0 succeeded 10 paying 20 delivering 90 failed 91 partial",
        ),
        column(
            "notify_status",
            SMALL,
            "通知状态 at its end: 0 done 10 not_started 20 waiting 30 running 100 answered",
        ),
        column("fail_code", TEXT, "失败码", default="''"),
        column("fail_msg", TEXT, "失败原因", default="''"),
        column("end_time", TIME, "结束时间"),
        check("oms_archived_order_order_status", "order_status IN (0, 10, 20, 90, 91)"),
        check("oms_archived_order_notify_status", "notify_status IN (0, 10, 20, 30, 100)"),
        key=["down_channel_no", "request_no"],
        comment="归档订单: what stays known of orders that have left the database",
    )
    index("oms_archived_order_order_id", "oms_archived_order", ["order_id"], unique=True)
    table(
        "oms_archived_sum",
        column("day", DATE, "结束日期 of Beijing"),
        column("line_id", BIG, "产品线编号"),
        column("down_channel_no", TEXT, "下游渠道编号"),
        column("up_channel_no", TEXT, "上游渠道编号; empty for what was sold"),
        column("orders", BIG, "orders that ended"),
        column("deliveries", BIG, "deliveries that succeeded"),
        *(column(name, BIG, f"{name} of the rows") for name in SUMMED),
        key=["day", "line_id", "down_channel_no", "up_channel_no"],
        comment="归档合计: what reports count of orders and deliveries that have left",
    )
