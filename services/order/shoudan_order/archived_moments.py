"""The life of an order as people read it: what the services answer, and what their archives hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from shoudan_kit.tracing.trace import trace_id_of

if TYPE_CHECKING:
    from shoudan_kit.archive.read import ArchivedEvent

DATABASE: Final = "database"


@dataclass(frozen=True, slots=True)
class Line:
    """One event of an order's life, and where it was found: the database or an archived part."""

    time: datetime
    service: str
    tag: str
    what: str
    text: str
    trace_id: str
    place: str = DATABASE

    @property
    def key(self) -> tuple[object, ...]:
        """The same for an event in the database and its copy in an archive."""
        return self.time, self.service, self.tag, self.what, self.text


def of_database(moments: Iterable[Any]) -> list[Line]:
    """Moments of GetLifecycle."""
    return [
        Line(
            one.time.ToDatetime(UTC),
            one.service,
            one.tag,
            one.subject.rpartition(".")[2],
            one.text,
            one.trace_id,
        )
        for one in moments
    ]


def of_archive(events: Iterable[ArchivedEvent]) -> list[Line]:
    """Archived events, each with the part that holds it."""
    return [
        Line(
            one.time,
            one.service,
            one.tag,
            one.subject.rpartition(".")[2],
            one.text,
            trace_id_of(one.trace),
            one.part,
        )
        for one in events
    ]


def merged(lines: Sequence[Line]) -> list[Line]:
    """By time, each event once: a part that is archived and not dropped yet is in both."""
    kept: dict[tuple[object, ...], Line] = {}
    for one in lines:
        if one.key not in kept or one.place == DATABASE:
            kept[one.key] = one
    return sorted(kept.values(), key=lambda one: one.time)


def keys_of(order_id: int, order: Any) -> Mapping[str, Sequence[str]]:
    """Under which keys each service publishes about an order, its deliveries and its refunds.

    `order` is None when the order itself is not in the database: then its own number is all that is known.
    """
    number = str(order_id)
    parts = [] if order is None else [str(one.delivery_id) for one in order.deliveries]
    refunds = [] if order is None else [str(one.refund_id) for one in order.refunds]
    keys = [number, f"r{number}", *parts, *refunds]
    return {"order": [number], "pay": keys, "delivery": keys}
