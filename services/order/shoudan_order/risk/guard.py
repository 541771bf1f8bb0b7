"""Risk rules in the order's own transaction: counters locked, decided, counted.

Without a rule and without a list nothing is read or written. With one, orders that share a counter are taken
one batch after the other, so that a bound is exact whatever races.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
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
from shoudan_order.risk.decisions import Candidate, Verdict
from shoudan_order.store import orders as order_store
from shoudan_order.store import risk as store
from shoudan_order.store.risk import Count, Counted
from shoudan_order.store.rows import Order

FORGET_S: Final = 3_600
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
        more: dict[Counted, tuple[int, int]] = defaultdict(lambda: (0, 0))
        for order_id in made:
            if order_id in self.counted:
                order, counters = self.counted[order_id]
                for one in counters:
                    orders, amount = more[one]
                    more[one] = orders + 1, amount + order.sell_amount_micros
        if more:
            await store.count(db, more)


def is_active(context: Context) -> bool:
    """Whether there is anything to decide by."""
    return bool(context.risk.rules) or context.risk.listed


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
    exempt = await _by_list(context, db, drafts, open_, made)
    candidates = {
        i: Candidate(*drafts[i], _counted(context, *drafts[i]))
        for i in open_
        if i not in exempt and i not in made.refused
    }
    counters = sorted({c for one in candidates.values() for c in one.counted.values()})
    if counters:
        counts = await store.counts(db, counters, lock=lock)
        counts = {one: counts.get(one, Count()) for one in counters}
        by_name = {rule.rule_id: rule for rule in context.risk.rules}
        verdict = decisions.decide(by_name, counts, list(candidates.values()))
        _take_over(made, verdict, candidates)
        if lock:
            for rule_id, outcome in verdict.hits:
                HITS_TOTAL(rule_id, outcome).inc()
    return made


def _take_over(made: Admitted, verdict: Verdict, candidates: Mapping[int, Candidate]) -> None:
    for position, (index, one) in enumerate(candidates.items()):
        if position in verdict.refused:
            made.refused[index] = verdict.refused[position]
        else:
            made.counted[one.order.order_id] = one.order, one.counted.values()


def _counted(context: Context, new: NewOrder, order: Order) -> dict[str, Counted]:
    """The counters of an order, by rule."""
    now, ring = context.app.clock.now(), context.accounts.ring
    found: dict[str, Counted] = {}
    for rule in decisions.applying(context.risk.rules, order):
        subject = decisions.subject(rule, new, order)
        if subject is not None:
            digest = ring.content("risk", rule.per, *subject)
            found[rule.rule_id] = Counted(rule.rule_id, digest, decisions.period(rule, now))
    return found


def account_subject(context: Context, account: str) -> bytes:
    """What the list knows an account by."""
    return context.accounts.ring.content("risk", "list", plain_account(account))


async def _by_list(
    context: Context,
    db: AsyncConnection,
    drafts: Sequence[tuple[NewOrder, Order]],
    open_: Sequence[int],
    made: Admitted,
) -> set[int]:
    """Refuse blocked accounts; the positions of those that are exempt. Blocked wins."""
    if not context.risk.listed:
        return set()
    subjects = {
        i: account_subject(context, drafts[i][0].rechage_account)
        for i in open_
        if drafts[i][0].rechage_account
    }
    listed = await _listed(context, db, set(subjects.values()))
    exempt: set[int] = set()
    for index, subject in subjects.items():
        channels = {"", drafts[index][0].channel_no}
        mine = {
            free for who, channel_no, free in listed if who == subject and channel_no in channels
        }
        if False in mine:
            made.refused[index] = RiskBlocked()
            HITS_TOTAL(BLOCKED, "refused").inc()
        elif mine:
            exempt.add(index)
    return exempt


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
