"""A channel's calls about its own business, in the style of our own protocol and in its words.

Source: docs/reference/http/self-service.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, timedelta
from typing import Any, Final, TypeVar

from google.protobuf.timestamp_pb2 import Timestamp

from shoudan.order.v1 import channel_service_pb2 as pb
from shoudan.order.v1 import endpoint_service_pb2 as endpoint_pb
from shoudan.order.v1 import order_service_pb2 as order_pb
from shoudan.order.v1 import request_log_service_pb2 as log_pb
from shoudan_gateway.fields import Choice, Moment, Text, Whole
from shoudan_gateway.partners import oms
from shoudan_gateway.protocol import (
    Endpoint,
    Field,
    Inbound,
    Malformed,
    Outbound,
    ParameterError,
    Partner,
    Unary,
    flat,
    values_of,
)
from shoudan_kit.clock import beijing
from shoudan_kit.money import micros_to_yuan

L = TypeVar("L", pb.ListChannelOrdersRequest, pb.ListChannelRefundsRequest)

REQUEST_LOG: Final = "shoudan.order.v1.RequestLogService"
ENDPOINTS: Final = "shoudan.order.v1.EndpointService"
SERVICE: Final = "shoudan.order.v1.ChannelService"
SOURCE: Final = "docs/reference/http/self-service.md"
PERIOD_MAX: Final = timedelta(days=31)
# refund_status of an order: where the money of a cancelled order is.
MONEY_BACK: Final = {0: "DONE", 20: "UNDERWAY", 30: "UNDERWAY", 99: "NONE"}
NOTIFY_STATUS: Final = {0: "ACKNOWLEDGED", 100: "QUERIED"}

ENDPOINT_STATE: Final = {0: "ACTIVE", 10: "PAUSED", 90: "OFF"}

START: Final = Field("start_time", "", "开始时间（含），北京时间 yyyy-MM-dd HH:mm:ss", Moment())
END: Final = Field("end_time", "", "结束时间（不含），与开始时间相差不超过31天", Moment())
PAGE_SIZE: Final = Field(
    "page_size", "page_size", "每页数量，1-500，默认100", Whole(1, 500), required=False
)
PAGE: Final = Field(
    "page", "page_token", "上一页返回的next_page，首页不传", Text(32), required=False
)
LIST: Final = (oms.CHANNEL_NO, START, END, PAGE_SIZE, PAGE)
ORDER: Final = (oms.CHANNEL_NO, oms.REQUEST_NO)
NOTIFIES: Final = (
    oms.CHANNEL_NO,
    oms.REQUEST_NO.optional("；不传返回已停止重发的通知"),
    Field("page_size", "page_size", "每页数量，1-100，默认100", Whole(1, 100), required=False),
    PAGE,
)
REQUESTS: Final = (
    oms.CHANNEL_NO,
    START,
    END,
    Field(
        "request_id", "", "请求编号（响应头X-Request-Id）；不传返回全部", Text(64), required=False
    ),
    Field("failed", "", "1：只返回出错的请求", Choice((0, 1)), required=False),
    PAGE_SIZE,
    PAGE,
)
ENDPOINT: Final = (
    oms.CHANNEL_NO,
    Field("endpoint_no", "endpoint_no", "通知端点编号", Text(32)),
)
SENT: Final = (
    *ENDPOINT,
    Field("given_up", "given_up", "1：只返回未送达的", Choice((0, 1)), required=False),
    Field("page_size", "page_size", "每页数量，1-100，默认100", Whole(1, 100), required=False),
    PAGE,
)
PAUSE: Final = (*ENDPOINT, Field("paused", "paused", "1暂停，0恢复", Choice((0, 1))))
SEND_AGAIN: Final = (
    *ENDPOINT,
    Field(
        "notify_id",
        "",
        "通知编号；不传为该端点最早的1000条未送达通知",
        Whole(1, 2**63 - 1),
        required=False,
    ),
)
RESEND: Final = (*ORDER, oms.REFUND_NO.optional("；不传为订单通知"))


# ---------------------------------------------------------------- in
def _bounds(values: Mapping[str, Any]) -> tuple[Timestamp, Timestamp]:
    """Start and end of a period. Raises Malformed when it is none, or too long."""
    start, end = Timestamp(), Timestamp()
    start.FromSeconds(values["start_time"])
    end.FromSeconds(values["end_time"])
    apart_s = end.seconds - start.seconds
    if not 0 < apart_s <= PERIOD_MAX.total_seconds():
        why = f"应晚于start_time，且相差不超过{PERIOD_MAX.days}天"
        raise Malformed("end_time", ParameterError.UNREADABLE, why)
    return start, end


def _period(message: type[L]) -> Callable[[Inbound], L]:
    """A reader of a page of a period."""

    def read(request: Inbound) -> L:
        values = values_of(request, LIST)
        start, end = _bounds(values)
        return message(
            channel_no=values["channel_no"],
            start_time=start,
            end_time=end,
            page_size=values.get("page_size", 0),
            page_token=values.get("page", ""),
        )

    return read


def _requests(request: Inbound) -> log_pb.ListRequestsRequest:
    values = values_of(request, REQUESTS)
    start, end = _bounds(values)
    return log_pb.ListRequestsRequest(
        party=f"channel {values['channel_no']}",
        start_time=start,
        end_time=end,
        request_id=values.get("request_id", ""),
        failed=values.get("failed", 0) == 1,
        page_size=values.get("page_size", 0),
        page_token=values.get("page", ""),
    )


# ---------------------------------------------------------------- out
def _time(message: Any, name: str) -> str:
    """A moment as Beijing's clock shows it; empty when there is none."""
    return beijing(getattr(message, name).ToDatetime(UTC)) if message.HasField(name) else ""


