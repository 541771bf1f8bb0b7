"""ChannelService: a channel's accounts, lists and notifies, and the cancelling of its orders."""

from __future__ import annotations

import re
from datetime import UTC, timedelta
from typing import Any, Final, cast

import orjson
from msgspec.structs import replace

from shoudan.order.v1 import channel_service_pb2 as pb
from shoudan.order.v1 import channel_service_pb2_grpc as grpc_pb
from shoudan.order.v1 import order_service_pb2 as order_pb
from shoudan_kit.ids import id_of
from shoudan_kit.rpc.messages import RpcContext
from shoudan_kit.rpc.shielded import shielded
from shoudan_order import cancels, channel_notices, self_service
from shoudan_order.channel_notices import Notice
from shoudan_order.context import Context
from shoudan_order.refusals import FieldInvalid
from shoudan_order.rpc import refunds
from shoudan_order.rpc.messages import KEY_CHARS_MAX, call_nonce, filled, text_problem
from shoudan_order.rpc.order import state
from shoudan_order.self_service import Notify, Period
from shoudan_order.store.channel_lists import Values
from shoudan_order.store.nonces import CallNonce

PAGE_DEFAULT: Final = 100
PAGE_MAX: Final = 500
NOTIFIES_MAX: Final = 100
PERIOD_MAX: Final = timedelta(days=31)
NOTICE_KEY: Final = re.compile(r"[A-Za-z0-9_-]{1,96}", re.ASCII)
NOTICE_BYTES_MAX: Final = 16_384


class ChannelServicer(grpc_pb.ChannelServiceServicer):
    """The calls of ChannelService."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def GetChannelAccount(
        self, request: pb.GetChannelAccountRequest, context: RpcContext
    ) -> pb.GetChannelAccountResponse:
        """As the ledger has it."""
        _texts(("channel_no", request.channel_no, 1, KEY_CHARS_MAX))
        found = await self_service.accounts(
            self._context, request.channel_no, spending=request.spending
        )
        return filled(pb.GetChannelAccountResponse, found)

    async def ListChannelOrders(
        self, request: pb.ListChannelOrdersRequest, context: RpcContext
    ) -> pb.ListChannelOrdersResponse:
        """Of a period, or one."""
        if request.request_no:
            found, token = await self_service.order(self._context, _key(request)), ""
        else:
            period = replace(
                _period(request),
                newest_first=request.newest_first,
                statuses=frozenset(map(int, request.statuses)),
            )
            found, token = await self_service.orders(self._context, request.channel_no, period)
        return pb.ListChannelOrdersResponse(
            orders=[_order(row) for row in found], next_page_token=token
        )

    async def ListChannelRefunds(
        self, request: pb.ListChannelRefundsRequest, context: RpcContext
    ) -> pb.ListChannelRefundsResponse:
        """Oldest first, of a period or of an order."""
        if request.request_no:
            found, token = await self_service.refunds_of(self._context, _key(request)), ""
        else:
            period = _period(request)
            found, token = await self_service.refunds(self._context, request.channel_no, period)
        return pb.ListChannelRefundsResponse(
            refunds=[refunds.own_refund(row) for row in found], next_page_token=token
        )

    async def CancelOrder(
        self, request: pb.CancelOrderRequest, context: RpcContext
    ) -> pb.CancelOrderResponse:
        """Who was first, and how the order stands after it."""
        key, nonce = _key(request), _nonce(request)
        done = await shielded(cancels.cancel(self._context, key, nonce))
        return pb.CancelOrderResponse(
            order=state(done.order),
            result=cast("pb.CancelResult.ValueType", int(done.result)),
            refund_status=done.refund_status,
            existed=done.existed,
        )

    async def ListChannelNotifies(
        self, request: pb.ListChannelNotifiesRequest, context: RpcContext
    ) -> pb.ListChannelNotifiesResponse:
        """Of one order, or those given up."""
        key = _key(request, request_chars_min=0)
        most = _size(request.page_size, NOTIFIES_MAX)
        after = _after(request.page_token)
        found, token = await self_service.notifies(self._context, key, after, most)
        return pb.ListChannelNotifiesResponse(
            notifies=[_notify(one) for one in found], next_page_token=token
        )

    async def ResendChannelNotify(
        self, request: pb.ResendChannelNotifyRequest, context: RpcContext
    ) -> pb.ResendChannelNotifyResponse:
        """Three attempts more."""
        key, nonce = _key(request), _nonce(request)
        _texts(("refund_no", request.refund_no, 0, KEY_CHARS_MAX))
        sending = self_service.resend(self._context, key, request.refund_no, nonce)
        found, resent = await shielded(sending)
        return pb.ResendChannelNotifyResponse(
            notify=_notify(found) if found is not None else None, resent=resent
        )

    async def SendNotice(
        self, request: pb.SendNoticeRequest, context: RpcContext
    ) -> pb.SendNoticeResponse:
        """Once, to the channel's address."""
        result, answer = await channel_notices.send(self._context, _notice(request))
        return pb.SendNoticeResponse(
            result=cast("pb.NoticeResult.ValueType", int(result)), answer=answer
        )


