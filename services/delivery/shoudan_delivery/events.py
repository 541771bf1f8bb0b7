"""What the delivery service publishes: how deliveries end, what is unknown, and channels switched."""

from __future__ import annotations

from typing import cast

from shoudan.delivery.v1 import delivery_service_pb2 as pb
from shoudan.delivery.v1 import events_pb2
from shoudan_delivery.states import SupplierState
from shoudan_delivery.store.rows import Delivery, EndedDelivery, Outcome, Supplier, Verdict
from shoudan_kit.tasks.unit_of_work import UnitOfWork

SUBJECT = "shoudan.events.delivery"


def ended(work: UnitOfWork, ended: EndedDelivery, outcome: Outcome) -> None:
    """A delivery has ended."""
    succeeded = outcome.verdict is Verdict.SUCCEEDED
    status = pb.STATUS_SUCCEEDED if succeeded else pb.STATUS_FAILED
    took = "" if ended.took_s is None else f" {ended.took_s:.3f} s"
    work.events.add(
        f"{SUBJECT}.delivery.{'succeeded' if succeeded else 'failed'}",
        key=ended.order_id,
        body=_changed(ended, status, outcome),
        tag="上游结果",
        text=f"{ended.channel_no} {outcome.code} {outcome.desc}{took}"[:256],
    )


def unknown(work: UnitOfWork, ended: EndedDelivery, outcome: Outcome) -> None:
    """A call gave no certain answer."""
    work.events.add(
        f"{SUBJECT}.delivery.unknown",
        key=ended.order_id,
        body=_changed(ended, pb.STATUS_SENDING, outcome),
        tag="上游未知",
        text=f"{ended.channel_no} {outcome.code} {outcome.desc}"[:256],
    )


def conflict(work: UnitOfWork, there: Delivery, outcome: Outcome) -> None:
    """A later result contradicts the stored one, which stays."""
    work.events.add(
        f"{SUBJECT}.delivery.conflict",
        key=there.order_id,
        body=_changed(there, cast("pb.Status.ValueType", int(there.status)), outcome),
        tag="上游冲突",
        text=f"{there.channel_no} {outcome.code} after {there.status.name.lower()}"[:256],
    )


def switched(work: UnitOfWork, supplier: Supplier, state: SupplierState, reason: str) -> None:
    """A channel is used otherwise than before."""
    work.events.add(
        f"{SUBJECT}.supplier.{state.name.lower()}",
        key=f"{supplier.channel_no}/{supplier.service_class}",
        body=events_pb2.SupplierStateChanged(
            channel_no=supplier.channel_no,
            service_class=supplier.service_class,
            state=cast("pb.SupplierState.ValueType", int(state)),
            reason=reason,
        ),
        text=reason,
    )


def _changed(
    ended: EndedDelivery | Delivery, status: pb.Status.ValueType, outcome: Outcome
) -> events_pb2.DeliveryChanged:
    return events_pb2.DeliveryChanged(
        key=pb.DeliveryKey(
            coop_id=ended.coop_id,
            coop_order_id=ended.coop_order_id,
            service_class=ended.service_class,
        ),
        order_id=ended.order_id,
        channel_no=ended.channel_no,
        status=status,
        result_source=cast("pb.ResultSource.ValueType", int(outcome.source)),
        result_code=outcome.code,
    )
