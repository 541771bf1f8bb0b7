"""Group commit: everything that wants to post at the same time is decided and written as one transaction."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import groupby, islice
from typing import Final, TypeAlias

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
from shoudan_pay.ledger.entries import Account, Crossing, Decision, Key, Posting, Record
from shoudan_pay.ledger.refusals import PostingFailed
from shoudan_pay.ledger.store import accounts as account_store
from shoudan_pay.ledger.store import records as record_store

Group: TypeAlias = Sequence[Posting]

_NO_TIME: Final = datetime(1970, 1, 1, tzinfo=UTC)  # the time of a batch that finds no account

_log = log.get_logger("ledger")


@dataclass(frozen=True, slots=True)
class Answer:
    """Decisions in the order of the groups, and the accounts their records belong to."""

    decisions: list[Decision]
    accounts: Mapping[int, Account]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A group that is to be posted, and the row that its call leaves in the audit log, if any."""

    group: Group
    draft: Draft | None


class Ledger:
    """Where all postings of this process meet. One per process; callers see an ordinary call."""

    def __init__(self, app: App[PaySettings]) -> None:
        self._app = app
        settings = app.settings
        self._gather: Coalescer[Sequence[Wanted], Answer] = Coalescer(
            self._run,
            name="ledger",
            size_max=settings.ledger_batch_max,
            linger_s=settings.ledger_linger_s,
            in_flight_max=settings.ledger_in_flight_max,
            waiting_max=settings.ledger_waiting_max,
            weight_of=lambda wanted: sum(len(one.group) for one in wanted),
            slots=app.db.slots,
        )

    async def post(self, groups: Sequence[Group]) -> Answer:
        """Make each group whole or not at all, after `postings.check`; one decision per group, in order.

        Repeats: the same key and content gives the first record again. Raises Overloaded before anything
        is begun, and Unavailable when it is unknown whether it was made: repeat it. The row that a call
        leaves in the audit log is written with its postings.
        """
        draft = draft_of_call()
        return await self._gather([Wanted(group, draft) for group in groups])

    async def aclose(self) -> None:
        """Finish what was taken."""
        await self._gather.aclose()

    async def _run(self, calls: Sequence[Sequence[Wanted]]) -> list[Answer | Exception]:
        answer = await self._commit([one for call in calls for one in call])
        decisions = iter(answer.decisions)
        return [Answer(list(islice(decisions, len(call))), answer.accounts) for call in calls]

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
                return Answer([_failed(wanted[0].group)], {})
        middle = len(wanted) // 2
        first = await self._commit(wanted[:middle])
        second = await self._commit(wanted[middle:])
        return Answer(first.decisions + second.decisions, {**first.accounts, **second.accounts})

    async def _transact(self, wanted: Sequence[Wanted]) -> Answer:
        async with self._app.work("ledger") as work:
            groups = [one.group for one in wanted]
            answer = await post(work, groups, stamp_of(self._app.settings))
            decided = zip(wanted, answer.decisions, strict=True)
            for _, call in groupby(decided, lambda pair: id(pair[0].draft)):
                _record(work, list(call))
            return answer


def _record(work: UnitOfWork, call: Sequence[tuple[Wanted, Decision]]) -> None:
    """Write the row of a call with its postings, when it leaves one."""
    draft = call[0][0].draft
    if draft is not None:
        done = any(decision.refusal is None for _, decision in call)
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
    locked = await account_store.lock(work.db, {p.account for group in groups for p in group})
    book = await _book(work, locked.accounts, groups)
    ids = work.ids.take(sum(map(len, groups)))
    decisions = postings.decide(book, groups, iter(ids), locked.now or _NO_TIME, stamp)
    accounts = {a.account_id: a for a in locked.accounts.values()}
    new = [record for decision in decisions for record in decision.new]
    if new:
        await record_store.insert(work.db, new)
        work.notes.extend(new)
        events.posted(work.events, decisions, accounts)
        await _watch(work, accounts, new)
    return Answer(decisions, accounts)


async def _book(
    work: UnitOfWork, accounts: Mapping[Key, Account], groups: Iterable[Group]
) -> postings.Book:
    """The records that the postings repeat or quote, read under the locks, so that none is added."""
    known = [
        (posting, account.account_id)
        for group in groups
        for posting in group
        if (account := accounts.get(posting.account)) is not None
    ]
    keys = {(at, p.trade_no, p.trade_type, p.change_type): None for p, at in known}
    giving = [(p, at, quote) for p, at in known if (quote := postings.quoted(p, at)) is not None]
    keys |= dict.fromkeys(quote for _, _, quote in giving)
    counted = {(at, p.ext_no, p.trade_type, p.change_type) for p, at, _ in giving}
    records = await record_store.by_key(work.db, keys) if keys else {}
    returned = await record_store.returned(work.db, counted) if counted else {}
    return postings.Book(accounts, records, returned)


async def _watch(work: UnitOfWork, accounts: Mapping[int, Account], new: Sequence[Record]) -> None:
    """Publish the thresholds that the new records crossed, in that order."""
    touched = dict.fromkeys(r.account_id for r in new if accounts[r.account_id].watched)
    if not touched:
        return
    crossed: list[Crossing] = []
    for alert in await account_store.alerts(work.db, list(touched)):
        balances = ((r.balance_micros, r.seq) for r in new if r.account_id == alert.account_id)
        crossed += crossings(alert, balances)
    if crossed:
        await account_store.mark_alerts(work.db, changed(crossed))
        events.crossed(work.events, crossed, accounts)
