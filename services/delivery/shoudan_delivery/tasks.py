"""Background work: sends deliveries, queries unknown ones, reports results to the order service."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from grpc import StatusCode, aio

from shoudan_delivery.context import Context
from shoudan_delivery.kinds import (
    ASK,
    CONFLICT,
    PRICES,
    REPORT,
    REQUEST,
    Ask,
    Prices,
    Report,
    Request,
    Result,
)
from shoudan_delivery.states import FINAL, PushStatus, Status
from shoudan_delivery.store import deliveries as store
from shoudan_delivery.store.rows import Outgoing, RequestTask
from shoudan_kit import log
from shoudan_kit.tasks.kinds import Task, handles
from shoudan_kit.tasks.unit_of_work import UnitOfWork

FULL_S = 5.0
# How long after its time-out another process may still store the answer to its call.
LATE_S = 2.0
REPORT_FIRST_S = 2.0
REPORT_WAIT_S_MAX = 1_800.0
REPORT_DOUBLINGS_MAX = 10

_log = log.get_logger("tasks")
_encode = msgspec.json.Encoder().encode

# The order service is away or busy; the results are not at fault.
_AWAY = frozenset(
    {
        StatusCode.UNAVAILABLE,
        StatusCode.DEADLINE_EXCEEDED,
        StatusCode.RESOURCE_EXHAUSTED,
        StatusCode.CANCELLED,
        StatusCode.UNIMPLEMENTED,
    }
)


# ---------------------------------------------------------------- request
@handles(REQUEST)
async def request(context: Context, tasks: Sequence[Task[Request]]) -> None:
    """Enqueue deliveries at their channel's sender, which finishes the task with the last of them.

    Never waits for a supplier, so a slow channel blocks no worker. A retried task was left by a process
    that died, by a full queue or by a supplier that has not answered yet.
    """
    again = [task for task in tasks if task.count > 1]
    for task in tasks:
        if task.count <= 1:
            _enqueue(context, task, task.payload.order_nos, len(task.payload.order_nos))
    if again:
        await _recheck(context, again)


def _enqueue(context: Context, task: Task[Request], order_nos: Sequence[int], left: int) -> None:
    sender = context.senders.of(task.payload.channel_no, task.payload.service_class)
    if sender is None:
        task.retry_after(FULL_S, "channel not known here yet")
        return
    whole = sender.enqueue(order_nos, RequestTask(task.id, left))
    task.retry_after(sender.supplier.request_replenish_time_s if whole else FULL_S)


async def _recheck(context: Context, tasks: Sequence[Task[Request]]) -> None:
    """Send deliveries in 20, query those in 30 without an answer in time, skip ended ones."""
    async with context.app.work("delivery.look") as work:
        order_nos = [no for task in tasks for no in task.payload.order_nos]
        rows = {
            row.order_no: (status, row)
            for status, row in await store.load_outgoing(work.db, order_nos)
        }
        for task in tasks:
            _recheck_one(
                context, work, task, [rows[no] for no in task.payload.order_nos if no in rows]
            )


def _recheck_one(
    context: Context, work: UnitOfWork, task: Task[Request], rows: Sequence[tuple[Status, Outgoing]]
) -> None:
    sender = context.senders.of(task.payload.channel_no, task.payload.service_class)
    if sender is None:
        task.retry_after(FULL_S, "channel not known here yet")
        return
    supplier = sender.supplier
    open_ = [(status, row) for status, row in rows if status not in FINAL]
    here = [row for _, row in open_ if sender.knows(row.order_no)]
    unsent = [
        row for status, row in open_ if status is Status.CREATED and not sender.knows(row.order_no)
    ]
    sent = [
        row for status, row in open_ if status is Status.SENDING and not sender.knows(row.order_no)
    ]
    orphans = [row for row in sent if row.age_s > supplier.timeout_s + LATE_S]
    wait_s = supplier.ask_after_s
    for row in orphans if wait_s is not None else []:
        delay_s = max(0.0, (wait_s or 0.0) - row.age_s)
        work.tasks.add(
            ASK,
            Ask(row.order_no),
            order_no=str(row.order_no),
            delay_s=delay_s,
            queue=supplier.queue_name,
        )
    elsewhere = len(sent) - len(orphans)
    if not here and not unsent and not elsewhere:
        work.tasks.finish(task)
        return
    # Only the deliveries enqueued now are counted down; with others in flight, this task checks again.
    left = len(unsent) if not here and not elsewhere else len(task.payload.order_nos) + 1
    _enqueue(context, task, [row.order_no for row in unsent], left)
    if elsewhere:
        task.retry_after(supplier.timeout_s + LATE_S)


# ---------------------------------------------------------------- ask
@handles(ASK)
async def ask(context: Context, tasks: Sequence[Task[Ask]]) -> None:
    """Query unknown deliveries until the supplier answers; slowly once their order no longer waits."""
    async with context.app.work("delivery.ask") as work:
        looked = await store.load_outgoing(work.db, [task.payload.order_no for task in tasks])
        rows = {row.order_no: row for status, row in looked if status is Status.SENDING}
        for task in tasks:
            row = rows.get(task.payload.order_no)
            if row is None:
                work.tasks.finish(task)
            else:
                _ask_later(context, task, row)
    for row in rows.values():
        if (sender := context.senders.of(row.channel_no, row.service_class)) is not None:
            sender.ask(row)


def _ask_later(context: Context, task: Task[Ask], row: Outgoing) -> None:
    sender = context.senders.of(row.channel_no, row.service_class)
    every_s = FULL_S if sender is None else sender.supplier.query_replenish_time_s
    task.retry_after(max(every_s, context.settings.query_slow_s) if row.overdue else every_s)


# ---------------------------------------------------------------- report
async def report(context: Context, tasks: Sequence[Task[Report]]) -> None:
    """Report results, or contradictions of them, until the order service has acknowledged each."""
    results = [result for task in tasks for result in task.payload.results]
    try:
        given = await context.orders.report(results)
    except aio.AioRpcError as error:
        await _report_failed(context, tasks, results, error)
        return
    acks = {ack.id for ack in given}
    conflicts = {ack.id for ack in given if ack.conflict}
    missing = [
        result
        for result in results
        if int(result.coop_order_id) not in (conflicts if result.contradicts else acks)
    ]
    open_ = {result.order_no for result in missing}
    async with context.app.work("delivery.report") as work:
        await store.count_pushes(
            work.db,
            _pushes([result for result in results if result.order_no not in open_]),
            status=PushStatus.ACKNOWLEDGED,
            result_msg="acknowledged",
            limit=context.settings.report_count_max,
        )
        if missing:
            _log.error("results_not_acknowledged", count=len(missing))
            work.tasks.add(tasks[0].kind, Report(missing), delay_s=REPORT_FIRST_S)
        work.tasks.finish(*tasks)


async def _report_failed(
    context: Context,
    tasks: Sequence[Task[Report]],
    results: Sequence[Result],
    error: aio.AioRpcError,
) -> None:
    """Retry later when unavailable; when refused, split, so that one bad result blocks no other."""
    if error.code() not in _AWAY and len(tasks) > 1:
        for task in tasks:
            await report(context, [task])
        return
    if error.code() not in _AWAY and len(results) > 1:
        middle = len(results) // 2
        async with context.app.work("delivery.report") as work:
            for part in (results[:middle], results[middle:]):
                work.tasks.add(tasks[0].kind, Report(list(part)))
            work.tasks.finish(*tasks)
        return
    code = error.code()
    limit = context.settings.report_count_max
    last = all(task.count >= task.kind.count_max for task in tasks)
    _log.warning("report_failed", code=code.name, count=len(results))
    async with context.app.work("delivery.report") as work:
        await store.count_pushes(
            work.db,
            _pushes(results),
            status=PushStatus.GIVEN_UP if last else PushStatus.WAITING,
            result_msg=f"{code.name}",
            limit=limit,
        )
    for task in tasks:
        doublings = min(task.count - 1, REPORT_DOUBLINGS_MAX)
        task.retry_after(min(REPORT_FIRST_S * 2**doublings, REPORT_WAIT_S_MAX), code.name)


@dataclass(frozen=True, slots=True)
class _Push:
    """A row of vds_order_notify."""

    order_no: int
    coop_id: str
    coop_order_id: str
    notify_content: str

    @classmethod
    def of(cls, result: Result) -> _Push:
        """The row of one result."""
        return cls(result.order_no, result.coop_id, result.coop_order_id, _encode(result).decode())


def _pushes(results: Sequence[Result]) -> list[_Push]:
    """One row for each number, with the result reported last: a contradiction follows what it contradicts."""
    last = {result.order_no: result for result in results}
    return [_Push.of(result) for result in last.values()]


# ---------------------------------------------------------------- prices
@handles(PRICES)
async def report_prices(context: Context, tasks: Sequence[Task[Prices]]) -> None:
    """Report what suppliers stated until the order service has judged it; repeats change nothing there."""
    stated = [one for task in tasks for one in task.payload.stated]
    try:
        await context.orders.report_prices(stated)
    except aio.AioRpcError as error:
        code = error.code()
        if code not in _AWAY and len(tasks) > 1:
            for task in tasks:
                await report_prices.run(context, [task])
            return
        _log.warning("prices_not_reported", code=code.name, count=len(stated))
        for task in tasks:
            doublings = min(task.count - 1, REPORT_DOUBLINGS_MAX)
            task.retry_after(min(REPORT_FIRST_S * 2**doublings, REPORT_WAIT_S_MAX), code.name)
        return
    async with context.app.work("delivery.prices_reported") as work:
        work.tasks.finish(*tasks)


HANDLERS = (request, ask, report_prices, handles(REPORT)(report), handles(CONFLICT)(report))
