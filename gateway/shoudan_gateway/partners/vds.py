"""Suppliers' notifies: taken as they come, verified and answered by the delivery service. Source: 000 vds."""

from __future__ import annotations

from typing import Final, TypeVar

from shoudan.delivery.v1 import delivery_service_pb2 as pb
from shoudan_gateway.fields import Choice, Text
from shoudan_gateway.partners import oms
from shoudan_gateway.partners.oms import BOTH
from shoudan_gateway.protocol import (
    TEXT,
    Endpoint,
    Failure,
    Field,
    Inbound,
    Malformed,
    Outbound,
    ParameterError,
    Partner,
    Problem,
    Unary,
)
from shoudan_kit.rpc.refusal import Refused

M = TypeVar("M", pb.TakeNotifyRequest, pb.TakePricesRequest)
BODY_BYTES_MAX: Final = 65_536
CHANNEL: Final = Field("channel_no", "channel_no", "上游渠道编号", Text(32))
SERVICE_CLASS: Final = Field(
    "service_class", "service_class", "服务类型 10加油卡充值 20电子券发货 21电子券退货 30话费充值",
    Choice((10, 20, 21, 30)),
)  # fmt: skip
REFUSALS: Final = {
    "ERROR_REASON_NOTIFY_UNVERIFIED": (403, "签名错误"),
    "ERROR_REASON_TOO_MANY_ATTEMPTS": (429, "请求过于频繁"),
    "ERROR_REASON_FIELD_INVALID": (406, "输入参数有误"),
    "ERROR_REASON_DISPUTE_NOT_FOUND": (404, "争议不存在"),
}


def read(request: Inbound) -> pb.TakeNotifyRequest:
    """The request as it came. Raises Malformed when the path names no service class."""
    return _as_it_came(pb.TakeNotifyRequest, request)


def read_prices(request: Inbound) -> pb.TakePricesRequest:
    """The request as it came. Raises Malformed when the path names no service class."""
    return _as_it_came(pb.TakePricesRequest, request)


def _as_it_came(message: type[M], request: Inbound) -> M:
    try:
        service_class = int(SERVICE_CLASS.read(request.path_params["service_class"]))
    except ValueError as error:
        raise Malformed("service_class", ParameterError.UNREADABLE, str(error)) from None
    return message(
        channel_no=_clean(request.path_params["channel_no"]),
        service_class=service_class,
        method=request.method,
        query=_clean(request.query),
        body=request.body,
        headers={name.lower(): _clean(value) for name, value in request.headers.items()},
        remote_ip=request.remote,
    )


def _clean(text: str) -> str:
    """Bytes that are no UTF-8 reach us as surrogates, which the contract cannot carry."""
    return (
        text if text.isascii() else text.encode(errors="surrogateescape").decode(errors="replace")
    )


def write(answer: pb.TakeNotifyResponse | pb.TakePricesResponse, _: Inbound) -> Outbound:
    """What the delivery service says, byte for byte."""
    return Outbound(answer.http_status or 200, answer.body, answer.content_type or TEXT)


def refuse(failure: Failure, request: Inbound, legacy: bool) -> Outbound:
    """The channels' shape; suppliers only look at the status."""
    if isinstance(failure, Malformed | Problem):
        return oms.refuse(failure, request, legacy)
    status, text = _words(failure)
    return oms.error(status, status, text, legacy)


def _words(failure: Refused) -> tuple[int, str]:
    return REFUSALS[failure.reason]


PARTNER = Partner(
    name="vds",
    role="supplier",
    refuse=refuse,
    endpoints=(
        Endpoint(
            path="/vds/notify/{channel_no}/{service_class}",
            methods=BOTH,
            source="000 vds; docs/divergences.md",
            title="上游发货结果通知",
            fields=(CHANNEL, SERVICE_CLASS),
            read=read,
            call=Unary("shoudan.delivery.v1.DeliveryService/TakeNotify"),
            write=write,
            writes=True,
            raw=True,
            body_bytes_max=BODY_BYTES_MAX,
        ),
        Endpoint(
            path="/vds/prices/{channel_no}/{service_class}",
            methods=BOTH,
            source="docs/reference/supplier.md",
            title="上游价格、库存变更通知",
            fields=(CHANNEL, SERVICE_CLASS),
            read=read_prices,
            call=Unary("shoudan.delivery.v1.DeliveryService/TakePrices"),
            write=write,
            writes=True,
            raw=True,
            body_bytes_max=BODY_BYTES_MAX,
        ),
    ),
)
