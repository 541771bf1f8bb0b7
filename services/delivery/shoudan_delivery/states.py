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

    SENT = "sent"  # stored before the call, because the call cannot be undone
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
        # A notify may end a number whose connection was refused to us.
        (Status.CREATED, Event.SUCCEEDED): Status.SUCCEEDED,
        (Status.CREATED, Event.FAILED): Status.FAILED,
        (Status.SENDING, Event.NOT_SENT): Status.CREATED,
        (Status.SENDING, Event.UNKNOWN): Status.SENDING,
        (Status.SENDING, Event.SUCCEEDED): Status.SUCCEEDED,
        (Status.SENDING, Event.FAILED): Status.FAILED,
    },
)

FINAL = DELIVERY.final


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


class SupplierEvent(StrEnum):
    """What switches a supplier channel."""

    TRIPPED = "tripped"  # by the breaker: too many calls failed
    CLOSED = "closed"  # by the breaker: a trial call was answered
    SUSPENDED = "suspended"  # these three by an operator, who stands above the breaker
    HELD = "held"
    RESUMED = "resumed"


SUPPLIER = Machine(
    name="supplier",
    initial=SupplierState.OPEN,
    moves={
        (SupplierState.OPEN, SupplierEvent.TRIPPED): SupplierState.TRIPPED,
        (SupplierState.TRIPPED, SupplierEvent.TRIPPED): SupplierState.TRIPPED,
        (SupplierState.TRIPPED, SupplierEvent.CLOSED): SupplierState.OPEN,
        **{(one, SupplierEvent.SUSPENDED): SupplierState.SUSPENDED for one in SupplierState},
        **{(one, SupplierEvent.HELD): SupplierState.HELD for one in SupplierState},
        **{(one, SupplierEvent.RESUMED): SupplierState.OPEN for one in SupplierState},
    },
)


class CardStatus(IntEnum):
    """vds_card.status."""

    STOCKED = 10
    RESERVED = 20
    ISSUED = 30
    REVEALED = 40
    REDEEMED = 50
    VOID = 90


class CardEvent(StrEnum):
    """What can happen to a card."""

    RESERVED = "reserved"  # for a delivery out of our own stock, before it has succeeded
    RELEASED = "released"  # that delivery did not succeed
    ISSUED = "issued"
    REVEALED = "revealed"  # fetched by the partner, or sent to it in a notify
    REDEEMED = "redeemed"
    WITHDRAWN = "withdrawn"  # from the stock, by an operator
    DISCARDED = "discarded"  # entered by hand for a delivery that ended without it
    HANDED_ON = "handed on"  # to another shard, which has stored it as its own
    VOIDED = "voided"  # by a return, before the supplier is asked, or by an operator
    RESTORED_UNSEEN = "restored unseen"  # the return failed
    RESTORED_SEEN = "restored seen"


# What a supplier delivers is issued when it is stored; only our own stock begins in the stock.
CARD = Machine(
    name="card",
    initial=CardStatus.STOCKED,
    moves={
        (CardStatus.STOCKED, CardEvent.RESERVED): CardStatus.RESERVED,
        (CardStatus.STOCKED, CardEvent.WITHDRAWN): CardStatus.VOID,
        (CardStatus.RESERVED, CardEvent.RELEASED): CardStatus.STOCKED,
        (CardStatus.RESERVED, CardEvent.DISCARDED): CardStatus.VOID,
        (CardStatus.RESERVED, CardEvent.HANDED_ON): CardStatus.VOID,
        (CardStatus.RESERVED, CardEvent.ISSUED): CardStatus.ISSUED,
        (CardStatus.ISSUED, CardEvent.REVEALED): CardStatus.REVEALED,
        (CardStatus.ISSUED, CardEvent.REDEEMED): CardStatus.REDEEMED,
        (CardStatus.REVEALED, CardEvent.REDEEMED): CardStatus.REDEEMED,
        (CardStatus.ISSUED, CardEvent.VOIDED): CardStatus.VOID,
        (CardStatus.REVEALED, CardEvent.VOIDED): CardStatus.VOID,
        (CardStatus.VOID, CardEvent.RESTORED_UNSEEN): CardStatus.ISSUED,
        (CardStatus.VOID, CardEvent.RESTORED_SEEN): CardStatus.REVEALED,
    },
)


class QueryStatus(IntEnum):
    """vds_order_query.status."""

    ENDED = 0
    WAITING = 20


class QueryEvent(StrEnum):
    """What an answer to a query said."""

    UNKNOWN = "unknown"
    ENDED = "ended"


# An answer that was under way when another ended the delivery may still come.
QUERY = Machine(
    name="query",
    initial=QueryStatus.WAITING,
    moves={
        **{(one, QueryEvent.UNKNOWN): QueryStatus.WAITING for one in QueryStatus},
        **{(one, QueryEvent.ENDED): QueryStatus.ENDED for one in QueryStatus},
    },
)


class PushStatus(IntEnum):
    """vds_order_notify.status."""

    ACKNOWLEDGED = 0
    WAITING = 20
    GIVEN_UP = 90


class PushEvent(StrEnum):
    """How one report to the order service ended."""

    ACKNOWLEDGED = "acknowledged"
    FAILED = "failed"
    LAST_FAILED = "last failed"


# A contradiction is reported after the result it contradicts, so every end may be followed by another.
PUSH = Machine(
    name="push",
    initial=PushStatus.WAITING,
    moves={
        **{(one, PushEvent.ACKNOWLEDGED): PushStatus.ACKNOWLEDGED for one in PushStatus},
        **{(one, PushEvent.FAILED): PushStatus.WAITING for one in PushStatus},
        **{(one, PushEvent.LAST_FAILED): PushStatus.GIVEN_UP for one in PushStatus},
    },
)
