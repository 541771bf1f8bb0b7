"""What the statements on the deliveries of orders, their notifies and their audits mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from shoudan_kit.db.columns import names_of
from shoudan_order.states import (
    DELIVERY,
    MESSAGE,
    UP_PAYMENT,
    AuditStatus,
    AuditType,
    DeliveryEvent,
    DeliveryStatus,
    NotifyEvent,
    NotifyStatus,
    UpPaymentEvent,
    UpPaymentStatus,
    YesNo,
)
from shoudan_order.store import audits, endings, notifies
from shoudan_order.store import deliveries as store
from shoudan_order.store.rows import Delivery, NotifyRow
from shoudan_order.tables import AUDIT
from shoudan_order.tables import DELIVERY as DELIVERY_TABLE
from tests.simulation.statements.defaults import blank, born, moments
from tests.simulation.store import DECIDED, ORDERED, Table, Values, View, means, row_of

DELIVERIES: Final = "oms_order_delivery"
AUDITS: Final = "oms_audit_info"
_ORDERS: Final = "oms_order_info"
_NOTIFIES: Final = "oms_notify_info"
_REFUNDS: Final = "oms_refund_info"

_OWN: Final = names_of(Delivery)[:-1]
_OF_ORDER: Final = (
    "down_channel_no", "down_product_id", "line_id", "carrier_no", "province_no", "city_no",
)  # fmt: skip
_SEEN: Final = (*_OWN, "delivery_status", "up_payment_status")
_END: Final = names_of(store.Ended)[1:]
_EMPTY, _MOMENTS = blank(DELIVERY_TABLE), moments(DELIVERY_TABLE)
_EMPTY_AUDIT, _AUDIT_MOMENTS = blank(AUDIT), moments(AUDIT)

_ROW: Final = row_of(*_SEEN)
_ID: Final = row_of("delivery_id")
_PAIR: Final = row_of("order_id", "up_channel_no")
_NOTIFY: Final = row_of(*names_of(NotifyRow))
_STEP: Final = row_of("id", "notified")
_AUDIT_ID: Final = row_of("audit_id")
_ORDER_ID: Final = row_of("order_id")


def tables() -> list[Table]:
    """Those of this module."""
    return [
        Table(DELIVERIES, ("order_id",)),
        Table("oms_notify_attempt"),
        Table(AUDITS, ("order_id",)),
        Table("audit_waiting"),  # no table: one waiting audit of a thing is enough
    ]


DECIDED.update((DELIVERIES, AUDITS, "oms_notify_attempt"))


def insert_deliveries(view: View, b: Mapping[str, Any], only: set[int] | None = None) -> None:
    """Deliveries about to be sent."""
    for at, delivery_id in enumerate(b["delivery_id"]):
        if only is not None and b["order_id"][at] not in only:
            continue
        row = born(view, _EMPTY, _MOMENTS)
        row.update((name, b[name][at]) for name in (*_OWN, *_OF_ORDER))
        row |= {"delivery_status": DeliveryStatus.SENDING, "start_time": view.moment}
        view.lock(DELIVERIES, delivery_id)
        view.write(DELIVERIES, delivery_id, row)


@means(store._INSERT)
def _insert(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    insert_deliveries(view, b)
    return []


def _seen(row: Values) -> Any:
    return _ROW([row[name] for name in _SEEN])


@means(store._BY_IDS)
def _by_ids(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    found = (view.get(DELIVERIES, i) for i in sorted(set(b["ids"])))
    return [_seen(row) for row in found if row is not None]


@means(store._BY_ORDERS)
def _by_orders(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    keys = sorted(key for i in set(b["ids"]) for key in view.found(DELIVERIES, "order_id", i))
    found = (view.get(DELIVERIES, key) for key in keys)
    return [_seen(row) for row in found if row is not None]


ORDERED.update((store._BY_IDS.text, store._BY_ORDERS.text))


@means(store._START)
def _start(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    moved: list[Any] = []
    for key in dict.fromkeys(b["ids"]):
        row = view.locked(DELIVERIES, key)
        if row is not None and DELIVERY.allows(row["delivery_status"], DeliveryEvent.STARTED):
            view.change(
                DELIVERIES, key, row, delivery_status=DeliveryStatus.SENDING, start_time=view.moment
            )
            moved.append(_ID((key,)))
    return moved


@means(store._END)
def _end(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    moved: list[Any] = []
    for at, key in enumerate(b["delivery_id"]):
        row = view.locked(DELIVERIES, key)
        if (
            row is None
            or row["delivery_status"] not in DELIVERY.sources(DeliveryEvent.FAILED)
            or row["up_payment_status"] not in UP_PAYMENT.sources(UpPaymentEvent.DELIVERED)
        ):
            continue
        view.change(
            DELIVERIES, key, row, **{name: b[name][at] for name in _END}, end_time=view.moment
        )
        moved.append(_ID((key,)))
    return moved


@means(store._EXCLUDED)
def _excluded(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    since = view.moment - timedelta(seconds=b["within_s"])
    found: list[Any] = []
    for order_id in dict.fromkeys(b["ids"]):
        for key in view.found(DELIVERIES, "order_id", order_id):
            row = view.get(DELIVERIES, key)
            assert row is not None, "it was found"
            failed = row["delivery_status"] == DeliveryStatus.FAILED
            if row["conflict"] or (failed and row["end_time"] > since):
                found.append(_PAIR((order_id, row["up_channel_no"])))
    return found


@means(store._MARK_CONFLICTS)
def _mark_conflicts(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    marked: list[Any] = []
    for key in dict.fromkeys(b["ids"]):
        row = view.locked(DELIVERIES, key)
        if row is not None and not row["conflict"]:
            view.change(DELIVERIES, key, row, conflict=True)
            marked.append(_ID((key,)))
    return marked


# ---------------------------------------------------------------- notifies
@means(notifies._DUE)
def _due(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    found: list[Any] = []
    for order_id, refund_id in zip(b["order_ids"], b["refund_ids"], strict=True):
        for key in view.found(_NOTIFIES, "order_id", order_id):
            row, order = view.get(_NOTIFIES, key), view.get(_ORDERS, order_id)
            assert row is not None, "it was found"
            assert order is not None, "it has one"
            if row["refund_id"] == refund_id:
                found.append(_notify(view, row, order))
    return found


def _notify(view: View, row: Values, order: Values) -> Any:
    refund = view.get(_REFUNDS, row["refund_id"]) or {}
    values = {
        **row,
        "request_no": order["request_no"],
        "order_status": order["order_status"],
        "down_refund_no": refund.get("down_refund_no", ""),
        "refund_num": refund.get("refund_num", 0),
        "refund_status": refund.get("refund_status", 0),
        "fail_code": order["fail_code"],
        "fail_msg": order["fail_msg"],
        "line_id": order["line_id"],
        "end_time": order["end_time"],
    }
    return _NOTIFY([values[name] for name in _NOTIFY.names])


@means(endings._RECORD)
def _record(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    for order_id in sorted(set(b["order_ids"])):
        view.locked(_ORDERS, order_id)
    there = any(view.get(_ORDERS, i) is not None for i in b["order_ids"])
    recorded = [at for at in range(len(b["notify_id"])) if there and _attempted(view, b, at)]
    paid = [key for key in dict.fromkeys(b["paid_ids"]) if there and _bought(view, key)]
    faces: dict[int, int] = {}
    notified: set[int] = set()
    for at in recorded:
        row = view.get(_NOTIFIES, b["notify_id"][at])
        assert row is not None, "it was recorded"
        if not b["acknowledged"][at]:
            continue
        if row["refund_id"]:
            _refund_notified(view, row["refund_id"])
        else:
            notified.add(row["order_id"])
    for key in paid:
        row = view.get(DELIVERIES, key)
        assert row is not None, "it was paid"
        faces[row["order_id"]] = faces.get(row["order_id"], 0) + row["total_face_micros"]
    for order_id in dict.fromkeys([*notified, *faces]):
        _order_after(view, order_id, faces.get(order_id, 0), order_id in notified)
    return [
        *(_STEP((b["notify_id"][at], True)) for at in recorded),
        *(_STEP((key, False)) for key in paid),
    ]


def _attempted(view: View, b: Mapping[str, Any], at: int) -> bool:
    key = b["notify_id"][at]
    row = view.locked(_NOTIFIES, key)
    acknowledged, skipped = b["acknowledged"][at], b["skipped"][at]
    if (
        row is None
        or row["notify_status"] not in MESSAGE.sources(NotifyEvent.ACKNOWLEDGED)
        or row["given_up"]
        or view.written(_NOTIFIES, key)
        or not (acknowledged or row["notify_count"] == b["was_count"][at])
    ):
        return False
    view.change(
        _NOTIFIES,
        key,
        row,
        notify_status=NotifyStatus.DONE if acknowledged else NotifyStatus.WAITING,
        notify_count=row["notify_count"] + (0 if skipped else 1),
        notify_msg=b["answer"][at],
        **{name: b[name][at] for name in ("http_status", "owed_status", "owed_code", "owed_msg")},
        start_time=row["start_time"] or view.moment,
        end_time=view.moment if acknowledged else None,
        given_up=not acknowledged and (skipped or row["notify_count"] + 1 >= row["max_count"]),
    )
    kept = {name: b[name][at] for name in ("attempt_id", "notify_id", "http_status", "answer")}
    kept |= {"took_ms": b["took_ms"][at], "create_time": view.moment}
    view.write("oms_notify_attempt", b["attempt_id"][at], kept)
    return True


def _bought(view: View, key: int) -> bool:
    row = view.locked(DELIVERIES, key)
    if (
        row is None
        or row["delivery_status"] != DeliveryStatus.SUCCEEDED
        or row["up_payment_status"] not in UP_PAYMENT.sources(UpPaymentEvent.PAID)
    ):
        return False
    view.change(
        DELIVERIES, key, row, up_payment_status=UpPaymentStatus.PAID, money_time=view.moment
    )
    return True


def _refund_notified(view: View, refund_id: int) -> None:
    row = view.locked(_REFUNDS, refund_id)
    if row is not None and row["refund_notify_status"] == NotifyStatus.RUNNING:
        modified = max(row["modify_time"], view.moment)
        view.change(
            _REFUNDS, refund_id, row, modify_time=modified, refund_notify_status=NotifyStatus.DONE
        )


def _order_after(view: View, order_id: int, face: int, notified: bool) -> None:
    row = view.get(_ORDERS, order_id)
    assert row is not None, "it is locked"
    running = row["notify_status"] == NotifyStatus.RUNNING
    if not face and not running:
        return
    paid_face = row["up_paid_face_micros"] + face
    view.change(
        _ORDERS,
        order_id,
        row,
        modify_time=max(row["modify_time"], view.moment),
        notify_status=NotifyStatus.DONE if notified and running else row["notify_status"],
        up_paid_face_micros=paid_face,
        complete_up_pay=YesNo.YES
        if paid_face >= row["total_face_micros"]
        else row["complete_up_pay"],
    )


# ---------------------------------------------------------------- audits
def waits_as(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """What only one audit waits about at a time."""
    return tuple(row[name] for name in ("order_id", "refund_id", "delivery_id", "change_type"))


@means(audits._INSERT)
def _insert_audits(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    made: list[Any] = []
    for at, audit_id in enumerate(b["audit_id"]):
        row = born(view, _EMPTY_AUDIT, _AUDIT_MOMENTS)
        row.update((name, b[name][at]) for name in names_of(audits.NewAudit))
        waiting = waits_as(row)
        view.lock("audit_waiting", waiting)
        if view.get("audit_waiting", waiting) is not None or view.written("audit_waiting", waiting):
            continue
        view.lock(AUDITS, audit_id)
        view.write("audit_waiting", waiting, {"audit_id": audit_id})
        view.write(AUDITS, audit_id, row)
        made.append(_AUDIT_ID((audit_id,)))
    return made


@means(audits._CLOSE)
def _close(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    closed: dict[int, int] = {}
    for order_id, number, status in zip(b["order_ids"], b["numbers"], b["statuses"], strict=True):
        for key in view.found(AUDITS, "order_id", order_id):
            row = view.get(AUDITS, key)
            assert row is not None, "it was found"
            if row["delivery_id"] != number or row["change_type"] != b["kind"]:
                continue
            row = view.locked(AUDITS, key)
            if row is None or row["audit_status"] not in b["sources"] or key in closed:
                continue
            view.change(
                AUDITS,
                key,
                row,
                audit_status=status,
                audit_by=b["system"],
                audit_msg=(row["audit_msg"] + "; known since")[:256],
                audit_time=view.moment,
            )
            view.write("audit_waiting", waits_as(row), None)
            closed[key] = order_id
    return [
        _ORDER_ID((order_id,))
        for order_id in dict.fromkeys(closed.values())
        if not any(
            key not in closed and parks(view, key)
            for key in view.found(AUDITS, "order_id", order_id)
        )
    ]


def parks(view: View, key: int) -> bool:
    """Whether an audit keeps its order parked."""
    row = view.get(AUDITS, key)
    if row is None or row["audit_status"] != AuditStatus.WAITING:
        return False
    if row["change_type"] != AuditType.DELIVERY:
        return True
    part = view.get(DELIVERIES, row["delivery_id"])
    return part is None or part["delivery_status"] != DeliveryStatus.SUCCEEDED
