"""Everything the delivery service says no to: one class per reason of error_reason.proto."""

from __future__ import annotations

from grpc import StatusCode as Code

from shoudan.delivery.v1 import error_reason_pb2
from shoudan_kit.rpc.refusal import NamedRefusal


class DeliveryRefusal(NamedRefusal):
    """A refusal of this service."""

    domain, reasons = "delivery.shoudan", error_reason_pb2.ErrorReason


class ChannelUnavailable(DeliveryRefusal):
    """No such channel and service class, or it is disabled or suspended. Nothing was sent."""

    channel_no: str
    service_class: int


class DeliveryDiffers(DeliveryRefusal, code=Code.ALREADY_EXISTS):
    """The key came before with other content; the first delivery stands."""

    coop_order_id: str


class DeliveryNotFound(DeliveryRefusal, code=Code.NOT_FOUND):
    """No delivery has this key or number."""

    coop_order_id: str


class FieldInvalid(DeliveryRefusal, code=Code.INVALID_ARGUMENT):
    """A field is missing or malformed."""

    field: str
    why: str


class NotifyUnverified(DeliveryRefusal, code=Code.PERMISSION_DENIED):
    """A notify that is not believed, for whatever reason; it changes nothing."""

    channel_no: str
    service_class: int


class TooManyAttempts(DeliveryRefusal, code=Code.RESOURCE_EXHAUSTED):
    """Refused notifies from one address come too fast; nothing was looked at."""


class AlreadyFinal(DeliveryRefusal):
    """A delivery that has ended cannot be resolved otherwise."""

    coop_order_id: str
    status: int


class CardNotFound(DeliveryRefusal, code=Code.NOT_FOUND):
    """No card has this number."""

    card_id: int


class CardsUnreadable(DeliveryRefusal):
    """Cards cannot be opened: their key is gone. `card_ids`: the first of them, for `shoudan cards show`."""

    card_ids: str


class CardState(DeliveryRefusal):
    """A card cannot be moved so from where it stands."""

    card_id: int
    status: int


class CardsMissing(DeliveryRefusal):
    """A delivery of codes is no success without them: they are entered before it is decided."""

    coop_order_id: str
