"""Everything this service says no to: one class per reason of error_reason.proto."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from grpc import StatusCode as Code

from shoudan.order.v1 import error_reason_pb2
from shoudan_kit.rpc.refusal import NamedRefusal

T = TypeVar("T")


class OrderRefusal(NamedRefusal):
    """A refusal of this service."""

    domain, reasons = "order.shoudan", error_reason_pb2.ErrorReason


class FieldInvalid(OrderRefusal, code=Code.INVALID_ARGUMENT):
    """A field is missing or malformed [406]. Source: 000 §四.1.2."""

    field: str
    why: str


class ProductNotFound(OrderRefusal):
    """The channel does not sell this [920]. Source: 000 §四.1.5."""

    channel_no: str
    face: str


class NumTooHigh(OrderRefusal):
    """More units than the product, or any supplier's delivery of it, can have [920]. Source: 000 §二.2.1."""

    channel_no: str
    num: int
    num_max: int


class PriceDiffers(OrderRefusal):
    """The amount is too far from our price [921]."""

    difference: str


class PriceTooHigh(OrderRefusal):
    """The order costs more than its channel accepts for it (安全价) [921]."""

    price: str
    max: str


class NoSupplier(OrderRefusal):
    """Sold, but no supplier can deliver it now; only a check says so [920]."""

    channel_no: str


class SupplierForbidden(OrderRefusal):
    """Sold, but its line forbids the class of those that could deliver it; only a check says so [920]."""

    channel_no: str
    classes: str


class OrderArchived(OrderRefusal):
    """The order has left the database, and its archive cannot be read here."""

    order_id: int
    lot_no: str


class RiskBlocked(OrderRefusal):
    """The account is on the list of blocked ones [930]."""


class RiskLimit(OrderRefusal):
    """A risk rule bounds what is ordered in a day or month [931]."""

    rule: str
    within: str


class RiskRepeated(OrderRefusal):
    """重复充值: the same was ordered less than `minutes` ago [932]."""

    rule: str
    minutes: int


class OrderNotFound(OrderRefusal, code=Code.NOT_FOUND):
    """No order has this number [404]. Source: 000 §四.2.5."""

    channel_no: str
    request_no: str


class RequestDiffers(OrderRefusal, code=Code.ALREADY_EXISTS):
    """The same request_no came before with other parameters [409]."""

    channel_no: str
    request_no: str


class ChannelUnavailable(OrderRefusal):
    """The channel is unknown or disabled [403]."""

    channel_no: str


class GoodsNotFound(OrderRefusal, code=Code.NOT_FOUND):
    """The channel has no goods of this number and type."""

    goods_no: str


class GoodsUnavailable(OrderRefusal):
    """The goods cannot be ordered now."""

    goods_no: str


class NonceUsed(OrderRefusal, code=Code.PERMISSION_DENIED):
    """The nonce of a signed write was used before: a replay [403]."""

    channel_no: str


class RefundOrderNotFound(OrderRefusal, code=Code.NOT_FOUND):
    """General refund: no such order, or what sold it is disabled [990]. Source: 000 §四.3.5."""

    channel_no: str
    request_no: str


class MandatoryOrderNotFound(OrderRefusal, code=Code.NOT_FOUND):
    """Mandatory refund: no such order. Source: 000 §四.4.5."""

    channel_no: str
    request_no: str


class OrderNotSucceeded(OrderRefusal):
    """The order has not succeeded [990]. Source: 000 §四.3.5."""

    order_id: int


class PartialRefundRefused(OrderRefusal):
    """A split order is refunded whole or not at all [981]. Source: 000 §四.3.5."""

    order_id: int


class NotRefundable(OrderRefusal):
    """The product cannot be refunded [980]. Source: 000 §四.3.5."""

    order_id: int


class RefundNumTooHigh(OrderRefusal):
    """More than was delivered and not yet refunded [982]."""

    order_id: int
    refund_num: int


class RefundInProgress(OrderRefusal):
    """Another refund of the order is under way [983]."""

    order_id: int


class RefundDiffers(OrderRefusal, code=Code.ALREADY_EXISTS):
    """The same refund_no came before with other parameters [409]."""

    channel_no: str
    refund_no: str


class RefundNotFound(OrderRefusal, code=Code.NOT_FOUND):
    """No refund has this number. Source: 000 §四.5.5."""

    channel_no: str
    request_no: str
    refund_no: str


class AuditRefused(OrderRefusal):
    """An audit cannot be decided so."""

    audit_id: int
    why: str


class CatalogueInvalid(OrderRefusal, code=Code.INVALID_ARGUMENT):
    """The catalogue given contradicts itself."""

    where: str
    why: str


class NoSandbox(OrderRefusal):
    """There is no sandbox here, or it does not answer."""

    why: str


class NotFound(OrderRefusal, code=Code.NOT_FOUND):
    """Nothing has this number."""

    what: str
    id: int


def existing(there: Mapping[int, T], what: str, number: int) -> T:
    """What has this number. Raises NotFound."""
    try:
        return there[number]
    except KeyError:
        raise NotFound(what, number) from None
