"""Deliveries that have ended leave the database: their keys and their lots stay."""

from __future__ import annotations

import sqlalchemy as sa

from shoudan_kit.db.revising import BIG, BOOL, INT, SMALL, TEXT, TIME, column, index, table

revision: str = "0020"
down_revision: str | None = "0019"


def upgrade() -> None:
    """Forward; the release before neither reads nor writes any of it."""
    table(
        "vds_archived_lot",
        column("lot_no", TEXT, "批次: of deliveries that leave together"),
        column("low", BIG, "its first delivery"),
        column("high", BIG, "its last delivery"),
        column("place", TEXT, "address of the archive that has its files"),
        column("chosen_time", TIME, "its keys are known since", default="shoudan_now()"),
        column("written_time", TIME, "its files were read back", null=True),
        column("deleted_time", TIME, "its deliveries have left", null=True),
        key=["lot_no"],
        comment="归档批次",
    )
    index(
        "vds_archived_lot_open",
        "vds_archived_lot",
        [sa.text("(deleted_time IS NULL)")],
        unique=True,
        where="deleted_time IS NULL",
    )
    table(
        "vds_archived_order",
        column("coop_id", TEXT, "合作方: down channel"),
        column(
            "coop_order_id", TEXT, "合作方订单号: delivery_id or return_id of the order service"
        ),
        column("service_class", SMALL, "服务类型"),
        column("order_no", BIG, "发货编号, the number the supplier sees"),
        column("order_id", TEXT, "the order it belongs to"),
        column("channel_no", TEXT, "渠道编号"),
        column("carrier_no", TEXT, "运营商"),
        column("product_face_micros", BIG, "商品面值, one unit, micro-yuan"),
        column("product_num", INT, "商品数量"),
        column("status", SMALL, "状态 20 待发货 30 发货中 0 成功 90 失败"),
        column("request_params", TEXT, "请求参数, JSON"),
        column("request_count", INT, "how often it was sent"),
        column(
            "request_start_time",
            TIME,
            "请求开始时间: intent to send, written before the call",
            null=True,
        ),
        column("request_finish_time", TIME, "请求结束时间", null=True),
        column("create_time", TIME, "创建时间"),
        column("result_source", SMALL, "结果来源 1 通知 2 查询 3 同步 4 人工"),
        column("result_code", TEXT, "结果码"),
        column("result_desc", TEXT, "结果描述"),
        column("result_params", TEXT, "结果参数, JSON"),
        column("up_order_no", TEXT, "上游订单号"),
        column("succ_face_micros", BIG, "成功面值, micro-yuan"),
        column("conflict", BOOL, "a contradictory later result is recorded"),
        column("query_count", INT, "查询次数"),
        column("lot_no", TEXT, "批次 that has its rows"),
        key=["coop_id", "coop_order_id", "service_class"],
        comment="归档发货: what stays known of deliveries that have left the database",
    )
    index("vds_archived_order_order_no", "vds_archived_order", ["order_no"], unique=True)
