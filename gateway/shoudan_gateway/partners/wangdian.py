"""旺店通 pushes trades and refunds: taken raw, judged by the ERP service, answered 200. Source: 001."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from shoudan.erp.v1 import erp_service_pb2 as pb
from shoudan_gateway import parameters
from shoudan_gateway.fields import Text
from shoudan_gateway.protocol import (
    Batch,
    Endpoint,
    Failure,
    Field,
    GatewayError,
    Inbound,
    Malformed,
    Outbound,
    ParameterError,
    Partner,
    Problem,
)
from shoudan_kit.rpc.refusal import Refused

# One byte more than the ERP service reads, so that it sees, and keeps, what is just too large.
BODY_BYTES_MAX: Final = 2 * 2**20 + 1
SENDER_CHARS_MAX: Final = 128
INGEST: Final = Batch("shoudan.erp.v1.ErpService/IngestPushes", "pushes")


@dataclass(frozen=True, slots=True)
class Shape:
    """How one of the two pushes names its parts."""

    kind: pb.PushKind.ValueType
    sender: str
    flag: str
    code: str
    message: str

    def success(self) -> Outbound:
        """Stored, or stored before."""
        return Outbound(200, {self.flag: "success", self.code: "0", self.message: ""})

    def error(self, text: str) -> Outbound:
        """Not stored, and why."""
        return Outbound(200, {self.flag: "error", self.code: "1", self.message: text})


TRADE: Final = Shape(pb.PUSH_KIND_TRADE, "customerid", "flag", "code", "message")
REFUND: Final = Shape(pb.PUSH_KIND_REFUND, "app_key", "returnflag", "returncode", "returnmessage")
SHAPES: Final = {"/pushData": TRADE, "/pushReturngoods": REFUND}

# Why of the ERP service, in the words of its partners.
WORDS: Final = {
    "not_utf8": "不是UTF-8编码",
    "not_json": "不是有效的JSON",
    "too_large": "请求体不能超过2MiB",
    "too_deep": "JSON嵌套不能超过32层",
    "too_many": "数量过多,最多1000条",
    "duplicate_key": "字段重复",
    "lone_surrogate": "含有无效的Unicode字符",
    "nul": "含有空字符",
    "wrong_shape": "应为对象或对象数组",
    "missing": "缺失",
    "empty": "没有数据",
    "not_text": "应为字符串",
    "too_long": "超过最大长度",
    "not_decimal": "不是有效的小数",
    "not_whole": "不是整数",
    "out_of_range": "数值超出范围",
    "not_time": "不是有效的时间",
    "internal": "暂时无法处理,已保存",
}
# In the same words, so that a stranger does not learn which senders there are.
SENDER_REFUSED: Final = frozenset({"ERROR_REASON_SENDER_UNKNOWN", "ERROR_REASON_SENDER_UNVERIFIED"})
PARAMETER_ERRORS: Final = {
    ParameterError.MISSING: "缺失",
    ParameterError.UNREADABLE: "无法识别",
    ParameterError.REPEATED: "重复",
    ParameterError.CONFLICTING: "冲突",
}
GATEWAY_ERRORS: Final = {
    GatewayError.NOT_HTTP: "请求格式错误",
    GatewayError.PATH_UNKNOWN: "请求地址不存在",
    GatewayError.TOO_MANY_CALLS: "请求过于频繁,请稍后重新推送",
    GatewayError.SENDER_GONE: "请求体不完整",
    GatewayError.METHOD_REFUSED: "只支持POST请求",
    GatewayError.BODY_LATE: "请求体接收超时",
    GatewayError.BODY_TOO_LARGE: WORDS["too_large"],
    GatewayError.QUERY_TOO_LONG: "参数过长",
    GatewayError.MEDIA_TYPE_UNKNOWN: "不支持压缩的请求体",
    GatewayError.HEADERS_TOO_LARGE: "请求头过大",
    GatewayError.BUSY: "系统繁忙,请重新推送",
    GatewayError.NO_ANSWER: "系统超时,请重新推送",
}
# Read by the service; docs/reference/erp.md describes its members.
PUSHES: Final = {"oneOf": [{"type": "object"}, {"type": "array", "items": {"type": "object"}}]}
LATER: Final = "系统异常,请重新推送"


def reader(shape: Shape) -> Callable[[Inbound], pb.IngestPushesRequest.Push]:
    """The push as it came. Raises Malformed without a sender."""

    def read(request: Inbound) -> pb.IngestPushesRequest.Push:
        sender = parameters.pairs(request.query).get(shape.sender, "")
        if not sender:
            raise Malformed(shape.sender, ParameterError.MISSING)
        return pb.IngestPushesRequest.Push(
            kind=shape.kind,
            sender=sender[:SENDER_CHARS_MAX],
            body=request.body,
            remote_ip=request.remote,
            query=request.query,
        )

    return read


def writer(shape: Shape) -> Callable[[pb.IngestPushesResponse.Result, Inbound], Outbound]:
    """Success, whatever was written: a repeat is one, too."""
    return lambda answer, request: shape.success()


def refuse(failure: Failure, request: Inbound, _: bool) -> Outbound:
    """HTTP 200 always; the flag says success or error. Source: protocols §5.1 no. 10."""
    shape = SHAPES.get(request.path, TRADE)
    if isinstance(failure, Malformed):
        return shape.error(f"{failure.name}{PARAMETER_ERRORS[failure.error]}")
    if isinstance(failure, Problem):
        text = GATEWAY_ERRORS.get(failure.error, LATER)
        return shape.error(f"{text} ({failure.trace})" if failure.trace else text)
    return shape.error(_words(failure, shape))


def _words(failure: Refused, shape: Shape) -> str:
    if failure.reason == "ERROR_REASON_PUSH_INVALID":
        return f"{failure.metadata['where']} {WORDS[failure.metadata['why']]}"
    if failure.reason in SENDER_REFUSED:
        return f"{shape.sender}不在允许名单内,或签名、来源地址错误"
    return LATER


def _endpoint(
    path: str, title: str, about: str
) -> Endpoint[pb.IngestPushesRequest.Push, pb.IngestPushesResponse.Result]:
    shape = SHAPES[path]
    return Endpoint(
        path=path,
        methods=frozenset({"POST"}),
        source="001",
        title=title,
        fields=(Field(shape.sender, "sender", about, Text(SENDER_CHARS_MAX)),),
        read=reader(shape),
        call=INGEST,
        write=writer(shape),
        writes=True,
        raw=True,
        body=PUSHES,
        body_bytes_max=BODY_BYTES_MAX,
    )


PARTNER = Partner(
    name="wangdian",
    role="public",
    refuse=refuse,
    endpoints=(
        _endpoint("/pushData", "推送订单", "推送数据的客户"),
        _endpoint("/pushReturngoods", "推送退换货订单", "推送数据的应用"),
    ),
)