def _caller(request: Inbound) -> dict[str, str]:
    return {"channel_no": request.params["channel_no"]}


def _account(answer: pb.GetChannelAccountResponse, request: Inbound) -> Outbound:
    return Outbound(
        200,
        {
            **_caller(request),
            "balance": micros_to_yuan(answer.balance_micros),
            "credit": micros_to_yuan(answer.credit_micros),
            "available": micros_to_yuan(answer.available_micros),
            "locked": answer.locked,
            "commission": micros_to_yuan(answer.commission_micros),
            "service_amount": micros_to_yuan(answer.service_micros),
        },
    )


@dataclass(frozen=True, slots=True)
class _One:
    """An answer about one order or refund alone, as the writers of our own protocol take it."""

    order: order_pb.OrderState | None = None
    refund: order_pb.Refund | None = None


def _members(answer: Outbound) -> dict[str, Any]:
    assert isinstance(answer.body, dict), "orders and refunds are written as objects"
    return answer.body


def _order(one: pb.ChannelOrder, request: Inbound) -> dict[str, Any]:
    return {
        **_members(oms.write_order(_One(order=one.state), request)),
        "line_id": one.line_id,
        "carrier_no": one.carrier_no,
        "face": micros_to_yuan(one.face_micros),
        "num": one.num,
        "amount": micros_to_yuan(one.sell_amount_micros),
        "service_amount": micros_to_yuan(one.service_amount_micros),
        "commission": micros_to_yuan(one.commission_amount_micros),
        "success_face": micros_to_yuan(one.success_face_micros),
        "create_time": _time(one, "create_time"),
        "end_time": _time(one, "end_time"),
    }


def _orders(answer: pb.ListChannelOrdersResponse, request: Inbound) -> Outbound:
    shown = [_order(one, request) for one in answer.orders]
    return Outbound(200, {**_caller(request), "orders": shown, "next_page": answer.next_page_token})


def _refund(one: order_pb.Refund, request: Inbound) -> dict[str, Any]:
    return {
        **_members(oms.write_refund(_One(refund=one), request)),
        "amount": micros_to_yuan(one.refund_sell_amount_micros),
        "create_time": _time(one, "create_time"),
    }


def _refunds(answer: pb.ListChannelRefundsResponse, request: Inbound) -> Outbound:
    shown = [_refund(one, request) for one in answer.refunds]
    return Outbound(
        200, {**_caller(request), "refunds": shown, "next_page": answer.next_page_token}
    )


def _cancelled(answer: pb.CancelOrderResponse, request: Inbound) -> Outbound:
    result = pb.CancelResult.Name(answer.result).removeprefix("CANCEL_RESULT_")
    cancelled = answer.result == pb.CANCEL_RESULT_CANCELLED
    money_back = MONEY_BACK.get(answer.refund_status, "NONE") if cancelled else ""
    order = _members(oms.write_order(answer, request))
    shown = {**order, "result": result, "money_back": money_back}
    return Outbound(200, shown, replayed=answer.existed)


