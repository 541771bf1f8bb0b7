"""The worker: runs the tasks of one process, from memory as they are made and from the table when due."""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import time
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final, Generic, TypeVar

import msgspec
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit import log, metrics
from shoudan_kit.db.errors import Unavailable, describe
from shoudan_kit.db.pool import Database
from shoudan_kit.limits.slots import SlotBook
from shoudan_kit.process.shutdown import cancel_all
from shoudan_kit.tasks import covers, store
from shoudan_kit.tasks.kinds import Handler, Kind, Task, TaskStatus
from shoudan_kit.tracing import carried, spans
from shoudan_kit.tracing.trace import Trace

C = TypeVar("C")

LEASE_S: Final = 20.0  # a killed process's tasks come back after this
SCAN_S: Final = 1.0  # between looks at the table; wake-ups come sooner
EXPECTED_MAX: Final = 1_000  # due times remembered; a task beyond them waits for the next look
TICK_S: Final = 0.25  # between hand-backs of what was left undone
CLEAR_EVERY_S: Final = 60.0
GAUGE_EVERY_S: Final = 5.0
GAUGE_MAX: Final = 1_000  # rows that a gauge counts or looks at
CLAIM_MAX: Final = 1_000  # rows in one scan
MEMORY_MAX: Final = 20_000  # tasks in memory; more stay in the table
KEEP_FAILED_S: Final = 30 * 86_400
CLEAR_MAX: Final = 1_000
# The database is away or busy: what was begun is begun again soon, not at its interval.
AWAY: Final = (Unavailable, DBAPIError, OSError, TimeoutError, PoolTimeout)

_logger = log.get_logger("worker")


class _KindTasks(Generic[C]):
    """The tasks of one kind in memory, and what runs them."""

    def __init__(self, handler: Handler[C], slots: SlotBook) -> None:
        self.handler = handler
        # Of one that waits for an outside party each shard has its own: none waits for another's party.
        book = SlotBook() if handler.kind.each else slots
        self.slots = book.of(f"task {handler.kind.name}", handler.kind.parallel)
        self.kind: Kind[Any] = handler.kind
        self.waiting: deque[Task[Any]] = deque()
        self.running = 0
        self.decode = msgspec.json.Decoder(handler.kind.payload).decode


