"""ChinaUMS: cash desks ask about refunds here, it tells us of ours. Source: 003, protocols §1."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC
from typing import Any, Final

from shoudan.pay.v1 import platform_service_pb2 as pb
from shoudan_gateway import parameters, raw_signed
from shoudan_gateway.fields import Text
from shoudan_gateway.protocol import (
    TEXT,
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
from shoudan_kit.clock import SystemClock, beijing
from shoudan_kit.rpc.refusal import Refused

POST: Final = frozenset({"POST"})
REFUND_QUERY: Final = "/v1/netpay/refund-query"
ACCESS: Final = "/v1/token/access"
NOTIFY: Final = "/chinaums/notify"
BODY_BYTES_MAX: Final = 65_536
SERVICE: Final = "shoudan.pay.v1.ChinaumsService"

STATES: Final = {
    pb.REFUND_STATE_UNSPECIFIED: "UNKNOWN",
    pb.REFUND_STATE_PROCESSING: "PROCESSING",
    pb.REFUND_STATE_SUCCESS: "SUCCESS",
    pb.REFUND_STATE_FAIL: "FAIL",
}

QUERY_FIELDS: Final = (
    Field("requestTimestamp", "", "报文请求时间 yyyy-MM-dd HH:mm:ss", Text(32)),
    Field("merOrderId", "mer_order_id", "商户订单号（退货订单号）", Text(64)),
    Field("instMid", "", "业务类型 APPDEFAULT", Text(32)),
    Field("mid", "mid", "商户号", Text(32)),
    Field("tid", "tid", "终端号", Text(32)),
    Field("msgId", "", "消息ID，原样返回", Text(64), required=False),
    Field("srcReserve", "", "请求系统预留字段", Text(255), required=False),
)
TOKEN_FIELDS: Final = (
    Field("appId", "app_id", "开发者ID", Text(64)),
    Field("timestamp", "timestamp", "yyyyMMddHHmmss", Text(14)),
    Field("nonce", "nonce", "随机串", Text(128)),
    Field("signMethod", "sign_method", "SHA256；不传为SHA1", Text(16), required=False),
    Field("signature", "signature", "签名", Text(128)),
)

# The layer before netpay: its code, HTTP status and text.
GATEWAY_ERRORS: Final = {
    GatewayError.NOT_HTTP: ("9001", "请求格式错误"),
    GatewayError.PATH_UNKNOWN: ("9001", "请求地址不存在"),
    GatewayError.TOO_MANY_CALLS: ("9001", "请求过于频繁"),
    GatewayError.SENDER_GONE: ("9001", "请求内容不完整"),
    GatewayError.METHOD_REFUSED: ("9001", "请求方式不支持"),
    GatewayError.BODY_LATE: ("9001", "请求内容接收超时"),
    GatewayError.BODY_TOO_LARGE: ("9001", "请求内容过大"),
    GatewayError.QUERY_TOO_LONG: ("9001", "请求地址过长"),
    GatewayError.MEDIA_TYPE_UNKNOWN: ("9001", "请求内容类型不支持"),
    GatewayError.HEADERS_TOO_LARGE: ("9001", "请求头过大"),
}
SYSTEM_ERROR: Final = ("9999", "系统错误")
# Netpay's own layer, HTTP 200.
REFUSALS: Final = {
    "ERROR_REASON_FIELD_INVALID": ("BAD_REQUEST", "请求参数有误:{field}"),
    "ERROR_REASON_NO_ORDER": ("NO_ORDER", "交易不存在"),
}
PROOF_STATUS: Final = 412
PROOF_TEXTS: Final = {"timestamp": "Timestamp解析失败"}
PROOF_TEXT: Final = "认证失败"


def read_query(request: Inbound) -> pb.QueryUmsRefundRequest:
    """The call with what signs it; unreadable fields are judged after the signature."""
    found = raw_signed.members(request.body, QUERY_FIELDS)
    return pb.QueryUmsRefundRequest(
        proof=raw_signed.proof(request, found.malformed), **found.ours(QUERY_FIELDS)
    )


def write_query(answer: pb.QueryUmsRefundResponse, request: Inbound) -> Outbound:
    """Every documented field; numbers are text, as the seed's example has them."""
    asked = raw_signed.members(request.body, QUERY_FIELDS).values
    detail = answer.detail
    return Outbound(
        200,
        {
            "errCode": "SUCCESS",
            "errMsg": "查询成功",
            "responseTimeStamp": beijing(answer.now.ToDatetime(UTC)),
            "mid": asked["mid"],
            "tid": asked["tid"],
            "refundMerchantContribute": str(detail.merchant_contribute_fen),
            "refundOtherContribute": str(detail.other_contribute_fen),
            **_echoed(asked),
            "refundStatus": STATES[answer.state],
            "refundOrderId": answer.refund_order_id,
            "refundTargetOrderId": detail.refund_target_order_id,
            "seqId": detail.seq_id,
            "settleRefId": detail.settle_ref_id,
            "status": "TRADE_SUCCESS" if answer.paid else "UNKNOWN",
            "totalAmount": str(answer.total_fen),
            "merName": answer.mer_name,
            "merOrderId": answer.mer_order_id,
            "targetOrderId": detail.target_order_id,
            "targetSys": detail.target_sys,
            "targetStatus": detail.target_status,
            "targetMid": detail.target_mid,
            "bankCardNo": detail.bank_card_no,
            "bankInfo": detail.bank_info,
            "refundFunds": detail.refund_funds,
            "refundFundsDesc": detail.refund_funds_desc,
            "payTime": detail.pay_time,
            "settleDate": detail.settle_date,
            "refundInvoiceAmount": str(detail.refund_invoice_fen),
            "yxlmAmount": str(detail.yxlm_fen),
            "sendBackAmount": str(detail.send_back_fen),
        },
    )


