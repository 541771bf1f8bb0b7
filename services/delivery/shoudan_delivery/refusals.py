"""Everything the delivery service says no to: one class per reason of error_reason.proto."""

from __future__ import annotations

from dataclasses import dataclass

import grpc

from shoudan_kit.rpc.refusal import Refusal


class DeliveryRefusal(Refusal):
    """A refusal of this service."""

    domain = "delivery.shoudan"


@dataclass
class ChannelUnavailable(DeliveryRefusal):
    """No such channel and service class, or it is disabled or suspended. Nothing was sent."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "ERROR_REASON_CHANNEL_UNAVAILABLE"
    channel_no: str
    service_class: int


@dataclass
class DeliveryDiffers(DeliveryRefusal):
    """The key came before with other content; the first delivery stands."""

    code = grpc.StatusCode.ALREADY_EXISTS
    reason = "ERROR_REASON_DELIVERY_DIFFERS"
    coop_order_id: str


@dataclass
class DeliveryNotFound(DeliveryRefusal):
    """No delivery has this key or number."""

    code = grpc.StatusCode.NOT_FOUND
    reason = "ERROR_REASON_DELIVERY_NOT_FOUND"
    coop_order_id: str


@dataclass
class FieldInvalid(DeliveryRefusal):
    """A field is missing or malformed."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    reason = "ERROR_REASON_FIELD_INVALID"
    field: str
    why: str


@dataclass
class NotifyUnverified(DeliveryRefusal):
    """A notify that is not believed, for whatever reason; it changes nothing."""

    code = grpc.StatusCode.PERMISSION_DENIED
    reason = "ERROR_REASON_NOTIFY_UNVERIFIED"
    channel_no: str
    service_class: int


@dataclass
class TooManyAttempts(DeliveryRefusal):
    """Refused notifies from one address come too fast; nothing was looked at."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    reason = "ERROR_REASON_TOO_MANY_ATTEMPTS"


@dataclass
class AlreadyFinal(DeliveryRefusal):
    """A delivery that has ended cannot be resolved otherwise."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "ERROR_REASON_ALREADY_FINAL"
    coop_order_id: str
    status: int
