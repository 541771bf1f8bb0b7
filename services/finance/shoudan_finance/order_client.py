"""Calls to the order service: what ended on a day, of all channels and suppliers."""

from __future__ import annotations

from datetime import UTC, date
from enum import IntEnum
from typing import Final

from grpc import aio

from shoudan.order.v1 import audit_service_pb2 as pb
from shoudan.order.v1 import audit_service_pb2_grpc as rpc
from shoudan.order.v1 import channel_service_pb2 as channel_pb
from shoudan.order.v1 import channel_service_pb2_grpc as channel_rpc
from shoudan_finance.store.movements import day_number
from shoudan_finance.store.trades import Trade
from shoudan_kit.rpc.client import call_options

PAGE_ROWS: Final = 1000  # of one ListTrades (audit_service.proto)


class NoticeOutcome(IntEnum):
    """What became of a notice; the numbers are the contract's."""

    ACKNOWLEDGED = channel_pb.NOTICE_RESULT_ACKNOWLEDGED
    NOT_ACKNOWLEDGED = channel_pb.NOTICE_RESULT_NOT_ACKNOWLEDGED
    NO_ADDRESS = channel_pb.NOTICE_RESULT_NO_ADDRESS
    HAS_ADDRESS = channel_pb.NOTICE_RESULT_HAS_ADDRESS


class OrderClient:
    """The order service. Every call raises grpc.RpcError when it did not answer, or refused."""

    def __init__(self, channel: aio.Channel, *, call_s: float) -> None:
        self._stub, self._call_s = rpc.AuditServiceStub(channel), call_s
        self._channels = channel_rpc.ChannelServiceStub(channel)

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
    )
