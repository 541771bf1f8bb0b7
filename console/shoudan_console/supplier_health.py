"""How a supplier does: what became of its newest deliveries, and what it answers that nothing explains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from shoudan.delivery.v1 import delivery_service_pb2 as pb
from shoudan_console import calls, values
from shoudan_console.visits import Visit

NEWEST: Final = 200
SUCCEEDED: Final = pb.STATUS_SUCCEEDED
FAILED: Final = pb.STATUS_FAILED
SENDING: Final = pb.STATUS_SENDING


@dataclass(frozen=True, slots=True)
class Health:
    """Of its newest deliveries: how they stand, and how long those that succeeded took."""

    looked_at: int
    succeeded: int
    failed: int
    unknown: int
    conflicts: int
    first: datetime | None
    last_success: datetime | None
    p50: str
    p99: str

    @property
    def rate(self) -> str:
        """Of those that have ended, how many succeeded."""
        return values.percent(self.succeeded, self.succeeded + self.failed)


@dataclass(frozen=True, slots=True)
class Code:
    """A code that nothing explains, over all shards."""

    channel_no: str
    service_class: int
    error_code: str
    desc: str
    answers: int
    coop_order_id: str
    first: datetime
    last: datetime


def _took(times: Sequence[timedelta], percent: int) -> str:
    """So long at most so many per cent of them took; a dash for none."""
    if not times:
        return "–"
    millis = sorted(times)[-(-len(times) * percent // 100) - 1] // timedelta(milliseconds=1)
    whole, rest = divmod(millis, 1_000)
    return f"{whole}.{rest // 100} s"


def health_of(deliveries: Sequence[Any]) -> Health:
    """What these say of their supplier; newest first."""

    def ended(status: int) -> list[Any]:
        return [one for one in deliveries if one.HasField("status") and one.status == status]

    good = ended(SUCCEEDED)
    ends = [one.request_finish_time.ToDatetime(UTC) for one in good]
    begins = [one.request_start_time.ToDatetime(UTC) for one in good]
    times = [end - begin for begin, end in zip(begins, ends, strict=True)]
    first = deliveries[-1].create_time.ToDatetime(UTC) if deliveries else None
    return Health(
        len(deliveries),
        len(good),
        len(ended(FAILED)),
        len(ended(SENDING)),
        sum(one.conflict for one in deliveries),
        first,
        max(ends, default=None),
        _took(times, 50),
        _took(times, 99),
    )


async def health(visit: Visit, channel_no: str, service_class: int) -> Health:
    """Of the newest deliveries of the channel those of this class."""
    request = pb.ListDeliveriesRequest(channel_no=channel_no, page_size=NEWEST)
    found = (await visit.ask(calls.LIST_DELIVERIES, request)).deliveries
    return health_of([one for one in found if one.key.service_class == service_class])


def together(found: Sequence[Any]) -> list[Code]:
    """Each code once, the one that came last first: a shard has its own line of it."""
    codes: dict[tuple[str, int, str], Code] = {}
    for one in found:
        key = (one.channel_no, one.service_class, one.error_code)
        first, last = one.create_time.ToDatetime(UTC), one.last_update_time.ToDatetime(UTC)
        code = Code(*key, one.desc, one.answers, one.coop_order_id, first, last)
        there = codes.get(key)
        if there is not None:
            newer = code if code.last >= there.last else there
            answers, since = code.answers + there.answers, min(code.first, there.first)
            code = replace(newer, answers=answers, first=since)
        codes[key] = code
    return sorted(codes.values(), key=lambda one: one.last, reverse=True)


async def unmapped(visit: Visit, channel_no: str = "") -> list[Code]:
    """What suppliers answered that nothing explains, of one channel or of all."""
    request = pb.ListUnmappedCodesRequest(channel_no=channel_no)
    return together((await visit.ask(calls.LIST_UNMAPPED_CODES, request)).codes)
