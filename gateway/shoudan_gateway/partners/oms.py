"""Our own protocol for down channels: orders and refunds by query string, form or JSON. Source: 000 §四."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from msgspec.structs import replace

from shoudan.order.v1 import catalogue_service_pb2 as catalogue_pb
from shoudan.order.v1 import channel_service_pb2 as channel_pb
from shoudan.order.v1 import endpoint_service_pb2 as endpoint_pb
from shoudan.order.v1 import order_service_pb2 as pb
from shoudan_gateway.fields import Choice, Text, Url, Whole, Yuan
from shoudan_gateway.parameters import BODY, QUERY
from shoudan_gateway.protocol import (
    Batch,
    Endpoint,
    Facts,
    Failure,
    Field,
    GatewayError,
    Inbound,
    Malformed,
    Outbound,
    ParameterError,
    Partner,
    Problem,
    Unary,
    flat,
)
from shoudan_kit import cards
from shoudan_kit.money import micros_to_yuan
from shoudan_kit.rpc.refusal import Refused
from shoudan_signing import channel as signing

W = TypeVar(
    "W", pb.NewOrder, pb.NewRefund, pb.FetchCardsRequest, channel_pb.CancelOrderRequest,
    channel_pb.ResendChannelNotifyRequest, endpoint_pb.SetEndpointStateRequest,
    endpoint_pb.TestEndpointRequest, endpoint_pb.ResendEndpointNotifiesRequest,
)  # fmt: skip
BOTH: Final = frozenset({"GET", "POST"})
NUM_MAX: Final = 1000
ON_SHELF: Final = 1
OFF_SHELF: Final = 0
RUNNING: Final = 30
NO_RETURN: Final = 99  # up_return_status of a mandatory refund: no goods come back

# Partners see paying (10) and delivering (20) as running.
ORDER_STATUS: Final = {10: RUNNING, 20: RUNNING}
# Returning (10) is running; once the goods are back (20) partners see success.
REFUND_STATUS: Final = {10: RUNNING, 20: 0}

# status: word, code and the end of the text of the later, worded form.
WORDS: Final = {
    0: ("SUCCESS", "000", "成功"),
    RUNNING: ("UNDERWAY", "000", "处理中"),
    90: ("FAILED", "900", "失败"),
    91: ("PARTSUCCESS", "800", "部分成功"),
}

# Documented code, HTTP status and text of each refusal; {…} are its facts.
REFUSALS: Final = {
    "ERROR_REASON_FIELD_INVALID": (406, 406, "输入参数有误:{field} {why}"),
    "ERROR_REASON_PRODUCT_NOT_FOUND": (920, 400, "下游渠道({channel_no})不存在面值({face})的商品"),
    "ERROR_REASON_CHANNEL_UNAVAILABLE": (
        920,
        400,
        "下游渠道({channel_no})不存在面值({face})的商品",
    ),
    "ERROR_REASON_NUM_TOO_HIGH": (920, 400, "下单数量({num})超过单次最大数量({num_max})"),
    "ERROR_REASON_PRICE_DIFFERS": (921, 400, "折扣差异为{difference}"),
    "ERROR_REASON_PRICE_TOO_HIGH": (921, 400, "销售价格({price})高于安全价({max})"),
    "ERROR_REASON_RISK_BLOCKED": (930, 400, "风控拒绝"),
    "ERROR_REASON_RISK_LIMIT": (931, 400, "超过限额({rule})"),
    "ERROR_REASON_RISK_REPEATED": (932, 400, "重复充值：{minutes}分钟内已有相同订单({rule})"),
    "ERROR_REASON_NO_SUPPLIER": (920, 400, "暂无上游可发货"),
    "ERROR_REASON_SUPPLIER_FORBIDDEN": (920, 400, "可发货的上游均被产品线禁用"),
    "ERROR_REASON_ORDER_NOT_FOUND": (
        404,
        404,
        "订单不存在,channel_no:{channel_no},request_no:{request_no}",
    ),
    "ERROR_REASON_REQUEST_DIFFERS": (409, 409, "订单({request_no})已存在，请求参数不一致"),
    "ERROR_REASON_NONCE_USED": (403, 403, "签名错误"),
    "ERROR_REASON_BALANCE_TOO_LOW": (904, 400, "帐户余额不足"),
    "ERROR_REASON_REFUND_ORDER_NOT_FOUND": (990, 400, "订单不存在或配置错误"),
    "ERROR_REASON_MANDATORY_ORDER_NOT_FOUND": (990, 400, "订单不存在"),
    "ERROR_REASON_ORDER_NOT_SUCCEEDED": (990, 400, "订单未成功，暂时无法退款"),
    "ERROR_REASON_PARTIAL_REFUND_REFUSED": (981, 400, "当前订单不支持部分退款"),
    "ERROR_REASON_NOT_REFUNDABLE": (980, 400, "不支持退款"),
    "ERROR_REASON_REFUND_NUM_TOO_HIGH": (982, 400, "退款数量错误"),
    "ERROR_REASON_REFUND_IN_PROGRESS": (983, 400, "该订单正在退款中，暂时无法退款！"),
    "ERROR_REASON_REFUND_DIFFERS": (409, 409, "退款({refund_no})已存在，请求参数不一致"),
    "ERROR_REASON_REFUND_NOT_FOUND": (400, 400, "查询的数据不存在"),
    "ERROR_REASON_CARDS_UNREADABLE": (950, 400, "卡密暂时无法读取，请联系我方"),
}

# What services call the parameter that says where a page begins.
PAGES: Final = frozenset({"page_token", "page"})

PARAMETER_ERRORS: Final = {
    ParameterError.MISSING: "不能为空",
    ParameterError.REPEATED: "重复",
    ParameterError.CONFLICTING: "与{detail}不一致",
    ParameterError.UNREADABLE: "{detail}",
}

WHERE: Final = {BODY: "请求体", QUERY: "请求参数"}

GATEWAY_ERRORS: Final = {
    GatewayError.NOT_HTTP: "请求格式错误",
    GatewayError.SIGN_MISSING: "缺少签名参数",
    GatewayError.TOKEN_MISSING: "缺少身份令牌",
    GatewayError.TOKEN_WRONG: "身份令牌无效",
    GatewayError.NOT_ALLOWED: "没有权限",
    GatewayError.SIGN_WRONG: "签名错误",
    GatewayError.ADDRESS_REFUSED: "来源地址未授权",
    GatewayError.PATH_UNKNOWN: "请求地址不存在",
    GatewayError.METHOD_REFUSED: "请求方式不支持",
    GatewayError.BODY_LATE: "请求内容接收超时",
    GatewayError.BODY_TOO_LARGE: "请求内容过大",
    GatewayError.QUERY_TOO_LONG: "请求地址过长",
    GatewayError.MEDIA_TYPE_UNKNOWN: "请求内容类型不支持",
    GatewayError.TOO_MANY_CALLS: "请求过于频繁，请稍后再试",
    GatewayError.HEADERS_TOO_LARGE: "请求头过大",
    GatewayError.SENDER_GONE: "请求未发送完整",
    GatewayError.BUSY: "系统繁忙，请稍后再试",
    GatewayError.NO_ANSWER: "处理结果未知，请查询或以相同编号重试",
    GatewayError.BROKEN: "系统错误({trace})",
}


def error(code: int, status: int, message: str, legacy: bool) -> Outbound:
    """The documented error body; `legacy`: the number as HTTP status and the data alone."""
    data = f"error:{message}"
    if legacy:
        return Outbound(code, {"data": data})
    return Outbound(status, {"code": code, "message": message, "data": data})


def _facts(request: Inbound, given: Mapping[str, str]) -> Facts:
    """What a refusal says, and what was asked. Not `|`: of a subclass it makes a plain dict."""
    facts = Facts({**request.params, **given})
    if facts["field"] in PAGES:
        facts.update(field="page", why="应为上一页返回的next_page")
    return facts


def refused(failure: Refused, request: Inbound, legacy: bool) -> Outbound:
    """A service's refusal in the documented words. KeyError for one that partners never see."""
    code, status, text = REFUSALS[failure.reason]
    return error(code, status, text.format_map(_facts(request, failure.metadata)), legacy)


