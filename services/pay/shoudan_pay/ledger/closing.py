"""Closing an accounting day: fence every account, then add up what lies before the fence.

The fence is a day in the account's row, set under its lock: what is posted later belongs to the next day.
So the records of a day that is being closed are final, and are added up without any lock. Each step can be
repeated: a process that dies in between leaves days of accounts that are found again as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Final

from shoudan_kit import log, metrics
from shoudan_kit.service import App
from shoudan_kit.tasks.kinds import Task
from shoudan_pay.config import PaySettings
from shoudan_pay.ledger import events
from shoudan_pay.ledger.days import cut_of, day_of, ends
from shoudan_pay.ledger.entries import Finding
from shoudan_pay.ledger.folders import scope_of
from shoudan_pay.ledger.kinds import CLOSE_DAY, CloseDay
from shoudan_pay.ledger.pieces import portions
from shoudan_pay.ledger.store import days as store
from shoudan_pay.ledger.store.records import Piece

ACCOUNTS_MAX: Final = 200  # of one transaction
RECORDS_MAX: Final = 50_000  # that one statement adds up
RETRY_S: Final = 600.0
LOOK_S: Final = 600.0

CLOSED: Final = metrics.gauge(
    "ledger_day_closed_timestamp_seconds",
    "End of the last accounting day this process closed or found closed; absent before.",
    ("scope",),
)

_log = log.get_logger("ledger")


class DayBroken(Exception):
    """The records of a day do not add up: it cannot be closed."""

    def __init__(self, account_id: int, what: str) -> None:
        super().__init__(what)
        self.account_id, self.what = account_id, what


async def arm(app: App[PaySettings]) -> None:
    """See to it that days are closed."""
    async with app.work("close_day_arm") as work:
        work.tasks.add(CLOSE_DAY, CloseDay(), order_no="days")


async def close_due(app: App[PaySettings], task: Task[CloseDay]) -> None:
    """Close what is over, and come again when the next day is."""
    try:
        wait_s = await close_all(app)
    except DayBroken as error:
        _log.error("ledger_day_broken", account_id=error.account_id, what=error.what)
        async with app.work("close_day") as work:
            found = [Finding(error.account_id, 0, error.what)]
            events.broken(work.events, found, app.home.shard)
        wait_s = RETRY_S
    # Not later, because a process that begins with another cut finds this task as it is.
    task.retry_after(min(wait_s, LOOK_S))


async def close_all(app: App[PaySettings]) -> float:
    """Close every day that is over, oldest first; the seconds until the next one is. Raises DayBroken.

    A ledger that has records but no closed day begins with yesterday.
    """
    cut, late = (
        cut_of(app.settings.ledger_day_cut),
        timedelta(seconds=app.settings.ledger_close_after_s),
    )
    while True:
        async with app.db.connect() as db:
            last, now = await store.last_closed(db), await store.now(db)
        today = day_of(now, cut)
        day = today - timedelta(days=1) if last is None else last + timedelta(days=1)
        due = ends(day, cut) + late
        if last is not None:
            CLOSED(scope_of(app)).set(ends(last, cut).timestamp())
        if now < due:
            return (due - now).total_seconds()
        await close(app, day, cut)


async def close(app: App[PaySettings], day: date, cut: timedelta) -> None:
    """Close one day, whether it is over or not: later postings get the next one. Raises DayBroken."""
    after = 0
    while True:
        async with app.work("fence_day") as work:
            ids = await store.fence(work.db, after=after, upto=day, most=ACCOUNTS_MAX)
        if not ids:
            break
        await _add_up(app, ids, day, cut)
        after = ids[-1]
    async with app.work("close_day") as work:
        closed = await store.close(work.db, day)
        if closed is not None:
            events.day_closed(work.events, closed, app.home.shard)
    _log.info("ledger_day_closed", day=day.isoformat())


async def _add_up(app: App[PaySettings], ids: Sequence[int], day: date, cut: timedelta) -> None:
    """Store what the day came to in these accounts. Raises DayBroken."""
    async with app.db.connect() as db:
        ranges = await store.ranges(db, ids, day, cut)
        ended = {one.account_id: one for one in await store.ends(db, ranges)} if ranges else {}
    sums: dict[int, store.Sums] = {}
    for pieces in portions(ranges, RECORDS_MAX):
        async with app.db.connect() as db:
            for one in await store.sums(db, pieces):
                sums[one.account_id] = _plus(sums.get(one.account_id), one)
    made = [_made(one, day, sums[one.account_id], ended.get(one.account_id)) for one in ranges]
    if made:
        async with app.work("close_account_days") as work:
            await store.insert(work.db, made)


def _plus(known: store.Sums | None, more: store.Sums) -> store.Sums:
    if known is None:
        return more
    return store.Sums(
        more.account_id,
        known.records + more.records,
        known.debits_micros + more.debits_micros,
        known.credits_micros + more.credits_micros,
    )


def _made(piece: Piece, day: date, sums: store.Sums, ended: store.Ends | None) -> store.AccountDay:
    if ended is None or sums.records != piece.high - piece.low:
        raise DayBroken(piece.account_id, f"records are missing among {piece.low}..{piece.high}")
    moved = sums.credits_micros - sums.debits_micros
    if ended.closing_micros != ended.opening_micros + moved:
        what = f"{ended.opening_micros} and {moved} micros do not make {ended.closing_micros}"
        raise DayBroken(piece.account_id, what)
    return store.AccountDay(
        account_id=piece.account_id,
        day=day,
        seq_from=piece.low + 1,
        seq_to=piece.high,
        opening_micros=ended.opening_micros,
        debits_micros=sums.debits_micros,
        credits_micros=sums.credits_micros,
        closing_micros=ended.closing_micros,
        head_hash=ended.head_hash,
    )
