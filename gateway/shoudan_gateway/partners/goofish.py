"""The 虚拟货源 standard interface of 闲管家: its platform calls us as a source of goods.

Source: docs/reference/http/goofish.md, which says what the public description leaves open.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar, cast

from google.protobuf.message import Message
from msgspec.structs import replace

from shoudan.order.v1 import goods_service_pb2 as pb
from shoudan_gateway import parameters
from shoudan_gateway.fields import Choice, Text, Url, Whole
from shoudan_gateway.parameters import BODY, QUERY
from shoudan_gateway.protocol import (
    Batch,
    Call,
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
    SignedCall,
    Unary,
    values_of,
)

M = TypeVar("M", bound=Message)
POST: Final = frozenset({"POST"})
SOURCE: Final = "docs/reference/http/goofish.md"
SERVICE: Final = "shoudan.order.v1.GoodsService"
INFO: Final = "/goofish/open/info"
RECHARGE_CREATE: Final = "/goofish/order/recharge/create"
CARDS_CREATE: Final = "/goofish/order/purchase/create"
CREATES: Final = frozenset({RECHARGE_CREATE, CARDS_CREATE})
BODY_BYTES_MAX: Final = 65_536
FEN_MAX: Final = 10**13
PAGE_NO_MAX: Final = 10_000
PAGE_MAX: Final = 100
ON_SHELF, OFF_SHELF = 1, 2
INSIDE: Final = "."  # between a member and a member of it
OK: Final = {"code": 0, "msg": "OK"}
REQUEST_WRONG, SIGN_WRONG, NO_ADDRESS, LATE, BROKEN = 1, 401, 403, 408, 500
ORDER_WRONG, ORDER_LATE = 1201, 1209

# Documented code and text of each refusal; {…} are its facts.
REFUSALS: Final = {
    "ERROR_REASON_FIELD_INVALID": (REQUEST_WRONG, "请求参数错误:{field} {why}"),
    "ERROR_REASON_CHANNEL_UNAVAILABLE": (1001, "商户不可用"),
    "ERROR_REASON_GOODS_NOT_FOUND": (1100, "商品不存在"),
    "ERROR_REASON_GOODS_UNAVAILABLE": (1101, "商品不可用"),
    "ERROR_REASON_PRODUCT_NOT_FOUND": (1101, "商品不可用"),
    "ERROR_REASON_NUM_TOO_HIGH": (ORDER_WRONG, "购买数量({num})超过单次最大数量({num_max})"),
    "ERROR_REASON_PRICE_DIFFERS": (1202, "下单金额低于成本价"),
    "ERROR_REASON_PRICE_TOO_HIGH": (1202, "下单金额低于成本价"),
    "ERROR_REASON_RISK_BLOCKED": (ORDER_WRONG, "风控拒绝"),
    "ERROR_REASON_RISK_LIMIT": (ORDER_WRONG, "超过限额({rule})"),
    "ERROR_REASON_RISK_REPEATED": (ORDER_WRONG, "重复充值：{minutes}分钟内已有相同订单({rule})"),
    "ERROR_REASON_ORDER_NOT_FOUND": (1200, "订单不存在"),
    "ERROR_REASON_REQUEST_DIFFERS": (1203, "下单管家订单号已存在"),
    "ERROR_REASON_NONCE_USED": (LATE, "请求重复，请重新签名"),
    "ERROR_REASON_CARDS_UNREADABLE": (BROKEN, "卡密暂时无法读取，请联系我方"),
}
PARAMETER_ERRORS: Final = {
    ParameterError.MISSING: "不能为空",
    ParameterError.REPEATED: "重复",
    ParameterError.CONFLICTING: "与{detail}不一致",
    ParameterError.UNREADABLE: "{detail}",
}
WHERE: Final = {BODY: "请求体", QUERY: "请求参数"}
GATEWAY_ERRORS: Final = {
    GatewayError.NOT_HTTP: (REQUEST_WRONG, "请求格式错误"),
    GatewayError.SIGN_MISSING: (SIGN_WRONG, "签名错误"),
    GatewayError.SIGN_WRONG: (SIGN_WRONG, "签名错误"),
    GatewayError.ADDRESS_REFUSED: (NO_ADDRESS, "IP不在白名单"),
    GatewayError.PATH_UNKNOWN: (REQUEST_WRONG, "请求地址不存在"),
    GatewayError.METHOD_REFUSED: (REQUEST_WRONG, "请求方式不支持"),
    GatewayError.BODY_LATE: (REQUEST_WRONG, "请求内容接收超时"),
    GatewayError.BODY_TOO_LARGE: (REQUEST_WRONG, "请求内容过大"),
    GatewayError.QUERY_TOO_LONG: (REQUEST_WRONG, "请求地址过长"),
    GatewayError.MEDIA_TYPE_UNKNOWN: (REQUEST_WRONG, "请求内容类型不支持"),
    GatewayError.TOO_MANY_CALLS: (BROKEN, "请求过于频繁，请稍后再试"),
    GatewayError.HEADERS_TOO_LARGE: (REQUEST_WRONG, "请求头过大"),
    GatewayError.SENDER_GONE: (REQUEST_WRONG, "请求未发送完整"),
    GatewayError.BUSY: (BROKEN, "系统繁忙，请稍后再试"),
    GatewayError.NO_ANSWER: (BROKEN, "处理结果未知，请稍后再试"),
}
BROKEN_TEXT: Final = "系统异常({trace})"
# Whatever becomes of an order that was begun: asked again, it says so.
UNKNOWN: Final = frozenset({GatewayError.NO_ANSWER, GatewayError.BROKEN})


def refuse(failure: Failure, request: Inbound, _: bool) -> Outbound:
    """HTTP 200 with a code that is not 0; what is not known, or too much, has its HTTP status as well."""
    create = request.path in CREATES
    if isinstance(failure, Malformed):
        if failure.name == TIMESTAMP.wire and failure.error is ParameterError.UNREADABLE:
            return _fail(LATE, "时间戳已超过有效期")
        why = PARAMETER_ERRORS[failure.error].format(detail=failure.detail)
        code = ORDER_WRONG if create else REQUEST_WRONG
        return _fail(code, f"请求参数错误:{WHERE.get(failure.name, failure.name)}{why}")
    if isinstance(failure, Problem):
        return _problem(failure, create)
    code, text = REFUSALS[failure.reason]
    if create and code == REQUEST_WRONG:
        code = ORDER_WRONG
    return _fail(code, text.format_map(Facts(failure.metadata)))


def _problem(failure: Problem, create: bool) -> Outbound:
    code, text = GATEWAY_ERRORS.get(failure.error, (BROKEN, BROKEN_TEXT))
    if create and failure.error in UNKNOWN:
        code, text = ORDER_LATE, "下单超时，请查询订单"
    status = failure.error.status if code in {BROKEN, ORDER_LATE} else 200
    return replace(_fail(code, text.format(trace=failure.trace)), status=status)


def _fail(code: int, text: str) -> Outbound:
    return Outbound(200, {"code": code, "msg": text})


# ---------------------------------------------------------------- in
@dataclass(frozen=True, slots=True)
class Parts:
    """An object with members of its own, for OpenAPI; its members are read as rows of their own."""

    properties: Mapping[str, Any]
    required: tuple[str, ...]

    @property
    def schema(self) -> Mapping[str, Any]:
        """Its JSON schema."""
        return {
            "type": "object",
            "required": list(self.required),
            "properties": dict(self.properties),
        }


MCH_ID: Final = Field("mch_id", "channel_no", "货源平台商户ID：下游渠道编号", Text(32))
TIMESTAMP: Final = Field("timestamp", "", "当前时间戳（秒），5分钟内有效", Whole())
SIGN: Final = Field("sign", "", "签名MD5值", Text(32))
QUERY_ROWS: Final = (MCH_ID, TIMESTAMP, SIGN)
TYPES: Final = Choice((1, 2))
GOODS_TYPE: Final = Field("goods_type", "goods_type", "商品类型 1:直充商品 2:卡密商品", TYPES)
ORDER_TYPE: Final = Field("order_type", "goods_type", "订单类型 1:直充订单 2:卡密订单", TYPES)
GOODS_NO: Final = Field("goods_no", "goods_no", "商品编码", Text(64))
ORDER_NO: Final = Field("order_no", "request_no", "管家订单号", Text(64))
OUT_ORDER_NO: Final = Field("out_order_no", "order_id", "货源订单号", Whole(1))
PAGE_NO: Final = Field("page_no", "", "当前页码", Whole(1, PAGE_NO_MAX))
PAGE_SIZE: Final = Field("page_size", "page_size", "每页行数，1-100", Whole(1, PAGE_MAX))
TOKEN: Final = Field("token", "token", "订阅标识", Text(128))
NOTIFY_URL: Final = Field("notify_url", "notify_url", "回调地址", Url())
ORDER: Final = (
    ORDER_NO,
    GOODS_NO,
    Field("buy_quantity", "num", "购买数量", Whole(1, 1000)),
    Field(
        "max_amount",
        "max_amount_fen",
        "最大金额（分）：订单总价高于此值则拒绝下单，不传则不校验",
        Whole(1, FEN_MAX),
        required=False,
    ),
    NOTIFY_URL,
    Field("biz_order_no", "", "业务订单号，不使用", Text(64), required=False),
)
ACCOUNT: Final = Field("biz_content.account", "recharge_account", "充值账号", Text(64))
LIST: Final = (
    Field("keyword", "keyword", "商品名称的一部分，或完整的商品编码", Text(64), required=False),
    GOODS_TYPE.optional(),
    PAGE_NO,
    PAGE_SIZE,
)
DETAIL: Final = (GOODS_TYPE, GOODS_NO)
SUBSCRIBE: Final = (GOODS_TYPE, GOODS_NO, TOKEN, NOTIFY_URL)
UNSUBSCRIBE: Final = (GOODS_TYPE, GOODS_NO, TOKEN)
SUBSCRIPTIONS: Final = (GOODS_TYPE.optional(), GOODS_NO.optional(), PAGE_NO, PAGE_SIZE)
EITHER: Final = "（二选一，同时传入时以管家订单号为准）"
ORDER_DETAIL: Final = (ORDER_TYPE, ORDER_NO.optional(EITHER), OUT_ORDER_NO.optional(EITHER))
ACCOUNT_SCHEMA: Final = Parts(
    {"account": {"type": "string", "maxLength": 64, "description": "充值账号"}}, ("account",)
)


def signed(request: Inbound) -> SignedCall | None:
    """What a call proves itself by; the number of our application is no secret."""
    if request.path == INFO:
        return None
    given = parameters.pairs(request.query)
    values = {row.wire: given.get(row.wire, "") for row in QUERY_ROWS}
    if not all(values.values()):
        raise Problem(GatewayError.SIGN_MISSING)
    return SignedCall(*values.values())


def _members(body: bytes) -> dict[str, str]:
    """The members of a body as text, those of a member's own under both names; null counts as absent."""
    whole: object = parameters.document(body) if body else {}
    if not isinstance(whole, dict):
        raise Malformed(BODY, ParameterError.UNREADABLE, "必须是JSON对象")
    found: dict[str, str] = {}
    for name, value in cast("dict[str, Any]", whole).items():
        if isinstance(value, dict):
            inner = cast("dict[str, Any]", value)
            found |= {f"{name}{INSIDE}{one}": _text(one, inner[one]) for one in inner}
        else:
            found[name] = _text(name, value)
    return found


