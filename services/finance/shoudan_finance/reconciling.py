"""Runs of the reconciliation: our side is completed, the books are joined, and what was found is stored.

A run may die anywhere: what it stored is whole, page by page, and the next one goes on with what is left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from typing import Final

from shoudan_finance import events, our_side
from shoudan_finance.context import Context
from shoudan_finance.kinds import RECONCILE, Reconcile
from shoudan_finance.matching import Found, Join, Terms
from shoudan_finance.refusals import RunNotFound
from shoudan_finance.states import (
    EntryStatus,
    ExceptionKind,
    MatchRule,
    RunEvent,
    RunStatus,
)
from shoudan_finance.store import matches, runs, settlements, statements
from shoudan_finance.store.matches import Move, NewException
from shoudan_finance.store.movements import day_number
from shoudan_finance.store.runs import Counts, Covered, Day, Run
from shoudan_finance.store.settlements import Settlement
from shoudan_finance.templates import Template
from shoudan_kit import log, metrics
from shoudan_kit.clock import BEIJING
from shoudan_kit.db.errors import away, describe, survived
from shoudan_kit.db.pages import ID_MAX
from shoudan_kit.tasks.kinds import Task
from shoudan_kit.tasks.unit_of_work import UnitOfWork

PAGE_ROWS: Final = 50_000  # read at a time
STORED_MAX: Final = 5_000  # stored in one transaction, each statement well within its time
STATEMENTS_MAX: Final = 1_000  # that cover the days of one run
DAYS_MAX: Final = 400
SETTLEMENTS_MAX: Final = 500
LINES_MAX: Final = 100_000  # of settlements that are stored together; one with more is alone
SOURCES_MAX: Final = 10_000
ARM_EVERY_S: Final = 3_600.0
AGAIN_S: Final = 20 * 3_600  # what is due is looked for once a day
TRIES_MAX: Final = 20  # of a run while its database is away, with growing waits: some minutes
WATCH_EVERY_S: Final = 60.0
FAILED_DAYS: Final = 8  # a source that is not reconciled for longer is seen in what is not covered
ONE_DAY: Final = timedelta(days=1)
COUNTED: Final = {
    ExceptionKind.LONG: "longs",
    ExceptionKind.SHORT: "shorts",
    ExceptionKind.AMOUNT: "amounts",
    ExceptionKind.STATUS: "outcomes",
    ExceptionKind.SETTLEMENT: "settlements",
}
_PLAIN: Final = Template(name="plain", columns={})

FAILED: Final = metrics.gauge(
    "finance_sources_failed",
    "Sources whose run of the reconciliation failed, and which no later run has reconciled.",
)

_log = log.get_logger("finance")


# ------------------------------------------------------------ asking for runs
async def add_run(context: Context, work: UnitOfWork, source: str, asked_by: str) -> int:
    """Have a source reconciled; the number of the run."""
    run_id = context.app.ids.next()
    await runs.add(work.db, run_id, source, asked_by)
    work.tasks.add(RECONCILE, Reconcile(run_id), order_no=str(run_id))
    return run_id


async def ask(context: Context, source: str, asked_by: str) -> Run:
    """Have a source reconciled at once."""
    async with context.app.work("finance.ask_run") as work:
        run_id = await add_run(context, work, source, asked_by)
    return await get(context, run_id)


async def reconcile_forever(context: Context) -> None:
    """Have every source reconciled once a day: what was awaited becomes due without a new statement."""
    while True:
        with survived(_log, "runs_not_asked_for"):
            async with context.app.db.connect() as db:
                found = await runs.sources(db, SOURCES_MAX)
            for source in found:
                async with context.app.work("finance.daily_run") as work:
                    await statements.lock(work.db, source)
                    if not await runs.ran_within(work.db, source, AGAIN_S):
                        await add_run(context, work, source, "")
        await asyncio.sleep(ARM_EVERY_S)


# ------------------------------------------------------------ a run
async def run(context: Context, task: Task[Reconcile]) -> None:
    """Make a run."""
    one = await get(context, task.payload.run_id)
    if one.status is not RunStatus.WAITING:
        async with context.app.work("finance.run_was_done") as work:
            work.tasks.finish(task)
        return
    counts = Counts()
    (error,) = await asyncio.gather(reconcile(context, one, counts), return_exceptions=True)
    if isinstance(error, BaseException):
        await _failed(context, task, one, counts, error)
        return
    async with context.app.work("finance.run_done") as work:
        if await runs.end(work.db, one.run_id, RunEvent.ENDED, counts):
            events.reconciled(work, one, counts)
        work.tasks.finish(task)


async def _failed(
    context: Context, task: Task[Reconcile], one: Run, counts: Counts, error: BaseException
) -> None:
    """End a run that cannot be made; one that the database did not let happen comes again some times."""
    if not isinstance(error, Exception) or (away(error) and task.count < TRIES_MAX):
        raise error
    what = f"{describe(error)} at the {task.count}. attempt"
    async with context.app.work("finance.run_failed") as work:
        if await runs.end(work.db, one.run_id, RunEvent.FAILED, counts, what):
            events.reconcile_failed(work, one, what)
        work.tasks.finish(task)
    _log.error("run_failed", run_id=one.run_id, source=one.source, what=what, exc_info=error)


async def watch_forever(context: Context) -> None:
    """Count the sources that wait for a run which does not fail."""
    while True:
        with survived(_log, "failed_runs_not_counted"):
            today = context.app.clock.now().astimezone(BEIJING).date()
            async with context.app.db.connect() as db:
                since = day_number(today - FAILED_DAYS * ONE_DAY)
                FAILED().set(await runs.failed_sources(db, since, SOURCES_MAX))
        await asyncio.sleep(WATCH_EVERY_S)


async def reconcile(context: Context, one: Run, counts: Counts) -> None:
    """Match what a source has open; what was found is added to `counts` as it is stored."""
    async with context.app.db.connect() as db:
        covered = await runs.covered(db, one.source, ID_MAX, STATEMENTS_MAX)
    terms = await _terms(context, one.source, covered, counts)
    await _join(context, one, terms, counts)
    await _settle(context, one, terms, counts)
    async with context.app.db.connect() as db:
        counts.awaiting = await matches.waiting(db, one.source)


async def _terms(
    context: Context, source: str, covered: Sequence[Covered], counts: Counts
) -> Terms:
    """What the run goes by; our side is completed for it."""
    today = context.app.clock.now().astimezone(BEIJING).date()
    template = context.templates.get(covered[0].template, _PLAIN) if covered else _PLAIN
    first = max(min((one.first_day for one in covered), default=today), today - DAYS_MAX * ONE_DAY)
    # A day earlier: clocks differ, and what is ours at midnight may be theirs of the next day.
    async with context.app.db.connect() as db:
        here = await runs.trade_days(db, source, first - ONE_DAY, today, DAYS_MAX + 2)
    taken = [await _taken(context, source, one) for one in here] if covered else []
    # Of a day that is not whole here nothing of theirs is due.
    whole = [one.day for one in taken if one.entries is not None]
    until = _until(first, whole if covered else [one.day for one in here])
    due = today - (template.due_days + 1) * ONE_DAY
    counts.uncovered = sum(
        bool(one.entries) and first <= one.day <= due and not _covers(covered, one.day)
        for one in taken
    )
    return Terms(
        today=today,
        due_days=template.due_days,
        tolerance_micros=template.tolerance_micros,
        window_s=template.window_s,
        covered=[(one.first_day, one.last_day) for one in covered],
        ours_from=first,
        ours_until=until,
    )


async def _taken(context: Context, source: str, day: Day) -> Day:
    if day.entries is not None:
        return day
    return Day(day.day, await our_side.take_day(context, source, day.day))


def _until(first: date, here: Sequence[date]) -> date:
    """The last day up to which no day of ours is missing."""
    known, reached = set(here), first - ONE_DAY
    while reached + ONE_DAY in known:
        reached += ONE_DAY
    return reached


def _covers(covered: Sequence[Covered], day: date) -> bool:
    return any(one.first_day <= day <= one.last_day for one in covered)


# ------------------------------------------------------------ pairs
async def _join(context: Context, one: Run, terms: Terms, counts: Counts) -> None:
    with Join(terms) as join:
        after, rows = 0, PAGE_ROWS
        while rows == PAGE_ROWS:
            async with context.app.db.connect() as db:
                rows = await matches.unmatched(db, one.source, after, PAGE_ROWS, join.page)
            loaded = await asyncio.to_thread(join.load)
            counts.ours, counts.theirs = counts.ours + loaded.ours, counts.theirs + loaded.theirs
            after = loaded.last_id
        await asyncio.to_thread(join.run)
        pages = join.found(STORED_MAX)
        while found := await asyncio.to_thread(next, pages, None):
            await _store(context, one, found, counts)


async def _store(context: Context, one: Run, found: Sequence[Found], counts: Counts) -> None:
    """Store a page of what was found, as far as nothing else has become of its entries."""
    numbers = [number for pair in found for number in (pair.ours_id, pair.theirs_id) if number]
    async with context.app.work("finance.matches") as work:
        free = await matches.lock(work.db, numbers)
        good = [
            pair
            for pair in found
            if (not pair.ours_id or pair.ours_id in free)
            and (not pair.theirs_id or pair.theirs_id in free)
        ]
        await matches.move(work.db, [move for pair in good for move in _moves(pair)])
        both = [
            pair
            for pair in good
            if pair.ours_id and pair.theirs_id and (free[pair.ours_id] or free[pair.theirs_id])
        ]
        late = await matches.end_late(
            work.db,
            [*(pair.ours_id for pair in both), *(0 for _ in both)],
            [*(0 for _ in both), *(pair.theirs_id for pair in both)],
        )
        broken = [pair for pair in good if pair.kind is not None]
        raised = await _raise(context, work, one, broken)
    counts.matched += len(good) - len(broken)
    counts.late += late
    _count(counts, raised)


def _moves(pair: Found) -> Iterator[Move]:
    status = EntryStatus.MATCHED if pair.kind is None else EntryStatus.BROKEN
    if pair.ours_id:
        yield Move(pair.ours_id, status, pair.theirs_id, pair.rule)
    if pair.theirs_id:
        yield Move(pair.theirs_id, status, pair.ours_id, pair.rule)


async def _raise(
    context: Context, work: UnitOfWork, one: Run, broken: Sequence[Found]
) -> list[ExceptionKind]:
    ids = context.app.ids.take(len(broken))
    new = [
        NewException(
            number, one.source, pair.kind, pair.ours_id, pair.theirs_id, pair.diff_micros,
            pair.day, one.run_id,
        )
        for number, pair in zip(ids, broken, strict=True)
        if pair.kind is not None
    ]  # fmt: skip
    return await matches.raise_exceptions(work.db, new)


def _count(counts: Counts, raised: Sequence[ExceptionKind]) -> None:
    for kind in raised:
        setattr(counts, COUNTED[kind], getattr(counts, COUNTED[kind]) + 1)


# ------------------------------------------------------------ settlements
async def _settle(context: Context, one: Run, terms: Terms, counts: Counts) -> None:
    """Hold settlements, and what a bank paid, to the lines that name them."""
    after = 0
    while True:
        # Read as they are settled: of two runs that each saw a settlement open, one would settle it again.
        async with context.app.work("finance.settlements") as work:
            await statements.allow_time(
                work.db
            )  # a settlement is stored whole, with each of its lines
            await statements.lock(work.db, one.source)
            page = await _page_of(work, one.source, after)
            if not page:
                return
            settled, raised = await _settle_page(context, work, one, page, terms)
        counts.settled, counts.late = counts.settled + settled[0], counts.late + settled[1]
        _count(counts, raised)
        after = page[-1].head.entry_id


async def _page_of(work: UnitOfWork, source: str, after: int) -> list[Settlement]:
    """Settlements behind a number, of together not many more than LINES_MAX lines."""
    page, lines = list[Settlement](), 0
    for head in await settlements.heads(work.db, source, after, SETTLEMENTS_MAX):
        page.append(await settlements.whole(work.db, source, head))
        lines += len(page[-1].named)
        if lines >= LINES_MAX:
            break
    return page


async def _settle_page(
    context: Context, work: UnitOfWork, one: Run, page: Sequence[Settlement], terms: Terms
) -> tuple[tuple[int, int], list[ExceptionKind]]:
    """Settle a page; how many are settled, how many exceptions ended by that, and the new ones."""
    await settlements.lock(work.db, page)
    free = await matches.lock(work.db, [line.head.entry_id for line in page])
    good = [line for line in page if line.head.entry_id in free]
    whole = [line for line in good if _adds_up(line, terms.tolerance_micros)]
    # One of each number: the next run finds that for another one nothing is left.
    done = list({(one.head.book, one.head.settle_no): one for one in reversed(whole)}.values())
    added_up = {line.head.entry_id for line in whole}
    due = terms.today - (terms.due_days + 1) * ONE_DAY
    apart = [
        Found(
            0, line.head.entry_id, MatchRule.SETTLEMENT, ExceptionKind.SETTLEMENT,
            _apart(line), line.head.day,
        )
        for line in good
        if line.head.entry_id not in added_up
        and line.head.day <= due
        and line.head.status != EntryStatus.BROKEN
    ]  # fmt: skip
    rule, ids = MatchRule.SETTLEMENT, [line.head.entry_id for line in done]
    moves = [Move(number, EntryStatus.MATCHED, 0, rule) for number in ids]
    await matches.move(work.db, [*moves, *(move for pair in apart for move in _moves(pair))])
    await settlements.settle(work.db, done)
    late = await matches.end_late(work.db, [0 for _ in ids], ids)
    return (len(done), late), await _raise(context, work, one, apart)


def _apart(line: Settlement) -> int:
    """What it moved beyond its lines, as they are signed: files write settlements with either sign."""
    moved = line.head.amount_micros
    more = abs(moved) - abs(line.sum_micros)
    return more if (line.sum_micros or moved) > 0 else -more


def _adds_up(line: Settlement, tolerance_micros: int) -> bool:
    if line.paid_id:
        return True
    apart = abs(abs(line.sum_micros) - abs(line.head.amount_micros))
    return line.lines > 0 and apart <= tolerance_micros


# ------------------------------------------------------------ showing
async def get(context: Context, run_id: int) -> Run:
    """One run. Refuses RunNotFound."""
    async with context.app.db.connect() as db:
        found = await runs.get(db, run_id)
    if found is None:
        raise RunNotFound(run_id)
    return found


async def page(context: Context, source: str, before: int, most: int) -> list[Run]:
    """Runs below a number, newest first."""
    async with context.app.db.connect() as db:
        return await runs.page(db, source, before, most)
