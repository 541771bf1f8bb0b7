"""PayServer's answers: every resource with the documented keys, in the documented order, typos included."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC
from typing import Any, Final
from urllib.parse import quote

import msgspec

from shoudan.pay.v1 import payment_service_pb2 as pb
from shoudan_gateway.partners.payserver import texts
from shoudan_gateway.partners.payserver.queries import echoed
from shoudan_gateway.protocol import Inbound, Outbound
from shoudan_kit.clock import beijing
from shoudan_kit.money import micros_to_fen
from shoudan_kit.rpc.refusal import refused_from_proto

API: Final = "/api/v1.0.0"
OK: Final = 200
CREATED: Final = 201

Item = dict[str, Any]


def _when(holder: Any, name: str) -> str | None:
    """Beijing time; null while it has not happened."""
    if not holder.HasField(name):
        return None
    return beijing(getattr(holder, name).ToDatetime(UTC))


def _text(holder: Any, name: str) -> Any:
    return getattr(holder, name) if holder.HasField(name) else None


def _href(inbound: Inbound, *parts: str) -> str:
    return "/".join((f"{inbound.base_url}{API}", *parts))


def _links(inbound: Inbound, collection: str, uuid: str, *names: str) -> Item:
    return {name: {"href": _href(inbound, collection, uuid, name)} for name in names}


def template_item(one: pb.Template, inbound: Inbound) -> Item:
    """payModeTemplate in a list. Source: 002 payModeTemplate 1."""
    terms = one.terms
    return {
        "href": _href(inbound, "payModeTemplates", one.uuid),
        "id": one.id,
        "uuid": one.uuid,
        "name": terms.name,
        "description": _text(terms, "description"),
        "checkEnvUrl": _text(terms, "check_env_url"),
        "payUrl": _text(terms, "pay_url"),
        "refundUrl": _text(terms, "refund_url"),
        "orderValidTime": terms.valid_h,
        "isOnline": int(terms.online),
        "isSignAccount": int(terms.sign_account),
        "payTemplateId": one.template_id,
        "isAsyncNotify": int(terms.async_notify),
        "isThridPay": int(terms.third_party),
        "payChannel": _text(terms, "channel"),
        "payWay": _text(terms, "way"),
        "status": one.status,
        "createdAt": _when(one, "create_time"),
        "modifiedAt": _when(one, "modify_time"),
        **_links(
            inbound,
            "payModeTemplates",
            one.uuid,
            "payModes",
            "payOrders",
            "refundOrders",
            "tradeRecords",
        ),
    }


def registered(answer: pb.RegisterTemplateResponse, _inbound: Inbound) -> Outbound:
    """The reply to registerPayModeTemplate. Source: 002 payModeTemplate 2."""
    one, terms = answer.template, answer.template.terms
    body: Item = {
        "uuid": one.uuid,
        "payTemplateId": one.template_id,
        "name": terms.name,
        "description": _text(terms, "description"),
        "checkEnvUrl": _text(terms, "check_env_url"),
        "payUrl": _text(terms, "pay_url"),
        "refundUrl": _text(terms, "refund_url"),
        "isSignAccount": int(terms.sign_account),
        "isOnline": int(terms.online),
        "isAsyncNotify": int(terms.async_notify),
        "payChannel": _text(terms, "channel"),
        "payWay": _text(terms, "way"),
        "isThridPay": int(terms.third_party),
        "modifiedAt": _when(one, "modify_time"),
        "id": one.id,
        "orderValidTime": terms.valid_h,
        "iconHref": _text(terms, "icon_href"),
        "status": one.status,
        "createdAt": _when(one, "create_time"),
    }
    return Outbound(OK, body)


def _mode_terms(terms: pb.Terms) -> Item:
    return {
        "orderValidTime": terms.valid_h,
        "isOnline": int(terms.online),
        "isSignAccount": int(terms.sign_account),
        "isAsyncNotify": int(terms.async_notify),
        "isThridPay": int(terms.third_party),
        "payChannel": _text(terms, "channel"),
        "payWay": _text(terms, "way"),
    }


def _merchant_href(one: pb.Mode, inbound: Inbound) -> str:
    """The link given with the mode, else our own page of the merchant."""
    return one.merchant_href or _href(inbound, "merchants", one.merchant_uuid)


def merchant(answer: pb.ListResourcesResponse, inbound: Inbound) -> Outbound:
    """What merchant.href leads to: the merchant, and where its modes and orders are."""
    if not answer.modes:
        return texts.missing()
    uuid = answer.modes[0].merchant_uuid
    lists = {
        name: {"href": f"{_href(inbound, name)}?merchantUUID={quote(uuid, safe='')}"}
        for name in ("payModes", "payOrders", "refundOrders", "tradeRecords")
    }
    return Outbound(OK, {"href": _href(inbound, "merchants", uuid), "uuid": uuid, **lists})


def _mode_links(one: pb.Mode, inbound: Inbound) -> Item:
    return _links(inbound, "payModes", one.uuid, "payOrders", "refundOrders", "tradeRecords")


def mode_item(one: pb.Mode, inbound: Inbound) -> Item:
    """PayMode in a list. Source: 002 PayMode 1."""
    terms = one.terms
    return {
        "href": _href(inbound, "payModes", one.uuid),
        "id": one.id,
        "uuid": one.uuid,
        "name": terms.name,
        "description": _text(terms, "description"),
        "checkEnvUrl": _text(terms, "check_env_url"),
        "payUrl": _text(terms, "pay_url"),
        "refundUrl": _text(terms, "refund_url"),
        "iconHref": _text(terms, "icon_href"),
        "payTemplateId": _text(one, "template_id"),
        **_mode_terms(terms),
        "isFastPay": int(one.fast),
        "isOpened": int(one.opened),
        "uiOrder": one.ui_order,
        "merchantUUID": one.merchant_uuid,
        "createdAt": _when(one, "create_time"),
        "modifiedAt": _when(one, "modify_time"),
        "merchant": {"href": _merchant_href(one, inbound)},
        **_mode_links(one, inbound),
    }


def opened(answer: pb.CreateModeResponse, inbound: Inbound) -> Outbound:
    """The reply to POST payModes, whose order differs from a list's. Source: 002 PayMode 2."""
    one = answer.mode
    body = mode_item(one, inbound)
    template = body.pop("payTemplateId")
    tail = {name: body.pop(name) for name in ("createdAt", "modifiedAt", "merchant")}
    links = {name: body.pop(name) for name in ("payOrders", "refundOrders", "tradeRecords")}
    body["payTemplateId"] = template
    return Outbound(CREATED, {**body, **tail, "payModeTemplate": {"href": None}, **links})


