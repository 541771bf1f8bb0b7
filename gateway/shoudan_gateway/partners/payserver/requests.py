"""PayServer's JSON bodies: strict JSON in, one message out; what makes no sense the service refuses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from shoudan.pay.v1 import payment_service_pb2 as pb
from shoudan_gateway import parameters
from shoudan_gateway.partners.payserver import queries
from shoudan_gateway.partners.payserver.queries import admitted, required_merchant, scope
from shoudan_gateway.protocol import GatewayError, Inbound, Malformed, ParameterError, Problem
from shoudan_kit.http.json_keys import repeated_key
from shoudan_kit.money import FEN

BATCH_MAX: Final = 1000
FEN_MAX: Final = 2**53 // FEN
NUMBER_SHOWN_MAX: Final = 64
FLOAT_MAX: Final = 2**53  # from here on a double is no longer one whole number
FLAGS: Final = (0, 1)

Members = Mapping[str, msgspec.Raw]
_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_elements = msgspec.json.Decoder(list[msgspec.Raw]).decode
_any = msgspec.json.Decoder().decode
_READ_ERRORS: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

# Our field: their name. What else a body holds is ignored, as it always was.
_TEXT_TERMS: Final = {
    "name": "name",
    "description": "description",
    "check_env_url": "checkEnvUrl",
    "pay_url": "payUrl",
    "refund_url": "refundUrl",
    "icon_href": "iconHref",
    "channel": "payChannel",
    "way": "payWay",
    "query_url": "queryUrl",
    "secret_name": "secretName",
}
_FLAG_TERMS: Final = {
    "online": "isOnline",
    "sign_account": "isSignAccount",
    "async_notify": "isAsyncNotify",
    "third_party": "isThridPay",
    "repeatable": "isRepeatable",
}


def body_of(inbound: Inbound) -> Members:
    """The members of the body. Raises Malformed: no strict JSON object, or a key twice at any depth."""
    body = inbound.body or b"{}"
    try:
        members, repeated = _members(body), repeated_key(body)
    except (*_READ_ERRORS, ValueError):
        raise Malformed(parameters.BODY, ParameterError.UNREADABLE) from None
    if repeated is not None:
        raise Malformed(repeated, ParameterError.REPEATED)
    return members


def text_of(members: Members, name: str) -> str:
    """A text; "" for null and what is absent. Raises Malformed for anything else."""
    value = _value(members, name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Malformed(name, ParameterError.UNREADABLE)
    return value


def digits_of(members: Members, name: str) -> str:
    """A text, or a whole number as its digits; "" for null and what is absent. Raises Malformed."""
    value = _value(members, name)
    return str(value) if type(value) is int else text_of(members, name)


def number_of(members: Members, name: str) -> int | None:
    """A whole number, 50 or 50.0; None for null and what is absent. Raises Malformed for anything else."""
    value = _value(members, name)
    if value is None:
        return None
    if type(value) is float and value.is_integer() and abs(value) < FLOAT_MAX:
        return int(value)
    if type(value) is not int:
        raise Malformed(name, ParameterError.UNREADABLE)
    return value


def flag_of(members: Members, name: str) -> bool | None:
    """0 or 1; None for null and what is absent. Raises Malformed for anything else."""
    value = number_of(members, name)
    if value is None:
        return None
    if value not in FLAGS:
        raise Malformed(name, ParameterError.UNREADABLE)
    return bool(value)


def _value(members: Members, name: str) -> Any:
    raw = members.get(name)
    if raw is None:
        return None
    try:
        return _any(raw)
    except _READ_ERRORS:
        raise Malformed(name, ParameterError.UNREADABLE) from None


def _terms(members: Members) -> pb.Terms:
    given: dict[str, Any] = {}
    for ours, theirs in _TEXT_TERMS.items():
        if _value(members, theirs) is not None:
            given[ours] = text_of(members, theirs)
    for ours, theirs in _FLAG_TERMS.items():
        flag = flag_of(members, theirs)
        if flag is not None:
            given[ours] = flag
    hours = number_of(members, "orderValidTime")
    if hours is not None:
        given["valid_h"] = _small(hours, "orderValidTime")
    return pb.Terms(**given)


def _small(value: int, name: str) -> int:
    if not 0 <= value < 2**31:
        raise Malformed(name, ParameterError.UNREADABLE)
    return value


def template(inbound: Inbound) -> pb.RegisterTemplateRequest:
    """Registering is for those who may act for everyone. Source: 002 payModeTemplate 2."""
    if not admitted(inbound).everyone:
        raise Problem(GatewayError.ADDRESS_REFUSED)
    members = body_of(inbound)
    return pb.RegisterTemplateRequest(
        uuid=text_of(members, "uuid"),
        template_id=text_of(members, "payTemplateId"),
        terms=_terms(members),
    )


def _merchant(inbound: Inbound, members: Members) -> tuple[str, str]:
    named = {name: text_of(members, name) for name in queries.MERCHANT}
    return required_merchant(admitted(inbound), named)


def new_mode(inbound: Inbound) -> pb.CreateModeRequest:
    """Source: 002 PayMode 2."""
    members = body_of(inbound)
    uuid, href = _merchant(inbound, members)
    return pb.CreateModeRequest(
        merchant_uuid=uuid,
        merchant_href=href,
        uuid=text_of(members, "uuid"),
        template_id=text_of(members, "payTemplateId"),
        terms=_terms(members),
        fast=bool(flag_of(members, "isFastPay")),
        opened=bool(flag_of(members, "isOpened")),
        ui_order=_small(number_of(members, "uiOrder") or 0, "uiOrder"),
    )


def changed_mode(inbound: Inbound) -> pb.UpdateModeRequest:
    """PUT of one mode: what is given is changed."""
    members = body_of(inbound)
    if text_of(members, "uuid") not in {"", inbound.path_params["uuid"]}:
        raise Malformed("uuid", ParameterError.CONFLICTING)
    order = number_of(members, "uiOrder")
    return pb.UpdateModeRequest(
        caller=scope(inbound),
        uuid=inbound.path_params["uuid"],
        terms=_terms(members),
        fast=flag_of(members, "isFastPay"),
        opened=flag_of(members, "isOpened"),
        ui_order=None if order is None else _small(order, "uiOrder"),
    )


def all_modes(inbound: Inbound) -> pb.ListAllModesRequest:
    """Source: 002 PayMode 3."""
    params = parameters.pairs(inbound.query)
    uuid, _ = required_merchant(admitted(inbound), params)
    return pb.ListAllModesRequest(merchant_uuid=uuid, orderings=queries.orderings(params))


def modes(inbound: Inbound) -> pb.ListResourcesRequest:
    """A merchant's modes: named, or the token's. Source: 002 PayMode 1."""
    uuid, _ = required_merchant(admitted(inbound), parameters.pairs(inbound.query))
    return queries.page(inbound, pb.COLLECTION_MODES, pb.Caller(merchant_uuid=uuid))


def merchant(inbound: Inbound) -> pb.ListResourcesRequest:
    """One mode of the merchant whose page is asked for: it has none, or is not the caller's, or exists."""
    named = {"merchantUUID": inbound.path_params["uuid"]}
    uuid, _ = required_merchant(admitted(inbound), named)
    return pb.ListResourcesRequest(
        caller=pb.Caller(merchant_uuid=uuid), collection=pb.COLLECTION_MODES, limit=1
    )


