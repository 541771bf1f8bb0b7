"""The tables of the delivery service: channels, deliveries, queries, reports, incidents; tasks and events."""

import sqlalchemy as sa

from shoudan_kit.db.revising import (
    BIG,
    BOOL,
    INT,
    SMALL,
    TEXT,
    TIME,
    check,
    column,
    index,
    table,
    unique,
)
from shoudan_kit.tasks import first_tables

revision: str = "0001"
down_revision: str | None = None


def upgrade() -> None:
    """Forward; every step leaves the tables usable by the code of the release before."""
    first_tables.create_tables()
    _vds_channel_info()
    _vds_order_exp()
    _vds_order_info()
    _vds_order_notify()
    _vds_order_query()
    _vds_channel_error_code()


def _vds_channel_info() -> None:
    table(
        "vds_channel_info",
        column("id", BIG, "编号"),
        column("channel_no", TEXT, "渠道编号, same as the up channel of the catalogue"),
        column(
            "service_class", SMALL, "服务类型 10 加油卡充值 20 电子券发货 21 电子券退货 30 话费充值"
        ),
        column("protocol", TEXT, "module of channels/ that speaks with it"),
        column("request_url", TEXT, "上游请求地址"),
        column("notify_url", TEXT, "通知回调地址; empty for ours"),
        column("query_url", TEXT, "查询地址"),
        column("request_replenish_time", INT, "发货后补间隔时间, seconds"),
        column("first_query_time", INT, "首次查询时间, seconds"),
        column("query_replenish_time", INT, "查询后补间隔时间, seconds"),
        column("status", SMALL, "状态 0 启用 1 禁用"),
        column("can_query", SMALL, "是否支持查询 0 是 1 否"),
        column("idempotent", BOOL, "fulfils a number once, however often sent"),
        column("concurrency_max", INT, "calls in flight, each process"),
        column("timeout_ms", INT, "wait for an answer, milliseconds"),
        column("secret_name", TEXT, "secret that signs requests and notifies; empty for none"),
        column("ext_params", TEXT, "扩展参数, JSON"),
        column("state", SMALL, "1 open 2 tripped 3 suspended 4 held"),
        column("state_reason", TEXT, "who set the state, and why"),
        column("tripped_until", TIME, "a tripped channel is tried again after this", null=True),
        column("create_time", TIME, "创建时间"),
        column("last_update_time", TIME, "最后更新时间"),
        check("vds_channel_info_service_class_check", "service_class IN (10, 20, 21, 30)"),
        check("vds_channel_info_state_check", "state BETWEEN 1 AND 4"),
        unique("vds_channel_info_channel_no_service_class_key", "channel_no", "service_class"),
        key=["id"],
        comment="上游渠道基本信息",
    )


def _vds_order_exp() -> None:
    table(
        "vds_order_exp",
        column("id", BIG, "编号"),
        column("coop_id", TEXT, "合作方"),
        column("coop_order_id", TEXT, "合作方订单号"),
        column("channel_no", TEXT, "渠道编号"),
        column("create_time", TIME, "创建时间"),
        column("service_class", SMALL, "服务类型"),
        column("carrier_no", TEXT, "运营商"),
        column("product_face_micros", BIG, "商品面值, micro-yuan"),
        column("product_num", INT, "商品数量"),
        column("error_msg", TEXT, "错误信息"),
        column("user_ip", TEXT, "who sent it"),
        column("local_ip", TEXT, "service and process that saw it"),
        column("ext_params", TEXT, "the raw text, cut to 4000"),
        key=["id"],
        comment="异常: rejected requests, unusable answers, contradictory results",
    )
    index("vds_order_exp_coop_order_id", "vds_order_exp", ["coop_order_id"])


