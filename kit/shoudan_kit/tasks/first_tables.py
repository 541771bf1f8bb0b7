"""The tables of tasks and events as the first revision of a service makes them; frozen, as revisions are."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from shoudan_kit.db.revising import BIG, BOOL, BYTES, INT, SMALL, TEXT, TIME, column, index, table

# The part for what fits no other; the monthly ones are made by `shoudan migrate`.
_REST = (
    "CREATE TABLE event_rest PARTITION OF event DEFAULT"
    " WITH (autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05)"
)
# All stay empty in the normal run, so that no task is dearer for them.
_SET_ASIDE = (
    ("task_failed", ["name", "task_id"], "status = 90"),
    ("task_failed_key", ["order_no", "name"], "exclusive AND status = 90"),
    ("task_set_aside", ["queue_name", "task_id"], "next_execute_time = 'infinity'"),
)


def create_tables(*, by_month: bool = False) -> None:
    """Tasks, paused queues, events and their outbox; events in monthly parts or in one."""
    _events(by_month=by_month)
    table(
        "outbox",
        column("batch_id", BIG, "批次"),
        column("event_ids", sa.ARRAY(BIG), "its events"),
        column("published", BOOL, "JetStream has it", default="false"),
        column("create_time", TIME, "创建时间"),
        key=["batch_id"],
        comment="发件箱",
        storage={"fillfactor": "70"},
    )
    index("outbox_unpublished", "outbox", ["batch_id"], where="NOT published")
    _tasks()
    table(
        "task_pause",
        column("queue_name", TEXT, "paused queue"),
        column("paused_by", TEXT, "who"),
        column("reason", TEXT, "why"),
        column("create_time", TIME, "when"),
        key=["queue_name"],
        comment="暂停的队列",
    )


def _events(*, by_month: bool) -> None:
    table(
        "event",
        column("event_id", BIG, "事件编号"),
        column("subject", TEXT, "shoudan.events.<service>.<noun>.<what>"),
        column("key", TEXT, "订单号: order, refund, account …"),
        column("tag", TEXT, "生命周期标签 (lcs)"),
        column("text", TEXT, "内容: one line for people"),
        column("body", BYTES, "the service's message, protobuf"),
        column("create_time", TIME, "创建时间"),
        key=["event_id"],
        comment="生命周期与事件 (lcs)",
        partition_by="RANGE (event_id)" if by_month else None,
    )
    if by_month:
        op.execute(_REST)
    index("event_key", "event", ["key"])


def _tasks() -> None:
    table(
        "task",
        column("task_id", BIG, "任务编号"),
        column("name", TEXT, "任务名称: kind of work"),
        column("queue_name", TEXT, "消息队列"),
        column("order_no", TEXT, "订单号: what it belongs to", null=True),
        column("exclusive", BOOL, "only one pending of its name and order_no"),
        column("msg_content", TEXT, "消息内容: payload, JSON"),
        column("status", SMALL, "20 等待 30 处理中 0 完成 90 失败"),
        column("count", INT, "执行次数"),
        column("max_count", INT, "最大执行次数"),
        column("next_interval", INT, "seconds to the next try"),
        column("delete_interval", INT, "seconds it is kept when ended"),
        column("create_time", TIME, "创建时间"),
        column("last_execute_time", TIME, "上次执行时间", null=True),
        column(
            "next_execute_time", TIME, "下次执行时间: due, or end of the lease of who works on it"
        ),
        column("max_execute_time", TIME, "执行期限"),
        column("delete_time", TIME, "删除时间", null=True),
        column("last_error", TEXT, "why the last try left it undone", null=True),
        key=["task_id"],
        comment="任务 (qtask)",
        storage={"autovacuum_vacuum_scale_factor": "0.02", "fillfactor": "70"},
    )
    index("task_due", "task", ["next_execute_time"], where="status IN (20, 30)")
    index("task_ended", "task", ["delete_time"], where="status IN (0, 90)")
    rows = "exclusive AND status IN (20, 30)"
    index("task_one_pending", "task", ["order_no", "name"], unique=True, where=rows)


def index_set_aside(*, concurrently: bool = True) -> None:
    """Find failed tasks by their kind and key, and those of paused queues by their queue."""
    for name, columns, where in _SET_ASIDE:
        op.create_index(
            name,
            "task",
            columns,
            postgresql_where=sa.text(where),
            postgresql_concurrently=concurrently,
        )
