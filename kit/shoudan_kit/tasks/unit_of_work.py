"""One transaction with everything that belongs to it: rows, follow-up tasks, ends of tasks, events, audit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol, Self

import msgspec
from google.protobuf.message import Message
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.audit_log import store as audit_store
from shoudan_kit.audit_log.entries import UNNAMED, AuditRows, Origin, draft_of_call
from shoudan_kit.db.pool import Database
from shoudan_kit.faults import hit
from shoudan_kit.ids import IdMaker
from shoudan_kit.rpc.shielded import shielded
from shoudan_kit.tasks import covers, store
from shoudan_kit.tasks.covers import Cover, Covered
from shoudan_kit.tasks.kinds import Kind, Task
from shoudan_kit.tasks.rows import EventRow, EventRows, NewTask
from shoudan_kit.tracing import carried

if TYPE_CHECKING:
    from types import TracebackType


class Runner(Protocol):
    """Runs tasks in this process: the worker."""

    lease_s: float

    def accepts(self, kind: Kind[Any], queue: str) -> bool:
        """Whether a task made now would be run here from memory."""
        ...

    def enqueue_local(self, tasks: Sequence[Task[Any]]) -> None:
        """Run these; they are committed and leased to this process."""
        ...

    def forget(self, task_ids: Iterable[int]) -> None:
        """Forget these; they are finished."""
        ...

    def find(self, task_id: int) -> Task[Any] | None:
        """A task that is in memory here."""
        ...

    def expect(self, after_s: float) -> None:
        """Look for a task that is due then."""
        ...


class Publisher(Protocol):
    """Who publishes events and wakes others; the bus."""

    def enqueue(self, batch: EventRows) -> None:
        """Publish this committed batch."""
        ...

    def wake(self, queues: Iterable[str]) -> None:
        """Tell other processes that these queues have due tasks. Only a hint."""
        ...


class WorkTasks:
    """The tasks a UnitOfWork makes and ends."""

    def __init__(self, ids: IdMaker) -> None:
        self._ids = ids
        self.new: list[NewTask] = []
        self.done: list[Task[Any]] = []
        self.done_ids: list[int] = []
        self.retained = False  # one of those ended is of a kind that stays for a while
        self.done_for: dict[str, list[str]] = {}
        self.over: list[Cover] = []

    def add(
        self,
        kind: Kind[Any],
        payload: msgspec.Struct,
        *,
        order_no: str | None = None,
        delay_s: float = 0,
        deadline_s: float | None = None,
        queue: str | None = None,
        count_max: int | None = None,
        trace_keys: Iterable[str] | None = None,
        task_id: int | None = None,
        cover: Cover | None = None,
    ) -> int:
        """Make a task, due at once or after `delay_s`; its id. `deadline_s` counts from now.

        With `task_id`, a number of this kit that no other task has, every process can end it by that
        number; one that is there stays as it is. Under a `cover` it may not be written. It carries the
        trace of its `order_no`, or those of `trace_keys` when it is about many.
        """
        task_id = task_id or self._ids.next()
        traces, stored = carried.of_new_task(order_no, trace_keys)
        self.new.append(
            NewTask(
                task_id,
                kind,
                payload,
                queue or kind.queue,
                order_no,
                delay_s,
                kind.deadline_s if deadline_s is None else deadline_s,
                kind.count_max if count_max is None else count_max,
                traces,
                stored,
                cover=cover,
            )
        )
        return task_id

    def finish(self, *tasks: Task[Any]) -> None:
        """End tasks; ending one that has ended changes nothing."""
        for task in tasks:
            self.done.append(task)
            self.retained = self.retained or task.kind.retention_s > 0

    def finish_id(self, kind: Kind[Any], task_id: int) -> None:
        """End a task of this kind that is known by its number only."""
        self.done_ids.append(task_id)
        self.retained = self.retained or kind.retention_s > 0

    def finish_cover(self, cover: Cover) -> None:
        """End a cover's own work; its row goes with the last task under it."""
        self.over.append(cover)

    def finish_for(self, kind: Kind[Any], order_nos: Iterable[str]) -> None:
        """End the pending tasks of an exclusive kind by what they belong to."""
        assert kind.exclusive, "only exclusive kinds are found by order_no"
        self.done_for.setdefault(kind.name, []).extend(order_nos)


class WorkEvents:
    """The events a UnitOfWork publishes."""

    def __init__(self, ids: IdMaker) -> None:
        self._ids = ids
        self.rows: list[EventRow] = []

    def add(self, subject: str, *, key: str, body: Message, tag: str = "", text: str = "") -> None:
        """Publish `body` on `subject` once the transaction is committed; `key` finds it again."""
        trace = carried.stored_of(key)
        self.rows.append(EventRow(0, subject, key, tag, text, body.SerializeToString(), trace))

    def number(self) -> None:
        """Give the events their ids, for one reading of the clock."""
        for row, event_id in zip(self.rows, self._ids.take(len(self.rows)), strict=True):
            row.event_id = event_id


