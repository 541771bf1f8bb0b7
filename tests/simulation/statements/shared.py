"""What the statements on the shared tables mean: tasks, events, the outbox."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from shoudan_kit.events import relay
from shoudan_kit.tasks import store
from shoudan_kit.tasks.kinds import TASK, TaskEvent, TaskStatus
from tests.simulation.store import ORDERED, Table, Values, View, means, row_of

_TIME = row_of("create_time")
_ID = row_of("task_id")
_CLAIMED = row_of(
    "task_id", "name", "queue_name", "order_no", "msg_content", "status", "count", "max_execute_time",
    "trace", "aside",
)  # fmt: skip
_BEHIND = row_of("batch_id", "event_ids", "create_time")
_EVENT = row_of("event_id", "subject", "key", "tag", "text", "body", "create_time", "trace")
_OPEN: Final = frozenset(TASK.sources(TaskEvent.FINISHED))
_DUE: Final = frozenset(TASK.sources(TaskEvent.CLAIMED))
_TIMED: Final = frozenset(TASK.sources(TaskEvent.DEFERRED))


def tables() -> list[Table]:
    """The tables that every service has."""
    return [
        Table("task"),
        Table("task_pending"),  # no table: the unique index of pending exclusive tasks
        Table("event", ("key",)),
        Table("outbox", ("published",)),
    ]


@means(store._WRITE)
def _write(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    gone: set[tuple[str, str]] = set()
    for task_id in b["done"]:
        row = view.locked("task", task_id)
        if row is not None and row["delete_interval"] == 0:
            view.write("task", task_id, None)
            if row["exclusive"] and row["status"] in _OPEN:
                gone.add((row["name"], row["order_no"]))
    _insert_tasks(view, b)
    made = b["event_id"]
    for at, event_id in enumerate(made):
        spec, traced = b["event_spec"][at] - 1, b["event_trace"][at]
        view.write(
            "event",
            event_id,
            {
                "event_id": event_id,
                "subject": b["subject"][spec],
                "key": b["key"][at],
                "tag": b["tag"][spec],
                "text": b["text"][at],
                "body": b["body"][at],
                "create_time": view.moment,
                "trace": b["trace"][traced - 1] if traced else None,
            },
        )
    for pending in gone:
        if not view.written("task_pending", pending):
            view.write("task_pending", pending, None)
    if not made:
        return []
    batch = {
        "batch_id": b["batch_id"],
        "event_ids": list(made),
        "create_time": view.moment,
        "published": False,
        "claimed_until": None,
    }
    view.write("outbox", b["batch_id"], batch)
    return [_TIME((view.moment,))]


def _insert_tasks(view: View, b: Mapping[str, Any]) -> None:
    for at, task_id in enumerate(b["task_id"]):
        spec, order_no, traced = b["task_spec"][at] - 1, b["order_no"][at], b["task_trace"][at]
        mine, exclusive = b["mine"][spec], order_no is not None and b["exclusive"][spec]
        name = b["name"][spec]
        view.lock("task", task_id)
        if view.get("task", task_id) is not None or view.written("task", task_id):
            continue
        if exclusive:
            pending = (name, order_no)
            view.lock("task_pending", pending)
            if view.get("task_pending", pending) is not None or view.written(
                "task_pending", pending
            ):
                continue
            view.write("task_pending", pending, {"task_id": task_id})
        view.write(
            "task",
            task_id,
            {
                "task_id": task_id,
                "name": name,
                "queue_name": b["queue_name"][spec],
                "order_no": order_no,
                "exclusive": exclusive,
                "msg_content": b["msg_content"][at],
                "status": TaskStatus.PROCESSING if mine else TaskStatus.WAITING,
                "count": 1 if mine else 0,
                "max_count": b["max_count"][spec],
                "next_interval": b["next_interval"][spec],
                "delete_interval": b["delete_interval"][spec],
                "create_time": view.moment,
                "last_execute_time": view.moment if mine else None,
                "next_execute_time": view.moment + timedelta(seconds=b["wait_s"][spec]),
                "max_execute_time": view.moment + timedelta(seconds=b["deadline_s"][spec]),
                "trace": b["trace"][traced - 1] if traced else None,
                "last_error": None,
                "delete_time": None,
            },
        )


@means(store._KEPT)
def _kept(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    return [_ID((i,)) for i in b["ids"] if view.get("task", i) is not None]


@means(store._FINISH_TASKS_FOR)
def _finish_for(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    for order_no in b["order_nos"]:
        pending = (b["name"], order_no)
        held = view.get("task_pending", pending)
        if held is None:
            continue
        row = view.locked("task", held["task_id"])
        if row is not None and row["status"] in _OPEN:
            view.write("task", held["task_id"], None)
            view.write("task_pending", pending, None)
    return []


@means(store._CLAIM)
def _claim(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    names, queues, paused = set(b["names"]), set(b["queues"]), set(b["paused"])
    due = [
        (row["next_execute_time"], key)
        for key, row in view.late("task", "next_execute_time")
        if row["status"] in _DUE
        and row["name"] in names
        and (b["all_queues"] or row["queue_name"] in queues)
        and view.free("task", key)
    ]
    claimed: list[Any] = []
    until = view.moment + timedelta(seconds=b["lease_s"])
    for _, key in sorted(due)[: b["most"]]:
        view.lock("task", key)
        row = view.get("task", key)
        assert row is not None, "it was found"
        assert row["queue_name"] not in paused, "no queue is paused here"
        dead = row["max_execute_time"] <= view.moment or row["count"] >= row["max_count"]
        now = view.change(
            "task",
            key,
            row,
            status=TaskStatus.FAILED if dead else TaskStatus.PROCESSING,
            count=row["count"] if dead else row["count"] + 1,
            delete_time=view.moment
            + timedelta(seconds=max(row["delete_interval"], b["keep_failed_s"]))
            if dead
            else None,
            last_execute_time=view.moment,
            next_execute_time=until,
        )
        if dead and row["exclusive"]:
            view.write("task_pending", (row["name"], row["order_no"]), None)
        claimed.append(
            _CLAIMED(
                (
                    key,
                    now["name"],
                    now["queue_name"],
                    now["order_no"],
                    now["msg_content"],
                    now["status"],
                    now["count"],
                    now["max_execute_time"],
                    now["trace"],
                    False,
                )
            )
        )
    return claimed


@means(store._DEFER)
def _defer(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    for at, key in enumerate(b["task_id"]):
        row = view.locked("task", key)
        if row is None or row["status"] not in _TIMED:
            continue
        after_s = b["retry_after_s"][at]
        wait_s = row["next_interval"] if after_s is None else after_s
        view.change(
            "task",
            key,
            row,
            status=TaskStatus.WAITING,
            last_error=b["error"][at] or None,
            next_execute_time=view.moment + timedelta(seconds=wait_s),
        )
    return []


@means(store._EXTEND)
def _extend(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    until = view.moment + timedelta(seconds=b["lease_s"])
    for key in b["ids"]:
        row = view.locked("task", key)
        if row is not None and row["status"] == TaskStatus.PROCESSING:
            view.change("task", key, row, next_execute_time=until)
    return []


@means(store._CLEAR, store._GAUGES, store._PAUSED, store._FORGET_PUBLISHED)
def _nothing(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    """Old rows are kept for the laws, no queue is paused, and nobody looks at the gauges."""
    return []


@means(relay._NOW)
def _now(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    return [_TIME((view.moment,))]


@means(store._MARK_PUBLISHED)
def _mark_published(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    for key in b["ids"]:
        row = view.locked("outbox", key)
        if row is not None and not row["published"]:
            view.change("outbox", key, row, published=True)
    return []


def _unpublished(view: View) -> Iterator[tuple[int, Values]]:
    for key in view.found("outbox", "published", False):
        row = view.get("outbox", key)
        assert row is not None, "it was found"
        yield key, row


@means(store._OLDEST_UNPUBLISHED)
def _oldest(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    older = view.moment - timedelta(seconds=b["older_s"])
    behind = [key for key, row in _unpublished(view) if row["create_time"] <= older]
    if not behind:
        return []
    oldest = view.get("outbox", min(behind))
    assert oldest is not None, "it was found"
    return [row_of("age_s")(((view.moment - oldest["create_time"]).total_seconds(),))]


@means(store._CLAIM_UNPUBLISHED)
def _claim_unpublished(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    older = view.moment - timedelta(seconds=b["older_s"])
    behind = sorted(
        key
        for key, row in _unpublished(view)
        if row["create_time"] <= older
        and (row["claimed_until"] is None or row["claimed_until"] <= view.moment)
        and view.free("outbox", key)
    )
    found: list[Any] = []
    for key in behind[: b["most"]]:
        row = view.locked("outbox", key)
        assert row is not None, "it was found"
        until = view.moment + timedelta(seconds=b["claim_s"])
        view.change("outbox", key, row, claimed_until=until)
        found.append(_BEHIND((key, row["event_ids"], row["create_time"])))
    return found


@means(store._RELEASE_UNPUBLISHED)
def _release_unpublished(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    for key in b["ids"]:
        row = view.locked("outbox", key)
        if row is not None and not row["published"]:
            view.change("outbox", key, row, claimed_until=None)
    return []


@means(store._EVENTS)
def _events(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    found = ((i, view.get("event", i)) for i in sorted(set(b["ids"])))
    return [_EVENT(row[name] for name in _EVENT.names) for _, row in found if row is not None]


ORDERED.update((store._EVENTS.text,))
