"""PayServer: templates and modes of paying, pays, refunds and their lists, as REST with JSON. Source: 002."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from shoudan.pay.v1 import payment_service_pb2 as pb
from shoudan_gateway.fields import Text, Whole
from shoudan_gateway.partners.payserver import queries, requests, responses, schemas
from shoudan_gateway.partners.payserver.authenticate import authenticate
from shoudan_gateway.partners.payserver.texts import refuse
from shoudan_gateway.protocol import Endpoint, Field, Inbound, Outbound, Partner, Unary

SERVICE: Final = "shoudan.pay.v1.PaymentService"
LIST: Final = Unary(f"{SERVICE}/ListResources")
ROOT: Final = "/api/v1.0.0"
# 统一走网关的主机和端口，并在URL前面加上payServer的前缀.
OTHER_ROOTS: Final = ("/api/v1", "/payServer/api/v1.0.0", "/payServer/api/v1")
GET: Final = frozenset({"GET"})
POST: Final = frozenset({"POST"})
CHANGE: Final = frozenset({"PUT", "POST"})
TRUE: Final = b"true"

COLLECTIONS: Final = {
    "payModeTemplates": pb.COLLECTION_TEMPLATES,
    "payModes": pb.COLLECTION_MODES,
    "payOrders": pb.COLLECTION_PAYS,
    "refundOrders": pb.COLLECTION_REFUNDS,
    "tradeRecords": pb.COLLECTION_TRADES,
}
PARTS: Final = {
    "payModeTemplates": ("payModes", "payOrders", "refundOrders", "tradeRecords"),
    "payModes": ("payOrders", "refundOrders", "tradeRecords"),
    "payOrders": ("refundOrders", "tradeRecords"),
    "refundOrders": ("tradeRecords",),
}
UUID_FIELD: Final = Field("uuid", "", "the resource", Text(64))
MERCHANT_FIELDS: Final = (
    Field("merchantHref", "", "商户链接; else the token's", Text(2048), required=False),
    Field("merchantUUID", "", "the same by uuid", Text(64), required=False),
)
SIGN_FIELD: Final = Field("sign", "", "as the notifyUrl carried it", Text(64))
ORDER_FIELD: Final = Field("orderBy", "", "attribute asc|desc, …", Text(200), required=False)
PAGE_FIELDS: Final = (
    Field("offset", "", "rows skipped", Whole(0, queries.OFFSET_MAX), required=False),
    Field("limit", "", "rows wanted, 10 unless given", Whole(1, queries.LIMIT_MAX), required=False),
    ORDER_FIELD,
    Field("expand", "", "links to fetch, separated by ;", Text(200), required=False),
)


def _endpoint(
    path: str,
    methods: frozenset[str],
    section: str,
    title: str,
    read: Callable[[Inbound], Any],
    method: str | Unary,
    write: Callable[[Any, Inbound], Outbound],
    *,
    fields: tuple[Field, ...] = (),
    body: schemas.Schema | None = None,
    more: tuple[str, ...] = (),
) -> Endpoint[Any, Any]:
    return Endpoint(
        f"{ROOT}/{path}",
        methods,
        f"002 {section}",
        title,
        fields,
        read,
        Unary(f"{SERVICE}/{method}") if isinstance(method, str) else method,
        write,
        writes=methods is not GET,
        raw=True,
        body=body,
        aliases=(*(f"{root}/{path}" for root in OTHER_ROOTS), *more),
    )


def _taken(_answer: object, _inbound: Inbound) -> Outbound:
    """A notify that was taken, or had been before."""
    return Outbound(200, TRUE)


def _paid(answer: pb.CreatePaysResponse, _inbound: Inbound) -> Outbound:
    return responses.paid(answer.results[0])


def _all_paid(answer: pb.CreatePaysResponse, inbound: Inbound) -> Outbound:
    elements = requests.elements_of(inbound, "batchPayData")
    numbers = [requests.shown_number(one, "clientPayNo") for one in elements]
    answers = [responses.paid(one) for one in answer.results]
    return responses.slots("batchPayResult", "clientPayNo", numbers, answers)


def _given_back(answer: pb.CreateRefundsResponse, _inbound: Inbound) -> Outbound:
    return responses.given_back(answer.results[0])


def _all_given_back(answer: pb.CreateRefundsResponse, inbound: Inbound) -> Outbound:
    elements = requests.elements_of(inbound, "batchRefundData")
    numbers = [requests.shown_number(one, "clientRefundNo") for one in elements]
    answers = [responses.given_back(one) for one in answer.results]
    return responses.slots("batchRefundResult", "clientRefundNo", numbers, answers)


def _page(name: str) -> Callable[[Inbound], pb.ListResourcesRequest]:
    def read(inbound: Inbound) -> pb.ListResourcesRequest:
        return queries.page(inbound, COLLECTIONS[name])

    return requests.modes if name == "payModes" else read


def _one(name: str) -> Callable[[Inbound], pb.ListResourcesRequest]:
    def read(inbound: Inbound) -> pb.ListResourcesRequest:
        request = queries.page(inbound, COLLECTIONS[name])
        request.uuid = inbound.path_params["uuid"]
        return request

    return read


def _part(parent: str, name: str) -> Callable[[Inbound], pb.ListResourcesRequest]:
    def read(inbound: Inbound) -> pb.ListResourcesRequest:
        request = queries.page(inbound, COLLECTIONS[name])
        request.parent, request.parent_uuid = COLLECTIONS[parent], inbound.path_params["uuid"]
        return request

    return read


def _lists() -> Iterator[Endpoint[Any, Any]]:
    """Every collection, its items, and the collections that belong to an item."""
    for name, collection in COLLECTIONS.items():
        write = responses.lister(collection)
        fields = (*MERCHANT_FIELDS, *PAGE_FIELDS)
        title = f"{name}: a page"
        yield _endpoint(name, GET, "资源列表", title, _page(name), LIST, write, fields=fields)
        item = responses.itemizer(collection)
        path, fields = f"{name}/{{uuid}}", (UUID_FIELD,)
        yield _endpoint(
            path, GET, "资源列表", f"{name}: one", _one(name), LIST, item, fields=fields
        )
    for parent, names in PARTS.items():
        for name in names:
            write = responses.lister(COLLECTIONS[name])
            path, fields = f"{parent}/{{uuid}}/{name}", (UUID_FIELD, *PAGE_FIELDS)
            title, read = f"{name} of one of {parent}", _part(parent, name)
            yield _endpoint(path, GET, "资源列表", title, read, LIST, write, fields=fields)


PARTNER: Final = Partner(
    "payserver",
    "public",
    (
        _endpoint(
            "registerPayModeTemplate",
            POST,
            "payModeTemplate 2",
            "注册支付模板",
            requests.template,
            "RegisterTemplate",
            responses.registered,
            body=schemas.TEMPLATE,
        ),
        _endpoint(
            "payModes",
            POST,
            "PayMode 2",
            "为当前商户开通支付方式",
            requests.new_mode,
            "CreateMode",
            responses.opened,
            body=schemas.NEW_MODE,
        ),
        _endpoint(
            "payModes/{uuid}",
            CHANGE,
            "PayMode",
            "修改支付方式",
            requests.changed_mode,
            "UpdateMode",
            responses.changed,
            fields=(UUID_FIELD,),
            body=schemas.CHANGED_MODE,
        ),
        _endpoint(
            "listAllPayModes",
            GET,
            "PayMode 3",
            "所有支付方式以及还没有开通的支付方式",
            requests.all_modes,
            "ListAllModes",
            responses.all_modes,
            fields=(*MERCHANT_FIELDS, ORDER_FIELD),
        ),
        _endpoint(
            "merchants/{uuid}",
            GET,
            "PayMode 1",
            "商户: where merchant.href leads unless a link was given",
            requests.merchant,
            LIST,
            responses.merchant,
            fields=(UUID_FIELD,),
        ),
        _endpoint(
            "pay",
            POST,
            "Pay 1",
            "发起线上支付",
            requests.one_pay,
            "CreatePays",
            _paid,
            body=schemas.PAY,
        ),
        _endpoint(
            "batchPay",
            POST,
            "Pay 4",
            "发起批量支付",
            requests.many_pays,
            "CreatePays",
            _all_paid,
            body=schemas.PAYS,
        ),
        _endpoint(
            "refund",
            POST,
            "Refund 1",
            "发起线上退款",
            requests.one_refund,
            "CreateRefunds",
            _given_back,
            body=schemas.REFUND,
        ),
        _endpoint(
            "batchRefund",
            POST,
            "Refund 3",
            "发起批量线上退款",
            requests.many_refunds,
            "CreateRefunds",
            _all_given_back,
            body=schemas.REFUNDS,
        ),
        _endpoint(
            "payNotify",
            POST,
            "Pay 3",
            "支付通知",
            requests.pay_notify,
            "NotifyPay",
            _taken,
            fields=(SIGN_FIELD,),
            body=schemas.NOTIFY,
            more=("/payInfo",),
        ),
        _endpoint(
            "refundNotify",
            POST,
            "Refund 2",
            "退款通知",
            requests.refund_notify,
            "NotifyRefund",
            _taken,
            fields=(SIGN_FIELD,),
            body=schemas.NOTIFY,
            more=("/refundInfo",),
        ),
        *_lists(),
    ),
    refuse,
    authenticate,
    schemas.ERROR,
)
