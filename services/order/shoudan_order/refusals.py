"""Everything this service says no to: one class per reason of error_reason.proto."""

from __future__ import annotations

from dataclasses import dataclass

import grpc

from shoudan_kit.rpc.refusal import Refusal


class OrderRefusal(Refusal):
    """A no of the order service."""

    domain = "order.shoudan"


@dataclass
class FieldInvalid(OrderRefusal):
    """A field is missing or malformed [406]. Source: 000 §四.1.2."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    reason = "ERROR_REASON_FIELD_INVALID"
    field: str
    why: str


@dataclass
class ProductNotFound(OrderRefusal):
    """The channel does not sell this [920]. Source: 000 §四.1.5."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "ERROR_REASON_PRODUCT_NOT_FOUND"
    channel_no: str
    face: str


@dataclass
class NumTooHigh(OrderRefusal):
    """More units than the product, or any supplier's delivery of it, can have [920]. Source: 000 §二.2.1."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "ERROR_REASON_NUM_TOO_HIGH"
    channel_no: str
    num: int
    num_max: int


@dataclass
class PriceDiffers(OrderRefusal):
    """The amount is too far from our price [921]."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "ERROR_REASON_PRICE_DIFFERS"
    difference: str


@dataclass
class OrderNotFound(OrderRefusal):
    """No order has this number [404]. Source: 000 §四.2.5."""

    code = grpc.StatusCode.NOT_FOUND
    reason = "ERROR_REASON_ORDER_NOT_FOUND"
    channel_no: str
    request_no: str


@dataclass
class RequestDiffers(OrderRefusal):
    """The same request_no came before with other parameters [409]."""

    code = grpc.StatusCode.ALREADY_EXISTS
    reason = "ERROR_REASON_REQUEST_DIFFERS"
    channel_no: str
    request_no: str


@dataclass
class ChannelUnavailable(OrderRefusal):
    """The channel is unknown or disabled [403]."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "ERROR_REASON_CHANNEL_UNAVAILABLE"
    channel_no: str


@dataclass
class RefundOrderNotFound(OrderRefusal):
    """General refund: no such order, or what sold it is disabled [990]. Source: 000 §四.3.5."""

    code = grpc.StatusCode.NOT_FOUND
    reason = "ERROR_REASON_REFUND_ORDER_NOT_FOUND"
    channel_no: str
    request_no: str


@dataclass
class MandatoryOrderNotFound(OrderRefusal):
    """Mandatory refund: no such order. Source: 000 §四.4.5."""

    code = grpc.StatusCode.NOT_FOUND
    reason = "ERROR_REASON_MANDATORY_ORDER_NOT_FOUND"
    channel_no: str
    request_no: str


@dataclass
class OrderNotSucceeded(OrderRefusal):
    """The order has not succeeded [990]. Source: 000 §四.3.5."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "ERROR_REASON_ORDER_NOT_SUCCEEDED"
    order_id: int


@dataclass
class PartialRefundRefused(OrderRefusal):
    """A split order is refunded whole or not at all [981]. Source: 000 §四.3.5."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "ERROR_REASON_PARTIAL_REFUND_REFUSED"
    order_id: int


@dataclass
class NotRefundable(OrderRefusal):
    """The product cannot be refunded [980]. Source: 000 §四.3.5."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "ERROR_REASON_NOT_REFUNDABLE"
    order_id: int


@dataclass
class RefundNumTooHigh(OrderRefusal):
    """More than was delivered and not yet refunded [982]."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "ERROR_REASON_REFUND_NUM_TOO_HIGH"
    order_id: int
    refund_num: int


@dataclass
class RefundInProgress(OrderRefusal):
    """Another refund of the order is under way [983]."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "ERROR_REASON_REFUND_IN_PROGRESS"
    order_id: int


@dataclass
class RefundDiffers(OrderRefusal):
    """The same refund_no came before with other parameters [409]."""

    code = grpc.StatusCode.ALREADY_EXISTS
    reason = "ERROR_REASON_REFUND_DIFFERS"
    channel_no: str
    refund_no: str


@dataclass
class RefundNotFound(OrderRefusal):
    """No refund has this number. Source: 000 §四.5.5."""

    code = grpc.StatusCode.NOT_FOUND
    reason = "ERROR_REASON_REFUND_NOT_FOUND"
    channel_no: str
    request_no: str
    refund_no: str


@dataclass
class AuditRefused(OrderRefusal):
    """An audit cannot be decided so."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "ERROR_REASON_AUDIT_REFUSED"
    audit_id: int
    why: str


@dataclass
class CatalogueInvalid(OrderRefusal):
    """The catalogue given contradicts itself."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    reason = "ERROR_REASON_CATALOGUE_INVALID"
    where: str
    why: str


@dataclass
class NotFound(OrderRefusal):
    """Nothing has this number."""

    code = grpc.StatusCode.NOT_FOUND
    reason = "ERROR_REASON_NOT_FOUND"
    what: str
    id: int