def _notify(one: pb.ChannelNotify) -> dict[str, Any]:
    status = "GIVEN_UP" if one.given_up else NOTIFY_STATUS.get(one.notify_status, "UNDERWAY")
    return {
        "notify_id": str(one.notify_id),
        "request_no": one.request_no,
        "refund_no": one.refund_no,
        "notify_url": one.notify_url,
        "notify_status": status,
        "notify_count": one.notify_count,
        "max_count": one.max_count,
        "create_time": _time(one, "create_time"),
        "end_time": _time(one, "end_time"),
        "attempts": [
            {
                "time": _time(attempt, "create_time"),
                "http_status": attempt.http_status,
                "answer": attempt.answer,
                "took_ms": attempt.took_ms,
            }
            for attempt in one.attempts
        ],
    }


def _notifies(answer: pb.ListChannelNotifiesResponse, request: Inbound) -> Outbound:
    shown = [_notify(one) for one in answer.notifies]
    return Outbound(
        200, {**_caller(request), "notifies": shown, "next_page": answer.next_page_token}
    )


def _resent(answer: pb.ResendChannelNotifyResponse, request: Inbound) -> Outbound:
    if not answer.HasField("notify"):
        return Outbound(200, {**_caller(request), "result": "NO_NOTIFY"})
    result = "RESENT" if answer.resent else "NOT_GIVEN_UP"
    return Outbound(200, {**_caller(request), "result": result, "notify": _notify(answer.notify)})


def _endpoint_shown(one: endpoint_pb.Endpoint) -> dict[str, Any]:
    return {
        "endpoint_no": one.endpoint_no,
        "url": one.url,
        "events": list(one.events),
        "body_version": one.body_version,
        "enabled": one.enabled,
        "state": ENDPOINT_STATE.get(one.state, ""),
        "reason": one.reason,
        "change_time": _time(one, "change_time"),
        "fails": one.fails,
        "fails_max": one.fails_max,
        "fail_time": _time(one, "fail_time"),
        "recent_sent": one.recent_sent,
        "recent_acknowledged": one.recent_acknowledged,
        "answer": one.answer,
        "answer_time": _time(one, "answer_time"),
        "alert_level": one.alert_level,
        "alert_time": _time(one, "alert_time"),
        "given_up_count": one.given_up_count,
    }


def _endpoints(answer: endpoint_pb.ListEndpointsResponse, request: Inbound) -> Outbound:
    shown = [_endpoint_shown(one) for one in answer.endpoints]
    return Outbound(200, {**_caller(request), "endpoints": shown})


def _endpoint_state(answer: endpoint_pb.SetEndpointStateResponse, request: Inbound) -> Outbound:
    shown = {**_caller(request), "endpoint": _endpoint_shown(answer.endpoint)}
    return Outbound(200, shown, replayed=not answer.changed)


def _sent(answer: endpoint_pb.ListEndpointNotifiesResponse, request: Inbound) -> Outbound:
    shown = [
        {
            "notify_id": str(one.notify_id),
            "webhook_id": f"evt_{one.event_key}",
            "event": one.event,
            "notify_status": _sent_status(one),
            "notify_count": one.tries,
            "max_count": one.tries_max,
            "http_status": one.http_status,
            "answer": one.answer,
            "create_time": _time(one, "create_time"),
            "end_time": _time(one, "end_time"),
        }
        for one in answer.notifies
    ]
    return Outbound(
        200, {**_caller(request), "notifies": shown, "next_page": answer.next_page_token}
    )


def _sent_status(one: endpoint_pb.EndpointNotify) -> str:
    if one.given_up:
        return "GIVEN_UP"
    return NOTIFY_STATUS[0] if one.HasField("end_time") else "UNDERWAY"


def _tested(answer: endpoint_pb.TestEndpointResponse, request: Inbound) -> Outbound:
    shown = {
        **_caller(request),
        "acknowledged": answer.acknowledged,
        "http_status": answer.http_status,
        "answer": answer.answer,
        "took_ms": answer.took_ms,
    }
    return Outbound(200, shown)


def _sent_again(answer: endpoint_pb.ResendEndpointNotifiesResponse, request: Inbound) -> Outbound:
    return Outbound(200, {**_caller(request), "count": answer.count})


def _send_again(request: Inbound) -> endpoint_pb.ResendEndpointNotifiesRequest:
    made = oms.signed_once(endpoint_pb.ResendEndpointNotifiesRequest, ENDPOINT)(request)
    if number := values_of(request, SEND_AGAIN).get("notify_id"):
        made.notify_ids.append(number)
    return made


