"""What the statements of a person's decisions mean: audits, pauses, what is recorded of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from shoudan_kit.db.columns import names_of
from shoudan_order.states import (
    DELIVERY,
    ENDED,
    UP_PAYMENT,
    AuditStatus,
    DeliveryEvent,
    DeliveryStatus,
    RefundStatus,
    UpPaymentEvent,
    UpPaymentStatus,
)
from shoudan_order.store import audits, catalogue, deliveries, notifies, pauses, refunds
from tests.simulation.statements.deliveries import AUDITS, DELIVERIES, parks, waits_as
from tests.simulation.statements.orders import NOTIFIES, ORDER_ID, ORDERS, change
from tests.simulation.statements.refunds import REFUNDS, change_refund
from tests.simulation.store import Table, Values, View, means, row_of

OPERATIONS: Final = "oms_operation"
_AUDIT: Final = row_of(*names_of(audits.Audit))
_DELIVERY_ID: Final = row_of("delivery_id")
_REFUND_ID: Final = row_of("refund_id")
_ABOUT: Final = row_of("order_id", "refund_id")
_RECORDED: Final = ("operation_id", "operator", "operation", "subject", "version")


def tables() -> list[Table]:
    """Those of this module."""
    return [Table(OPERATIONS)]


def _seen(row: Values) -> Any:
    return _AUDIT([row[name] for name in _AUDIT.names])


@means(audits._LOCK)
def _lock(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    row = view.locked(AUDITS, b["id"])
    return [] if row is None else [_seen(row)]


@means(audits._DECIDE)
def _decide(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    row = view.locked(AUDITS, b["id"])
    if row is None:
        return []
    waits = row["audit_status"] == AuditStatus.WAITING
    if not waits and (row["audit_status"], row["audit_by"]) != (b["status"], b["system"]):
        return []
    if waits:
        view.write("audit_waiting", waits_as(row), None)
    now = view.change(
        AUDITS,
        b["id"],
        row,
        audit_status=b["status"],
        audit_by=b["by"],
        audit_msg=b["reason"],
        audit_time=view.moment,
    )
    return [_seen(now)]


@means(audits._UNPARK)
def _unpark(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    row = view.locked(ORDERS, b["order_id"])
    if row is None or any(parks(view, i) for i in view.found(AUDITS, "order_id", b["order_id"])):
        return []
    change(view, row, parked_reason="")
    return [ORDER_ID((b["order_id"],))]


@means(deliveries._CONFIRM)
def _confirm(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    row = view.locked(DELIVERIES, b["id"])
    if (
        row is None
        or row["delivery_status"] not in DELIVERY.sources(DeliveryEvent.CONFIRMED)
        or row["up_payment_status"] not in UP_PAYMENT.sources(UpPaymentEvent.CONFIRMED)
    ):
        return []
    view.change(
        DELIVERIES,
        b["id"],
        row,
        return_msg=b["reason"],
        end_time=view.moment,
        delivery_status=DELIVERY.next(DeliveryStatus.FAILED, DeliveryEvent.CONFIRMED),
        up_payment_status=UP_PAYMENT.next(UpPaymentStatus.NOT_NEEDED, UpPaymentEvent.CONFIRMED),
    )
    return [_DELIVERY_ID((b["id"],))]


@means(pauses._PAUSE)
def _pause(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    changed: list[Any] = []
    for order_id in dict.fromkeys(b["ids"]):
        row = view.locked(ORDERS, order_id)
        open_ = row is not None and row["order_status"] not in ENDED
        if row is not None and open_ and row["delivery_pause"] != b["pause"]:
            change(view, row, delivery_pause=b["pause"])
            changed.append(ORDER_ID((order_id,)))
    return changed


@means(notifies._RESEND)
def _resend(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    sent: list[Any] = []
    for key in dict.fromkeys(b["ids"]):
        row = view.locked(NOTIFIES, key)
        if row is not None and row["given_up"]:
            most = max(row["max_count"], row["notify_count"] + 3)
            view.change(NOTIFIES, key, row, given_up=False, max_count=most)
            sent.append(_ABOUT((row["order_id"], row["refund_id"])))
    return sent


@means(refunds._PROLONG)
def _prolong(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    row = view.locked(REFUNDS, b["id"])
    if row is None or row["refund_status"] != RefundStatus.RETURNING:
        return []
    overtime = max(row["return_overtime"], view.moment + timedelta(seconds=b["more_s"]))
    change_refund(view, row, return_overtime=overtime)
    return [_REFUND_ID((b["id"],))]


@means(catalogue._RECORD)
def _record(view: View, b: Mapping[str, Any]) -> Sequence[Any]:
    for at, key in enumerate(b["operation_id"]):
        view.write(OPERATIONS, key, {name: b[name][at] for name in _RECORDED})
    return []