def _text(name: str, value: Any) -> str:
    """Text and numbers as text; what else there is is no value of ours."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Malformed(name[:64], ParameterError.UNREADABLE, "类型错误")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Malformed(name[:64], ParameterError.UNREADABLE, "不是UTF-8编码") from None
    return str(value)


def reader(message: type[M], rows: tuple[Field, ...], **fixed: Any) -> Callable[[Inbound], M]:
    """The call of a channel: its number from what it proved, the rest from its body."""

    def read(request: Inbound) -> M:
        values = values_of(replace(request, params=_members(request.body)), rows)
        ours = {row.ours: values[row.wire] for row in rows if row.ours and row.wire in values}
        if PAGE_NO.wire in values:
            ours["offset"] = (values[PAGE_NO.wire] - 1) * values[PAGE_SIZE.wire]
        channel_no = parameters.pairs(request.query).get(MCH_ID.wire, "")
        return message(channel_no=channel_no, **ours, **fixed)

    return read


def read_info(_: Inbound) -> pb.GetGoodsApplicationRequest:
    """Nothing is asked for."""
    return pb.GetGoodsApplicationRequest()


def read_order(request: Inbound) -> pb.GetGoodsOrderRequest:
    """An order by one of its numbers, and who asks, for the record of its codes."""
    made = reader(pb.GetGoodsOrderRequest, ORDER_DETAIL)(request)
    if not made.request_no and not made.order_id:
        raise Malformed(ORDER_NO.wire, ParameterError.MISSING)
    made.remote_ip = request.remote
    made.signature = parameters.pairs(request.query).get(SIGN.wire, "")
    return made


# ---------------------------------------------------------------- out
def _ok(data: Mapping[str, Any]) -> Outbound:
    return Outbound(200, {**OK, "data": data})


def write_done(_: Message, __: Inbound) -> Outbound:
    """Done, now or before."""
    return Outbound(200, dict(OK))


def write_info(answer: pb.GetGoodsApplicationResponse, _: Inbound) -> Outbound:
    """The number of our application."""
    return _ok({"app_id": answer.app_id}) if answer.app_id else _fail(BROKEN, "未开通虚拟货源接口")


def write_account(answer: pb.GetGoodsAccountResponse, _: Inbound) -> Outbound:
    """What is left."""
    return _ok({"balance": answer.balance_fen})


def _goods(one: pb.Goods) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "goods_no": one.goods_no,
        "goods_type": int(one.goods_type),
        "goods_name": one.goods_name,
        "price": one.price_fen,
        "stock": one.stock,
        "status": ON_SHELF if one.on_shelf else OFF_SHELF,
        "update_time": one.update_time.seconds,
    }
    if one.goods_type == pb.GOODS_TYPE_RECHARGE:
        facts["template"] = [{"code": "account", "name": "充值账号", "desc": "", "check": 0}]
    return facts


def write_list(answer: pb.ListGoodsResponse, _: Inbound) -> Outbound:
    """A page of goods."""
    return _ok({"list": [_goods(one) for one in answer.goods], "count": answer.count})


def write_goods(answer: pb.GetGoodsResponse, _: Inbound) -> Outbound:
    """One of them."""
    return _ok(_goods(answer.goods))


def _order(one: pb.GoodsOrder) -> Outbound:
    facts: dict[str, Any] = {
        "order_type": int(one.goods_type),
        "order_no": one.request_no,
        "out_order_no": str(one.order_id),
        "order_status": one.order_status,
        "order_amount": one.amount_fen,
        "goods_no": one.goods_no,
        "goods_name": one.goods_name,
        "buy_quantity": one.num,
        "order_time": one.create_time.seconds,
    }
    if one.HasField("end_time"):
        facts["end_time"] = one.end_time.seconds
    if one.goods_type == pb.GOODS_TYPE_RECHARGE:
        facts["biz_content"] = {"account": one.recharge_account}
    if one.cards:
        facts["card_items"] = [
            {"card_no": card.card_no, "card_pwd": card.card_pwd}
            if card.card_no
            else {"card_pwd": card.card_pwd}
            for card in one.cards
        ]
    if one.remark:
        facts["remark"] = one.remark
    return _ok(facts)


def write_order(answer: Any, _: Inbound) -> Outbound:
    """An order as it stands."""
    return _order(answer.order)


def write_subscriptions(answer: pb.ListGoodsSubscriptionsResponse, _: Inbound) -> Outbound:
    """A page of subscriptions."""
    shown = [
        {
            "goods_type": int(one.goods_type),
            "goods_no": one.goods_no,
            "subscribe_time": one.subscribe_time.seconds,
            "token": one.token,
            "notify_url": one.notify_url,
        }
        for one in answer.subscriptions
    ]
    return _ok({"list": shown, "count": answer.count})


# ---------------------------------------------------------------- endpoints
def _schema(rows: tuple[Field, ...]) -> dict[str, Any]:
    """The JSON schema of a body."""
    plain = [row for row in rows if INSIDE not in row.wire]
    made = {row.wire: {**row.read.schema, "description": row.about} for row in plain}
    required = [row.wire for row in plain if row.required]
    if ACCOUNT in rows:
        made["biz_content"] = dict(ACCOUNT_SCHEMA.schema)
        required.append("biz_content")
    return {"type": "object", "required": required, "properties": made}


def _endpoint(
    path: str, title: str, rows: tuple[Field, ...], read: Any, call: Call, write: Any
) -> Endpoint[Any, Any]:
    return Endpoint(
        path=path,
        methods=POST,
        source=SOURCE,
        title=title,
        fields=() if path == INFO else QUERY_ROWS,
        read=read,
        call=call,
        write=write,
        writes=path in CREATES or path.endswith("subscribe"),
        raw=True,
        body=_schema(rows),
        body_bytes_max=BODY_BYTES_MAX,
    )


def _created(path: str, title: str, kind: int, rows: tuple[Field, ...]) -> Endpoint[Any, Any]:
    read = reader(pb.NewGoodsOrder, rows, goods_type=kind)
    call = Batch(f"{SERVICE}/CreateGoodsOrders", "orders")
    return _endpoint(path, title, rows, read, call, write_order)


def _asked(
    path: str, title: str, rows: tuple[Field, ...], message: type[Message], rpc: str, write: Any
) -> Endpoint[Any, Any]:
    return _endpoint(path, title, rows, reader(message, rows), Unary(f"{SERVICE}/{rpc}"), write)


PARTNER = Partner(
    name="goofish",
    role="channel",
    refuse=refuse,
    signed=signed,
    error={
        "type": "object",
        "required": ["code", "msg"],
        "properties": {
            "code": {"type": "integer", "description": "documented code, never 0"},
            "msg": {"type": "string", "description": "documented text"},
        },
    },
    endpoints=(
        _endpoint(
            INFO,
            "查询平台信息",
            (),
            read_info,
            Unary(f"{SERVICE}/GetGoodsApplication"),
            write_info,
        ),
        _asked(
            "/goofish/user/info",
            "查询商户信息",
            (),
            pb.GetGoodsAccountRequest,
            "GetGoodsAccount",
            write_account,
        ),
        _asked(
            "/goofish/goods/list",
            "查询商品列表",
            LIST,
            pb.ListGoodsRequest,
            "ListGoods",
            write_list,
        ),
        _asked(
            "/goofish/goods/detail",
            "查询商品详情",
            DETAIL,
            pb.GetGoodsRequest,
            "GetGoods",
            write_goods,
        ),
        _asked(
            "/goofish/goods/change/subscribe/list",
            "查询商品订阅列表",
            SUBSCRIPTIONS,
            pb.ListGoodsSubscriptionsRequest,
            "ListGoodsSubscriptions",
            write_subscriptions,
        ),
        _asked(
            "/goofish/goods/change/subscribe",
            "订阅商品变更通知",
            SUBSCRIBE,
            pb.SubscribeGoodsRequest,
            "SubscribeGoods",
            write_done,
        ),
        _endpoint(
            "/goofish/goods/change/unsubscribe",
            "取消商品变更通知",
            UNSUBSCRIBE,
            reader(pb.UnsubscribeGoodsRequest, (GOODS_NO, TOKEN)),
            Unary(f"{SERVICE}/UnsubscribeGoods"),
            write_done,
        ),
        _created(RECHARGE_CREATE, "创建直充订单", 1, (*ORDER, ACCOUNT)),
        _created(CARDS_CREATE, "创建卡密订单", 2, ORDER),
        _endpoint(
            "/goofish/order/detail",
            "查询订单详情",
            ORDER_DETAIL,
            read_order,
            Unary(f"{SERVICE}/GetGoodsOrder"),
            write_order,
        ),
    ),
)
