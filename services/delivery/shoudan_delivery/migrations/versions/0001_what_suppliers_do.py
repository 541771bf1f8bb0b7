"""The tables of the delivery service: channels, deliveries, queries, reports, incidents; tasks and events."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

revision: str = "0001"
down_revision: str | None = None
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    """Forward; every step leaves the tables usable by the code of the release before."""
    _event()
    _outbox()
    _task()
    _task_pause()
    _vds_channel_info()
    _vds_order_exp()
    _vds_order_info()
    _vds_order_notify()
    _vds_order_query()
    _vds_channel_error_code()


def _c(name: str, kind: Any, comment: str, *, null: bool = False, **more: Any) -> sa.Column[Any]:
    """A column; numbers are made by the process, never by the database."""
    more.setdefault("autoincrement", False)
    return sa.Column(name, kind, nullable=null, comment=comment, **more)


def _event() -> None:
    op.create_table(
        "event",
        _c("event_id", sa.BigInteger(), "事件编号"),
        _c("subject", sa.Text(), "shoudan.events.<service>.<noun>.<what>"),
        _c("key", sa.Text(), "订单号: order, refund, account …"),
        _c("tag", sa.Text(), "生命周期标签 (lcs)"),
        _c("text", sa.Text(), "内容: one line for people"),
        _c("body", sa.LargeBinary(), "the service's message, protobuf"),
        _c("create_time", sa.DateTime(timezone=True), "创建时间"),
        sa.PrimaryKeyConstraint("event_id", name=op.f("event_pkey")),
        comment="生命周期与事件 (lcs)",
    )
    op.create_index(op.f("event_key"), "event", ["key"], unique=False)


def _outbox() -> None:
    op.create_table(
        "outbox",
        _c("batch_id", sa.BigInteger(), "批次"),
        _c("event_ids", sa.ARRAY(sa.BigInteger()), "its events"),
        _c("published", sa.Boolean(), "JetStream has it", server_default=sa.text("false")),
        _c("create_time", sa.DateTime(timezone=True), "创建时间"),
        sa.PrimaryKeyConstraint("batch_id", name=op.f("outbox_pkey")),
        comment="发件箱",
        postgresql_with={"fillfactor": "70"},
    )
    op.create_index(
        "outbox_unpublished",
        "outbox",
        ["batch_id"],
        unique=False,
        postgresql_where=sa.text("NOT published"),
    )


def _task() -> None:
    op.create_table(
        "task",
        _c("task_id", sa.BigInteger(), "任务编号"),
        _c("name", sa.Text(), "任务名称: kind of work"),
        _c("queue_name", sa.Text(), "消息队列"),
        _c("order_no", sa.Text(), "订单号: what it belongs to", null=True),
        _c("exclusive", sa.Boolean(), "only one pending of its name and order_no"),
        _c("msg_content", sa.Text(), "消息内容: payload, JSON"),
        _c("status", sa.SmallInteger(), "20 等待 30 处理中 0 完成 90 失败"),
        _c("count", sa.Integer(), "执行次数"),
        _c("max_count", sa.Integer(), "最大执行次数"),
        _c("next_interval", sa.Integer(), "seconds to the next try"),
        _c("delete_interval", sa.Integer(), "seconds it is kept when ended"),
        _c("create_time", sa.DateTime(timezone=True), "创建时间"),
        _c("last_execute_time", sa.DateTime(timezone=True), "上次执行时间", null=True),
        _c(
            "next_execute_time",
            sa.DateTime(timezone=True),
            "下次执行时间: due, or end of the lease of who works on it",
        ),
        _c("max_execute_time", sa.DateTime(timezone=True), "执行期限"),
        _c("delete_time", sa.DateTime(timezone=True), "删除时间", null=True),
        _c("last_error", sa.Text(), "why the last try left it undone", null=True),
        sa.PrimaryKeyConstraint("task_id", name=op.f("task_pkey")),
        comment="任务 (qtask)",
        postgresql_with={"autovacuum_vacuum_scale_factor": "0.02", "fillfactor": "70"},
    )
    op.create_index(
        "task_due",
        "task",
        ["next_execute_time"],
        unique=False,
        postgresql_where=sa.text("status IN (20, 30)"),
    )
    op.create_index(
        "task_ended",
        "task",
        ["delete_time"],
        unique=False,
        postgresql_where=sa.text("status IN (0, 90)"),
    )
    op.create_index(
        "task_one_pending",
        "task",
        ["order_no", "name"],
        unique=True,
        postgresql_where=sa.text("exclusive AND status IN (20, 30)"),
    )


def _task_pause() -> None:
    op.create_table(
        "task_pause",
        _c("queue_name", sa.Text(), "paused queue"),
        _c("paused_by", sa.Text(), "who"),
        _c("reason", sa.Text(), "why"),
        _c("create_time", sa.DateTime(timezone=True), "when"),
        sa.PrimaryKeyConstraint("queue_name", name=op.f("task_pause_pkey")),
        comment="暂停的队列",
    )


def _vds_channel_info() -> None:
    op.create_table(
        "vds_channel_info",
        _c("id", sa.BigInteger(), "编号"),
        _c("channel_no", sa.Text(), "渠道编号, same as the up channel of the catalogue"),
        _c(
            "service_class",
            sa.SmallInteger(),
            "服务类型 10 加油卡充值 20 电子券发货 21 电子券退货 30 话费充值",
        ),
        _c("protocol", sa.Text(), "module of channels/ that speaks with it"),
        _c("request_url", sa.Text(), "上游请求地址"),
        _c("notify_url", sa.Text(), "通知回调地址; empty for ours"),
        _c("query_url", sa.Text(), "查询地址"),
        _c("request_replenish_time", sa.Integer(), "发货后补间隔时间, seconds"),
        _c("first_query_time", sa.Integer(), "首次查询时间, seconds"),
        _c("query_replenish_time", sa.Integer(), "查询后补间隔时间, seconds"),
        _c("status", sa.SmallInteger(), "状态 0 启用 1 禁用"),
        _c("can_query", sa.SmallInteger(), "是否支持查询 0 是 1 否"),
        _c("idempotent", sa.Boolean(), "fulfils a number once, however often sent"),
        _c("concurrency_max", sa.Integer(), "calls in flight, each process"),
        _c("timeout_ms", sa.Integer(), "wait for an answer, milliseconds"),
        _c("secret_name", sa.Text(), "secret that signs requests and notifies; empty for none"),
        _c("ext_params", sa.Text(), "扩展参数, JSON"),
        _c("state", sa.SmallInteger(), "1 open 2 tripped 3 suspended 4 held"),
        _c("state_reason", sa.Text(), "who set the state, and why"),
        _c(
            "tripped_until",
            sa.DateTime(timezone=True),
            "a tripped channel is tried again after this",
            null=True,
        ),
        _c("create_time", sa.DateTime(timezone=True), "创建时间"),
        _c("last_update_time", sa.DateTime(timezone=True), "最后更新时间"),
        sa.CheckConstraint(
            "service_class IN (10, 20, 21, 30)", name=op.f("vds_channel_info_service_class_check")
        ),
        sa.CheckConstraint("state BETWEEN 1 AND 4", name=op.f("vds_channel_info_state_check")),
        sa.PrimaryKeyConstraint("id", name=op.f("vds_channel_info_pkey")),
        sa.UniqueConstraint(
            "channel_no",
            "service_class",
            name=op.f("vds_channel_info_channel_no_service_class_key"),
        ),
        comment="上游渠道基本信息",
    )


def _vds_order_exp() -> None:
    op.create_table(
        "vds_order_exp",
        _c("id", sa.BigInteger(), "编号"),
        _c("coop_id", sa.Text(), "合作方"),
        _c("coop_order_id", sa.Text(), "合作方订单号"),
        _c("channel_no", sa.Text(), "渠道编号"),
        _c("create_time", sa.DateTime(timezone=True), "创建时间"),
        _c("service_class", sa.SmallInteger(), "服务类型"),
        _c("carrier_no", sa.Text(), "运营商"),
        _c("product_face_micros", sa.BigInteger(), "商品面值, micro-yuan"),
        _c("product_num", sa.Integer(), "商品数量"),
        _c("error_msg", sa.Text(), "错误信息"),
        _c("user_ip", sa.Text(), "who sent it"),
        _c("local_ip", sa.Text(), "service and process that saw it"),
        _c("ext_params", sa.Text(), "the raw text, cut to 4000"),
        sa.PrimaryKeyConstraint("id", name=op.f("vds_order_exp_pkey")),
        comment="异常: rejected requests, unusable answers, contradictory results",
    )
    op.create_index("vds_order_exp_coop_order_id", "vds_order_exp", ["coop_order_id"], unique=False)


def _vds_order_info() -> None:
    op.create_table(
        "vds_order_info",
        _c("order_no", sa.BigInteger(), "发货编号, the number the supplier sees"),
        _c("coop_id", sa.Text(), "合作方: down channel"),
        _c(
            "coop_order_id",
            sa.Text(),
            "合作方订单号: delivery_id or return_id of the order service",
        ),
        _c("order_id", sa.Text(), "the order it belongs to"),
        _c("channel_no", sa.Text(), "渠道编号"),
        _c("service_class", sa.SmallInteger(), "服务类型"),
        _c("carrier_no", sa.Text(), "运营商"),
        _c("product_face_micros", sa.BigInteger(), "商品面值, one unit, micro-yuan"),
        _c("product_num", sa.Integer(), "商品数量"),
        _c("account", sa.Text(), "充值账号; empty for vouchers"),
        _c("status", sa.SmallInteger(), "状态 20 待发货 30 发货中 0 成功 90 失败"),
        _c("request_params", sa.Text(), "请求参数, JSON"),
        _c("request_count", sa.Integer(), "how often it was sent"),
        _c(
            "request_start_time",
            sa.DateTime(timezone=True),
            "请求开始时间: intent to send, written before the call",
            null=True,
        ),
        _c("request_finish_time", sa.DateTime(timezone=True), "请求结束时间", null=True),
        _c("create_time", sa.DateTime(timezone=True), "创建时间"),
        _c("result_source", sa.SmallInteger(), "结果来源 1 通知 2 查询 3 同步 4 人工"),
        _c("result_code", sa.Text(), "结果码"),
        _c("result_desc", sa.Text(), "结果描述"),
        _c("result_params", sa.Text(), "结果参数, JSON"),
        _c("up_order_no", sa.Text(), "上游订单号"),
        _c("succ_face_micros", sa.BigInteger(), "成功面值, micro-yuan"),
        _c("last_update_time", sa.DateTime(timezone=True), "最后更新时间"),
        _c("flow_timeout", sa.DateTime(timezone=True), "流程超时时间: its owner stops waiting"),
        _c("conflict", sa.Boolean(), "a contradictory later result is recorded"),
        sa.CheckConstraint(
            "product_face_micros >= 0 AND product_num > 0", name=op.f("vds_order_info_amount_check")
        ),
        sa.CheckConstraint("status IN (0, 20, 30, 90)", name=op.f("vds_order_info_status_check")),
        sa.PrimaryKeyConstraint("order_no", name=op.f("vds_order_info_pkey")),
        sa.UniqueConstraint(
            "coop_id",
            "coop_order_id",
            "service_class",
            name=op.f("vds_order_info_coop_id_coop_order_id_service_class_key"),
        ),
        comment="发货订单",
        postgresql_with={"fillfactor": "75"},
    )
    op.create_index(
        "vds_order_info_conflict",
        "vds_order_info",
        ["order_no"],
        unique=False,
        postgresql_where=sa.text("conflict"),
    )
    op.create_index("vds_order_info_order_id", "vds_order_info", ["order_id"], unique=False)


def _vds_order_notify() -> None:
    op.create_table(
        "vds_order_notify",
        _c("order_no", sa.BigInteger(), "发货编号"),
        _c("coop_id", sa.Text(), "合作方"),
        _c("coop_order_id", sa.Text(), "合作方订单号"),
        _c("notify_url", sa.Text(), "通知地址: the RPC that was called"),
        _c("notify_content", sa.Text(), "通知内容, JSON"),
        _c("status", sa.SmallInteger(), "状态 20 等待 0 已确认 90 放弃"),
        _c("result_msg", sa.Text(), "返回内容"),
        _c("finish_time", sa.DateTime(timezone=True), "完成时间", null=True),
        _c("notify_count", sa.Integer(), "通知次数"),
        _c("notify_limit_count", sa.Integer(), "通知上限"),
        _c("create_time", sa.DateTime(timezone=True), "创建时间"),
        sa.PrimaryKeyConstraint("order_no", name=op.f("vds_order_notify_pkey")),
        comment="结果通知 to the order service; written with each attempt's outcome",
    )
    op.create_index(
        "vds_order_notify_open",
        "vds_order_notify",
        ["order_no"],
        unique=False,
        postgresql_where=sa.text("status <> 0"),
    )


def _vds_order_query() -> None:
    op.create_table(
        "vds_order_query",
        _c("order_no", sa.BigInteger(), "发货编号"),
        _c("coop_id", sa.Text(), "合作方"),
        _c("channel_no", sa.Text(), "渠道编号"),
        _c("query_count", sa.Integer(), "查询次数"),
        _c("status", sa.SmallInteger(), "状态 20 等待 0 结束"),
        _c("last_query_time", sa.DateTime(timezone=True), "最后查询时间"),
        _c("query_result", sa.Text(), "查询结果"),
        _c("create_time", sa.DateTime(timezone=True), "创建时间"),
        sa.PrimaryKeyConstraint("order_no", name=op.f("vds_order_query_pkey")),
        comment="上游查询",
    )
    op.create_index(
        "vds_order_query_waiting",
        "vds_order_query",
        ["order_no"],
        unique=False,
        postgresql_where=sa.text("status = 20"),
    )


def _vds_channel_error_code() -> None:
    op.create_table(
        "vds_channel_error_code",
        _c("id", sa.BigInteger(), "编号"),
        _c("channel_no", sa.Text(), "渠道编号"),
        _c("service_class", sa.SmallInteger(), "服务类型"),
        _c("deal_code", sa.SmallInteger(), "处理码 0 成功 10 普通失败 90 未知"),
        _c("error_code", sa.Text(), "错误码"),
        _c("error_code_desc", sa.Text(), "错误码描述"),
        _c("create_time", sa.DateTime(timezone=True), "创建时间"),
        sa.CheckConstraint(
            "deal_code IN (0, 10, 90)", name=op.f("vds_channel_error_code_deal_code_check")
        ),
        sa.ForeignKeyConstraint(
            ["channel_no", "service_class"],
            ["vds_channel_info.channel_no", "vds_channel_info.service_class"],
            name="vds_channel_error_code_channel_fkey",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("vds_channel_error_code_pkey")),
        sa.UniqueConstraint(
            "channel_no",
            "service_class",
            "error_code",
            name=op.f("vds_channel_error_code_channel_no_service_class_error_code_key"),
        ),
        comment="渠道错误码; a code not listed is unknown",
    )
