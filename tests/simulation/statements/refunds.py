"""What the statements on refunds and returns mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from shoudan_kit.db.columns import names_of
from shoudan_order.states import (
    MONEY_BACK,
    RETURN,
    AuditStatus,
    AuditType,
    MoneyBackEvent,
    MoneyBackStatus,
    RefundStatus,
    ReturnEvent,
    ReturnStatus,
    UpReturnStatus,
    YesNo,
)
from shoudan_order.store import refunds as store
from shoudan_order.store import returns
from shoudan_order.tables import REFUND
from shoudan_order.tables import RETURN as RETURN_TABLE
from tests.simulation.statements.defaults import blank, born, moments
from tests.simulation.statements.orders import (
    BOTH,
    ORDER_ID,
    ORDERS,
    facts,
    insert_notify,
    lock_orders,
    state,
)
from tests.simulation.store import DECIDED, ORDERED, Table, Values, View, means, row_of

REFUNDS: Final = "oms_refund_info"
RETURNS: Final = "oms_refund_up_return"
_AUDITS: Final = "oms_audit_info"

_REFUND: Final = row_of(*names_of(store.Refund))
_WRITTEN: Final = tuple(name for name in _REFUND.names if name != "create_time")
_CHANGED: Final = (
    "refund_status", "up_return_status", "down_refund_status", "refund_notify_status",
    *store.AMOUNTS.values(),
)  # fmt: skip
_OF_ORDER: Final = (
    "down_shelf_id", "down_product_id", "ext_product_no", "line_id", "carrier_no", "province_no",
    "city_no",
)  # fmt: skip
_OF_DELIVERY: Final = (
    "down_channel_no", "down_product_id", "line_id", "carrier_no", "province_no", "city_no",
    "invoice_type",
)  # fmt: skip
_OWING: Final = {RefundStatus.REFUNDING, RefundStatus.PARTIAL}
_UNREFUNDED: Final = set(MoneyBackStatus) - {MoneyBackStatus.DONE, MoneyBackStatus.NOT_NEEDED}
_RETURN: Final = row_of(*names_of(returns.Return))
_END: Final = names_of(returns.EndedReturn)[1:]
_EMPTY, _MOMENTS = blank(REFUND), moments(REFUND)
_EMPTY_RETURN, _RETURN_MOMENTS = blank(RETURN_TABLE), moments(RETURN_TABLE)
_REFUND_ID: Final = row_of("refund_id")
_RETURN_ID: Final = row_of("return_id")
_LEFT: Final = row_of("refund_id", "left_s")


def tables() -> list[Table]:
    """Those of this module."""
    return [
        Table(REFUNDS, ("order_id",)),
        Table("refund_key"),
        Table(RETURNS, ("refund_id", "delivery_id")),
    ]


DECIDED.update((REFUNDS, RETURNS))


def change_refund(view: View, row: Values, **changed: Any) -> None:
    """Write a refund; modify_time never goes back."""
    modified = max(row["modify_time"], view.moment)
    view.change(REFUNDS, row["refund_id"], row, modify_time=modified, **changed)


@means(store._INSERT)
def _insert(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    made: dict[int, None] = {}
    for at, refund_id in enumerate(b["refund_id"]):
        order = view.get(ORDERS, b["order_id"][at])
        unique = (b["down_channel_no"][at], b["down_refund_no"][at])
        if order is None:
            continue
        view.lock("refund_key", unique)
        if view.get("refund_key", unique) is not None or view.written("refund_key", unique):
            continue
        row = born(view, _EMPTY, _MOMENTS)
        row.update((name, b[name][at]) for name in _WRITTEN)
        row.update((name, order[name]) for name in _OF_ORDER)
        row["return_overtime"] = view.moment + timedelta(seconds=b["timeout_s"][at])
        row["end_time"] = None if row["refund_status"] == RefundStatus.RETURNING else view.moment
        view.lock(REFUNDS, refund_id)
        view.write(REFUNDS, refund_id, row)
        view.write("refund_key", unique, {"refund_id": refund_id})
        made[refund_id] = None
    for at, notify_id in enumerate(b["notify_id"]):
        if b["notify_refund"][at] in made:
            about = (b["notify_order"][at], b["notify_refund"][at])
            channel_no, url = b["notify_channel"][at], b["notify_url"][at]
            insert_notify(view, notify_id, about, channel_no, url, b["notify_max"])
    return [_REFUND_ID((i,)) for i in made]


def _seen(row: Values) -> Any:
    return _REFUND([row[name] for name in _REFUND.names])


@means(store._BY_KEYS)
def _by_keys(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    found: list[Any] = []
    for unique in zip(b["channel_nos"], b["refund_nos"], strict=True):
        held = view.get("refund_key", unique)
        if held is not None:
            row = view.get(REFUNDS, held["refund_id"])
            assert row is not None, "the key belongs to it"
            found.append(_seen(row))
    return found


@means(store._BY_IDS)
def _by_ids(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    found = (view.get(REFUNDS, i) for i in sorted(set(b["ids"])))
    return [_seen(row) for row in found if row is not None]


@means(store._LOCK_BY_KEYS)
def _lock_by_keys(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    held = (view.get("order_key", k) for k in zip(b["channel_nos"], b["request_nos"], strict=True))
    orders = lock_orders(view, [one["order_id"] for one in held if one is not None])
    return [BOTH(facts(row) + state(view, row)) for row in orders]


@means(store._OPEN)
def _open(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    return [
        ORDER_ID((order_id,))
        for order_id in dict.fromkeys(b["ids"])
        for key in view.found(REFUNDS, "order_id", order_id)
        if (row := view.get(REFUNDS, key)) and row["refund_status"] == RefundStatus.RETURNING
    ]


@means(store._UPDATE)
def _update(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    moved: list[Any] = []
    for at, key in enumerate(b["refund_id"]):
        row = view.locked(REFUNDS, key)
        if row is None or row["refund_status"] != RefundStatus.RETURNING:
            continue
        changed = {name: b[name][at] for name in _CHANGED}
        ended = changed["refund_status"] != RefundStatus.RETURNING
        change_refund(view, row, **changed, end_time=view.moment if ended else None)
        moved.append(_REFUND_ID((key,)))
    return moved


@means(store._STARTED)
def _started(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    for key in dict.fromkeys(b["ids"]):
        row = view.locked(REFUNDS, key)
        if (
            row is not None
            and row["refund_status"] == RefundStatus.RETURNING
            and row["up_return_status"] == UpReturnStatus.WAITING
        ):
            change_refund(view, row, up_return_status=UpReturnStatus.RUNNING)
    return []


@means(store._LEFT)
def _left(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    found = (view.get(REFUNDS, i) for i in dict.fromkeys(b["ids"]))
    return [
        _LEFT((row["refund_id"], (row["return_overtime"] - view.moment).total_seconds()))
        for row in found
        if row is not None
        and row["return_overtime"] > view.moment
        and row["refund_status"] == RefundStatus.RETURNING
    ]


@means(store._LOCK)
def _lock(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    found = [i for i in sorted(set(b["ids"])) if view.locked(REFUNDS, i) is not None]
    return [_REFUND_ID((i,)) for i in found]


@means(store._MONEY_BACK)
def _money_back(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    moved: list[Any] = []
    for key in dict.fromkeys(b["ids"]):
        row = view.locked(REFUNDS, key)
        if (
            row is not None
            and row["down_refund_status"] == MoneyBackStatus.WAITING
            and row["refund_status"] in _OWING
        ):
            change_refund(
                view, row, down_refund_status=MoneyBackStatus.DONE, money_time=view.moment
            )
            moved.append(_REFUND_ID((key,)))
    return moved


@means(store._CLOSE)
def _close(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    closed: list[Any] = []
    for key in dict.fromkeys(b["ids"]):
        row = view.locked(REFUNDS, key)
        if (
            row is None
            or row["refund_status"] not in _OWING
            or row["down_refund_status"] != MoneyBackStatus.DONE
            or any(_owes(view, one) for one in view.found(RETURNS, "refund_id", key))
        ):
            continue
        whole = row["refund_status"] == RefundStatus.REFUNDING
        status = RefundStatus.SUCCEEDED if whole else row["refund_status"]
        change_refund(view, row, refund_status=status, complete_up_refund=YesNo.YES)
        closed.append(_REFUND_ID((key,)))
    return closed


def _owes(view: View, key: int) -> bool:
    row = view.get(RETURNS, key)
    return row is not None and row["up_refund_status"] in _UNREFUNDED


@means(returns._INSERT)
def _insert_returns(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    for at, key in enumerate(b["return_id"]):
        part = view.get("oms_order_delivery", b["delivery_id"][at])
        if part is None:
            continue
        row = born(view, _EMPTY_RETURN, _RETURN_MOMENTS)
        row.update((name, b[name][at]) for name in _RETURN.names)
        row.update((name, part[name]) for name in _OF_DELIVERY)
        row["end_time"] = view.moment if row["return_status"] == ReturnStatus.SUCCEEDED else None
        view.lock(RETURNS, key)
        view.write(RETURNS, key, row)
    return []


def _return(row: Values) -> Any:
    return _RETURN([row[name] for name in _RETURN.names])


@means(returns._BY_IDS)
def _returns_by_ids(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    found = (view.get(RETURNS, i) for i in sorted(set(b["ids"])))
    return [_return(row) for row in found if row is not None]


@means(returns._LOCK_BY_IDS)
def _lock_returns(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    found = (view.locked(RETURNS, i) for i in sorted(set(b["ids"])))
    return [_return(row) for row in found if row is not None]


@means(returns._MARK_CONFLICTS)
def _mark_conflicts(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    marked: list[Any] = []
    for key in dict.fromkeys(b["ids"]):
        row = view.locked(RETURNS, key)
        if row is not None and not row["conflict"]:
            view.change(RETURNS, key, row, conflict=True)
            marked.append(_RETURN_ID((key,)))
    return marked


@means(returns._BY_REFUNDS)
def _by_refunds(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    keys = sorted(key for i in set(b["ids"]) for key in view.found(RETURNS, "refund_id", i))
    found = (view.get(RETURNS, key) for key in keys)
    return [_return(row) for row in found if row is not None]


@means(returns._OF_DELIVERIES)
def _of_deliveries(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    keys = (key for i in dict.fromkeys(b["ids"]) for key in view.found(RETURNS, "delivery_id", i))
    found = (view.get(RETURNS, key) for key in keys)
    return [
        _return(row)
        for row in found
        if row is not None
        and (row["return_status"] != ReturnStatus.FAILED or (row["conflict"] and _asked(view, row)))
    ]


def _asked(view: View, row: Values) -> bool:
    """Whether a person is asked about the return."""
    found = (view.get(_AUDITS, key) for key in view.found(_AUDITS, "order_id", row["order_id"]))
    return any(
        one is not None
        and one["delivery_id"] == row["return_id"]
        and one["change_type"] == AuditType.RETURN
        and one["audit_status"] == AuditStatus.WAITING
        for one in found
    )


@means(returns._START)
def _start(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    moved: list[Any] = []
    for key in dict.fromkeys(b["ids"]):
        row = view.locked(RETURNS, key)
        if row is not None and RETURN.allows(row["return_status"], ReturnEvent.STARTED):
            view.change(
                RETURNS, key, row, return_status=ReturnStatus.SENDING, start_time=view.moment
            )
            moved.append(_RETURN_ID((key,)))
    return moved


@means(returns._END)
def _end(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    moved: list[Any] = []
    for at, key in enumerate(b["return_id"]):
        row = view.locked(RETURNS, key)
        if (
            row is None
            or row["return_status"] not in RETURN.sources(ReturnEvent.FAILED)
            or row["up_refund_status"] not in MONEY_BACK.sources(MoneyBackEvent.RETURNED)
        ):
            continue
        changed = {name: b[name][at] for name in _END}
        view.change(RETURNS, key, row, **changed, end_time=view.moment)
        moved.append(_RETURN_ID((key,)))
    return moved


@means(returns._UP_REFUNDED)
def _up_refunded(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    moved: list[Any] = []
    for key in dict.fromkeys(b["ids"]):
        row = view.locked(RETURNS, key)
        if (
            row is not None
            and row["return_status"] == ReturnStatus.SUCCEEDED
            and row["up_refund_status"] in MONEY_BACK.sources(MoneyBackEvent.POSTED)
        ):
            view.change(
                RETURNS, key, row, up_refund_status=MoneyBackStatus.DONE, money_time=view.moment
            )
            moved.append(_RETURN_ID((key,)))
    return moved


ORDERED.update(
    (
        store._BY_IDS.text,
        store._LOCK_BY_KEYS.text,
        returns._BY_IDS.text,
        returns._LOCK_BY_IDS.text,
        returns._BY_REFUNDS.text,
    )
)
