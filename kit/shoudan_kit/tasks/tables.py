"""The tables of every service with a database: tasks, events, their outbox, node numbers, the audit log."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    false,
    text,
)

from shoudan_kit.audit_log.tables import add_tables as add_audit_log
from shoudan_kit.db.foundation import NAMES, by_month, rights

PENDING: Final = "status IN (20, 30)"
SET_ASIDE: Final = "next_execute_time = 'infinity'"  # due, but its queue is paused


def metadata() -> MetaData:
    """A service's MetaData with the shared tables in it."""
    made = MetaData(naming_convention=NAMES)
    _task(made)
    _task_pause(made)
    _event(made)
    _outbox(made)
    _id_node(made)
    add_audit_log(made)
    return made


def _when(name: str, comment: str, *, null: bool = False) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=null, comment=comment)


def _task(made: MetaData) -> None:
    """qtask's table. Short-lived: rows are deleted when done, so autovacuum is kept eager."""
    Table(
        "task",
        made,
        Column("task_id", BigInteger, primary_key=True, autoincrement=False, comment="任务编号"),
        Column("name", Text, nullable=False, comment="任务名称: kind of work"),
        Column("queue_name", Text, nullable=False, comment="消息队列"),
        Column("order_no", Text, comment="订单号: what it belongs to"),
        Column(
            "exclusive",
            Boolean,
            nullable=False,
            comment="only one pending of its name and order_no",
        ),
        Column("msg_content", Text, nullable=False, comment="消息内容: payload, JSON"),
        Column("status", SmallInteger, nullable=False, comment="20 等待 30 处理中 0 完成 90 失败"),
        Column("count", Integer, nullable=False, comment="执行次数"),
        Column("max_count", Integer, nullable=False, comment="最大执行次数"),
        Column("next_interval", Integer, nullable=False, comment="seconds to the next try"),
        Column("delete_interval", Integer, nullable=False, comment="seconds it is kept when ended"),
        _when("create_time", "创建时间"),
        _when("last_execute_time", "上次执行时间", null=True),
        _when("next_execute_time", "下次执行时间: due, or end of the lease of who works on it"),
        _when("max_execute_time", "执行期限"),
        _when("delete_time", "删除时间", null=True),
        Column("last_error", Text, comment="why the last try left it undone"),
        Column("trace", Text, comment="W3C traceparent;request id of the request behind it"),
        Index("task_due", "next_execute_time", postgresql_where=text(PENDING)),
        Index("task_set_aside", "queue_name", "task_id", postgresql_where=text(SET_ASIDE)),
        Index("task_failed", "name", "task_id", postgresql_where=text("status = 90")),
        Index(
            "task_failed_key",
            "order_no",
            "name",
            postgresql_where=text("exclusive AND status = 90"),
        ),
        Index("task_ended", "delete_time", postgresql_where=text("status IN (0, 90)")),
        Index(
            "task_one_pending",
            "order_no",
            "name",
            unique=True,
            postgresql_where=text(f"exclusive AND {PENDING}"),
        ),
        comment="任务 (qtask)",
        info=rights(
            update=(
                "status",
                "count",
                "last_execute_time",
                "next_execute_time",
                "max_execute_time",
                "delete_time",
                "last_error",
            ),
            delete=True,
        ),
        postgresql_with={"autovacuum_vacuum_scale_factor": "0.02", "fillfactor": "70"},
    )


def _task_pause(made: MetaData) -> None:
    Table(
        "task_pause",
        made,
        Column("queue_name", Text, primary_key=True, comment="paused queue"),
        Column("paused_by", Text, nullable=False, comment="who"),
        Column("reason", Text, nullable=False, comment="why"),
        _when("create_time", "when"),
        comment="暂停的队列",
        info=rights(update=(), delete=True),
    )


def _event(made: MetaData) -> None:
    """Facts, written once and never changed: the lifecycle and the source of everything published."""
    Table(
        "event",
        made,
        Column("event_id", BigInteger, primary_key=True, autoincrement=False, comment="事件编号"),
        Column("subject", Text, nullable=False, comment="shoudan.events.<service>.<noun>.<what>"),
        Column("key", Text, nullable=False, index=True, comment="订单号: order, refund, account …"),
        Column("tag", Text, nullable=False, comment="生命周期标签 (lcs)"),
        Column("text", Text, nullable=False, comment="内容: one line for people"),
        Column("body", LargeBinary, nullable=False, comment="the service's message, protobuf"),
        _when("create_time", "创建时间"),
        Column("trace", Text, comment="W3C traceparent;request id of the request behind it"),
        comment="生命周期与事件 (lcs)",
        info=rights(update=()),
        **by_month("event_id"),
    )


def _outbox(made: MetaData) -> None:
    """One row per transaction, not per event: marking it published stays cheap."""
    Table(
        "outbox",
        made,
        Column("batch_id", BigInteger, primary_key=True, autoincrement=False, comment="批次"),
        Column("event_ids", ARRAY(BigInteger), nullable=False, comment="its events"),
        Column(
            "published", Boolean, nullable=False, server_default=false(), comment="JetStream has it"
        ),
        _when("create_time", "创建时间"),
        _when("claimed_until", "until then one process publishes what stayed behind", null=True),
        Index("outbox_unpublished", "batch_id", postgresql_where=text("NOT published")),
        comment="发件箱",
        info=rights(update=("published", "claimed_until"), delete=True),
        postgresql_with={"fillfactor": "70"},
    )


def _id_node(made: MetaData) -> None:
    """Who may make ids with which number, and up to which moment: fencing, whatever the clocks say."""
    Table(
        "id_node",
        made,
        Column("node", SmallInteger, primary_key=True, autoincrement=False, comment="in the ids"),
        Column("owner", Text, nullable=False, comment="host:process:random of who leases it"),
        _when("expire_time", "another may take the number from now on"),
        Column("floor_ms", BigInteger, nullable=False, comment="ms since 2020: ids begin after it"),
        Column(
            "used_until_ms", BigInteger, nullable=False, comment="ms since 2020: ids end with it"
        ),
        comment="leased node numbers of ids",
        info=rights(update=("owner", "expire_time", "floor_ms", "used_until_ms")),
        postgresql_with={"fillfactor": "50"},
    )