def _request_log(answer: log_pb.ListRequestsResponse, request: Inbound) -> Outbound:
    shown = [
        {
            "time": _time(one, "time"),
            "request_id": one.request_id,
            "method": one.method,
            "path": one.path,
            "http_status": one.http_status,
            "error_code": one.error_code,
            "took_ms": one.took_ms,
            "remote_ip": one.remote_ip,
            "admitted": one.admitted,
            "params": dict(one.params),
        }
        for one in answer.requests
    ]
    facts = {"requests": shown, "lost_count": answer.lost_count}
    return Outbound(200, {**_caller(request), **facts, "next_page": answer.next_page_token})


def _endpoint(
    path: str, title: str, fields: tuple[Field, ...], rpc: tuple[Any, str, Any], **more: Any
) -> Endpoint[Any, Any]:
    read, method, write = rpc
    return Endpoint(
        path=path,
        methods=oms.BOTH,
        source=SOURCE,
        title=title,
        fields=(*fields, *oms.SIGNING),
        read=read,
        call=Unary(method if "/" in method else f"{SERVICE}/{method}"),
        write=write,
        **more,
    )


PARTNER = Partner(
    name="self_service",
    role="channel",
    refuse=oms.refuse,
    endpoints=(
        _endpoint(
            "/balance/query",
            "余额查询接口",
            (oms.CHANNEL_NO,),
            (
                flat(pb.GetChannelAccountRequest, (oms.CHANNEL_NO,)),
                "GetChannelAccount",
                _account,
            ),
        ),
        _endpoint(
            "/order/list",
            "订单列表接口：按下单时间分页",
            LIST,
            (_period(pb.ListChannelOrdersRequest), "ListChannelOrders", _orders),
        ),
        _endpoint(
            "/refund/list",
            "退款列表接口：按退款申请时间分页",
            LIST,
            (_period(pb.ListChannelRefundsRequest), "ListChannelRefunds", _refunds),
        ),
        _endpoint(
            "/order/cancel",
            "撤单接口：尚未发往上游的订单可撤销并退款",
            ORDER,
            (oms.signed_once(pb.CancelOrderRequest, ORDER), "CancelOrder", _cancelled),
            writes=True,
        ),
        _endpoint(
            "/notify/list",
            "通知记录接口",
            NOTIFIES,
            (
                flat(pb.ListChannelNotifiesRequest, NOTIFIES),
                "ListChannelNotifies",
                _notifies,
            ),
        ),
        _endpoint(
            "/request/list",
            "请求日志接口：本渠道28天内的请求，含被拒绝的",
            REQUESTS,
            (_requests, f"{REQUEST_LOG}/ListRequests", _request_log),
        ),
        _endpoint(
            "/notify/endpoint/list",
            "通知端点列表接口：各端点及其状态",
            (oms.CHANNEL_NO,),
            (
                flat(endpoint_pb.ListEndpointsRequest, (oms.CHANNEL_NO,)),
                f"{ENDPOINTS}/ListEndpoints",
                _endpoints,
            ),
        ),
        _endpoint(
            "/notify/endpoint/notifies",
            "通知端点的通知接口：28天内发往该端点的通知",
            SENT,
            (
                flat(endpoint_pb.ListEndpointNotifiesRequest, SENT),
                f"{ENDPOINTS}/ListEndpointNotifies",
                _sent,
            ),
        ),
        _endpoint(
            "/notify/endpoint/pause",
            "通知端点暂停与恢复接口",
            PAUSE,
            (
                oms.signed_once(endpoint_pb.SetEndpointStateRequest, PAUSE),
                f"{ENDPOINTS}/SetEndpointState",
                _endpoint_state,
            ),
            writes=True,
        ),
        _endpoint(
            "/notify/endpoint/test",
            "通知端点测试接口：立即发送一条测试通知",
            ENDPOINT,
            (
                oms.signed_once(endpoint_pb.TestEndpointRequest, ENDPOINT),
                f"{ENDPOINTS}/TestEndpoint",
                _tested,
            ),
            writes=True,
        ),
        _endpoint(
            "/notify/endpoint/resend",
            "通知端点重发接口：未送达的通知再发送三次",
            SEND_AGAIN,
            (_send_again, f"{ENDPOINTS}/ResendEndpointNotifies", _sent_again),
            writes=True,
        ),
        _endpoint(
            "/notify/resend",
            "通知重发接口：已停止重发的通知再发送三次",
            RESEND,
            (
                oms.signed_once(pb.ResendChannelNotifyRequest, RESEND),
                "ResendChannelNotify",
                _resent,
            ),
            writes=True,
        ),
    ),
)
