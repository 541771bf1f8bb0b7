"""Group commit: everything that wants to post at the same time is decided and written as one transaction."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TypeAlias

from sqlalchemy.exc import DBAPIError

from shoudan_kit import log
from shoudan_kit.audit_log.entries import Draft, draft_of_call
from shoudan_kit.batch import Coalescer
from shoudan_kit.db.errors import RETRYABLE, Unavailable, sql_state
from shoudan_kit.db.pool import retry
from shoudan_kit.service import App
from shoudan_kit.tasks.unit_of_work import UnitOfWork
from shoudan_pay.config import PaySettings
from shoudan_pay.ledger import events, postings
from shoudan_pay.ledger.alerts import changed, crossings
from shoudan_pay.ledger.chain_hash import Stamp, stamp_of
from shoudan_pay.ledger.entries import (
    Account,
    Crossing,
    Decision,
    Key,
    Posting,
    QuoteKey,
    Record,
    moment_of,
)
from shoudan_pay.ledger.refusals import PostingFailed
from shoudan_pay.ledger.store import accounts as account_store
from shoudan_pay.ledger.store import records as record_store

Group: TypeAlias = Sequence[Posting]

_log = log.get_logger("ledger")


@dataclass(frozen=True, slots=True)
class Answer:
    """Decisions in the order of the groups, and the accounts their records belong to."""

    decisions: list[Decision]
    accounts: Mapping[int, Account]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What one call wants posted, how many postings, and the row it leaves in the audit log, if any."""

    groups: Sequence[Group]
    size: int
    draft: Draft | None

    def halves(self) -> list[Wanted]:
        """Two calls for less, with the same row."""
        middle = len(self.groups) // 2
        parts = self.groups[:middle], self.groups[middle:]
        return [Wanted(part, sum(map(len, part)), self.draft) for part in parts]


class Ledger:
    """Where all postings of this process meet. One per process; callers see an ordinary call."""

    def __init__(self, app: App[PaySettings]) -> None:
        self._app = app
        settings = app.settings
        self._gather: Coalescer[Wanted, Answer] = Coalescer(
            self._run,
            name="ledger",
            size_max=settings.ledger_batch_max,
            linger_s=settings.ledger_linger_s,
            in_flight_max=settings.ledger_in_flight_max,
            waiting_max=settings.ledger_waiting_max,
            weight_of=lambda wanted: wanted.size,
            slots=app.db.slots,
        )

    async def post(self, groups: Sequence[Group]) -> Answer:
        """Make each group whole or not at all, after `postings.check`; one decision per group, in order.

        Repeats: the same key and content gives the first record again. Raises Overloaded before anything
        is begun, and Unavailable when it is unknown whether it was made: repeat it. The row that a call
        leaves in the audit log is written with its postings.
        """
        return await self._gather(Wanted(groups, sum(map(len, groups)), draft_of_call()))

    async def aclose(self) -> None:
        """Finish what was taken."""
        await self._gather.aclose()

    async def _run(self, calls: Sequence[Wanted]) -> list[Answer | Exception]:
        answer = await self._commit(calls)
        decisions = iter(answer.decisions)
        return [
            Answer(list(islice(decisions, len(call.groups))), answer.accounts) for call in calls
        ]

    async def _commit(self, wanted: Sequence[Wanted]) -> Answer:
        """One transaction; if a group poisons it, halves of it, down to the group that fails alone."""
        try:
            return await retry(lambda: self._transact(wanted))
        except Unavailable:
            raise
        except Exception as error:
            if isinstance(error, DBAPIError) and sql_state(error) in RETRYABLE:
                raise Unavailable("locked") from error
            if len(wanted) == 1:
                groups = wanted[0].groups
                if len(groups) <= 1:
                    return Answer([_failed(group) for group in groups], {})
                wanted = wanted[0].halves()
        middle = len(wanted) // 2
        first = await self._commit(wanted[:middle])
        second = await self._commit(wanted[middle:])
        return Answer(first.decisions + second.decisions, {**first.accounts, **second.accounts})

    async def _transact(self, wanted: Sequence[Wanted]) -> Answer:
        async with self._app.work("ledger") as work:
            groups = [group for call in wanted for group in call.groups]
            answer = await post(work, groups, stamp_of(self._app.settings))
            decisions = iter(answer.decisions)
            for call in wanted:
                decided = islice(decisions, len(call.groups))
                _record(work, call.draft, list(decided))
            return answer


def _record(work: UnitOfWork, draft: Draft | None, decisions: Sequence[Decision]) -> None:
    """Write the row of a call with its postings, when it leaves one."""
    if draft is not None:
        done = any(decision.refusal is None for decision in decisions)
        draft.entry = replace(draft.entry, outcome="done" if done else "refused")
        work.audit.take_draft(work.ids, draft)


def _failed(group: Group) -> Decision:
    trace = secrets.token_hex(8)
    _log.error("posting_failed", trace=trace, trade_no=group[0].trade_no, exc_info=True)
    return Decision((), (), PostingFailed(trace))


async def post(work: UnitOfWork, groups: Sequence[Group], stamp: Stamp) -> Answer:
    """The group commit itself, inside a transaction of the caller's; as many statements whatever its size.

    For code of this service whose own rows must stand or fall with the postings. Locks every touched
    account, in id order, to the end of the transaction.
    """
    wanted = {p.account for group in groups for p in group}
    locked = await account_store.lock_to_post(work.db, wanted)
    book = await _book(work, locked.accounts, groups)
    ids = work.ids.take(sum(map(len, groups)))
    decisions = postings.decide(book, groups, iter(ids), moment_of(locked.now_micros), stamp)
    accounts = {a.account_id: a for a in locked.accounts.values()}
    new = [record for decision in decisions for record in decision.new]
    if new:
        await record_store.insert(work.db, new)
        work.notes.extend(new)
        events.posted(work.events, decisions, accounts)
        await _watch(work, accounts, new)
    return Answer(decisions, accounts)


async def _book(
    work: UnitOfWork, accounts: Mapping[Key, Account], groups: Sequence[Group]
) -> postings.Book:
    """The records that the postings repeat or quote, read under the locks, so that none is added."""
    keys = dict.fromkeys(
        (account.account_id, p.trade_no, p.trade_type, p.change_type)
        for group in groups
        for p in group
        if (account := accounts.get(p.account)) is not None
    )
    counted: dict[QuoteKey, None] = {}
    for p in [p for group in groups for p in group if p.ext_no and p.account in accounts]:
        account_id = accounts[p.account].account_id
        quote = postings.quoted(p, account_id)
        if quote is not None:
            keys[quote] = None
            counted[account_id, p.ext_no, p.trade_type, p.change_type] = None
    records = await record_store.by_key(work.db, keys) if keys else {}
    returned = await record_store.returned(work.db, counted) if counted else {}
    return postings.Book(accounts, records, returned)


async def _watch(work: UnitOfWork, accounts: Mapping[int, Account], new: Sequence[Record]) -> None:
    """Publish the thresholds that the new records crossed, in that order."""
    watched = {at for at, account in accounts.items() if account.watched}
    touched = dict.fromkeys(r.account_id for r in new if r.account_id in watched) if watched else {}
    if not touched:
        return
    crossed: list[Crossing] = []
    for alert in await account_store.alerts(work.db, list(touched)):
        balances = ((r.balance_micros, r.seq) for r in new if r.account_id == alert.account_id)
        crossed += crossings(alert, balances)
    if crossed:
        await account_store.mark_alerts(work.db, changed(crossed))
        events.crossed(work.events, crossed, accounts)
