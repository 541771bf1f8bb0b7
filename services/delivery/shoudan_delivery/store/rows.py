"""The values that travel between the modules of this service.

Those made for every delivery are structs: a frozen dataclass costs ten times as much to make.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

import msgspec

from shoudan_delivery.states import DealCode, Source, Status, SupplierState


class Key(msgspec.Struct, frozen=True, gc=False):
    """How its owner names a delivery."""

    coop_id: str
    coop_order_id: str
    service_class: int


class NewDelivery(msgspec.Struct, frozen=True, gc=False):
    """A delivery as its owner asks for it."""

    key: Key
    channel_no: str
    carrier_no: str
    face_micros: int
    num: int
    account: str
    timeout_s: int
    params: Mapping[str, str]
    order_id: str


class Delivery(msgspec.Struct, frozen=True, gc=False):
    """A row of vds_order_info."""

    order_no: int
    coop_id: str
    coop_order_id: str
    order_id: str
    channel_no: str
    service_class: int
    carrier_no: str
    product_face_micros: int
    product_num: int
    account: str
    status: Status
    request_params: str
    request_count: int
    request_start_time: datetime | None
    request_finish_time: datetime | None
    create_time: datetime
    result_source: Source
    result_code: str
    result_desc: str
    result_params: str
    up_order_no: str
    succ_face_micros: int
    flow_timeout: datetime
    conflict: bool
    query_count: int = 0
    archived: bool = False  # it has left the database: known by what stays, its account is not

    @property
    def amount_micros(self) -> int:
        """What the supplier is to deliver in all."""
        return self.product_face_micros * self.product_num


class Outgoing(msgspec.Struct, frozen=True, gc=False):
    """What a call to a supplier needs of a delivery; the row as it left the database."""

    order_no: int
    coop_id: str
    coop_order_id: str
    order_id: str
    channel_no: str
    service_class: int
    carrier_no: str
    product_face_micros: int
    product_num: int
    account: str
    request_params: str
    age_s: float
    overdue: bool

    @property
    def amount_micros(self) -> int:
        """What the supplier is to deliver in all."""
        return self.product_face_micros * self.product_num


@dataclass(frozen=True, slots=True)
class Supplier:
    """A row of vds_channel_info with its error codes and its secret."""

    id: int
    channel_no: str
    service_class: int
    protocol: str
    request_url: str
    notify_url: str
    query_url: str
    request_replenish_time_s: int
    first_query_time_s: int
    query_replenish_time_s: int
    enabled: bool
    can_query: bool
    idempotent: bool
    concurrency_max: int
    timeout_s: float
    secret_name: str
    queue_name: str = ""
    state: SupplierState = SupplierState.OPEN
    state_reason: str = ""
    tripped: bool = False  # still resting, by the database's clock
    deal_codes: Mapping[str, DealCode] = field(default_factory=dict[str, DealCode])
    code_descs: Mapping[str, str] = field(default_factory=dict[str, str])
    ext_params: Mapping[str, str] = field(default_factory=dict[str, str])
    notify_networks: tuple[str, ...] = ()
    notify_without_token: bool = False
    template: str = ""  # of protocol `template`: JSON
    balance_low: bool = False  # held until the supplier has enough of our money again
    balance_micros: int | None = None  # as it was read last
    delivers_cards: bool = False  # a success without a card for every unit is unknown
    secret: bytes = field(default=b"", repr=False)  # requests are signed with it; empty: nothing is
    older_secrets: tuple[bytes, ...] = field(default=(), repr=False)  # fit notifies, too
    credential_ids: tuple[int, ...] = ()  # of the stored ones among them: the first ones

    @property
    def key(self) -> tuple[str, int]:
        """Channel and service class."""
        return self.channel_no, self.service_class

    @property
    def takes_new(self) -> bool:
        """Whether new deliveries are taken."""
        return self.enabled and self.state is not SupplierState.SUSPENDED

    @property
    def ask_after_s(self) -> float | None:
        """Seconds until an unknown delivery is queried or resent; None: only a notify ends it."""
        if self.can_query:
            return self.first_query_time_s
        return self.request_replenish_time_s if self.idempotent else None


@dataclass(frozen=True, slots=True)
class Card:
    """One code as it came; what could be used by who reads it is shown by no repr."""

    number: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    link: str = field(default="", repr=False)
    qr: str = field(default="", repr=False)
    expire_time: datetime | None = None
    # What the supplier says of it, checked against the delivery and not kept.
    face: str = ""
    product: str = ""
    order_no: str = ""

    @property
    def secrets(self) -> dict[str, str]:
        """What is sealed: the fields that are there."""
        named = ("number", "password", "link", "qr")
        return {name: text for name in named if (text := getattr(self, name))}


@dataclass(frozen=True, slots=True)
class Reply:
    """A supplier's answer or notify, read but not yet judged."""

    order_no: str
    code: str
    desc: str = ""
    up_order_no: str = ""
    amount_micros: int | None = None
    no_such_order: bool = False
    params: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    cards: object = field(default=None, repr=False)  # as they stand in the answer; None for none
    data: object = field(default=None, repr=False)  # the further facts before they were made flat
    # Some suppliers answer a call without its number, or without an amount; their template says so.
    names_order: bool = True
    states_amount: bool = True


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An answer that is none: HTML, cut JSON, a status other than 200."""

    why: str


class Verdict(Enum):
    """What an answer means for a delivery."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    UNKNOWN = "unknown"
    NO_SUCH_ORDER = "no such order"
    NOT_SENT = "not sent"
    NEVER_SENT = "never sent"  # ended without having been sent


@dataclass(slots=True)
class RequestTask:
    """The deliveries one request task stands for; the task ends with the last of them."""

    task_id: int
    left: int


@dataclass(slots=True)
class Outcome:
    """One outcome on its way into the database; not frozen, because each is completed by one owner."""

    order_no: int
    verdict: Verdict
    source: Source
    code: str = ""
    desc: str = ""
    up_order_no: str = ""
    succ_face_micros: int = 0
    params: Mapping[str, str] = field(default_factory=dict[str, str])
    cards: Sequence[Card] = ()  # as many as there are units
    incident: str = ""  # why it could not be used, for vds_order_exp
    raw: str = ""
    remote_ip: str = ""
    ask_after_s: float | None = None  # seconds until an unknown one is queried; None: it cannot be
    queue_name: str = ""  # of the task that queries it; empty for the common queue
    request_task: RequestTask | None = None
    by: str = ""
    claims: bool = False  # a success that cannot be used: of another amount, without its cards
    lacks_cards: bool = False  # that is why
    unmapped: bool = False  # no error code of the channel explains its code


class EndedDelivery(msgspec.Struct, frozen=True, gc=False):
    """A delivery that has just ended, as the database gives it back."""

    order_no: int
    coop_id: str
    coop_order_id: str
    order_id: str
    channel_no: str
    service_class: int
    took_s: float | None


@dataclass(frozen=True, slots=True)
class Incident:
    """A row of vds_order_exp."""

    id: int
    coop_id: str
    coop_order_id: str
    channel_no: str
    service_class: int
    carrier_no: str
    product_face_micros: int
    product_num: int
    error_msg: str
    user_ip: str = ""
    ext_params: str = ""
    create_time: datetime | None = None
