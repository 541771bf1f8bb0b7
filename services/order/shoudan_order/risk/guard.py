"""Risk rules in the order's own transaction: counted with the orders and decided before the commit.

Without a rule and without a list nothing is read or written. With one, orders that share a counter are taken
one batch after the other, so that a bound is exact whatever races. A batch is counted by the statement that
takes it; where a rule refuses some of it, all of it is undone, and the next batches are decided first for a
while: counters locked, decided, taken, counted.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit import metrics
from shoudan_kit.secrets.sealing import plain_account
from shoudan_order.context import Context
from shoudan_order.pricing import NewOrder
from shoudan_order.refusals import OrderRefusal, RiskBlocked
from shoudan_order.risk import decisions
from shoudan_order.risk.decisions import Candidate, Counters, Verdict
from shoudan_order.store import orders as order_store
from shoudan_order.store import risk as store
from shoudan_order.store.risk import Count, Counted, Rule, Tally
from shoudan_order.store.rows import Order

FORGET_S: Final = 3_600
DECIDE_FIRST_S: Final = 10  # behind a refusal
HITS_TOTAL: Final = metrics.counter(
    "orders_risk_hits_total",
    "Orders that broke a risk rule: refused, confirmed by the channel, or only counted (shadow).",
    ("rule", "outcome"),
)
BLOCKED: Final = "blocked"  # the rule of the list


@dataclass(slots=True)
class Admitted:
    """What the rules let through of a batch; `count` what was taken of it, in the same transaction."""

    refused: dict[int, OrderRefusal] = field(default_factory=dict[int, OrderRefusal])
    counted: dict[int, tuple[Order, Collection[Counted]]] = field(
        default_factory=dict[int, tuple[Order, Collection[Counted]]]
    )  # by order_id

    async def count(self, db: AsyncConnection, made: Collection[int]) -> None:
        """Count the orders that are new."""
        more = decisions.tally(self.counted[i] for i in made if i in self.counted)
        if more:
            await store.count(db, more)


class RuleBroken(Exception):
    """A batch that is counted already breaks a rule: it is to be undone, and decided first."""


@dataclass(frozen=True, slots=True)
class Counting:
    """A batch to be counted by the statement that takes it; `settle` it behind that statement."""

    rules: Mapping[str, Rule]
    refused: Mapping[int, OrderRefusal]  # by position
    candidates: Sequence[Candidate]
    tally: Tally

    async def settle(
        self, db: AsyncConnection, made: Collection[int], counters: Mapping[Counted, Count]
    ) -> None:
        """Decide, and take back what was counted of orders that are not new. Raises RuleBroken."""
        if decisions.may_break(self.rules, counters, self.tally):
            new = [one for one in self.candidates if one.order.order_id in made]
            verdict = decisions.decide(self.rules, decisions.before(counters, self.tally), new)
            if verdict.refused:
                raise RuleBroken
            _count_hits(verdict)
        left = [one for one in self.candidates if one.order.order_id not in made]
        less = decisions.tally((one.order, one.counted.values()) for one in left)
        if less:
            await store.uncount(db, less, self.tally)


def is_active(context: Context) -> bool:
    """Whether there is anything to decide by."""
    return bool(context.risk.rules) or context.risk.listed


def decides_first(context: Context) -> bool:
    """Whether a rule refused something a moment ago, so that undoing batches would cost more."""
    return time.monotonic() < context.decide_first_until_s


def decide_first(context: Context) -> None:
    """Decide batches before they are taken, for a while."""
    context.decide_first_until_s = time.monotonic() + DECIDE_FIRST_S


async def counting(
    context: Context, db: AsyncConnection, drafts: Sequence[tuple[NewOrder, Order]]
) -> Counting:
    """What to count of drafts, and which of them the list refuses."""
    rules = context.risk.rules
    blocked, exempt = await _by_list(context, db, drafts, range(len(drafts)))
    refused = {i: RiskBlocked() for i in await _not_there(db, drafts, blocked)}
    HITS_TOTAL(BLOCKED, "refused").inc(len(refused))
    counters = _counters(context, rules)
    candidates = [
        Candidate(new, order, counters.of(new, order))
        for i, (new, order) in enumerate(drafts)
        if i not in exempt and i not in refused
    ]
    by_name = {rule.rule_id: rule for rule in rules}
    more = decisions.tally((one.order, one.counted.values()) for one in candidates)
    return Counting(by_name, refused, candidates, more)


async def _not_there(
    db: AsyncConnection, drafts: Sequence[tuple[NewOrder, Order]], positions: Sequence[int]
) -> list[int]:
    """Those of new orders; an order that is there already is answered as before."""
    if not positions:
        return []
    keys = {i: (drafts[i][0].channel_no, drafts[i][0].request_no) for i in positions}
    there = await order_store.orders_by_keys(db, list(keys.values()))
    return [i for i, key in keys.items() if key not in there]


async def admit(
    context: Context,
    db: AsyncConnection,
    drafts: Sequence[tuple[NewOrder, Order]],
    *,
    lock: bool = True,
) -> Admitted:
    """Decide on drafts, by position. `lock`: counters stay as they were read to the end of the transaction.

    An order that is there already is let through: it is answered as before.
    """
    keys = [(new.channel_no, new.request_no) for new, _ in drafts]
    there = await order_store.orders_by_keys(db, keys)
    open_ = [i for i, key in enumerate(keys) if key not in there]
    made = Admitted()
    blocked, exempt = await _by_list(context, db, drafts, open_)
    made.refused |= {i: RiskBlocked() for i in blocked}
    if lock:
        HITS_TOTAL(BLOCKED, "refused").inc(len(blocked))
    rules = context.risk.rules
    found = _counters(context, rules)
    candidates = {
        i: Candidate(*drafts[i], found.of(*drafts[i]))
        for i in open_
        if i not in exempt and i not in made.refused
    }
    counters = sorted({c for one in candidates.values() for c in one.counted.values()})
    if counters:
        counts = await store.counts(db, counters, lock=lock)
        counts = {one: counts.get(one, Count()) for one in counters}
        by_name = {rule.rule_id: rule for rule in rules}
        verdict = decisions.decide(by_name, counts, list(candidates.values()))
        _take_over(made, verdict, candidates)
        if lock:
            _count_hits(verdict)
    return made


def _count_hits(verdict: Verdict) -> None:
    for rule_id, outcome in verdict.hits:
        HITS_TOTAL(rule_id, outcome).inc()


def _counters(context: Context, rules: Sequence[Rule]) -> Counters:
    return Counters(rules, context.app.clock.now(), context.accounts.ring.content)


def _take_over(made: Admitted, verdict: Verdict, candidates: Mapping[int, Candidate]) -> None:
    for position, (index, one) in enumerate(candidates.items()):
        if position in verdict.refused:
            made.refused[index] = verdict.refused[position]
        else:
            made.counted[one.order.order_id] = one.order, one.counted.values()


def account_subject(context: Context, account: str) -> bytes:
    """What the list knows an account by."""
    return context.accounts.ring.content("risk", "list", plain_account(account))


async def _by_list(
    context: Context,
    db: AsyncConnection,
    drafts: Sequence[tuple[NewOrder, Order]],
    open_: Sequence[int],
) -> tuple[list[int], set[int]]:
    """The positions of blocked accounts, and of those that are exempt. Blocked wins."""
    if not context.risk.listed:
        return [], set()
    subjects = {
        i: account_subject(context, drafts[i][0].rechage_account)
        for i in open_
        if drafts[i][0].rechage_account
    }
    listed = await _listed(context, db, set(subjects.values()))
    blocked: list[int] = []
    exempt: set[int] = set()
    for index, subject in subjects.items():
        channels = {"", drafts[index][0].channel_no}
        mine = {
            free for who, channel_no, free in listed if who == subject and channel_no in channels
        }
        if False in mine:
            blocked.append(index)
        elif mine:
            exempt.add(index)
    return blocked, exempt


async def _listed(
    context: Context, db: AsyncConnection, subjects: Collection[bytes]
) -> list[tuple[bytes, str, bool]]:
    """Entries of these accounts that have not expired: subject, channel ("" for all), exempt."""
    if context.risk.entries is None:
        return await store.listed(db, list(subjects))
    now = context.app.clock.now()
    return [
        (one.subject, one.channel_no, one.exempt)
        for subject in subjects
        for one in context.risk.entries.get(subject, ())
        if one.expire_time is None or one.expire_time > now
    ]


async def forget_forever(context: Context) -> None:
    """Delete counters of long ago, forever; several processes share the work."""
    while True:
        async with context.app.work("risk.forget") as work:
            more = await store.forget(work.db)
        if not more:
            await asyncio.sleep(FORGET_S)