def malformed(failure: Malformed, legacy: bool) -> Outbound:
    """An unreadable parameter: 406 and its name."""
    why = PARAMETER_ERRORS[failure.error].format(detail=failure.detail)
    return error(406, 406, f"输入参数有误:{WHERE.get(failure.name, failure.name)}{why}", legacy)


def gateway_failure(failure: Problem, legacy: bool) -> Outbound:
    """What the gateway itself turns away."""
    status = failure.error.status
    return error(status, status, GATEWAY_ERRORS[failure.error].format(trace=failure.trace), legacy)


def refuse(failure: Failure, request: Inbound, legacy: bool) -> Outbound:
    """Every no of this protocol."""
    if isinstance(failure, Malformed):
        return malformed(failure, legacy)
    if isinstance(failure, Problem):
        return gateway_failure(failure, legacy)
    return refused(failure, request, legacy)


def _status(status: int, request: Inbound, noun: str) -> dict[str, Any]:
    """The status as a number, or for channels of the later form in words with a reason."""
    if request.channel is None or not request.channel.word_status:
        return {"status": status}
    word, code, text = WORDS[status]
    return {"status": word, "failed_code": code, "failed_msg": noun + text}


def write_order(answer: Any, request: Inbound) -> Outbound:
    """How an order stands."""
    order: pb.OrderState = answer.order
    status = ORDER_STATUS.get(order.status, int(order.status))
    return Outbound(
        200,
        {
            "channel_no": order.channel_no,
            "request_no": order.request_no,
            "order_id": str(order.order_id),
            **_status(status, request, "订单"),
        },
    )