def one_pay(inbound: Inbound) -> pb.CreatePaysRequest:
    """Source: 002 Pay 1."""
    return pb.CreatePaysRequest(caller=scope(inbound), items=[_pay(body_of(inbound))])


def many_pays(inbound: Inbound) -> pb.CreatePaysRequest:
    """Source: 002 Pay 4."""
    elements = elements_of(inbound, "batchPayData")
    items = [_leniently(_pay, one, pb.CreatePaysRequest.Item()) for one in elements]
    return pb.CreatePaysRequest(caller=scope(inbound), items=items)


def one_refund(inbound: Inbound) -> pb.CreateRefundsRequest:
    """Source: 002 Refund 1."""
    return pb.CreateRefundsRequest(caller=scope(inbound), items=[_refund(body_of(inbound))])


def many_refunds(inbound: Inbound) -> pb.CreateRefundsRequest:
    """Source: 002 Refund 3."""
    elements = elements_of(inbound, "batchRefundData")
    items = [_leniently(_refund, one, pb.CreateRefundsRequest.Item()) for one in elements]
    return pb.CreateRefundsRequest(caller=scope(inbound), items=items)


def elements_of(inbound: Inbound, name: str) -> list[Members]:
    """The elements of a batch; one that is no object is empty. Raises Malformed."""
    raw = body_of(inbound).get(name)
    if raw is None:
        raise Malformed(name, ParameterError.MISSING)
    try:
        elements = _elements(raw)
    except _READ_ERRORS:
        raise Malformed(name, ParameterError.UNREADABLE) from None
    if not 1 <= len(elements) <= BATCH_MAX:
        raise Malformed(name, ParameterError.UNREADABLE)
    return [_element(one) for one in elements]


