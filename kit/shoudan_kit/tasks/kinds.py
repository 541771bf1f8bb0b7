"""Tasks as declarations: what runs, on which payload, in which queue, how often (qtask semantics)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import msgspec

from shoudan_kit.state_machine import Machine
from shoudan_kit.tracing.trace import Trace

if TYPE_CHECKING:
    from shoudan_kit.tasks.rows import NewTask

P = TypeVar("P", bound=msgspec.Struct)
C = TypeVar("C")


class TaskStatus(IntEnum):
    """qtask's statuses."""

    DONE = 0
    WAITING = 20
    PROCESSING = 30
    FAILED = 90


class TaskEvent(StrEnum):
    """What happens to a task."""

    CLAIMED = "claimed"  # leased to a process; anew when its lease has ended
    EXTENDED = "lease extended"
    DEFERRED = "deferred"  # given back undone, or set aside because its queue is paused
    FINISHED = "finished"
    EXHAUSTED = "exhausted"  # past its deadline or its count
    HURRIED = "made due"  # by an operator
    RETRIED = "retried"  # by an operator, with a new deadline


TASK: Final = Machine(
    name="task",
    initial=TaskStatus.WAITING,
    moves={
        (TaskStatus.WAITING, TaskEvent.CLAIMED): TaskStatus.PROCESSING,
        (TaskStatus.PROCESSING, TaskEvent.CLAIMED): TaskStatus.PROCESSING,
        (TaskStatus.PROCESSING, TaskEvent.EXTENDED): TaskStatus.PROCESSING,
        (TaskStatus.WAITING, TaskEvent.DEFERRED): TaskStatus.WAITING,
        (TaskStatus.PROCESSING, TaskEvent.DEFERRED): TaskStatus.WAITING,
        (TaskStatus.WAITING, TaskEvent.FINISHED): TaskStatus.DONE,
        (TaskStatus.PROCESSING, TaskEvent.FINISHED): TaskStatus.DONE,
        (TaskStatus.WAITING, TaskEvent.EXHAUSTED): TaskStatus.FAILED,
        (TaskStatus.PROCESSING, TaskEvent.EXHAUSTED): TaskStatus.FAILED,
        (TaskStatus.WAITING, TaskEvent.HURRIED): TaskStatus.WAITING,
        (TaskStatus.FAILED, TaskEvent.RETRIED): TaskStatus.WAITING,
    },
)


@dataclass(frozen=True)
class Kind(Generic[P]):
    """One kind of background work. Durations in seconds.

    A task left unfinished comes again after `interval_s`, at most `count_max` times and not after
    `deadline_s`; then its status is 90: kept, counted, listed, and pushed again by an operator.
    `exclusive`: one pending task per order_no, a second one is not made.
    `each`: the handler gets one task at a time, up to `parallel` at once, because it calls
    the outside world; other handlers get up to `batch_max` tasks and run `parallel` batches at a time.
    """

    name: str
    payload: type[P]
    queue: str
    interval_s: int
    deadline_s: int = 259_200
    count_max: int = 100
    retention_s: int = 0
    exclusive: bool = False
    each: bool = False
    batch_max: int = 200
    parallel: int = 1


@dataclass(slots=True, eq=False)
class Task(Generic[P]):
    """One task in the hands of this process, leased to it."""

    id: int
    kind: Kind[P]
    payload: P
    queue: str
    order_no: str | None
    count: int
    deadline: datetime
    finished: bool = False
    detached: bool = False
    retry_after_s: float | None = None
    error: str = ""
    held: NewTask | None = None  # what its row would be; without one a cover stands for it
    traces: Mapping[str, Trace] = field(
        default_factory=dict[str, Trace]
    )  # by order_no, or many keys

    @property
    def trace(self) -> Trace | None:
        """The trace of a task that belongs to one request; of many keys none, whichever are sampled."""
        return self.traces.get(self.order_no or "")

    def detach(self) -> None:
        """Its work goes on after the handler has returned: it stays leased here until a UnitOfWork finishes
        it or the worker is given it back."""
        self.detached = True

    def retry_after(self, after_s: float, error: str = "") -> None:
        """Leave it undone and have it back after `after_s` instead of the kind's interval."""
        self.retry_after_s, self.error = after_s, error


@dataclass(frozen=True)
class Handler(Generic[C]):
    """A kind with what runs it. `context` is the service's own application object."""

    kind: Kind[Any]
    run: Callable[[C, Sequence[Task[Any]]], Awaitable[None]]


def handles(
    kind: Kind[P],
) -> Callable[[Callable[[C, Sequence[Task[P]]], Awaitable[None]]], Handler[C]]:
    """Declare the decorated coroutine the handler of batches of `kind`.

    It finishes in its UnitOfWork what is done. What it leaves comes again; what raises is tried in halves
    until the one task that cannot be done is alone, and that one comes again, too.
    """

    def declare(run: Callable[[C, Sequence[Task[P]]], Awaitable[None]]) -> Handler[C]:
        return Handler(kind, run)

    return declare


def handles_each(
    kind: Kind[P],
) -> Callable[[Callable[[C, Task[P]], Awaitable[None]]], Handler[C]]:
    """Declare the decorated coroutine the handler of single tasks of `kind`, many running at once."""

    def declare(run: Callable[[C, Task[P]], Awaitable[None]]) -> Handler[C]:
        async def one(context: C, tasks: Sequence[Task[P]]) -> None:
            await run(context, tasks[0])

        return Handler(kind, one)

    return declare