def write_created(answer: Any, request: Inbound) -> Outbound:
    """An order that was asked for, or was there before."""
    return replace(write_order(answer, request), replayed=answer.existed)


def write_new_refund(answer: Any, request: Inbound) -> Outbound:
    """A refund that was asked for, or was there before."""
    return replace(write_refund(answer, request), replayed=answer.existed)


def write_check(answer: Any, request: Inbound) -> Outbound:
    """How an order would be answered: the code and words it would get, and a reason for machines."""
    check: pb.CheckOrdersResponse.Check = answer.check
    code, text = 200, "可下单"
    if check.HasField("cause"):
        code, _, text = REFUSALS[check.cause.reason]
        text = text.format_map(_facts(request, check.cause.metadata))
    return Outbound(
        200,
        {
            "channel_no": request.params["channel_no"],
            "result": pb.CheckOrdersResponse.Verdict.Name(check.verdict).removeprefix("VERDICT_"),
            "reason": check.cause.reason.removeprefix("ERROR_REASON_"),
            "code": code,
            "message": text,
            "sell_amount": micros_to_yuan(check.sell_amount_micros),
            "service_amount": micros_to_yuan(check.service_amount_micros),
            "existed": check.existed,
        },
    )


def read_cards(request: Inbound) -> pb.FetchCardsRequest:
    """A signed call for a page of cards, with its nonce; none is given unsigned."""
    if request.channel is not None and signing.SIGN not in request.params:
        raise Problem(GatewayError.SIGN_MISSING)
    made = signed_once(pb.FetchCardsRequest, CARDS)(request)
    made.remote_ip = request.remote
    return made


def write_cards(answer: pb.FetchCardsResponse, request: Inbound) -> Outbound:
    """A page of the cards of an order; what a card has not is left out."""
    order = write_order(answer, request)
    shown = [cards.shown(one) for one in answer.cards]
    assert isinstance(order.body, dict), "an order is written as an object"
    return Outbound(200, {**order.body, "cards": shown, "next_page": answer.next_page_token})


def write_products(answer: catalogue_pb.ListProductsResponse, request: Inbound) -> Outbound:
    """A page of what the channel may buy; what it may not buy any more has its number and status alone."""
    return Outbound(
        200,
        {
            "channel_no": request.params["channel_no"],
            "version": str(answer.version),
            "full": answer.full,
            "products": [shelf_product(one) for one in answer.products],
            "next_page": answer.next_page_token,
        },
    )


