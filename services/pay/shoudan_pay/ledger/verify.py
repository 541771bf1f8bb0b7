"""Proof of the ledger, run after run of accounts, several at once."""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from shoudan_kit.db.pool import Database
from shoudan_kit.process.shutdown import cancel_all
from shoudan_pay.ledger.chain_hash import Trust
from shoudan_pay.ledger.entries import Finding, Head
from shoudan_pay.ledger.proof import BEYOND_ALL, Rules, Run, Tally, contradiction, edge_of, prove
from shoudan_pay.ledger.store import accounts as account_store
from shoudan_pay.ledger.store import records as record_store
from shoudan_pay.ledger.store.records import Piece

FINDINGS_MAX: Final = 100
RUN_ACCOUNTS: Final = 200
PROGRESS_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Place:
    """Between two records: all up to `seq` of this account, or all of it (0), and all accounts before it."""

    account_id: int = -1
    seq: int = 0

    @property
    def before(self) -> int:
        """The account behind which the first run begins."""
        return self.account_id - 1 if self.seq else self.account_id


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the proof has come; `findings` is complete when `done`.

    `since` is the number of the statement it began at, 0 when every record is read. `place`: where to go
    on, when it was `done` because its time was over.
    """

    accounts: int
    records: int
    accounts_total: int
    records_total: int
    done: bool
    findings: Sequence[Finding]
    since: int = 0
    place: Place | None = None


class Stated(Protocol):
    """The heads of a statement, in order of the account's id."""

    def upto(self, last_id: int) -> Mapping[int, Head]:
        """Those up to this id that were not given before."""
        ...


class Listed:
    """Heads that are in memory; none at all for a proof without a statement."""

    def __init__(self, heads: Sequence[Head] = ()) -> None:
        self._heads = sorted(heads, key=lambda head: head.account_id)
        self._given = 0

    def upto(self, last_id: int) -> Mapping[int, Head]:
        """Those up to this id that were not given before."""
        start = self._given
        self._given = bisect_right(self._heads, last_id, start, key=lambda head: head.account_id)
        return {head.account_id: head for head in self._heads[start : self._given]}


@dataclass(frozen=True, slots=True)
class Scope:
    """What is proved: accounts of `ident` (all when empty) behind `begin` and with ids up to `last`, up
    to the heads `ends` gives in pages (None: as their rows stand), against what is `stated` and `logged`.

    Without `full` the proof begins where the statement `number` ended.
    """

    ident: str = ""
    begin: Place = Place()
    last: int = BEYOND_ALL
    ends: Callable[[int], list[Head]] | None = None
    stated: Stated = field(default_factory=Listed)
    logged: Stated = field(default_factory=Listed)
    full: bool = True
    stated_records: int = 0
    number: int = 0


@dataclass(frozen=True, slots=True)
class Limits:
    """Which seals count, records one statement reads, runs of accounts proved at once, accounts of a run,
    seconds after which no run is begun any more (None: all are), statements of records of a run."""

    trust: Trust
    page_rows: int
    workers: int = 1
    run_accounts: int = RUN_ACCOUNTS
    call_s: float | None = None
    run_pages: int = 10


async def verify(database: Database, scope: Scope, limits: Limits) -> AsyncIterator[Progress]:
    """Prove what `scope` says, yielding now and then, at last with `done` and the findings.

    Reads while the ledger moves: each account is proved up to where its row stood when its page was
    read, and records never change. Ends early once there are FINDINGS_MAX findings.
    """
    end = None if limits.call_s is None else time.monotonic() + limits.call_s
    accounts_total, records_total, fronts = await _totals(database, scope)
    tally, rules = Tally(), Rules(limits.trust, limits.page_rows, scope.full, limits.run_pages)
    running: set[asyncio.Task[None]] = set()
    place: Place | None = None

    def progress(findings: Sequence[Finding] | None = None) -> Progress:
        totals = max(tally.accounts, accounts_total), max(tally.records, records_total)
        done = findings is not None
        since = 0 if scope.full else scope.number
        counts = tally.accounts, tally.records, *totals
        return Progress(
            *counts, done=done, findings=findings or (), since=since, place=place if done else None
        )

    try:
        runs = _runs(database, scope, rules, limits.run_accounts, fronts=fronts)
        async for run, behind in runs:
            running.add(asyncio.create_task(prove(database, run, rules, tally)))
            while len(running) >= limits.workers:
                running = await _some_ended(running)
                yield progress()
            if len(tally.findings) >= FINDINGS_MAX:
                break
            if end is not None and time.monotonic() >= end:
                place = behind
                break
        while running:
            running = await _some_ended(running)
            yield progress()
    finally:
        await cancel_all(list(running))
    found = sorted(tally.findings, key=lambda one: one.account_id)
    yield progress(found[:FINDINGS_MAX])


async def _totals(database: Database, scope: Scope) -> tuple[int, int, bool]:
    """Accounts and records to prove, none are counted for a part of the accounts; and whether fronts of
    chains have left, or may have."""
    if scope.begin.account_id >= 0 or scope.last < BEYOND_ALL:
        return 0, 0, True
    async with database.connect() as db:
        accounts, records, fronts = await record_store.totals(db, scope.ident)
    left = records if scope.full else max(0, records - scope.stated_records)
    return accounts, left, fronts