def shown_number(members: Members, name: str) -> str:
    """The client's number of an element, as its slot repeats it."""
    try:
        return text_of(members, name)[:NUMBER_SHOWN_MAX]
    except Malformed:
        return ""


def _element(raw: msgspec.Raw) -> Members:
    try:
        return _members(raw)
    except _READ_ERRORS:
        return {}


def _leniently(read: Any, members: Members, nothing: Any) -> Any:
    """An element that cannot be read goes on empty, and the service refuses it in its own slot."""
    try:
        return read(members)
    except Malformed:
        return nothing


def _check_unnamed(members: Members) -> None:
    """Pays and refunds are given their uuid by us. Raises Malformed for one that brings its own."""
    if _value(members, "uuid") is not None:
        raise Malformed("uuid", ParameterError.CONFLICTING)


def _pay(members: Members) -> pb.CreatePaysRequest.Item:
    _check_unnamed(members)
    amount = number_of(members, "payAmount")
    return pb.CreatePaysRequest.Item(
        mode_uuid=text_of(members, "payModeUUID"),
        payer=text_of(members, "payer"),
        payee=text_of(members, "payee"),
        amount_micros=_micros(amount or 0),
        client_pay_no=text_of(members, "clientPayNo"),
        params=_object(members, "payParams"),
        extra_params=_object(members, "clientExtraParams"),
    )


def _refund(members: Members) -> pb.CreateRefundsRequest.Item:
    _check_unnamed(members)
    amount = number_of(members, "refundAmount")
    return pb.CreateRefundsRequest.Item(
        pay_traction_no=text_of(members, "payTractionNo"),
        client_refund_no=text_of(members, "clientRefundNo"),
        cancel=bool(flag_of(members, "isCancel")),
        amount_micros=None if amount is None else _micros(amount),
        extra_params=_object(members, "clientExtraParams"),
    )


def _micros(fen: int) -> int:
    """Micro-yuan; what is out of range stays so, for the service to refuse."""
    return fen * FEN if -FEN_MAX <= fen <= FEN_MAX else -1


def _object(members: Members, name: str) -> bytes:
    """The text of an object, unchanged; the service refuses what is none."""
    raw = members.get(name)
    text = b"" if raw is None else bytes(raw)
    return b"" if text == b"null" else text


def pay_notify(inbound: Inbound) -> pb.NotifyPayRequest:
    """A component's notify; its sign came with the notifyUrl."""
    return pb.NotifyPayRequest(told=_notified(inbound), sign=_sign(inbound))


def refund_notify(inbound: Inbound) -> pb.NotifyRefundRequest:
    """The same for a refund."""
    return pb.NotifyRefundRequest(told=_notified(inbound), sign=_sign(inbound))


def _notified(inbound: Inbound) -> pb.Told:
    members = body_of(inbound)
    return pb.Told(
        traction_no=digits_of(members, "tractionNo"),
        ret=text_of(members, "ret"),
        third_order_no=digits_of(members, "thirdOrderNo"),
        third_error_reason=digits_of(members, "thirdErrorReason"),
        trade_finished_at=text_of(members, "tradeFinishedAt"),
        pay_fen=_notified_fen(members, "payAmount"),
        refund_fen=_notified_fen(members, "refundAmount"),
    )


def _notified_fen(members: Members, name: str) -> int | None:
    fen = number_of(members, name)
    if fen is not None and abs(fen) >= FLOAT_MAX:
        raise Malformed(name, ParameterError.UNREADABLE)
    return fen


def _sign(inbound: Inbound) -> str:
    return parameters.pairs(inbound.query).get("sign", "")