def shelf_product(one: catalogue_pb.ShelfProduct) -> dict[str, Any]:
    """One product as its channel sees it."""
    if not one.on_shelf:
        return {"product_id": str(one.product_id), "status": OFF_SHELF}
    return {
        "product_id": str(one.product_id),
        "status": ON_SHELF,
        "in_stock": one.in_stock,
        "line_id": one.line_id,
        "carrier_no": one.carrier_no,
        "province_no": one.province_no,
        "city_no": one.city_no,
        "invoice_type": one.invoice_type,
        "face": micros_to_yuan(one.face_micros),
        "price": micros_to_yuan(one.price_micros),
        "service_amount": micros_to_yuan(one.service_micros),
        "num_max": one.num_max,
        "can_refund": one.refundable,
    }


def refund_status(refund: pb.Refund) -> int:
    """The status partners see. A mandatory refund returns no goods, so it runs until the money is back."""
    if refund.status == pb.REFUND_STATUS_REFUNDING and refund.up_return_status == NO_RETURN:
        return RUNNING
    return REFUND_STATUS.get(refund.status, int(refund.status))


def write_refund(answer: Any, request: Inbound) -> Outbound:
    """How a refund stands."""
    refund: pb.Refund = answer.refund
    asked = refund.request
    return Outbound(
        200,
        {
            "channel_no": asked.channel_no,
            "request_no": asked.request_no,
            "refund_no": asked.refund_no,
            "refund_id": str(refund.refund_id),
            "refund_num": asked.refund_num,
            **_status(refund_status(refund), request, "退款"),
        },
    )


CHANNEL_NO: Final = Field("channel_no", "channel_no", "下游渠道编号", Text(32))
REQUEST_NO: Final = Field("request_no", "request_no", "下游渠道订单编号", Text(64))
REFUND_NO: Final = Field("refund_no", "refund_no", "退款编号", Text(64))
SIGNING: Final = (
    Field(
        "sign_type",
        "",
        "签名方式：HMAC-SHA256-V2或HMAC-SHA256；不传为MD5",
        Text(16),
        required=False,
    ),
    Field("timestamp", "", "时间戳（秒），HMAC签名必填", Whole(), required=False),
    Field("nonce", "", "随机串，HMAC签名必填", Text(64), required=False),
    Field("sign", "", "签名，渠道配置了签名方式时必填", Text(128), required=False),
)

ORDER: Final = (
    CHANNEL_NO,
    REQUEST_NO,
    Field("line_id", "line_id", "业务线编号", Whole(1)),
    Field("carrier_no", "carrier_no", "运营商；号段已知时可不传", Text(8), required=False),
    Field("province_no", "province_no", "省份", Text(8), required=False),
    Field("city_no", "city_no", "城市", Text(8), required=False),
    Field(
        "invoice_type",
        "invoice_type",
        "开票类型 1.不开发票，0.不限制，2.需要发票",
        Choice((0, 1, 2)),
    ),
    Field("num", "num", "下单数量", Whole(1, NUM_MAX)),
    Field("face", "face_micros", "单个产品面值（元）", Yuan()),
    Field("amount", "amount_micros", "支付金额（元）", Yuan()),
    Field("notify_url", "notify_url", "下单成功通知地址", Url(), required=False),
    Field(
        "rechage_account",
        "recharge_account",
        "充值账户编号",
        Text(64),
        required=False,
        aliases=("recharge_account",),
    ),
    Field(
        "max_amount",
        "max_amount_micros",
        "安全价（元）：销售金额与服务费之和高于此值则拒绝下单",
        Yuan(),
        required=False,
    ),
    Field(
        "confirm_repeat",
        "confirm_repeat",
        "1：确认重复充值，允许确认的风控规则不再拒绝",
        Choice((0, 1)),
        required=False,
    ),
)
# A check has the parameters of an order; the number may still be missing.
CHECK: Final = tuple(one.optional() if one is REQUEST_NO else one for one in ORDER)
REFUND: Final = (
    CHANNEL_NO,
    REQUEST_NO,
    REFUND_NO,
    Field("refund_num", "refund_num", "退款数量", Whole(1, NUM_MAX)),
    Field("notify_url", "notify_url", "退款通知地址", Url()),
    Field("refund_reason", "reason", "退款原因，手机号脱敏", Text(256), required=False),
)
CARDS: Final = (
    CHANNEL_NO,
    REQUEST_NO,
    Field("page_size", "page_size", "每页数量，1-100，默认100", Whole(1, 100), required=False),
    Field("page", "page_token", "上一页返回的next_page，首页不传", Text(32), required=False),
)
PRODUCTS: Final = (
    CHANNEL_NO,
    Field(
        "since",
        "since_version",
        "上次返回的version，只返回此后的变更；不传返回全部",
        Whole(1),
        required=False,
    ),
    Field("page_size", "page_size", "每页数量，1-500，默认100", Whole(1, 500), required=False),
    Field("page", "page_token", "上一页返回的next_page，首页不传", Text(80), required=False),
)
SERVICE: Final = "shoudan.order.v1.OrderService"


