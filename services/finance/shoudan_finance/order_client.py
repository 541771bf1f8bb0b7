"""Calls to the order service: what ended on a day, the order behind an exception, notices to channels."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from datetime import UTC, date
from enum import IntEnum
from typing import Any, Final

import grpc
from grpc import aio

from shoudan.core.v1 import core_pb2
from shoudan.order.v1 import audit_service_pb2 as pb
from shoudan.order.v1 import audit_service_pb2_grpc as rpc
from shoudan.order.v1 import channel_service_pb2 as channel_pb
from shoudan.order.v1 import channel_service_pb2_grpc as channel_rpc
from shoudan.order.v1 import order_service_pb2 as order_pb
from shoudan.order.v1 import order_service_pb2_grpc as order_rpc
from shoudan_finance.store.movements import day_number
from shoudan_finance.store.trades import Trade
from shoudan_kit.rpc.client import call_options
from shoudan_kit.rpc.refusal import refused_from_proto, refused_from_rpc

PAGE_ROWS: Final = 1000  # of one ListTrades (audit_service.proto)


class NoticeOutcome(IntEnum):
    """What became of a notice; the numbers are the contract's."""

    ACKNOWLEDGED = channel_pb.NOTICE_RESULT_ACKNOWLEDGED
    NOT_ACKNOWLEDGED = channel_pb.NOTICE_RESULT_NOT_ACKNOWLEDGED
    NO_ADDRESS = channel_pb.NOTICE_RESULT_NO_ADDRESS
    HAS_ADDRESS = channel_pb.NOTICE_RESULT_HAS_ADDRESS


@dataclass(frozen=True, slots=True)
class Behind:
    """The order behind an exception: how its channel knows it, and its notifies."""

    channel_no: str
    request_no: str
    notify_ids: Sequence[int]


class OrderClient:
    """The order service. Every call raises grpc.RpcError when it did not answer, or refused."""

    def __init__(self, channel: aio.Channel, *, call_s: float) -> None:
        self._stub, self._call_s = rpc.AuditServiceStub(channel), call_s
        self._channels = channel_rpc.ChannelServiceStub(channel)
        self._orders = order_rpc.OrderServiceStub(channel)

    async def trades(self, day: date, page_token: str) -> tuple[list[Trade], str]:
        """A page of what ended on a day that is over, and the token of the next one; empty after the last."""
        request = pb.ListTradesRequest(
            day=day.isoformat(), everyone=True, page_size=PAGE_ROWS, page_token=page_token
        )
        found = await self._stub.ListTrades(request, **call_options(self._call_s))
        day_no = day_number(day)
        return [_trade(day_no, one) for one in found.trades], found.next_page_token

    async def send_notice(
        self, channel_no: str, key: str, body: bytes
    ) -> tuple[NoticeOutcome, str]:
        """Send a channel a notice once: what became of it, and what was answered."""
        request = channel_pb.SendNoticeRequest(channel_no=channel_no, key=key, body=body)
        found = await self._channels.SendNotice(request, **call_options(self._call_s))
        return NoticeOutcome(found.result), found.answer

    async def behind(self, order_id: int) -> Behind:
        """One order. Raises Refused."""
        request = order_pb.GetOrderRequest(order_id=order_id)
        call = self._orders.GetOrder(request, **call_options(self._call_s))
        found = (await _refused(call)).order
        key, notifies = found.request, found.notifies
        return Behind(key.channel_no, key.request_no, [one.notify_id for one in notifies])

    async def life(self, order_id: int) -> Sequence[core_pb2.Moment]:
        """What happened to an order, oldest first. Raises Refused."""
        request = order_pb.GetLifecycleRequest(order_id=order_id)
        call = self._orders.GetLifecycle(request, **call_options(self._call_s))
        return (await _refused(call)).moments

    async def refund(self, one: Behind, refund_no: str, num: int, reason: str) -> int:
        """Give the money of so many units back at once, once whatever is repeated. Raises Refused."""
        new = order_pb.NewRefund(
            channel_no=one.channel_no,
            request_no=one.request_no,
            refund_no=refund_no,
            refund_num=num,
            type=order_pb.REFUND_TYPE_MANDATORY,
            reason=reason,
        )
        request = order_pb.CreateRefundsRequest(refunds=[new])
        found = await self._orders.CreateRefunds(request, **call_options(self._call_s))
        if found.results[0].HasField("refusal"):
            raise refused_from_proto(found.results[0].refusal)
        return found.results[0].refund.refund_id

    async def resend(self, notify_ids: Sequence[int], by: str) -> int:
        """Have notifies sent again that were given up; how many were."""
        request = pb.ResendNotifiesRequest(notify_ids=notify_ids, by=by)
        return (await self._stub.ResendNotifies(request, **call_options(self._call_s))).count


async def _refused(call: Awaitable[Any]) -> Any:
    """The answer of a call. Raises Refused for a documented "no"."""
    try:
        return await call
    except grpc.RpcError as error:
        raise refused_from_rpc(error) or error from None


def _trade(day_no: int, one: pb.Trade) -> Trade:
    return Trade(
        day_no=day_no,
        number=one.number,
        kind=one.kind,
        order_id=one.order_id,
        down_channel_no=one.down_channel_no,
        up_channel_no=one.up_channel_no,
        line_id=one.line_id,
        their_no=one.their_no,
        product_no=one.product_no,
        carrier_no=one.carrier_no,
        invoice_type=one.invoice_type,
        face_micros=one.face_micros,
        num=one.num,
        result=one.result,
        done_face_micros=one.done_face_micros,
        amount_micros=one.amount_micros,
        commission_micros=one.commission_micros,
        service_micros=one.service_micros,
        fee_micros=one.fee_micros,
        end_time=one.end_time.ToDatetime(UTC),
        reason=one.reason,
    )