class Worker(Generic[C]):
    """Runs handlers over tasks until stopped.

    Every task in memory is leased: while it is here its due time in the table is kept ahead, so no other
    process takes it; when this process dies, others find it due within `lease_s`. `queues` limits what
    is served (None: everything), so that a queue can be given processes of its own.

    A table in which nothing is due is looked at ever more rarely, up to every `idle_s`: what this process
    itself put there for later is looked for in time, what others make due comes with a hint.
    """

    def __init__(
        self,
        database: Database,
        context: C,
        handlers: Iterable[Handler[C]],
        *,
        queues: frozenset[str] | None = None,
        lease_s: float = LEASE_S,
        scan_s: float = SCAN_S,
        idle_s: float = 0.0,
    ) -> None:
        self.lease_s, self._scan_s, self._idle_s = lease_s, scan_s, max(scan_s, idle_s)
        self._expected: list[float] = []  # a heap of when tasks in the table will be due
        self._database, self._context, self._queues = database, context, queues
        self._by_kind: Mapping[str, _KindTasks[C]] = {
            h.kind.name: _KindTasks(h, database.slots) for h in handlers
        }
        self._leased: dict[int, Task[Any]] = {}
        self._back: list[Task[Any]] = []
        self._runs: set[asyncio.Task[None]] = set()
        self._loops: list[asyncio.Task[None]] = []
        self._paused: frozenset[str] = frozenset()
        self._wake = asyncio.Event()
        self._stopping = False
        self.claims = True  # False while processes may have two times: a living lease looks ended

    @property
    def leased(self) -> int:
        """Tasks in memory, waiting or running."""
        return len(self._leased)

    @property
    def queues(self) -> frozenset[str] | None:
        """The queues served; None for all."""
        return self._queues

    def start(self) -> None:
        """Begin to scan; tasks enqueued run from now on."""
        self._loops = [
            asyncio.create_task(self._scan_forever(), name="worker scan"),
            asyncio.create_task(self._tend_forever(), name="worker tend"),
        ]

    async def stop(self, drain_s: float) -> None:
        """Take nothing new, let what runs finish for `drain_s`, give the rest back to the table."""
        self._stopping = True
        await cancel_all(self._loops)
        if self._runs:
            await asyncio.wait(self._runs, timeout=drain_s)
        await cancel_all(self._runs)
        for task in self._leased.values():
            task.retry_after_s = 0
        # What is detached is still being worked on; its lease outlives the drain.
        self._back += [
            task for task in self._leased.values() if not (task.finished or task.detached)
        ]
        with suppress(DBAPIError, OSError, TimeoutError):  # then the lease ends by itself
            await self._defer()

    def accepts(self, kind: Kind[Any], queue: str) -> bool:
        """Whether a task made now would run here, at once or in a moment."""
        return (
            not self._stopping
            and kind.name in self._by_kind
            and (self._queues is None or queue in self._queues)
            and queue not in self._paused
            and len(self._leased) < MEMORY_MAX
        )

    def enqueue_local(self, tasks: Sequence[Task[Any]]) -> None:
        """Run these, already leased to this process."""
        touched: dict[str, None] = {}
        for task in tasks:
            self._leased[task.id] = task
            self._by_kind[task.kind.name].waiting.append(task)
            touched[task.kind.name] = None
        for name in touched:
            self._fill(self._by_kind[name])

    def forget(self, task_ids: Iterable[int]) -> None:
        """Forget tasks that were finished."""
        for task_id in task_ids:
            if task := self._leased.pop(task_id, None):
                task.finished = True
                covers.let_go(task)

    def find(self, task_id: int) -> Task[Any] | None:
        """A task in memory, waiting or running."""
        return self._leased.get(task_id)

    def nack(self, task: Task[Any]) -> None:
        """Leave a detached task undone after all: it comes again after its own delay or its interval."""
        task.detached = False
        if self._leased.pop(task.id, None) is not None and not task.finished:
            self._back.append(task)

    async def carry_over(self, jump_s: int) -> None:
        """The clock has jumped: what is leased here stays so by the new time, before others may claim."""
        held = [task for task in self._leased.values() if task.held is not None]
        for cover in dict.fromkeys(task.held.cover for task in held if task.held is not None):
            if cover is not None:
                cover.made_at -= jump_s
        if held:
            async with self._database.begin() as db:
                await self._write_held(db, held)
            self._wrote(held)
        await self._defer()
        await self._extend()

    def expect(self, after_s: float) -> None:
        """A task in the table is due then: look by that time, however idle the table is."""
        if len(self._expected) < EXPECTED_MAX:
            heapq.heappush(self._expected, time.monotonic() + after_s)

    def wake(self) -> None:
        """Scan the table now: another process has made a task."""
        self._wake.set()

    def _fill(self, mine: _KindTasks[C]) -> None:
        """Begin as many runs as the kind allows."""
        most = 1 if mine.kind.each else mine.kind.batch_max
        while mine.waiting and mine.running < mine.kind.parallel and not self._stopping:
            if not mine.slots.take(mine, partial(self._fill, mine)):
                return
            batch: list[Task[Any]] = []
            while mine.waiting and len(batch) < most:
                task = mine.waiting.popleft()
                if task.finished:
                    self._leased.pop(task.id, None)
                else:
                    batch.append(task)
            if not batch:
                mine.slots.give_back()
                return
            mine.running += 1
            # A run belongs to its tasks, so it must not inherit what the call that made them carries.
            run = asyncio.create_task(
                self._run(mine, batch),
                name=f"task {mine.kind.name}",
                context=contextvars.Context(),
            )
            self._runs.add(run)
            run.add_done_callback(self._runs.discard)

    async def _run(self, mine: _KindTasks[C], batch: list[Task[Any]]) -> None:
        began = time.perf_counter()
        result = "ok"
        hops, began_ns = _begin(batch), spans.now_ns()
        try:
            if await self._run_halves(mine, batch):
                result = "raised"
        except asyncio.CancelledError:
            result = "cancelled"
            raise
        finally:
            mine.running -= 1
            mine.slots.give_back()
            if result != "cancelled":
                self._settle(batch)
                metrics.task_done(mine.kind.name, result, len(batch), time.perf_counter() - began)
                self._fill(mine)
            _record(mine.kind.name, batch, hops, began_ns, result)

    async def _run_halves(self, mine: _KindTasks[C], batch: list[Task[Any]]) -> bool:
        """Run the batch; if it raises, its halves, down to the task that cannot be done. Whether any did."""
        try:
            await mine.handler.run(self._context, batch)
            return False
        except Exception as error:
            rest = [task for task in batch if not task.finished]
            if len(rest) > 1 and not isinstance(error, AWAY):
                middle = len(rest) // 2
                left = await self._run_halves(mine, rest[:middle])
                return await self._run_halves(mine, rest[middle:]) or left
            for task in rest:
                task.error = type(error).__name__
                if isinstance(error, AWAY):
                    task.retry_after_s = min(1.0 * task.count, mine.kind.interval_s)
            _logger.exception(
                "task_raised",
                kind=mine.kind.name,
                task_ids=[task.id for task in rest[:10]],
                count=len(rest),
            )
            return True

    def _settle(self, batch: Sequence[Task[Any]]) -> None:
        """Forget what is finished; what is not goes back to the table, due later."""
        for task in batch:
            if task.detached and not task.finished:
                continue
            if self._leased.pop(task.id, None) is not None and not task.finished:
                self._back.append(task)

    async def _scan_forever(self) -> None:
        """Claim due tasks: at once when woken or when there was more, else every `scan_s`, and more rarely
        while there are none."""
        clear_at, wait_s = time.monotonic() + CLEAR_EVERY_S, self._scan_s
        while True:
            more, known = False, len(self._leased)
            try:
                self._forget_expected()
                more = await self._scan()
                idle = not more and len(self._leased) <= known
                wait_s = min(wait_s * 2, self._idle_s) if idle else self._scan_s
                if time.monotonic() >= clear_at:
                    clear_at = time.monotonic() + CLEAR_EVERY_S
                    async with self._database.begin() as db:
                        await store.clear_tasks(db, CLEAR_MAX)
            except (DBAPIError, OSError, TimeoutError) as error:
                _logger.warning("scan_failed", error=describe(error))
            except Exception:
                _logger.exception("scan_failed")
            if more:
                continue
            if await self._woken(wait_s):
                wait_s = self._scan_s

    async def _woken(self, wait_s: float) -> bool:
        """Wait so long, or until a task that is expected is due. True: woken before."""
        until = time.monotonic() + wait_s
        self._wake.clear()
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._scan_s):
                    await self._wake.wait()
                    return True
            first = self._expected[0] if self._expected else until
            if time.monotonic() >= min(until, first):
                return False

    def _forget_expected(self) -> None:
        """What is due by now is found by the look that follows."""
        while self._expected and self._expected[0] <= time.monotonic():
            heapq.heappop(self._expected)

    async def _scan(self) -> bool:
        """One look at the table; True when there may be more."""
        room = min(CLAIM_MAX, MEMORY_MAX - len(self._leased))
        if room <= 0 or not self.claims:
            return False
        full = False
        async with self._database.begin() as db:
            self._paused, resumed = await store.paused_queues(db)
            for queue in sorted(resumed):
                full |= await store.bring_back(db, queue, CLAIM_MAX) == CLAIM_MAX
            rows = await store.claim_tasks(
                db,
                names=list(self._by_kind),
                queues=None if self._queues is None else sorted(self._queues),
                paused=sorted(self._paused),
                most=room,
                lease_s=self.lease_s,
                keep_failed_s=KEEP_FAILED_S,
            )
        tasks: list[Task[Any]] = []
        for row in rows:
            mine = self._by_kind[row.name]
            if row.aside:
                continue
            if row.status == TaskStatus.FAILED:
                metrics.TASKS_TOTAL(row.name, "dead").inc()
                _logger.warning(
                    "task_dead", kind=row.name, task_id=row.task_id, order_no=row.order_no
                )
            elif row.task_id not in self._leased:
                tasks.append(
                    Task(
                        id=row.task_id,
                        kind=mine.kind,
                        payload=mine.decode(row.msg_content),
                        queue=row.queue_name,
                        order_no=row.order_no,
                        count=row.count,
                        deadline=row.max_execute_time,
                        traces=_traces(row.trace, row.order_no),
                    )
                )
        self.enqueue_local(tasks)
        return full or len(rows) == room

    async def _tend_forever(self) -> None:
        """Give back what was left undone, and keep the leases of what is here."""
        extend_at = time.monotonic() + self.lease_s / 3
        write_at = time.monotonic()
        gauge_at = time.monotonic()
        while True:
            await asyncio.sleep(TICK_S)
            try:
                await self._defer()
                if time.monotonic() >= write_at:
                    write_at = time.monotonic() + self.lease_s / 8
                    await self._write_old()
                if time.monotonic() >= gauge_at:
                    gauge_at = time.monotonic() + GAUGE_EVERY_S
                    await self._gauge()
                if time.monotonic() >= extend_at:
                    extend_at = time.monotonic() + self.lease_s / 3
                    await self._extend()
            except (DBAPIError, OSError, TimeoutError) as error:
                _logger.warning("tend_failed", error=describe(error))

    async def _defer(self) -> None:
        if not self._back:
            return
        back, self._back = self._back, []
        try:
            async with self._database.begin() as db:
                await self._write_held(db, back)
                await store.defer_tasks(db, back)
        except BaseException:
            self._back = back + self._back
            raise
        self._wrote(back)
        for task in back:
            after_s = task.retry_after_s
            self.expect(task.kind.interval_s if after_s is None else after_s)

    async def _write_held(self, db: AsyncConnection, tasks: Sequence[Task[Any]]) -> None:
        if held := [task for task in tasks if task.held is not None]:
            await covers.write(db, held, self.lease_s)

    def _wrote(self, tasks: Iterable[Task[Any]]) -> None:
        for task in tasks:
            covers.let_go(task)

    async def _write_old(self) -> None:
        """Write what was held for long: then the row that stood for it may be due."""
        old = [
            task
            for task in self._leased.values()
            if (new := task.held) is not None
            and new.cover is not None
            and not new.cover.holds(self.lease_s)
        ]
        if old:
            async with self._database.begin() as db:
                await self._write_held(db, old)
            self._wrote(old)

    async def _gauge(self) -> None:
        """Tell operators how late tasks are and how many are dead."""
        dead: Counter[str] = Counter()
        late: Counter[str] = Counter()
        async with self._database.connect() as db:
            for row in await store.task_gauges(db, list(self._by_kind), GAUGE_MAX):
                dead[row.name] += int(row.dead)
                late[row.name] = max(late[row.name], int(row.due_s))
        for name in self._by_kind:
            metrics.TASKS_DEAD(name).set(dead[name])
            metrics.TASKS_DUE_AGE_SECONDS(name).set(late[name])

    async def _extend(self) -> None:
        ids = [
            task_id for task_id, task in self._leased.items() if not (task.finished or task.held)
        ]
        for start in range(0, len(ids), CLAIM_MAX):
            async with self._database.begin() as db:
                await store.extend_tasks(db, ids[start : start + CLAIM_MAX], self.lease_s)


def _traces(stored: str | None, order_no: str | None) -> Mapping[str, Trace]:
    """What a task's row stores of its requests, by its order_no where it is about one."""
    found = carried.unpacked(stored) if stored else {}
    return {order_no: found[""]} if order_no and "" in found else found


def _begin(batch: Sequence[Task[Any]]) -> carried.Hops | None:
    """Carry the traces of these tasks, for the length of this run; None without any."""
    traced = [task for task in batch if task.traces]
    if not traced:
        return None
    parents = {key: one for task in traced for key, one in task.traces.items()}
    hops = carried.entered(parents, batch[0].trace if len(batch) == 1 else None)
    by_key = hops.carried.by_key
    for task in traced:
        task.traces = {key: by_key[key] for key in task.traces}
    carried.begin(hops.carried)
    return hops


def _record(
    name: str,
    batch: Sequence[Task[Any]],
    hops: carried.Hops | None,
    began_ns: int,
    result: str,
) -> None:
    if hops is not None and hops.recorded:
        failed = "" if result == "ok" else result
        count = {"tasks": len(batch)}
        spans.record(f"task {name}", "consumer", hops.recorded, began_ns, failed=failed, **count)
