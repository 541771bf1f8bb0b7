"""The delivery's lifecycle and the documented numbers. Source: 000 §二.2.2 (vds), oms-behaviour §4."""

from __future__ import annotations

from enum import IntEnum, StrEnum

from shoudan_kit.state_machine import Machine


class Status(IntEnum):
    """vds_order_info.status."""

    SUCCEEDED = 0
    CREATED = 20
    SENDING = 30
    FAILED = 90


class Event(StrEnum):
    """What can happen to a delivery."""

    SENT = "sent"  # written down before the call, because the call cannot be taken back
    NOT_SENT = "not sent"  # refused before a byte left us
    UNKNOWN = "unknown"  # time-out, reset, 5xx, unreadable, unlisted, wrong number or amount
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    EXPIRED = "expired"  # never sent, and its owner no longer waits or its channel is suspended


DELIVERY = Machine(
    name="delivery",
    initial=Status.CREATED,
    moves={
        (Status.CREATED, Event.SENT): Status.SENDING,
        (Status.CREATED, Event.EXPIRED): Status.FAILED,
        # A notify may tell of a number whose connection was refused to us: its word stands.
        (Status.CREATED, Event.SUCCEEDED): Status.SUCCEEDED,
        (Status.CREATED, Event.FAILED): Status.FAILED,
        (Status.SENDING, Event.NOT_SENT): Status.CREATED,
        (Status.SENDING, Event.UNKNOWN): Status.SENDING,
        (Status.SENDING, Event.SUCCEEDED): Status.SUCCEEDED,
        (Status.SENDING, Event.FAILED): Status.FAILED,
    },
)

FINAL = frozenset({Status.SUCCEEDED, Status.FAILED})


class Source(IntEnum):
    """vds_order_info.result_source; 0 is not yet, 4 a person's decision."""

    NONE = 0
    NOTIFY = 1
    QUERY = 2
    SYNC = 3
    MANUAL = 4


class DealCode(IntEnum):
    """vds_channel_error_code.deal_code."""

    SUCCESS = 0
    FAILURE = 10
    UNKNOWN = 90


class ServiceClass(IntEnum):
    """vds_channel_info.service_class."""

    FUEL_CARD = 10
    COUPON = 20
    COUPON_RETURN = 21
    PHONE = 30


class SupplierState(IntEnum):
    """vds_channel_info.state: whether a channel is used."""

    OPEN = 1
    TRIPPED = 2
    SUSPENDED = 3
    HELD = 4


class QueryStatus(IntEnum):
    """vds_order_query.status."""

    ENDED = 0
    WAITING = 20


class PushStatus(IntEnum):
    """vds_order_notify.status."""

    ACKNOWLEDGED = 0
    WAITING = 20
    GIVEN_UP = 90