def changed(answer: pb.UpdateModeResponse, inbound: Inbound) -> Outbound:
    """The reply to PUT payModes: the item."""
    return Outbound(OK, mode_item(answer.mode, inbound))


def all_modes(answer: pb.ListAllModesResponse, _inbound: Inbound) -> Outbound:
    """The reply to listAllPayModes. Source: 002 PayMode 3."""
    items = [_created(one) for one in answer.modes] + [_unopened(one) for one in answer.templates]
    return Outbound(OK, {"size": len(items), "items": items})


def _created(one: pb.Mode) -> Item:
    return {
        "uuid": one.uuid,
        "payTemplateId": _text(one, "template_id"),
        "merchantUUID": one.merchant_uuid,
        "name": one.terms.name,
        "description": _text(one.terms, "description"),
        **_mode_terms(one.terms),
        "iconHref": _text(one.terms, "icon_href"),
        "uiOrder": one.ui_order,
        "isOpened": int(one.opened),
        "isFastPay": int(one.fast),
        "hasCreated": 1,
    }


def _unopened(one: pb.Template) -> Item:
    terms = one.terms
    return {
        "name": terms.name,
        "description": _text(terms, "description"),
        "checkEnvUrl": _text(terms, "check_env_url"),
        # The sample shows null for the built-in template whose own list shows ''.
        "payUrl": terms.pay_url or None,
        "refundUrl": terms.refund_url or None,
        **_mode_terms(terms),
        "iconHref": _text(terms, "icon_href"),
        "payTemplateId": one.template_id,
        "hasCreated": 0,
        "isOpened": 0,
        "isFastPay": 0,
    }


