"""The life of an order as order, pay and delivery recorded it, merged (lcs)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import grpc
from grpc import aio

from shoudan.core.v1 import operations_service_pb2, operations_service_pb2_grpc
from shoudan_kit import log
from shoudan_kit.tracing.trace import trace_id_of
from shoudan_order import views
from shoudan_order.context import Context
from shoudan_order.store.views import events_of

_log = log.get_logger("timeline")

EVENTS_MAX: Final = 10_000
CALL_S: Final = 3.0


@dataclass(frozen=True, slots=True)
class Moment:
    """One event of an order's life, and the service that published it."""

    time: datetime
    service: str
    tag: str
    text: str
    subject: str
    trace_id: str = ""


async def of_order(context: Context, order_id: int, key: tuple[str, str]) -> list[Moment]:
    """Oldest first. A service that does not answer leaves its part out. Refuses: OrderNotFound."""
    view = await views.order(context, order_id, key)
    number = str(view.order_id)
    parts = [str(row["delivery_id"]) for row in view.deliveries]
    refunds = [str(row["refund_id"]) for row in view.refunds]
    async with context.app.db.connect() as db:
        own = await events_of(db, [number], EVENTS_MAX)
    moments = [
        Moment(e.create_time, "order", e.tag, e.text, e.subject, trace_id_of(e.trace)) for e in own
    ]
    keys = [number, f"r{number}", *parts, *refunds]
    for service in ("pay", "delivery"):
        moments += await _history(service, context.app.channel(service), keys)
    return sorted(moments, key=lambda moment: moment.time)


async def _history(service: str, channel: aio.Channel, keys: list[str]) -> list[Moment]:
    stub = operations_service_pb2_grpc.OperationsServiceStub(channel)
    request = operations_service_pb2.GetHistoryRequest(keys=keys[:1_000])
    try:
        answer = await stub.GetHistory(request, timeout=CALL_S)
    except grpc.RpcError as error:
        _log.warning("history_missing", service=service, code=str(error.code()))
        return []
    return [
        Moment(e.time.ToDatetime(UTC), service, e.tag, e.text, e.subject, trace_id_of(e.trace))
        for e in answer.events
    ]
