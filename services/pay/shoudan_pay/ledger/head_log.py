"""The head log: what this process committed, remembered and written outside the database every few seconds.

The commits themselves report to it, so that records removed a moment later are missed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final
from uuid import uuid4

from sqlalchemy.exc import DBAPIError

from shoudan_kit import log, metrics
from shoudan_kit.rpc.shielded import shielded
from shoudan_kit.service import App
from shoudan_kit.tasks.unit_of_work import UnitOfWork
from shoudan_pay.config import PaySettings
from shoudan_pay.ledger.entries import Head, Record
from shoudan_pay.ledger.folders import statements_folder
from shoudan_pay.ledger.head_files import PATTERN, Segment, keep_newest
from shoudan_pay.ledger.proof import BEYOND_ALL
from shoudan_pay.ledger.statement_files import read_file, statement_paths
from shoudan_pay.ledger.statements import StatementInvalid, keys_of
from shoudan_pay.ledger.store import records

LOOKED_AT: Final = 1000  # records in one statement
PASSED_MAX: Final = 100_000  # records to be looked at when the database is back

LOGGED: Final = metrics.least(
    "ledger_heads_logged_timestamp_seconds",
    "When this process last wrote the heads of its postings, or had none to write; absent before.",
)

_log = log.get_logger("ledger")


class HeadLog:
    """One per shard of a process. Heads since the statement before the last are kept in memory, one an
    account."""

    def __init__(self, app: App[PaySettings]) -> None:
        self._app, self._folder = app, statements_folder(app)
        self._pending: dict[int, Head] = {}
        self._new: dict[int, Head] = {}
        self._old: dict[int, Head] = {}
        self._passed: list[Head] = []
        self._lost: dict[int, Head] = {}
        self._after: int | None = None
        self._segment: Segment | None = None
        self._full_at = app.settings.ledger_head_log_bytes
        self._one_at_a_time = asyncio.Lock()
        if self._folder is not None:
            app.watchers.append(self.note)

    def note(self, work: UnitOfWork) -> None:
        """Remember what a transaction has committed."""
        for record in work.notes:
            if isinstance(record, Record):
                there = self._pending.get(record.account_id)
                if there is None or there.seq < record.seq:
                    self._pending[record.account_id] = Head(
                        record.account_id, 0, record.seq, record.balance_micros, record.hash, b""
                    )

    async def run(self) -> None:
        """Write every few seconds; for ever."""
        if self._folder is None:
            await asyncio.Event().wait()  # switched off: nothing to do until the process ends
        while True:
            await asyncio.sleep(self._app.settings.ledger_head_log_s)
            await shielded(self.flush())

    async def flush(self) -> None:
        """Write what was committed since the last time; what cannot be written is written later."""
        if self._folder is None:
            return
        if not (self._pending or self._segment or self._old):
            LOGGED().set(self._app.clock.now().timestamp())
            return
        async with self._one_at_a_time:
            pending, self._pending = self._pending, {}
            await self._look_back(pending)
            try:
                await asyncio.to_thread(self._write, self._folder, pending)
            except OSError as error:
                _log.error("heads_not_logged", why=error.strerror or type(error).__name__)
                later, self._pending = self._pending, pending
                keep_newest(self._pending, later.values())
                return
            LOGGED().set(self._app.clock.now().timestamp())

    async def _look_back(self, pending: Mapping[int, Head]) -> None:
        """Look once more at the records that will not be the newest any more: the chain may have been cut
        behind them and have grown again. What is not as it was logged stays in the log for good."""
        logged = (self._new.get(one) or self._old.get(one) for one in pending)
        self._passed += [head for head in logged if head is not None]
        while some := self._passed[:LOOKED_AT]:
            try:
                async with self._app.db.connect() as db:
                    strays = await records.strays(db, [(one, BEYOND_ALL) for one in some])
            except (DBAPIError, OSError, TimeoutError) as error:
                _log.warning("heads_not_looked_at", error=type(error).__name__)
                del self._passed[PASSED_MAX:]
                return
            del self._passed[: len(some)]
            lost = {stray.account_id for stray in strays}
            for head in some:
                if head.account_id in lost:
                    self._lost.setdefault(head.account_id, head)
                    _log.error("records_lost", account_id=head.account_id, seq=head.seq)

    async def aclose(self) -> None:
        """Write the rest."""
        await self.flush()
        if self._segment is not None:
            self._segment.close()

    def _write(self, folder: Path, pending: dict[int, Head]) -> None:
        newest = statement_paths(folder)
        number = int(newest[-1].name.split("-")[1]) if newest else 0
        segment = self._segment
        if self._after not in {None, number}:
            self._turn(newest)
            segment = None
        self._after = number
        if not pending and (segment is not None or not self._old):
            return
        keep_newest(self._new, pending.values())
        at = self._app.clock.now().isoformat()
        if segment is None or segment.size > self._full_at or not segment.path.exists():
            self._replace(self._begin(folder, number, at))
            _remove_proved(folder, newest)
            return
        try:
            segment.append(at, pending, self._lost)
        except OSError:
            # Half a line may be there: nothing may follow it.
            self._replace(None)
            raise

    def _turn(self, newest: list[Path]) -> None:
        """A statement was made: what was logged before the one before it is proved by both."""
        self._old, self._new = self._new, {}
        with suppress(StatementInvalid):
            if read_file(newest[-1], keys_of(self._app.settings)).statement.restart:
                self._old, self._lost = {}, {}
        self._replace(None)

    def _begin(self, folder: Path, number: int, at: str) -> Segment:
        """A file with all that is remembered; none is left when it cannot be written."""
        name = f"heads-{at[:10]}-{uuid4().hex}.jsonl"
        made = Segment(folder / name, keys_of(self._app.settings), number)
        try:
            made.append(at, self._old | self._new, self._lost)
        except OSError:
            made.close()
            made.path.unlink(missing_ok=True)
            raise
        self._full_at = max(self._app.settings.ledger_head_log_bytes, 2 * made.size)
        return made

    def _replace(self, segment: Segment | None) -> None:
        """The one before goes once all it said is in the new one."""
        before, self._segment = self._segment, segment
        if before is not None:
            before.close()
            if segment is not None:
                before.path.unlink(missing_ok=True)


def _remove_proved(folder: Path, newest: list[Path]) -> None:
    """Remove what processes that are gone logged before the last statement but one: two have proved it."""
    if len(newest) < 2:
        return
    proved = newest[-2].stat().st_mtime
    for path in folder.glob(PATTERN):
        with suppress(FileNotFoundError):
            if path.stat().st_mtime < proved:
                path.unlink()