async def _some_ended(running: set[asyncio.Task[None]]) -> set[asyncio.Task[None]]:
    """Wait until one has ended, or for a moment; those that go on. Raises what ended one."""
    ended, going_on = await asyncio.wait(
        running, timeout=PROGRESS_S, return_when=asyncio.FIRST_COMPLETED
    )
    for one in ended:
        one.result()
    return going_on


async def _runs(
    database: Database, scope: Scope, rules: Rules, most: int, *, fronts: bool
) -> AsyncIterator[tuple[Run, Place | None]]:
    """The accounts in runs that meet without a gap, so that rows of no account are seen, too; each with
    the place behind it, None when it is the last."""
    after = scope.begin.before
    for heads in (scope.stated, scope.logged):
        await asyncio.to_thread(heads.upto, after)
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
        heads = {head.account_id: head for head in page}
        whole = Run(
            after,
            last,
            heads=heads,
            stated=await asyncio.to_thread(scope.stated.upto, last),
            whole=not scope.ident,
            logged=await asyncio.to_thread(scope.logged.upto, last),
            edges=await _edges(database, heads) if fronts else {},
        )
        async for run, place in _cut(database, whole, scope.begin, rules):
            yield run, None if ended and place == Place(last) else place
        if ended:
            return
        after = last


async def _edges(database: Database, heads: Mapping[int, Head]) -> dict[int, Head]:
    """Where the chains of these accounts begin, of those whose front has left."""
    async with database.connect() as db:
        found = await record_store.edges(db, list(heads))
    return {one: edge_of(heads[one], edge) for one, edge in found.items()}


async def _cut(
    database: Database, run: Run, begin: Place, rules: Rules
) -> AsyncIterator[tuple[Run, Place]]:
    """The run in runs of bounded length, each with the place behind it."""
    most = rules.run_rows
    after, upto, left = run.after, run.after, 0
    for account_id, head in run.heads.items():
        stated = None if rules.full else run.stated.get(account_id)
        resumed = begin.seq if account_id == begin.account_id else 0
        begin_seqs = [one.seq for one in (stated, run.edges.get(account_id)) if one is not None]
        length = head.seq - max(begin_seqs, default=0)
        if resumed or length > most:
            if after < account_id - 1:
                yield _part(run, after, account_id - 1), Place(account_id - 1)
            async for piece in _pieces(database, run, head, resumed, rules):
                yield piece
            after, left = account_id, 0
        elif left + length > most and upto > after:
            yield _part(run, after, upto), Place(upto)
            after, left = upto, length
        else:
            left += length
        upto = account_id
    if after < run.last:
        yield _part(run, after, run.last), Place(run.last)


def _part(run: Run, after: int, last: int) -> Run:
    """The accounts of a run with ids behind `after` and up to `last`."""

    def of(heads: Mapping[int, Head]) -> dict[int, Head]:
        return {one: head for one, head in heads.items() if after < one <= last}

    heads, stated, logged = of(run.heads), of(run.stated), of(run.logged)
    edges = of(run.edges)
    return replace(
        run, after=after, last=last, heads=heads, stated=stated, logged=logged, edges=edges
    )


async def _pieces(
    database: Database, run: Run, head: Head, resumed: int, rules: Rules
) -> AsyncIterator[tuple[Run, Place]]:
    """One long chain in pieces, each from a record that the piece before it has proved."""
    number, most = head.account_id, rules.run_rows
    whole = replace(_part(run, number - 1, number), piece=True)
    stated = whole.stated.get(number)
    if stated is not None and contradiction(head, stated) is not None:
        yield whole, Place(number)
        return
    low, edge = None if rules.full else stated, whole.edges.get(number)
    if resumed:
        # Gone since the call before: the probe of the run finds that.
        low = await _head_at(database, head, resumed) or _broken(head, resumed)
    if edge is not None and (low is None or low.seq <= edge.seq):
        low = edge
    seq = 0 if low is None else low.seq
    while True:
        high = min(max(head.seq, seq), seq + most)
        if rules.full and stated is not None and seq < stated.seq < high:
            high = stated.seq
        more = high < head.seq
        end: Head | None = head
        if more:
            same = stated is not None and high == stated.seq
            end = stated if same else await _head_at(database, head, high)
            left = None if end is not None else (await _edges(database, whole.heads)).get(number)
            if left is not None and left.seq >= high:  # its front has left meanwhile
                low, seq = left, left.seq
                continue
        heads = {number: end or _broken(head, high)}
        begins = {} if low is None else {number: low}
        logged: Mapping[int, Head] = {} if more else whole.logged
        piece = replace(whole, heads=heads, stated=begins, logged=logged, more=more)
        yield piece, Place(number, high) if more else Place(number)
        if not more or end is None:
            return
        seq, low = high, end


def _broken(head: Head, seq: int) -> Head:
    """Where the chain would end with a record that is not there."""
    return Head(head.account_id, head.contra_account_id, seq, 0, b"", head.owner)


async def _head_at(database: Database, head: Head, seq: int) -> Head | None:
    """Where the chain ended with the record `seq`, as that record says; None when it is gone."""
    async with database.connect() as db:
        found = await record_store.pieces(db, [Piece(head.account_id, seq - 1, seq)])
    if not found:
        return None
    contra, last = head.contra_account_id, found[0]
    return Head(head.account_id, contra, seq, last.balance_micros, last.hash, head.owner)
