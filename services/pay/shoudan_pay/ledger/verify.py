"""Proof of the ledger, run after run of accounts, several at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from shoudan_kit.db.pool import Database
from shoudan_kit.process.shutdown import cancel_all
from shoudan_pay.ledger.chain_hash import Trust
from shoudan_pay.ledger.entries import Finding, Head
from shoudan_pay.ledger.proof import BEYOND_ALL, Rules, Run, Tally, prove
from shoudan_pay.ledger.store import accounts as account_store
from shoudan_pay.ledger.store import records as record_store

FINDINGS_MAX: Final = 100
RUN_ACCOUNTS: Final = 200
PROGRESS_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the proof has come; `findings` is complete when `done`.

    `since` is the number of the statement it began at, 0 when every record is read.
    """

    accounts: int
    records: int
    accounts_total: int
    records_total: int
    done: bool
    findings: Sequence[Finding]
    since: int = 0


class Stated(Protocol):
    """The heads of a statement, in order of the account's id."""

    def upto(self, last_id: int) -> Mapping[int, Head]:
        """Those up to this id that were not given before."""
        ...


class Listed:
    """Heads that are in memory; none at all for a proof without a statement."""

    def __init__(self, heads: Sequence[Head] = ()) -> None:
        self._heads = {head.account_id: head for head in heads}

    def upto(self, last_id: int) -> Mapping[int, Head]:
        """Those up to this id that were not given before."""
        found = {one: head for one, head in self._heads.items() if one <= last_id}
        for one in found:
            del self._heads[one]
        return found


@dataclass(frozen=True, slots=True)
class Scope:
    """What is proved: accounts of `ident` (all when empty) with ids behind `after` and up to `last`,
    up to the heads `ends` gives in pages (None: as their rows stand), against what is `stated`.

    Without `full` the proof begins where the statement `number` ended.
    """

    ident: str = ""
    after: int = -1
    last: int = BEYOND_ALL
    ends: Callable[[int], list[Head]] | None = None
    stated: Stated = field(default_factory=Listed)
    full: bool = True
    stated_records: int = 0
    number: int = 0


@dataclass(frozen=True, slots=True)
class Limits:
    """Whose seals count, records one statement reads, runs of accounts proved at once, accounts of a run."""

    trust: Trust
    page_rows: int
    workers: int = 1
    run_accounts: int = RUN_ACCOUNTS


async def verify(database: Database, scope: Scope, limits: Limits) -> AsyncIterator[Progress]:
    """Prove what `scope` says, yielding now and then, at last with `done` and the findings.

    Reads while the ledger moves: each account is proved up to where its row stood when its page was
    read, and records never change. Ends early once there are FINDINGS_MAX findings.
    """
    accounts_total, records_total = await _totals(database, scope)
    tally, rules = Tally(), Rules(limits.trust, limits.page_rows, scope.full)
    running: set[asyncio.Task[None]] = set()

    def progress(findings: Sequence[Finding] | None = None) -> Progress:
        totals = max(tally.accounts, accounts_total), max(tally.records, records_total)
        done = findings is not None
        since = 0 if scope.full else scope.number
        counts = tally.accounts, tally.records, *totals
        return Progress(*counts, done=done, findings=findings or (), since=since)

    try:
        async for run in _runs(database, scope, limits.run_accounts):
            running.add(asyncio.create_task(prove(database, run, rules, tally)))
            while len(running) >= limits.workers:
                running = await _some_ended(running)
                yield progress()
            if len(tally.findings) >= FINDINGS_MAX:
                break
        while running:
            running = await _some_ended(running)
            yield progress()
    finally:
        await cancel_all(list(running))
    found = sorted(tally.findings, key=lambda one: one.account_id)
    yield progress(found[:FINDINGS_MAX])


async def _totals(database: Database, scope: Scope) -> tuple[int, int]:
    """Accounts and records to prove; none are counted for a part of the accounts."""
    if scope.after >= 0 or scope.last < BEYOND_ALL:
        return 0, 0
    async with database.connect() as db:
        accounts, records = await record_store.totals(db, scope.ident)
    return accounts, records if scope.full else max(0, records - scope.stated_records)


async def _some_ended(running: set[asyncio.Task[None]]) -> set[asyncio.Task[None]]:
    """Wait until one has ended, or for a moment; those that go on. Raises what ended one."""
    ended, going_on = await asyncio.wait(
        running, timeout=PROGRESS_S, return_when=asyncio.FIRST_COMPLETED
    )
    for one in ended:
        one.result()
    return going_on


async def _runs(database: Database, scope: Scope, most: int) -> AsyncIterator[Run]:
    """The accounts in runs that meet without a gap, so that rows of no account are seen, too."""
    after = scope.after
    while True:
        if scope.ends is None:
            async with database.connect() as db:
                page = await account_store.heads(
                    db, after=after, last=scope.last, most=most, ident=scope.ident
                )
        else:
            page = await asyncio.to_thread(scope.ends, most)
        ended = len(page) < most
        last = scope.last if ended else page[-1].account_id
        stated = await asyncio.to_thread(scope.stated.upto, last)
        heads = {head.account_id: head for head in page}
        yield Run(after, last, heads, stated, whole=not scope.ident)
        if ended:
            return
        after = last
