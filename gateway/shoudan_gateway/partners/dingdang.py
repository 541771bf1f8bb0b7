"""Dingdang: the platform's three endpoints, the partner's two receivers. Source: 004, protocols §2."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from shoudan.pay.v1 import platform_service_pb2 as pb
from shoudan_gateway import raw_signed
from shoudan_gateway.fields import Text, Whole
from shoudan_gateway.protocol import (
    Endpoint,
    Failure,
    Field,
    GatewayError,
    Inbound,
    Malformed,
    Outbound,
    Partner,
    Problem,
    Unary,
)

POST: Final = frozenset({"POST"})
BODY_BYTES_MAX: Final = 65_536
SERVICE: Final = "shoudan.pay.v1.DingdangService"
DOMAIN_CHARS_MAX: Final = 20
ID_CHARS_MAX: Final = 32
NONCE_CHARS_MAX: Final = 32
DESC_CHARS_MAX: Final = 64
FEN_MAX: Final = 2**31 * 100
MESSAGE_CHARS_MAX: Final = 32
DOMAIN_NAMES: Final = ("domainId", "skillId")  # the later name of the same

DOMAIN: Final = Field(
    "domainId", "domain_id", "技能ID，叮当平台分配", Text(DOMAIN_CHARS_MAX), aliases=("skillId",)
)
NONCE: Final = Field("nonceStr", "nonce", "随机字符串", Text(NONCE_CHARS_MAX))
TRANSACTION: Final = Field(
    "transactionId", "transaction_id", "叮当平台交易流水号", Text(ID_CHARS_MAX)
)
TRADE: Final = Field("tradeNo", "trade_no", "合作方订单号", Text(ID_CHARS_MAX))
TOTAL: Final = Field("totalAmt", "total_fen", "订单总金额，以分为单位", Whole(1, FEN_MAX))
REFUND_TRADE: Final = Field(
    "refundTradeNo", "refund_trade_no", "合作方退款订单号", Text(ID_CHARS_MAX)
)
REFUND_TRANSACTION: Final = Field(
    "refundTransactionId", "refund_transaction_id", "叮当平台退款订单号", Text(ID_CHARS_MAX)
)
REFUND_AMOUNT: Final = Field("refundAmt", "refund_fen", "退款总金额，以分为单位", Whole(1, FEN_MAX))


EITHER: Final = "（二选一）"  # the service judges which
ORDER_QUERY: Final = (DOMAIN, TRANSACTION.optional(EITHER), TRADE.optional(EITHER), NONCE)
REFUND: Final = (
    DOMAIN,
    TRANSACTION.optional(EITHER),
    TRADE.optional(EITHER),
    REFUND_TRADE,
    TOTAL,
    REFUND_AMOUNT,
    Field("refundDesc", "refund_desc", "退款原因描述", Text(DESC_CHARS_MAX), required=False),
    NONCE,
)
REFUND_QUERY: Final = (
    DOMAIN,
    REFUND_TRANSACTION.optional(EITHER),
    REFUND_TRADE.optional(EITHER),
    NONCE,
)
PAID: Final = (DOMAIN, TRANSACTION, TRADE, TOTAL, NONCE)
REFUNDED: Final = (
    TRANSACTION,
    TRADE,
    REFUND_TRANSACTION,
    REFUND_TRADE,
    TOTAL,
    REFUND_AMOUNT,
)
REFUNDED_WHOLE: Final = (
    DOMAIN,
    *REFUNDED,
    Field("refundStatus", "", "退款状态 PROCESSING退款中，SUCCESS退款成功，FAIL退款失败", Text(16)),
    Field("refundStatusDesc", "", "退款状态描述", Text(128), required=False),
    NONCE,
)

TRADE_STATES: Final = {
    pb.TRADE_STATE_NOTPAY: ("NOTPAY", "未支付"),
    pb.TRADE_STATE_PROCESSING: ("PROCESSING", "支付中"),
    pb.TRADE_STATE_SUCCESS: ("SUCCESS", "支付成功"),
    pb.TRADE_STATE_FAIL: ("FAIL", "支付失败"),
}
REFUND_STATES: Final = {
    pb.REFUND_STATE_UNSPECIFIED: ("PROCESSING", "退款中"),
    pb.REFUND_STATE_PROCESSING: ("PROCESSING", "退款中"),
    pb.REFUND_STATE_SUCCESS: ("SUCCESS", "退款成功"),
    pb.REFUND_STATE_FAIL: ("FAIL", "退款失败"),
}
REFUND_NOTICES: Final = {
    "PROCESSING": pb.REFUND_STATE_PROCESSING,
    "SUCCESS": pb.REFUND_STATE_SUCCESS,
    "FAIL": pb.REFUND_STATE_FAIL,
}

SIGN_WRONG: Final = "签名错误"
REFUSALS: Final = {
    "ERROR_REASON_PROOF_INVALID": SIGN_WRONG,
    "ERROR_REASON_FIELD_INVALID": "参数错误:{field}",
    "ERROR_REASON_NO_ORDER": "订单不存在",
    "ERROR_REASON_IDS_DISAGREE": "订单号不一致",
    "ERROR_REASON_AMOUNT_DIFFERS": "金额不一致:{field}",
    "ERROR_REASON_PAY_NOT_FOUND": "订单不存在",
    "ERROR_REASON_PAY_REFUND_DIFFERS": "退款单号重复且内容不一致",
    "ERROR_REASON_PAY_STATUS_INVALID": "订单状态不允许退款",
    "ERROR_REASON_REFUND_EXCEEDS_PAY": "退款金额超出可退金额",
    "ERROR_REASON_REFUND_NOT_WHOLE": "该订单只能全额退款",
    "ERROR_REASON_MODE_NOT_OPEN": "支付方式不支持退款",
    "ERROR_REASON_PAY_URL_EMPTY": "支付方式不支持退款",
    "ERROR_REASON_OVERLOADED": "系统繁忙，请稍后再试",
}
GATEWAY_ERRORS: Final = {
    GatewayError.NOT_HTTP: "请求格式错误",
    GatewayError.PATH_UNKNOWN: "请求地址不存在",
    GatewayError.TOO_MANY_CALLS: "请求过于频繁，请稍后再试",
    GatewayError.SENDER_GONE: "请求内容不完整",
    GatewayError.METHOD_REFUSED: "请求方式不支持",
    GatewayError.BODY_LATE: "请求内容接收超时",
    GatewayError.BODY_TOO_LARGE: "请求内容过大",
    GatewayError.QUERY_TOO_LONG: "请求地址过长",
    GatewayError.MEDIA_TYPE_UNKNOWN: "请求内容类型不支持",
    GatewayError.HEADERS_TOO_LARGE: "请求头过大",
    GatewayError.BUSY: "系统繁忙，请稍后再试",
}
UNKNOWN: Final = "处理结果未知，请查询"


def reader(message: Any, rows: tuple[Field, ...]) -> Callable[[Inbound], Any]:
    """The call with what signs it; unreadable fields are judged after the signature."""

    def read(request: Inbound) -> Any:
        found = raw_signed.members(request.body, rows)
        return message(proof=raw_signed.proof(request, found.malformed), **found.ours(rows))

    return read


def read_refunded(request: Inbound) -> pb.TakeRefundedRequest:
    """The notice, its refund in one."""
    found = raw_signed.members(request.body, REFUNDED_WHOLE)
    state = REFUND_NOTICES.get(found.values.get("refundStatus", ""), pb.REFUND_STATE_UNSPECIFIED)
    return pb.TakeRefundedRequest(
        proof=raw_signed.proof(request, found.malformed),
        refund=pb.DingdangRefund(state=state, **found.ours(REFUNDED)),
        **found.ours((DOMAIN, NONCE)),
    )


def write_order(answer: pb.QueryOrderResponse, request: Inbound) -> Outbound:
    """How an order stands."""
    word, shown = TRADE_STATES[answer.state]
    return _success(
        request,
        transactionId=answer.transaction_id,
        tradeNo=answer.trade_no,
        totalAmt=answer.total_fen,
        tradeStatus=word,
        tradeStatusDesc=shown,
    )


def write_refund(answer: pb.RefundOrderResponse, request: Inbound) -> Outbound:
    """Taken: SUCCESS does not say that the money is back."""
    return _success(request, **_refund(answer.refund))


def write_refund_state(answer: pb.QueryRefundResponse, request: Inbound) -> Outbound:
    """How a refund stands."""
    word, shown = REFUND_STATES[answer.refund.state]
    return _success(request, **_refund(answer.refund), refundStatus=word, refundStatusDesc=shown)


def write_taken(_: object, __: Inbound) -> Outbound:
    """Taken, now or before."""
    return Outbound(200, {"retCode": "SUCCESS"})


def _refund(refund: pb.DingdangRefund) -> dict[str, Any]:
    return {
        "transactionId": refund.transaction_id,
        "tradeNo": refund.trade_no,
        "refundTransactionId": refund.refund_transaction_id,
        "refundTradeNo": refund.refund_trade_no,
        "totalAmt": refund.total_fen,
        "refundAmt": refund.refund_fen,
    }


def _success(request: Inbound, **members: Any) -> Outbound:
    """SUCCESS, with the domain under the name it came with."""
    name = raw_signed.named(request.body, DOMAIN_NAMES)
    domain = raw_signed.members(request.body, (DOMAIN,)).values.get(DOMAIN.wire, "")
    return Outbound(200, {"retCode": "SUCCESS", name: domain, **members})


def refuse(failure: Failure, _: Inbound, __: bool) -> Outbound:
    """FAIL with HTTP 200; an unknown result is HTTP 503 without a retCode, never FAIL."""
    if isinstance(failure, Malformed):
        return _fail("参数错误")
    if not isinstance(failure, Problem):
        return _fail(REFUSALS[failure.reason].format_map({"field": "", **failure.metadata}))
    text = GATEWAY_ERRORS.get(failure.error)
    return Outbound(failure.error.status, {"retMsg": UNKNOWN}) if text is None else _fail(text)


def _fail(text: str) -> Outbound:
    return Outbound(200, {"retCode": "FAIL", "retMsg": text[:MESSAGE_CHARS_MAX]})


def _endpoint(
    path: str, title: str, fields: tuple[Field, ...], read: Any, rpc: str, write: Any
) -> Endpoint[Any, Any]:
    return Endpoint(
        path=path,
        methods=POST,
        source="004",
        title=title,
        fields=fields,
        read=read,
        call=Unary(f"{SERVICE}/{rpc}"),
        write=write,
        writes="query" not in path,
        raw=True,
        in_body=True,
        body_bytes_max=BODY_BYTES_MAX,
    )


PARTNER = Partner(
    name="dingdang",
    role="supplier",
    refuse=refuse,
    endpoints=(
        _endpoint(
            "/paycgi/orderquery",
            "查询订单",
            ORDER_QUERY,
            reader(pb.QueryOrderRequest, ORDER_QUERY),
            "QueryOrder",
            write_order,
        ),
        _endpoint(
            "/paycgi/refund",
            "申请退款",
            REFUND,
            reader(pb.RefundOrderRequest, REFUND),
            "RefundOrder",
            write_refund,
        ),
        _endpoint(
            "/paycgi/refundquery",
            "查询退款",
            REFUND_QUERY,
            reader(pb.QueryRefundRequest, REFUND_QUERY),
            "QueryRefund",
            write_refund_state,
        ),
        _endpoint(
            "/dingdang/pay/notify",
            "通知发货",
            PAID,
            reader(pb.TakePaidRequest, PAID),
            "TakePaid",
            write_taken,
        ),
        _endpoint(
            "/dingdang/refund/notify",
            "退款结果通知",
            REFUNDED_WHOLE,
            read_refunded,
            "TakeRefunded",
            write_taken,
        ),
    ),
)
