"""The kinds of background work of this service, as data."""

from __future__ import annotations

from datetime import datetime

import msgspec

from shoudan_kit.tasks.kinds import Kind


class Request(msgspec.Struct):
    """Deliveries of one channel that were created in one call and are to be sent."""

    channel_no: str
    service_class: int
    order_nos: list[int]


class Ask(msgspec.Struct):
    """A delivery whose outcome is unknown."""

    order_no: int


class Result(msgspec.Struct, omit_defaults=True):
    """The result of one delivery, as it is reported to the order service."""

    order_no: int
    coop_id: str
    coop_order_id: str
    is_return: bool
    succeeded: bool
    up_order_no: str = ""
    code: str = ""
    desc: str = ""
    params: dict[str, str] = {}
    contradicts: bool = False


class Report(msgspec.Struct):
    """Results that were stored in one transaction and are reported in one call."""

    results: list[Result]


class StatedPrice(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a supplier states of one product. `version` is its own; 0 where it was asked, at `as_of`."""

    channel_no: str
    product: str
    as_of: datetime
    version: int = 0
    price_micros: int | None = None
    available: bool | None = None
    from_time: datetime | None = None
    # Of our own stock: every product of this carrier and face.
    carrier_no: str = ""
    face_micros: int = 0


class Prices(msgspec.Struct):
    """Statements that came together, for the order service."""

    stated: list[StatedPrice]


# One task for all deliveries of one channel in one call: its count is unbounded, flow_timeout ends it.
REQUEST = Kind(
    "delivery.request",
    Request,
    queue="vds:order:request",
    interval_s=100,
    count_max=1_000_000,
    batch_max=50,
    parallel=4,
)
ASK = Kind(
    "delivery.ask",
    Ask,
    queue="vds:order:query",
    interval_s=180,
    count_max=100_000,
    exclusive=True,
    batch_max=500,
)
# The order service does not poll for contradictions, so each is reported until it is acknowledged.
CONFLICT = Kind(
    "delivery.conflict",
    Report,
    queue="vds:order:notify",
    interval_s=60,
    deadline_s=30 * 86_400,
    count_max=10_000,
    batch_max=2,  # of up to 250 pairs each
)
REPORT = Kind(
    "delivery.report",
    Report,
    queue="vds:order:notify",
    interval_s=60,
    count_max=15,
    batch_max=2,  # of up to 500 results each: the order service takes 1000
    parallel=3,
)
PRICES = Kind(
    "delivery.prices",
    Prices,
    queue="vds:prices",
    interval_s=60,
    count_max=10_000,
    batch_max=2,  # of up to 500 statements each: the order service takes 1000
)