def pay_data(one: pb.PayOrder) -> Item:
    """`data` of a pay. Source: 002 Pay 4, the fuller of its samples."""
    return {
        "uuid": one.uuid,
        "payer": one.payer,
        "payee": one.payee,
        "payAmount": micros_to_fen(one.amount_micros),
        "tractionNo": one.traction_no,
        "clientPayNo": one.client_pay_no,
        "orderStartAt": _when(one, "start_time"),
        "orderExpiredAt": _when(one, "expire_time"),
        "payParams": msgspec.Raw(one.params),
        "thirdPayNo": _text(one, "third_pay_no"),
        "resultCode": _text(one, "result_code"),
        "payModeName": one.mode_name,
        "payTemplateId": _text(one, "template_id"),
        "payChannel": _text(one, "channel"),
        "payWay": _text(one, "way"),
        "payStartAt": _when(one, "pay_start_time"),
        "payFinishAt": _when(one, "finish_time"),
        "refundAmount": micros_to_fen(one.refunded_micros),
        "lastRefundAt": _when(one, "last_refund_time"),
        "status": one.status,
        "createdAt": _when(one, "create_time"),
        "modifiedAt": _when(one, "modify_time"),
        "payModeUUID": one.mode_uuid,
        "clientExtraParams": msgspec.Raw(one.extra_params),
    }


def pay_item(one: pb.PayOrder, inbound: Inbound) -> Item:
    """payOrder in a list. Source: 002 Pay 2."""
    data = pay_data(one)
    times = {name: data.pop(name) for name in ("createdAt", "modifiedAt")}
    objects = {name: data.pop(name) for name in ("payParams", "clientExtraParams")}
    mode = {"href": _href(inbound, "payModes", one.mode_uuid)}
    return {
        "href": _href(inbound, "payOrders", one.uuid),
        "id": one.id,
        **data,
        **times,
        **objects,
        "payMode": mode,
        **_links(inbound, "payOrders", one.uuid, "refundOrders", "tradeRecords"),
    }


def refund_data(one: pb.RefundOrder) -> Item:
    """`data` of a refund. Source: 002 Refund 1."""
    return {
        "uuid": one.uuid,
        "refundAmount": micros_to_fen(one.amount_micros),
        "tractionNo": one.traction_no,
        "clientRefundNo": one.client_refund_no,
        "thirdRefundNo": _text(one, "third_refund_no"),
        "refundStartAt": _when(one, "start_time"),
        "refundFinishAt": _when(one, "finish_time"),
        "resultCode": _text(one, "result_code"),
        "status": one.status,
        "createdAt": _when(one, "create_time"),
        "modifiedAt": _when(one, "modify_time"),
        "payOrderUUID": one.pay_uuid,
    }


def refund_item(one: pb.RefundOrder, inbound: Inbound) -> Item:
    """refundOrder in a list."""
    return {
        "href": _href(inbound, "refundOrders", one.uuid),
        "id": one.id,
        **refund_data(one),
        "payOrder": {"href": _href(inbound, "payOrders", one.pay_uuid)},
        **_links(inbound, "refundOrders", one.uuid, "tradeRecords"),
    }


def trade_item(one: pb.TradeRecord, inbound: Inbound) -> Item:
    """tradeRecord in a list."""
    refund = {"href": _href(inbound, "refundOrders", one.refund_uuid)} if one.refund_uuid else None
    return {
        "href": _href(inbound, "tradeRecords", one.uuid),
        "id": one.id,
        "uuid": one.uuid,
        "tractionNo": one.traction_no,
        "tradeType": one.trade_type,
        "tradeAmount": micros_to_fen(one.amount_micros),
        "status": one.status,
        "resultCode": one.result_code,
        "createdAt": _when(one, "create_time"),
        "payOrder": {"href": _href(inbound, "payOrders", one.pay_uuid)},
        "refundOrder": refund,
    }