# ---------------------------------------------------------------- in
def _texts(*texts: tuple[str, str, int, int]) -> None:
    if problem := text_problem(texts, ""):
        raise problem


def _notice(request: pb.SendNoticeRequest) -> Notice:
    _texts(("channel_no", request.channel_no, 1, KEY_CHARS_MAX))
    if NOTICE_KEY.fullmatch(request.key) is None:
        raise FieldInvalid("key", "1 to 96 letters, digits, _ and -")
    if len(request.body) > NOTICE_BYTES_MAX:
        raise FieldInvalid("body", f"at most {NOTICE_BYTES_MAX} bytes")
    if request.body and not _is_object(request.body):
        raise FieldInvalid("body", "a JSON object")
    return Notice(request.channel_no, request.key, request.body)


def _is_object(body: bytes) -> bool:
    try:
        return isinstance(orjson.loads(body), dict)
    except orjson.JSONDecodeError:
        return False


def _key(request: Any, *, request_chars_min: int = 1) -> tuple[str, str]:
    _texts(
        ("channel_no", request.channel_no, 1, KEY_CHARS_MAX),
        ("request_no", request.request_no, request_chars_min, KEY_CHARS_MAX),
    )
    return request.channel_no, request.request_no


def _nonce(request: Any) -> CallNonce | None:
    nonce = call_nonce(request.channel_no, request.nonce)
    if isinstance(nonce, FieldInvalid):
        raise nonce
    return nonce


def _period(request: Any) -> Period:
    _texts(("channel_no", request.channel_no, 1, KEY_CHARS_MAX))
    for name in ("start_time", "end_time"):
        if not request.HasField(name):
            raise FieldInvalid(name, "must be said")
    start, end = request.start_time.ToDatetime(UTC), request.end_time.ToDatetime(UTC)
    if not timedelta() < end - start <= PERIOD_MAX:
        raise FieldInvalid("end_time", f"after start_time, at most {PERIOD_MAX.days} days")
    return Period(start, end, _after(request.page_token), _size(request.page_size, PAGE_MAX))


def _size(asked: int, most: int) -> int:
    if asked < 0:
        raise FieldInvalid("page_size", f"0 to {most}")
    return min(asked or PAGE_DEFAULT, most)


def _after(token: str) -> int:
    if not token:
        return 0
    after = id_of(token)
    if after is None:
        raise FieldInvalid("page_token", "not given by the page before")
    return after


# ---------------------------------------------------------------- out
def _order(row: Values) -> pb.ChannelOrder:
    status = cast("order_pb.OrderStatus.ValueType", int(row["order_status"]))
    stands = filled(order_pb.OrderState, row, channel_no=row["down_channel_no"], status=status)
    return filled(pb.ChannelOrder, row, state=stands)


def _notify(one: Notify) -> pb.ChannelNotify:
    attempts = [filled(pb.ChannelNotify.Attempt, row) for row in one.attempts]
    return filled(pb.ChannelNotify, one.values, attempts=attempts)
