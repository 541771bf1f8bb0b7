"""What the statements of the delivery service mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from shoudan_delivery.states import DELIVERY, PUSH, Event, Status
from shoudan_delivery.store import cards, suppliers
from shoudan_delivery.store import deliveries as store
from shoudan_delivery.store.rows import Delivery, EndedDelivery, Outgoing
from shoudan_kit.db.columns import names_of
from tests.simulation.store import DECIDED, Table, Values, View, means, row_of

ROWS: Final = "vds_order_info"
QUERIES: Final = "vds_order_query"
PUSHES: Final = "vds_order_notify"
_DELIVERY: Final = row_of(*names_of(Delivery))
_OUTGOING: Final = row_of(*names_of(Outgoing))
_LOOK: Final = row_of(*names_of(Outgoing), "status")
_ENDED: Final = row_of(*names_of(EndedDelivery))
_BORN: Final = row_of("order_no", "create_time")
_NO: Final = row_of("order_no")
_NEW: Final = (
    "order_no", "coop_id", "coop_order_id", "order_id", "channel_no", "service_class", "carrier_no",
    "product_face_micros", "product_num", "account", "request_params",
)  # fmt: skip
_RESULT: Final = (
    "result_source", "result_code", "result_desc", "result_params", "up_order_no", "succ_face_micros",
)  # fmt: skip


def tables() -> list[Table]:
    """Those of this module."""
    return [
        Table(ROWS),
        Table("delivery_key"),
        Table(QUERIES),
        Table(PUSHES),
        Table("vds_order_exp"),
    ]


DECIDED.update((ROWS, QUERIES, PUSHES))


@means(store._INSERT)
def _insert(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    made: list[Any] = []
    for at, order_no in enumerate(b["order_no"]):
        unique = (b["coop_id"][at], b["coop_order_id"][at], b["service_class"][at])
        view.lock("delivery_key", unique)
        if view.get("delivery_key", unique) is not None or view.written("delivery_key", unique):
            continue
        row = {name: b[name][at] for name in _NEW} | {
            "status": DELIVERY.target(Event.SENT) if b["sending"][at] else Status.CREATED,
            "request_count": int(b["sending"][at]),
            "request_start_time": view.moment if b["sending"][at] else None,
            "request_finish_time": None,
            "create_time": view.moment,
            "result_source": 0,
            "result_code": "",
            "result_desc": "",
            "result_params": "",
            "up_order_no": "",
            "succ_face_micros": 0,
            "last_update_time": view.moment,
            "flow_timeout": view.moment + timedelta(seconds=b["timeout_s"][at]),
            "conflict": False,
        }
        view.lock(ROWS, order_no)
        view.write(ROWS, order_no, row)
        view.write("delivery_key", unique, {"order_no": order_no})
        made.append(_BORN((order_no, view.moment)))
    return made


def _seen(view: View, row: Values) -> Any:
    asked = view.get(QUERIES, row["order_no"])
    given = {**row, "query_count": asked["query_count"] if asked else 0, "archived": False}
    return _DELIVERY([given[name] for name in _DELIVERY.names])


@means(store._BY_KEY)
def _by_key(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    keys = zip(b["coop_id"], b["coop_order_id"], b["service_class"], strict=True)
    held = (view.get("delivery_key", key) for key in dict.fromkeys(keys))
    found = (view.get(ROWS, one["order_no"]) for one in held if one is not None)
    return [_seen(view, row) for row in found if row is not None]


@means(store._BY_NO)
def _by_no(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    found = (view.get(ROWS, i) for i in dict.fromkeys(b["order_nos"]))
    return [_seen(view, row) for row in found if row is not None]


def _call(view: View, row: Values) -> list[Any]:
    began = row["request_start_time"] or row["create_time"]
    given = {
        **row,
        "age_s": (view.moment - began).total_seconds(),
        "overdue": row["flow_timeout"] <= view.moment,
    }
    return [given[name] for name in _OUTGOING.names]


@means(store._LOOK)
def _look(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    found = (view.get(ROWS, i) for i in dict.fromkeys(b["order_nos"]))
    return [_LOOK([*_call(view, row), row["status"]]) for row in found if row is not None]


@means(store._MARK_SENDING)
def _mark_sending(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    moved: list[Any] = []
    for key in dict.fromkeys(b["order_nos"]):
        row = view.locked(ROWS, key)
        if (
            row is None
            or not DELIVERY.allows(row["status"], Event.SENT)
            or row["flow_timeout"] <= view.moment
        ):
            continue
        now = view.change(
            ROWS,
            key,
            row,
            status=DELIVERY.target(Event.SENT),
            request_count=row["request_count"] + 1,
            request_start_time=row["request_start_time"] or view.moment,
            last_update_time=view.moment,
        )
        moved.append(_OUTGOING(_call(view, now)))
    return moved


@means(store._MARK_REPEATED)
def _mark_repeated(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    moved: list[Any] = []
    for key in dict.fromkeys(b["order_nos"]):
        row = view.locked(ROWS, key)
        if row is not None and DELIVERY.allows(row["status"], Event.UNKNOWN):
            again = row["request_count"] + 1
            view.change(ROWS, key, row, request_count=again, last_update_time=view.moment)
            moved.append(_NO((key,)))
    return moved


@means(store._OVERDUE)
def _overdue(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    found = ((i, view.get(ROWS, i)) for i in dict.fromkeys(b["order_nos"]))
    return [
        _NO((i,))
        for i, row in found
        if row is not None
        and DELIVERY.allows(row["status"], Event.EXPIRED)
        and row["flow_timeout"] <= view.moment
    ]


def _just_ended(view: View, row: Values) -> Any:
    began = row["request_start_time"]
    took_s = None if began is None else (view.moment - began).total_seconds()
    return _ENDED([*(row[name] for name in list(_ENDED.names)[:-1]), took_s])


@means(store._END)
def _end(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    moved: list[Any] = []
    for key in sorted(set(b["order_no"])):
        view.locked(ROWS, key)
    for at, key in enumerate(b["order_no"]):
        row = view.get(ROWS, key)
        if row is None or not (
            DELIVERY.allows(row["status"], Event.EXPIRED)
            or (DELIVERY.allows(row["status"], Event.UNKNOWN) and not b["unsent"][at])
        ):
            continue
        now = view.change(
            ROWS,
            key,
            row,
            status=b["new_status"][at],
            **{name: b[name][at] for name in _RESULT},
            request_finish_time=view.moment,
            last_update_time=view.moment,
        )
        moved.append(_just_ended(view, now))
    return moved


@means(store._NOTE_UNKNOWN)
def _note_unknown(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    noted: list[Any] = []
    for at, key in enumerate(b["order_no"]):
        row = view.locked(ROWS, key)
        if row is not None and DELIVERY.allows(row["status"], Event.UNKNOWN):
            code, desc = b["result_code"][at], b["result_desc"][at]
            now = view.change(
                ROWS, key, row, result_code=code, result_desc=desc, last_update_time=view.moment
            )
            noted.append(_just_ended(view, now))
    return noted


@means(store._UNSEND)
def _unsend(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    for key in dict.fromkeys(b["order_nos"]):
        row = view.locked(ROWS, key)
        if row is not None and DELIVERY.allows(row["status"], Event.NOT_SENT):
            status = DELIVERY.target(Event.NOT_SENT)
            view.change(
                ROWS, key, row, status=status, request_start_time=None, last_update_time=view.moment
            )
    return []


@means(store._CONFLICT)
def _conflict(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    flagged: list[Any] = []
    for key in dict.fromkeys(b["order_nos"]):
        row = view.locked(ROWS, key)
        if row is not None and not row["conflict"]:
            view.change(ROWS, key, row, conflict=True, last_update_time=view.moment)
            flagged.append(_NO((key,)))
    return flagged


@means(store._COUNT_QUERIES)
def _count_queries(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    for at, key in enumerate(b["order_no"]):
        of = view.get(ROWS, key)
        if of is None:
            continue
        view.lock(QUERIES, key)
        row = view.get(QUERIES, key) or {
            "order_no": key,
            "coop_id": of["coop_id"],
            "channel_no": of["channel_no"],
            "query_count": 0,
            "create_time": of["create_time"],
        }
        view.change(
            QUERIES,
            key,
            row,
            query_count=row["query_count"] + 1,
            status=b["query_status"][at],
            last_query_time=view.moment,
            query_result=b["result"][at],
        )
    return []


@means(store._COUNT_PUSHES)
def _count_pushes(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    for at, key in enumerate(b["order_no"]):
        view.lock(PUSHES, key)
        row = view.get(PUSHES, key) or {
            "order_no": key,
            "coop_id": b["coop_id"][at],
            "coop_order_id": b["coop_order_id"][at],
            "notify_url": "shoudan.order.v1.OrderService/ReportResults",
            "notify_count": 0,
            "notify_limit_count": b["limit"],
            "create_time": view.moment,
        }
        view.change(
            PUSHES,
            key,
            row,
            notify_content=b["notify_content"][at],
            status=b["status"],
            result_msg=b["result_msg"],
            finish_time=None if b["status"] == PUSH.initial else view.moment,
            notify_count=row["notify_count"] + 1,
        )
    return []


@means(suppliers._INSERT_INCIDENTS)
def _incidents(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    for at, key in enumerate(b["id"]):
        view.write(
            "vds_order_exp",
            key,
            {name: value[at] for name, value in b.items() if isinstance(value, list)},
        )
    return []


@means(cards._OF_DELIVERIES, cards._RESTORE)
def _no_cards(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    """No goods are codes here."""
    return []