@dataclass(slots=True)
class UnitOfWork:
    """`async with app.work() as work:` - an exception leaves nothing behind, and nothing is handed on.

    At the end of the block: new tasks, ended tasks, events and rows of the audit log (`record` of
    audit_log.entries) are written, one statement each, and committed together with what the block did on
    `work.db`. Then fresh due tasks go to this process's worker from memory (or wake others), and events to
    the publisher. `watchers` are called after the commit; `notes` is what the block leaves for them.
    `origin` is the service that the audit log names.
    """

    database: Database
    ids: IdMaker
    runner: Runner | None
    publisher: Publisher | None
    name: str = "work"
    watchers: Sequence[Callable[[UnitOfWork], None]] = ()
    notes: list[object] = field(default_factory=list[object])
    origin: Origin = UNNAMED
    db: AsyncConnection = field(init=False)
    tasks: WorkTasks = field(init=False)
    events: WorkEvents = field(init=False)
    audit: AuditRows = field(init=False)
    _transaction: Any = field(init=False)
    _batch: EventRows | None = field(init=False, default=None)
    _covered: Covered = field(init=False, default_factory=Covered)

    async def __aenter__(self) -> Self:
        self.tasks, self.events = WorkTasks(self.ids), WorkEvents(self.ids)
        self.audit = AuditRows(self.origin)
        self._transaction = self.database.begin()
        self.db = await self._transaction.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            await self._transaction.__aexit__(kind, error, trace)
            return
        try:
            await self._write()
            hit(f"{self.name}.before_commit")
        except BaseException as failed:
            self._covered.undo()
            self.audit.end(written=False)
            await self._transaction.__aexit__(type(failed), failed, failed.__traceback__)
            raise
        # A caller that hangs up now leaves steps that are committed and leased to this process: they are
        # handed on all the same, else they would wait for the lease to end.
        await shielded(self._commit())

    async def _commit(self) -> None:
        try:
            await self._transaction.__aexit__(None, None, None)
        except BaseException:
            self._covered.doubt()
            self.audit.end(written=False)
            raise
        self.audit.end(written=True)
        hit(f"{self.name}.after_commit")
        self._hand_on()

    async def _write(self) -> None:
        tasks, events, runner = self.tasks, self.events, self.runner
        for new in tasks.new:
            new.mine = (
                new.delay_s <= 0 and runner is not None and runner.accepts(new.kind, new.queue)
            )
        done = await self._cover([*tasks.done_ids, *(task.id for task in tasks.done)])
        written = [new for new in tasks.new if not new.held]
        if written or done or events.rows:
            events.number()
            batch_id = self.ids.next()
            time = await store.write(
                self.db,
                tasks=written,
                lease_s=runner.lease_s if runner is not None else 0.0,
                done=done,
                batch_id=batch_id,
                events=events.rows,
            )
            if time is not None:
                self._batch = EventRows(batch_id, time, events.rows)
            await self._keep_exclusive()
        self.audit.take_draft(self.ids, draft_of_call())
        if self.audit.rows:
            await audit_store.insert(self.db, self.ids, self.audit.rows)
        if tasks.retained:
            await store.finish_retained(self.db, done)
        for name, order_nos in tasks.done_for.items():
            await store.finish_tasks_for(self.db, name, order_nos)

    async def _cover(self, done: Sequence[int]) -> list[int]:
        """Hold new tasks under their covers; which rows of these ended tasks, and of covers, are to go."""
        covered, tasks, runner = self._covered, self.tasks, self.runner
        if runner is None:
            return [*done, *(cover.task_id for cover in tasks.over)]
        covered.hold(tasks.new, runner.lease_s)
        held = [task for i in done if (task := runner.find(i)) is not None and task.held]
        covered.end(held, tasks.over)
        await covers.lift(self.db, covered.lifted)
        unwritten = {task.id for task in held}
        return [*(i for i in done if i not in unwritten), *covered.gone]

    async def _keep_exclusive(self) -> None:
        """Of tasks that may not be there twice, run those that were written: of others there was one."""
        mine = [new for new in self.tasks.new if new.mine and new.kind.exclusive and new.order_no]
        if mine:
            kept = await store.kept(self.db, [new.id for new in mine])
            for new in mine:
                new.mine = new.id in kept

    def _hand_on(self) -> None:
        for watcher in self.watchers:
            watcher(self)
        tasks = self.tasks
        for task in tasks.done:
            task.finished = True
        for cover in tasks.over:
            cover.over = True
        runner = self.runner
        if runner is not None:
            if tasks.done_ids or tasks.done:
                runner.forget([*tasks.done_ids, *(task.id for task in tasks.done)])
            if mine := [_leased(new) for new in tasks.new if new.mine]:
                runner.enqueue_local(mine)
            _expect(runner, tasks.new)
        if self.publisher is not None:
            if others := {new.queue for new in tasks.new if not new.mine and new.delay_s <= 0}:
                self.publisher.wake(others)
            if self._batch is not None:
                self.publisher.enqueue(self._batch)


def no_record(work: UnitOfWork) -> None:
    """Records nothing: for changes without a record."""


def _expect(runner: Runner, tasks: Iterable[NewTask]) -> None:
    """Those that wait in the table."""
    for new in tasks:
        if new.delay_s > 0:
            runner.expect(new.delay_s)


def _leased(new: NewTask) -> Task[Any]:
    return Task(
        id=new.id,
        kind=new.kind,
        payload=new.payload,
        queue=new.queue,
        order_no=new.order_no,
        count=1,
        deadline=datetime.now(UTC) + timedelta(seconds=new.deadline_s),
        traces=new.traces,
        held=new if new.held else None,
    )