def _vds_order_info() -> None:
    table(
        "vds_order_info",
        column("order_no", BIG, "发货编号, the number the supplier sees"),
        column("coop_id", TEXT, "合作方: down channel"),
        column(
            "coop_order_id", TEXT, "合作方订单号: delivery_id or return_id of the order service"
        ),
        column("order_id", TEXT, "the order it belongs to"),
        column("channel_no", TEXT, "渠道编号"),
        column("service_class", SMALL, "服务类型"),
        column("carrier_no", TEXT, "运营商"),
        column("product_face_micros", BIG, "商品面值, one unit, micro-yuan"),
        column("product_num", INT, "商品数量"),
        column("account", TEXT, "充值账号; empty for vouchers"),
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
        column("last_update_time", TIME, "最后更新时间"),
        column("flow_timeout", TIME, "流程超时时间: its owner stops waiting"),
        column("conflict", BOOL, "a contradictory later result is recorded"),
        check("vds_order_info_amount_check", "product_face_micros >= 0 AND product_num > 0"),
        check("vds_order_info_status_check", "status IN (0, 20, 30, 90)"),
        unique(
            "vds_order_info_coop_id_coop_order_id_service_class_key",
            "coop_id",
            "coop_order_id",
            "service_class",
        ),
        key=["order_no"],
        comment="发货订单",
        storage={"fillfactor": "75"},
    )
    index("vds_order_info_conflict", "vds_order_info", ["order_no"], where="conflict")
    index("vds_order_info_order_id", "vds_order_info", ["order_id"])


def _vds_order_notify() -> None:
    table(
        "vds_order_notify",
        column("order_no", BIG, "发货编号"),
        column("coop_id", TEXT, "合作方"),
        column("coop_order_id", TEXT, "合作方订单号"),
        column("notify_url", TEXT, "通知地址: the RPC that was called"),
        column("notify_content", TEXT, "通知内容, JSON"),
        column("status", SMALL, "状态 20 等待 0 已确认 90 放弃"),
        column("result_msg", TEXT, "返回内容"),
        column("finish_time", TIME, "完成时间", null=True),
        column("notify_count", INT, "通知次数"),
        column("notify_limit_count", INT, "通知上限"),
        column("create_time", TIME, "创建时间"),
        key=["order_no"],
        comment="结果通知 to the order service; written with each attempt's outcome",
    )
    index("vds_order_notify_open", "vds_order_notify", ["order_no"], where="status <> 0")


def _vds_order_query() -> None:
    table(
        "vds_order_query",
        column("order_no", BIG, "发货编号"),
        column("coop_id", TEXT, "合作方"),
        column("channel_no", TEXT, "渠道编号"),
        column("query_count", INT, "查询次数"),
        column("status", SMALL, "状态 20 等待 0 结束"),
        column("last_query_time", TIME, "最后查询时间"),
        column("query_result", TEXT, "查询结果"),
        column("create_time", TIME, "创建时间"),
        key=["order_no"],
        comment="上游查询",
    )
    index("vds_order_query_waiting", "vds_order_query", ["order_no"], where="status = 20")


def _vds_channel_error_code() -> None:
    table(
        "vds_channel_error_code",
        column("id", BIG, "编号"),
        column("channel_no", TEXT, "渠道编号"),
        column("service_class", SMALL, "服务类型"),
        column("deal_code", SMALL, "处理码 0 成功 10 普通失败 90 未知"),
        column("error_code", TEXT, "错误码"),
        column("error_code_desc", TEXT, "错误码描述"),
        column("create_time", TIME, "创建时间"),
        check("vds_channel_error_code_deal_code_check", "deal_code IN (0, 10, 90)"),
        sa.ForeignKeyConstraint(
            ["channel_no", "service_class"],
            ["vds_channel_info.channel_no", "vds_channel_info.service_class"],
            name="vds_channel_error_code_channel_fkey",
        ),
        unique(
            "vds_channel_error_code_channel_no_service_class_error_code_key",
            "channel_no",
            "service_class",
            "error_code",
        ),
        key=["id"],
        comment="渠道错误码; a code not listed is unknown",
    )
