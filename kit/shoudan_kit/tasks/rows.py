"""What a unit of work writes to the shared tables, as values: new tasks and events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from shoudan_kit.tasks.kinds import Kind
from shoudan_kit.tracing.trace import Trace

if TYPE_CHECKING:
    from shoudan_kit.tasks.covers import Cover


@dataclass(slots=True)
class EventRow:
    """One event as it is written."""

    event_id: int
    subject: str
    key: str
    tag: str
    text: str
    body: bytes
    trace: str | None = None  # of the request behind it


@dataclass(slots=True)
class EventRows:
    """The events of one transaction."""

    batch_id: int
    time: datetime
    events: list[EventRow]


@dataclass(slots=True)
class NewTask:
    """A task about to be written by a UnitOfWork."""

    id: int
    kind: Kind[Any]
    payload: msgspec.Struct
    queue: str
    order_no: str | None
    delay_s: float
    deadline_s: float
    count_max: int
    traces: Mapping[str, Trace] = field(default_factory=dict[str, Trace])
    trace: str | None = None  # what of them the row stores
    mine: bool = field(default=False)  # run from memory by this process as soon as it is committed
    cover: Cover | None = None  # whose row may stand for it
    held: bool = False  # it does: this one is not written
