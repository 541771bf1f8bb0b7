"""RetentionService: holds, which keep orders in the database whatever their age."""

from __future__ import annotations

from datetime import UTC
from typing import Any

from shoudan.order.v1 import retention_service_pb2 as pb
from shoudan.order.v1 import retention_service_pb2_grpc as grpc_pb
from shoudan_kit.rpc.messages import RpcContext
from shoudan_order import holds
from shoudan_order.context import Context
from shoudan_order.refusals import FieldInvalid
from shoudan_order.rpc.messages import KEY_CHARS_MAX, text_problem
from shoudan_order.store.holds import Hold

PAGE_DEFAULT = 100
PAGE_MAX = 1_000
NAME_CHARS_MAX = 32
WORDS_MAX = 256


class RetentionServicer(grpc_pb.RetentionServiceServicer):
    """The calls of RetentionService."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def ListHolds(
        self, request: pb.ListHoldsRequest, context: RpcContext
    ) -> pb.ListHoldsResponse:
        """By name."""
        _texts(("page_token", request.page_token, 0, NAME_CHARS_MAX))
        size = min(request.page_size or PAGE_DEFAULT, PAGE_MAX)
        if size < 1:
            raise FieldInvalid("page_size", f"1 to {PAGE_MAX}")
        found = await holds.page(self._context, request.page_token, size)
        return pb.ListHoldsResponse(
            holds=[_message(one) for one in found],
            next_page_token=found[-1].hold_no if len(found) == size else "",
        )

    async def SetHold(self, request: pb.SetHoldRequest, context: RpcContext) -> pb.SetHoldResponse:
        """Exactly so."""
        await holds.set_hold(self._context, _hold(request))
        return pb.SetHoldResponse()

    async def LiftHold(
        self, request: pb.LiftHoldRequest, context: RpcContext
    ) -> pb.LiftHoldResponse:
        """No longer held."""
        _texts(
            ("hold_no", request.hold_no, 1, NAME_CHARS_MAX),
            ("by", request.by, 1, KEY_CHARS_MAX),
            ("reason", request.reason, 1, WORDS_MAX),
        )
        await holds.lift_hold(self._context, request.hold_no, request.by, request.reason)
        return pb.LiftHoldResponse()


def _texts(*texts: tuple[str, str, int, int]) -> None:
    if problem := text_problem(texts, ""):
        raise problem


def _hold(request: pb.SetHoldRequest) -> Hold:
    """What is asked for. Raises FieldInvalid."""
    one = request.hold
    _texts(
        ("hold_no", one.hold_no, 1, NAME_CHARS_MAX),
        ("channel_no", one.channel_no, 0, KEY_CHARS_MAX),
        ("reason", one.reason, 1, WORDS_MAX),
        ("by", request.by, 1, KEY_CHARS_MAX),
    )
    if one.order_id < 0:
        raise FieldInvalid("order_id", "a number of an order, or 0")
    start, end = (
        getattr(one, name).ToDatetime(UTC) if one.HasField(name) else None
        for name in ("start_time", "end_time")
    )
    if not (one.order_id or one.channel_no or start or end):
        raise FieldInvalid("hold", "an order, a channel or a period")
    if start is not None and end is not None and start >= end:
        raise FieldInvalid("end_time", "after start_time")
    return Hold(one.hold_no, one.order_id, one.channel_no, start, end, one.reason, request.by)


def _message(one: Hold) -> pb.OrderHold:
    moments: dict[str, Any] = {
        name: moment
        for name, moment in (("start_time", one.start_time), ("end_time", one.end_time))
        if moment is not None
    }
    return pb.OrderHold(
        hold_no=one.hold_no,
        order_id=one.order_id,
        channel_no=one.down_channel_no,
        reason=one.reason,
        made_by=one.made_by,
        **moments,
    )
