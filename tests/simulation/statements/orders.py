"""What the statements on orders mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from shoudan_kit.db.columns import names_of
from shoudan_order.states import (
    ENDED,
    FAIL_REFUND,
    MESSAGE,
    BindStatus,
    FailRefundEvent,
    FailRefundStatus,
    NotifyEvent,
    NotifyStatus,
    NotifyType,
    OrderStatus,
    PaymentStatus,
    YesNo,
)
from shoudan_order.store import nonces, pauses, retention
from shoudan_order.store import orders as store
from shoudan_order.store.rows import Order, OrderState, OrderSummary
from shoudan_order.tables import NOTIFY, ORDER
from tests.simulation.statements.defaults import blank, born, moments
from tests.simulation.statements.deliveries import insert_deliveries
from tests.simulation.store import DECIDED, ORDERED, Table, Values, View, means, row_of

YEAR_S: Final = 31_536_000
ORDERS: Final = "oms_order_info"
NOTIFIES: Final = "oms_notify_info"

_SOLD: Final = names_of(Order)
_STORED: Final = tuple(name for name in _SOLD if name != "timeout_s")
_STATE: Final = names_of(OrderState)
_CHANGED: Final = tuple(
    name
    for name in _STATE
    if name not in {"order_id", "payment_status", "delivery_pause", "up_paid_face_micros", "left_s"}
)
_EMPTY, _MOMENTS = blank(ORDER), moments(ORDER)
_EMPTY_NOTIFY, _NOTIFY_MOMENTS = blank(NOTIFY), moments(NOTIFY)

FACTS: Final = row_of(*_SOLD)
BOTH: Final = row_of(*_SOLD, *_STATE)
STATES: Final = row_of(*_STATE)
SUMMARY: Final = row_of(*names_of(OrderSummary))
ORDER_ID: Final = row_of("order_id")
_MADE: Final = row_of("order_id", "replay")
_MOVED: Final = row_of("order_id", "paused")


def tables() -> list[Table]:
    """Those of this module."""
    return [Table(ORDERS), Table("order_key"), Table(NOTIFIES, ("order_id",))]


DECIDED.update((ORDERS, NOTIFIES))


def _s(duration: timedelta) -> int:
    """Seconds as numeric is rounded to integer: half away from zero."""
    micros = min(duration // timedelta(microseconds=1), YEAR_S * 1_000_000)
    whole, rest = divmod(abs(micros), 1_000_000)
    whole += rest >= 500_000
    return whole if micros >= 0 else -whole


def facts(row: Values) -> tuple[Any, ...]:
    """SELECTED."""
    given = dict(row, timeout_s=_s(row["order_overtime"] - row["create_time"]))
    return tuple([given[name] for name in _SOLD])


def state(view: View, row: Values) -> tuple[Any, ...]:
    """STATE."""
    given = dict(row, left_s=_s(row["order_overtime"] - view.moment))
    return tuple([given[name] for name in _STATE])


def lock_orders(view: View, ids: Any) -> list[Values]:
    """Those that there are, locked in the order of their numbers."""
    found = (view.locked(ORDERS, i) for i in sorted(set(ids)))
    return [row for row in found if row is not None]


def change(view: View, row: Values, **changed: Any) -> Values:
    """Write an order; modify_time never goes back."""
    modified = max(row["modify_time"], view.moment)
    return view.change(ORDERS, row["order_id"], row, modify_time=modified, **changed)


@means(store._INSERT)
def _insert(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    assert not b["nonces"], "calls are not signed here"
    made: dict[int, None] = {}
    ordered = sorted(
        range(len(b["order_id"])), key=lambda at: (b["down_channel_no"][at], b["request_no"][at])
    )
    for at in ordered:
        unique = (b["down_channel_no"][at], b["request_no"][at])
        view.lock("order_key", unique)
        if view.get("order_key", unique) is not None or view.written("order_key", unique):
            continue
        order_id = b["order_id"][at]
        row = born(view, _EMPTY, _MOMENTS)
        row.update((name, b[name][at]) for name in _STORED)
        row["order_overtime"] = view.moment + timedelta(seconds=b["timeout_s"][at])
        view.lock(ORDERS, order_id)
        view.write(ORDERS, order_id, row)
        view.write("order_key", unique, {"order_id": order_id})
        made[order_id] = None
    for at, notify_id in enumerate(b["notify_id"]):
        if b["notify_order"][at] in made:
            channel_no, url = b["notify_channel"][at], b["notify_url"][at]
            about = (b["notify_order"][at], 0)
            insert_notify(view, notify_id, about, channel_no, url, b["notify_max"])
    return [_MADE((i, 0)) for i in made]


def insert_notify(
    view: View, notify_id: int, about: tuple[int, int], channel_no: str, url: str, most: int
) -> None:
    """A notify of an order or of its refund."""
    order_id, refund_id = about
    row = born(view, _EMPTY_NOTIFY, _NOTIFY_MOMENTS)
    row |= {
        "notify_id": notify_id,
        "order_id": order_id,
        "refund_id": refund_id,
        "down_channel_no": channel_no,
        "notify_type": NotifyType.REFUND if refund_id else NotifyType.ORDER,
        "max_count": most,
        "notify_url": url,
    }
    view.lock(NOTIFIES, notify_id)
    view.write(NOTIFIES, notify_id, row)


@means(nonces._USE)
def _use(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    assert not b["nonces"], "calls are not signed here"
    return []


@means(retention._FIND_KEYS)
def _archived(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    return []


@means(store._BY_KEYS)
def _by_keys(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    found: list[Any] = []
    for unique in zip(b["channel_nos"], b["request_nos"], strict=True):
        held = view.get("order_key", unique)
        if held is not None:
            row = view.get(ORDERS, held["order_id"])
            assert row is not None, "the key belongs to it"
            found.append(SUMMARY(row[name] for name in SUMMARY.names))
    return found


@means(store._FACTS)
def _facts(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    found = (view.get(ORDERS, i) for i in dict.fromkeys(b["ids"]))
    return [FACTS(facts(row)) for row in found if row is not None]


@means(store._READ)
def _read(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    found = (view.get(ORDERS, i) for i in sorted(set(b["ids"])))
    return [BOTH(facts(row) + state(view, row)) for row in found if row is not None]


@means(store._LOCK)
def _lock(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    return [BOTH(facts(row) + state(view, row)) for row in lock_orders(view, b["ids"])]


@means(store._LOCK_BY_DELIVERIES)
def _lock_by_deliveries(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    parts = (view.get("oms_order_delivery", i) for i in b["ids"])
    orders = lock_orders(view, [row["order_id"] for row in parts if row is not None])
    return [STATES(state(view, row)) for row in orders]


ORDERED.update((store._READ.text, store._LOCK.text, store._LOCK_BY_DELIVERIES.text))


def _unpaid(row: Values | None) -> bool:
    return (
        row is not None
        and row["order_status"] == OrderStatus.PAYING
        and row["payment_status"] == PaymentStatus.PAYING
        and row["delivery_bind_status"] == BindStatus.NOT_STARTED
        and row["refund_status"] == FailRefundStatus.NOT_STARTED
    )


@means(store._PAID)
def _paid(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    moved: dict[int, bool] = {}
    for at, order_id in enumerate(b["paid_ids"]):
        if not _unpaid(view.get(ORDERS, order_id)):
            continue
        row = view.locked(ORDERS, order_id)
        if row is None or not _unpaid(row) or row["order_overtime"] <= view.moment:
            continue
        paused = row["delivery_pause"] == YesNo.YES
        change(
            view,
            row,
            order_status=OrderStatus.DELIVERING,
            payment_status=b["payment_statuses"][at],
            pay_time=view.moment,
            delivery_bind_status=BindStatus.WAITING if paused else b["bind_statuses"][at],
            bind_face_micros=0 if paused else b["bind_faces"][at],
        )
        moved[order_id] = paused
    insert_deliveries(view, b, {i for i, paused in moved.items() if not paused})
    return [_MOVED(one) for one in moved.items()]


@means(store._FAILED_UNPAID)
def _failed_unpaid(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    moved: list[Any] = []
    for at, order_id in enumerate(b["order_id"]):
        if not _unpaid(view.get(ORDERS, order_id)):
            continue
        row = view.locked(ORDERS, order_id)
        if row is None or not _unpaid(row):
            continue
        change(
            view,
            row,
            order_status=OrderStatus.FAILED,
            payment_status=PaymentStatus.OVERTIME,
            refund_status=FailRefundStatus.WAITING,
            fail_code=b["fail_code"][at],
            fail_msg=b["fail_msg"][at],
            notify_status=NotifyStatus.RUNNING if row["has_notify"] else row["notify_status"],
            end_time=view.moment,
        )
        moved.append(ORDER_ID((order_id,)))
    return moved


@means(store._UPDATE)
def _update(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    moved: list[Any] = []
    for at, order_id in enumerate(b["order_id"]):
        row = view.locked(ORDERS, order_id)
        if row is None or row["order_status"] != b["was_status"][at]:
            continue
        ended = view.moment if b["order_status"][at] in ENDED else None
        changed = {name: b[name][at] for name in _CHANGED}
        change(view, row, **changed, end_time=row["end_time"] or ended)
        moved.append(ORDER_ID((order_id,)))
    return moved


@means(store._FAIL_REFUND)
def _fail_refund(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    moved: list[Any] = []
    for order_id in dict.fromkeys(b["ids"]):
        row = view.locked(ORDERS, order_id)
        if (
            row is None
            or row["order_status"] not in ENDED - {OrderStatus.SUCCEEDED}
            or row["refund_status"] != FailRefundStatus.WAITING
        ):
            continue
        done = b["refund_status"] == FailRefundStatus.DONE
        money_time = view.moment if done else row["money_time"]
        change(view, row, refund_status=b["refund_status"], money_time=money_time)
        moved.append(ORDER_ID((order_id,)))
    return moved


@means(store._LATE_DEBIT)
def _late_debit(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    moved: list[Any] = []
    sources = FAIL_REFUND.sources(FailRefundEvent.ORDER_FAILED)
    for order_id in dict.fromkeys(b["ids"]):
        row = view.locked(ORDERS, order_id)
        if (
            row is not None
            and row["order_status"] == OrderStatus.FAILED
            and row["payment_status"] == PaymentStatus.OVERTIME
            and row["refund_status"] in sources
        ):
            change(view, row, refund_status=FailRefundStatus.WAITING)
            moved.append(ORDER_ID((order_id,)))
    return moved


@means(store._ANSWERED)
def _answered(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    asked: list[int] = []
    for order_id in dict.fromkeys(b["ids"]):
        row = view.locked(ORDERS, order_id)
        if row is not None and row["notify_status"] == NotifyStatus.RUNNING:
            change(view, row, notify_status=NotifyStatus.ANSWERED)
            asked.append(order_id)
    open_ = MESSAGE.sources(NotifyEvent.QUERIED)
    for order_id in asked:
        for key in view.found(NOTIFIES, "order_id", order_id):
            row = view.locked(NOTIFIES, key)
            if row is not None and not row["refund_id"] and row["notify_status"] in open_:
                view.change(
                    NOTIFIES, key, row, notify_status=NotifyStatus.ANSWERED, end_time=view.moment
                )
    return []


@means(pauses._PARK)
def _park(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    parked: list[Any] = []
    for order_id, reason in zip(b["ids"], b["reasons"], strict=True):
        row = view.locked(ORDERS, order_id)
        if row is not None and row["parked_reason"] == "":
            change(view, row, parked_reason=reason)
            parked.append(ORDER_ID((order_id,)))
    return parked


@means(pauses._UNPARK)
def _unpark(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    for row in lock_orders(view, b["ids"]):
        change(view, row, parked_reason="")
    return []