def _echoed(asked: Mapping[str, str]) -> dict[str, str]:
    return {name: asked[name] for name in ("msgId", "srcReserve") if name in asked}


def read_token(request: Inbound) -> pb.CreateUmsTokenRequest:
    """The body as it came."""
    found = raw_signed.members(request.body, TOKEN_FIELDS)
    return pb.CreateUmsTokenRequest(
        proof=raw_signed.proof(request, found.malformed), **found.ours(TOKEN_FIELDS)
    )


def write_token(answer: pb.CreateUmsTokenResponse, _: Inbound) -> Outbound:
    """The token."""
    return Outbound(
        200,
        {
            "errCode": "0000",
            "errInfo": "正常",
            "accessToken": answer.access_token,
            "expiresIn": answer.expires_in_s,
        },
    )


def read_notify(request: Inbound) -> pb.TakeUmsNotifyRequest:
    """The form as it came, decoded; one that cannot be read has no signature."""
    try:
        params, malformed = parameters.pairs(request.body.decode()), ""
    except (Malformed, UnicodeDecodeError):
        params, malformed = dict[str, str](), "-"
    return pb.TakeUmsNotifyRequest(proof=raw_signed.proof(request, malformed), params=params)


def write_notify(_: pb.TakeUmsNotifyResponse, __: Inbound) -> Outbound:
    """The documented word."""
    return Outbound(200, b"SUCCESS", TEXT)


def refuse(failure: Failure, request: Inbound, _: bool) -> Outbound:
    """Notifies are answered FAILED; calls in the form of the layer that refuses them."""
    if request.path == NOTIFY:
        return Outbound(
            failure.error.status if isinstance(failure, Problem) else 200, b"FAILED", TEXT
        )
    if isinstance(failure, Problem):
        code, text = GATEWAY_ERRORS.get(failure.error, SYSTEM_ERROR)
        return Outbound(failure.error.status, {"errCode": code, "errInfo": text})
    if isinstance(failure, Malformed):
        return Outbound(PROOF_STATUS, {"errCode": "9001", "errInfo": "参数校验失败"})
    if failure.reason == "ERROR_REASON_PROOF_INVALID":
        text = PROOF_TEXTS.get(failure.metadata.get("why", ""), PROOF_TEXT)
        return Outbound(PROOF_STATUS, {"errCode": "1000", "errInfo": text})
    if request.path == ACCESS:
        return Outbound(400, {"errCode": "9001", "errInfo": "参数校验失败"})
    return _netpay(failure, request)


def _netpay(failure: Refused, request: Inbound) -> Outbound:
    code, text = REFUSALS[failure.reason]
    asked = raw_signed.members(request.body, QUERY_FIELDS).values
    return Outbound(
        200,
        {
            "errCode": code,
            "errMsg": text.format_map({"field": "", **failure.metadata}),
            "responseTimeStamp": beijing(SystemClock().now()),
            "mid": asked.get("mid", ""),
            "tid": asked.get("tid", ""),
            **_echoed(asked),
        },
    )


def _endpoint(
    path: str, title: str, fields: tuple[Field, ...], read: Any, rpc: str, write: Any
) -> Endpoint[Any, Any]:
    return Endpoint(
        path=path,
        methods=POST,
        source="003; protocols §1",
        title=title,
        fields=fields,
        read=read,
        call=Unary(f"{SERVICE}/{rpc}"),
        write=write,
        writes=path == NOTIFY,
        raw=True,
        in_body=True,
        body_bytes_max=BODY_BYTES_MAX,
    )


PARTNER = Partner(
    name="chinaums",
    role="supplier",
    refuse=refuse,
    endpoints=(
        _endpoint(
            REFUND_QUERY, "退款查询", QUERY_FIELDS, read_query, "QueryUmsRefund", write_query
        ),
        _endpoint(ACCESS, "获取令牌", TOKEN_FIELDS, read_token, "CreateUmsToken", write_token),
        _endpoint(NOTIFY, "银联商务异步通知", (), read_notify, "TakeUmsNotify", write_notify),
    ),
)
