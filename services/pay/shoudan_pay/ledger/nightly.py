"""The nightly proof of the ledger and its statement, with metrics, a log line and, on damage, an event."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from shoudan_kit import log, metrics
from shoudan_kit.clock import BEIJING
from shoudan_kit.service import App
from shoudan_kit.tasks.kinds import Task
from shoudan_pay.config import PaySettings
from shoudan_pay.ledger import closing, daily_statement, events
from shoudan_pay.ledger.entries import Finding
from shoudan_pay.ledger.folders import scope_of, statements_folder
from shoudan_pay.ledger.kinds import PROVE, Prove
from shoudan_pay.ledger.proof_turn import turn_of
from shoudan_pay.ledger.verify import Progress

ARM_EVERY_S: Final = 3600.0
FINDINGS_LOGGED_MAX: Final = 10

OK: Final = metrics.gauge(
    "ledger_invariant_ok",
    "1 when the last proof by this process found the ledger whole, 0 when not; absent before.",
    ("scope",),
)
PROVED: Final = metrics.gauge(
    "ledger_proved_timestamp_seconds", "When that proof ended; absent before the first.", ("scope",)
)
SEALED: Final = metrics.gauge(
    "ledger_sealed_timestamp_seconds",
    "When this process last signed a statement or found the day's signed; absent before.",
    ("scope",),
)
RETRY_S: Final = 600.0  # when the folder cannot be written, or another process makes the statement

_log = log.get_logger("ledger")


def wait_s(now: datetime, at: str) -> float:
    """Seconds from `now` to the next HH:MM of Beijing; a full day when it is that minute's beginning."""
    local = now.astimezone(BEIJING)
    hour, minute = map(int, at.split(":"))
    due = local.replace(hour=hour, minute=minute, second=0, microsecond=0)
    if due <= local:
        due += timedelta(days=1)
    return (due - local).total_seconds()


async def arm_forever(app: App[PaySettings]) -> None:
    """See to it that proof and closing are planned: at the start, and again should a task have been lost."""
    at = app.settings.verify_at
    while True:
        await closing.arm(app)
        if at:  # else the proof is switched off
            async with app.work("prove_arm") as work:
                delay_s = wait_s(app.clock.now(), at)
                work.tasks.add(PROVE, Prove(), order_no=at, delay_s=delay_s)
        await asyncio.sleep(ARM_EVERY_S)


async def prove(app: App[PaySettings], task: Task[Prove]) -> None:
    """Prove the ledger, report the outcome, and run again at the same time tomorrow.

    A task of a time of day that is not configured any more is finished instead: another one took over.
    """
    at = app.settings.verify_at
    if task.order_no != at:
        async with app.work("prove") as work:
            work.tasks.finish(task)
        return
    try:
        findings = await prove_now(app)
    except (daily_statement.FolderUnusable, daily_statement.SealedElsewhere) as error:
        _log.error("ledger_not_sealed", why=str(error) or type(error).__name__, again_s=RETRY_S)
        task.retry_after(RETRY_S)
        return
    if findings:
        async with app.work("prove") as work:
            events.broken(work.events, findings, app.home.shard)
    task.retry_after(wait_s(app.clock.now(), at))


async def prove_now(app: App[PaySettings]) -> Sequence[Finding]:
    """Prove the ledger and sign its statement of the day; set the metrics and log the outcome.

    Raises sealing.FolderUnusable, sealing.SealedElsewhere.
    """
    began = time.monotonic()
    last = await _proved(app)
    OK(scope_of(app)).set(0 if last.findings else 1)
    PROVED(scope_of(app)).set(app.clock.now().timestamp())
    for one in last.findings[:FINDINGS_LOGGED_MAX]:
        _log.error(
            "ledger_broken", account_id=one.account_id, record_id=one.record_id, what=one.what
        )
    _log.info(
        "ledger_proved",
        accounts=last.accounts,
        records=last.records,
        findings=len(last.findings),
        seconds=round(time.monotonic() - began, 3),
    )
    return last.findings


async def _proved(app: App[PaySettings]) -> Progress:
    """The outcome of the proof that belongs to the statement; of another one when that was made before."""
    if statements_folder(app) is not None:
        sealed = await daily_statement.seal(app)
        if sealed.kept is not None:
            SEALED(scope_of(app)).set(app.clock.now().timestamp())
            statement = sealed.kept.statement
            _log.info("ledger_sealed", number=statement.number, hash=sealed.kept.read.hash)
        if not sealed.existed:
            return sealed.progress
    last = Progress(0, 0, 0, 0, done=False, findings=())
    async with turn_of(app):
        async for at in daily_statement.prove(app):
            last = at
    return last