def signed_once(message: type[W], rows: tuple[Field, ...], **fixed: Any) -> Callable[[Inbound], W]:
    """As `flat`, with the nonce of the call, which the write uses up."""
    read = flat(message, rows, **fixed)

    def with_nonce(request: Inbound) -> W:
        made = read(request)
        if request.nonce is not None:
            used = request.nonce
            made.nonce.CopyFrom(
                pb.CallNonce(nonce=used.text, call_id=used.call_id, keep_s=used.keep_s)
            )
        return made

    return with_nonce


def refund_endpoint(
    path: str, source: str, title: str, kind: pb.RefundType.ValueType
) -> Endpoint[Any, Any]:
    """General and mandatory refunds differ in their type alone."""
    return Endpoint(
        path=path,
        methods=BOTH,
        source=source,
        title=title,
        fields=(*REFUND, *SIGNING),
        read=signed_once(pb.NewRefund, REFUND, type=kind),
        call=Batch(f"{SERVICE}/CreateRefunds", "refunds"),
        write=write_new_refund,
        writes=True,
    )


PARTNER = Partner(
    name="channel",
    role="channel",
    refuse=refuse,
    endpoints=(
        Endpoint(
            path="/order/request",
            methods=BOTH,
            source="000 §四.1",
            title="下单接口",
            fields=(*ORDER, *SIGNING),
            read=signed_once(pb.NewOrder, ORDER),
            call=Batch(f"{SERVICE}/CreateOrders", "orders"),
            write=write_created,
            writes=True,
        ),
        Endpoint(
            path="/order/check",
            methods=BOTH,
            source="shoudan",
            title="下单预检接口：按下单规则检查，不生成订单",
            fields=(*CHECK, *SIGNING),
            read=flat(pb.NewOrder, CHECK),
            call=Batch(f"{SERVICE}/CheckOrders", "orders"),
            write=write_check,
        ),
        Endpoint(
            path="/order/query",
            methods=BOTH,
            source="000 §四.2",
            title="订单查询接口",
            fields=(CHANNEL_NO, REQUEST_NO, *SIGNING),
            read=flat(pb.OrderKey, (CHANNEL_NO, REQUEST_NO)),
            call=Batch(f"{SERVICE}/QueryOrders", "keys"),
            write=write_order,
        ),
        Endpoint(
            path="/order/cards",
            methods=BOTH,
            source="docs/reference/http/cards.md",
            title="卡密提取接口",
            fields=(*CARDS, *SIGNING),
            read=read_cards,
            call=Unary(f"{SERVICE}/FetchCards"),
            write=write_cards,
            writes=True,
        ),
        Endpoint(
            path="/product/list",
            methods=BOTH,
            source="docs/reference/http/products.md",
            title="价格表接口",
            fields=(*PRODUCTS, *SIGNING),
            read=flat(catalogue_pb.ListProductsRequest, PRODUCTS),
            call=Unary("shoudan.order.v1.CatalogueService/ListProducts"),
            write=write_products,
        ),
        refund_endpoint("/refund/general", "000 §四.3", "普通退款接口", pb.REFUND_TYPE_GENERAL),
        refund_endpoint("/refund/mandatory", "000 §四.4", "强制退款接口", pb.REFUND_TYPE_MANDATORY),
        Endpoint(
            path="/refund/query",
            methods=BOTH,
            source="000 §四.5",
            title="退款查询接口",
            fields=(CHANNEL_NO, REQUEST_NO, REFUND_NO, *SIGNING),
            read=flat(pb.RefundKey, (CHANNEL_NO, REQUEST_NO, REFUND_NO)),
            call=Batch(f"{SERVICE}/QueryRefunds", "keys"),
            write=write_refund,
        ),
    ),
)