def _items(answer: pb.ListResourcesResponse, collection: int, inbound: Inbound) -> list[Item]:
    """The items of one collection, with what was to be fetched in place of its link."""
    shown: Mapping[int, tuple[str, Callable[[Any, Inbound], Item]]] = {
        pb.COLLECTION_TEMPLATES: ("templates", template_item),
        pb.COLLECTION_MODES: ("modes", mode_item),
        pb.COLLECTION_PAYS: ("pays", pay_item),
        pb.COLLECTION_REFUNDS: ("refunds", refund_item),
        pb.COLLECTION_TRADES: ("trades", trade_item),
    }
    name, write = shown[collection]
    items = [write(one, inbound) for one in getattr(answer, name)]
    if collection == pb.COLLECTION_PAYS:
        _fetched(items, "payMode", [mode_item(one, inbound) for one in answer.modes])
    if collection in {pb.COLLECTION_REFUNDS, pb.COLLECTION_TRADES}:
        _fetched(items, "payOrder", [pay_item(one, inbound) for one in answer.pays])
    return items


def _fetched(items: Sequence[Item], link: str, found: Sequence[Item]) -> None:
    by_href = {one["href"]: one for one in found}
    for item in items:
        item[link] = by_href.get(item[link]["href"], item[link])


def lister(collection: int) -> Callable[[pb.ListResourcesResponse, Inbound], Outbound]:
    """Writes a page: {href, offset, limit: how many items came, size: of all, items}."""

    def write(answer: pb.ListResourcesResponse, inbound: Inbound) -> Outbound:
        items = _items(answer, collection, inbound)
        offset = next(
            (p[len("offset=") :] for p in inbound.query.split("&") if p.startswith("offset=")), ""
        )
        body = {
            "href": echoed(inbound),
            "offset": int(offset) if offset.isdigit() else 0,
            "limit": len(items),
            "size": answer.size,
            "items": items,
        }
        return Outbound(OK, body)

    return write


def itemizer(collection: int) -> Callable[[pb.ListResourcesResponse, Inbound], Outbound]:
    """Writes the one item that was asked for."""

    def write(answer: pb.ListResourcesResponse, inbound: Inbound) -> Outbound:
        return Outbound(OK, _items(answer, collection, inbound)[0])

    return write


def paid(result: pb.CreatePaysResponse.Result) -> Outbound:
    """What became of one pay. Source: 002 Pay 1."""
    outcome = result.WhichOneof("outcome")
    if outcome == "refusal":
        return texts.refused(refused_from_proto(result.refusal))
    if outcome == "offline":
        return Outbound(OK, {"ret": "success", "businessRet": "offlinePay", "data": {}})
    pay = result.pay
    failed = pay.status == "payFailed"
    if failed and not result.repeated:
        return texts.failed("PayOrderBusiness->create pay Error:", pay, pay.third_pay_no)
    body = {
        "ret": "failed" if failed else "success",
        "businessRet": "asyncOnlinePay" if pay.async_notify else "syncOnlinePay",
        "data": pay_data(pay),
    }
    return Outbound(OK, body)


def given_back(result: pb.CreateRefundsResponse.Result) -> Outbound:
    """What became of one refund. Source: 002 Refund 1."""
    outcome = result.WhichOneof("outcome")
    if outcome == "refusal":
        return texts.refused(refused_from_proto(result.refusal))
    if outcome == "offline":
        return Outbound(OK, {"ret": "success", "businessRet": "offlineRefund", "data": {}})
    refund = result.refund
    failed = refund.status == "refundFailed"
    if failed and not result.repeated:
        start = "RefundOrderBusiness->create refund Error:"
        return texts.failed(start, refund, refund.third_refund_no)
    body = {
        "ret": "failed" if failed else "success",
        "businessRet": "asyncOnlineRefund" if refund.async_notify else "syncOnlineRefund",
        "data": refund_data(refund),
    }
    return Outbound(OK, body)


def slots(name: str, number: str, numbers: Sequence[str], answers: Sequence[Outbound]) -> Outbound:
    """A batch's answer: one slot per element, in their order. Source: 002 Pay 4, Refund 3."""
    made = [
        {number: own, "statusCode": answer.status, "body": answer.body}
        for own, answer in zip(numbers, answers, strict=True)
    ]
    return Outbound(OK, {name: made})
