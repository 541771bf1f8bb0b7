"""Messages of PaymentService to values and back; what has no shape is refused here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from shoudan.pay.v1 import payment_service_pb2 as pb
from shoudan_kit.db.pages import NUMBERED_MAX
from shoudan_kit.http.json_keys import repeated_key
from shoudan_kit.money import FEN, MICROS_MAX
from shoudan_kit.rpc.messages import filled
from shoudan_pay.payserver.modes import BARE, URL_TERMS
from shoudan_pay.payserver.refusals import ResourceNotFound
from shoudan_pay.payserver.rules import PayAsked, RefundAsked, content_hash
from shoudan_pay.payserver.store.lists import Collection, Condition, Operator, Ordering, TradeRecord
from shoudan_pay.payserver.store.modes import Mode, Template, Terms
from shoudan_pay.payserver.store.pays import PayOrder
from shoudan_pay.payserver.store.refunds import RefundOrder
from shoudan_pay.refusals import AmountInvalid, FieldInvalid
from shoudan_pay.rpc.ledger_messages import text

ITEMS_MAX: Final = 1000
LIMIT_DEFAULT: Final = 10
LIMIT_MAX: Final = 100
OFFSET_MAX: Final = NUMBERED_MAX
FILTERS_MAX: Final = 20
VALUES_MAX: Final = 100
ORDERINGS_MAX: Final = 5
JSON_BYTES_MAX: Final = 8 * 1024
NUMBER_MAX: Final = 64
URL_MAX: Final = 2048
VALID_H_MAX: Final = 8760

COLLECTIONS: Final = {
    pb.COLLECTION_TEMPLATES: Collection.TEMPLATES,
    pb.COLLECTION_MODES: Collection.MODES,
    pb.COLLECTION_PAYS: Collection.PAYS,
    pb.COLLECTION_REFUNDS: Collection.REFUNDS,
    pb.COLLECTION_TRADES: Collection.TRADES,
}
OPERATORS: Final = {
    pb.OPERATOR_IN: Operator.IN,
    pb.OPERATOR_NOT_IN: Operator.NOT_IN,
    pb.OPERATOR_LIKE: Operator.LIKE,
    pb.OPERATOR_FROM: Operator.FROM,
    pb.OPERATOR_ABOVE: Operator.ABOVE,
    pb.OPERATOR_TO: Operator.TO,
    pb.OPERATOR_BELOW: Operator.BELOW,
}
_TERM_MAX: Final = {"name": 64, "description": 256, "channel": 64, "way": 64, "secret_name": 64}
_FLAGS: Final = ("online", "sign_account", "async_notify", "third_party", "repeatable")
_NAMES: Final = {
    **URL_TERMS,
    "icon_href": "iconHref",
    "channel": "payChannel",
    "way": "payWay",
    "secret_name": "secretName",
}


def terms(message: pb.Terms, under: Terms = BARE) -> Terms:
    """The terms given, laid over others."""
    given: dict[str, Any] = {}
    for field, value in message.ListFields():
        name = field.name
        if isinstance(value, str):
            most = _TERM_MAX.get(name, URL_MAX)
            value = text(_NAMES.get(name, name), value, most, optional=True)
        given[name] = value
    made = msgspec.structs.replace(under, **given)
    if not made.name:
        raise FieldInvalid("name", "is missing")
    if not 1 <= made.valid_h <= VALID_H_MAX:
        raise FieldInvalid("orderValidTime", f"is not within 1..{VALID_H_MAX}")
    return made


def pay(message: pb.CreatePaysRequest.Item) -> PayAsked:
    """One pay, its shape checked."""
    amount = amount_of(message.amount_micros)
    params, extra = (
        json_object("payParams", message.params),
        json_object("clientExtraParams", message.extra_params),
    )
    mode = text("payModeUUID", message.mode_uuid, NUMBER_MAX)
    payer = text("payer", message.payer, 256)
    payee = text("payee", message.payee, URL_MAX)
    return PayAsked(
        mode,
        payer,
        payee,
        amount,
        text("clientPayNo", message.client_pay_no, NUMBER_MAX),
        params.decode(),
        extra.decode(),
        content_hash(mode, payer, payee, amount, params, extra),
    )


def refund(message: pb.CreateRefundsRequest.Item) -> RefundAsked:
    """One refund, its shape checked."""
    amount = amount_of(message.amount_micros) if message.HasField("amount_micros") else None
    extra = json_object("clientExtraParams", message.extra_params)
    number = text("payTractionNo", message.pay_traction_no, NUMBER_MAX)
    return RefundAsked(
        number,
        text("clientRefundNo", message.client_refund_no, NUMBER_MAX),
        message.cancel,
        amount,
        extra.decode(),
        content_hash(number, amount, message.cancel, extra),
    )


def amount_of(micros: int) -> int:
    """Whole fen above zero."""
    if not 0 < micros <= MICROS_MAX or micros % FEN:
        raise AmountInvalid(micros)
    return micros


def json_object(field: str, given: bytes) -> bytes:
    """The text of a JSON object; {} for nothing."""
    raw = given or b"{}"
    if len(raw) > JSON_BYTES_MAX:
        raise FieldInvalid(field, f"has more than {JSON_BYTES_MAX} bytes")
    try:
        found: Any = msgspec.json.decode(raw)
        repeated = repeated_key(raw)
    except (ValueError, RecursionError):
        found = repeated = None
    if not isinstance(found, dict):
        raise FieldInvalid(field, "is no JSON object")
    if repeated is not None:
        raise FieldInvalid(field, "has a repeated key")
    return raw


def conditions(messages: Iterable[pb.Filter]) -> list[Condition]:
    """The filters, bounded."""
    found: list[Condition] = []
    for message in messages:
        operator = OPERATORS.get(message.operator)
        if operator is None or not 1 <= len(message.values) <= VALUES_MAX:
            raise FieldInvalid(message.field[:64], "is no filter that is offered")
        found.append(Condition(message.field, operator, tuple(message.values)))
    if len(found) > FILTERS_MAX:
        raise FieldInvalid("filters", f"are more than {FILTERS_MAX}")
    return found


def orderings(messages: Iterable[pb.Ordering]) -> list[Ordering]:
    """The sorting, bounded."""
    found = [Ordering(one.field, one.descending) for one in messages]
    if len(found) > ORDERINGS_MAX:
        raise FieldInvalid("orderBy", f"has more than {ORDERINGS_MAX} keys")
    return found


def page(message: pb.ListResourcesRequest) -> tuple[int, int]:
    """Offset and limit."""
    if not 0 <= message.offset <= OFFSET_MAX:
        raise FieldInvalid("offset", f"is not within 0..{OFFSET_MAX}")
    if not 0 <= message.limit <= LIMIT_MAX:
        raise FieldInvalid("limit", f"is not within 1..{LIMIT_MAX}")
    return message.offset, message.limit or LIMIT_DEFAULT


def resource(uuid: str) -> str:
    """A number or uuid to look up. Raises ResourceNotFound for text that can be neither."""
    if not uuid.isprintable() or len(uuid) > NUMBER_MAX:
        raise ResourceNotFound(uuid[:NUMBER_MAX])
    return uuid


def terms_message(value: Terms) -> pb.Terms:
    """Terms as they travel, without the secret's name."""
    return filled(pb.Terms, value, secret_name=None)


def template_message(value: Template) -> pb.Template:
    """A template as it travels."""
    return filled(pb.Template, value, terms=terms_message(value.terms))


def mode_message(value: Mode) -> pb.Mode:
    """A mode as it travels."""
    return filled(pb.Mode, value, terms=terms_message(value.terms))


def pay_message(value: PayOrder) -> pb.PayOrder:
    """A pay order as it travels."""
    return filled(pb.PayOrder, value)


def refund_message(value: RefundOrder) -> pb.RefundOrder:
    """A refund as it travels."""
    return filled(pb.RefundOrder, value)


def trade_message(value: TradeRecord) -> pb.TradeRecord:
    """A trade record as it travels."""
    return filled(pb.TradeRecord, value)
