"""The life of an order as order, pay and delivery recorded it, merged (lcs)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import grpc
from grpc import aio

from shoudan.core.v1 import operations_service_pb2, operations_service_pb2_grpc
from shoudan_kit import log
from shoudan_kit.tracing.trace import trace_id_of
from shoudan_order import views
from shoudan_order.context import Context
from shoudan_order.refusals import FieldInvalid
from shoudan_order.store.views import OrderView, events_of, last_events_of

_log = log.get_logger("timeline")

EVENTS_MAX: Final = 10_000
PAGE_MAX: Final = 1_000
CALL_S: Final = 3.0
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_MICROS_DIGITS: Final = 17  # until the year 5138
_SHOWN_DIGITS: Final = 6


@dataclass(frozen=True, slots=True)
class Moment:
    """One event of an order's life, and the service that published it."""

    time: datetime
    service: str
    tag: str
    text: str
    subject: str
    trace_id: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page ends: at a moment, of whose events the page before has so many."""

    until: datetime | None = None
    shown: int = 0

    @classmethod
    def read(cls, token: str) -> Place:
        """The place that a token says. Refuses: FieldInvalid."""
        micros, _, shown = (token if "." in token else f"{token}.0").partition(".")
        well = token.isascii() and micros.isdecimal() and shown.isdecimal()
        if token and not (well and len(micros) <= _MICROS_DIGITS and len(shown) <= _SHOWN_DIGITS):
            raise FieldInvalid("page_token", "not given by the page before")
        return cls(_EPOCH + int(micros) * _MICROSECOND, int(shown)) if token else cls()

    def __str__(self) -> str:
        return "" if self.until is None else f"{(self.until - _EPOCH) // _MICROSECOND}.{self.shown}"

    def leaves(self, moments: list[Moment]) -> list[Moment]:
        """Those that the page before has not shown; `moments` are sorted."""
        if self.until is None:
            return moments
        there = [one for one in moments if one.time <= self.until]
        same = sum(one.time == self.until for one in there)
        return there[: len(there) - min(self.shown, same)]


async def of_order(context: Context, order_id: int, key: tuple[str, str]) -> list[Moment]:
    """Oldest first. A service that does not answer leaves its part out. Refuses: OrderNotFound."""
    view = await views.order(context, order_id, key)
    async with context.app.db.connect() as db:
        own = await events_of(db, [str(view.order_id)], EVENTS_MAX)
    return await _merged(context, view, own)


async def page(
    context: Context, order_id: int, key: tuple[str, str], size: int, token: str
) -> tuple[list[Moment], str]:
    """The newest moments before those of the page that gave the token, oldest first; the token of the next.

    Refuses: OrderNotFound, FieldInvalid.
    """
    size, place = min(size, PAGE_MAX), Place.read(token)
    view = await views.order(context, order_id, key)
    most = size + place.shown + 1
    async with context.app.db.connect() as db:
        own = await last_events_of(db, [str(view.order_id)], place.until, most)
    merged = await _merged(context, view, own)
    # Of before the oldest of ours that was read there may be more of ours between those of the others.
    if len(own) == most:
        merged = [one for one in merged if one.time >= own[0].create_time]
    there = place.leaves(merged)
    shown = there[-size:]
    if len(shown) == len(there):
        return shown, ""
    first = shown[0].time
    again = place.shown if first == place.until else 0
    return shown, str(Place(first, again + sum(one.time == first for one in shown)))


async def _merged(context: Context, view: OrderView, own: Sequence[Any]) -> list[Moment]:
    """What the services have of the order, in the order of time."""
    number = str(view.order_id)
    parts = [str(row["delivery_id"]) for row in view.deliveries]
    refunds = [str(row["refund_id"]) for row in view.refunds]
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
