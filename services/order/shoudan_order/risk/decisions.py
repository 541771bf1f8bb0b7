"""Risk rules as values, and what they say of a batch of orders. Pure.

A rule bounds what one subject orders in a window: orders, their sum, or their distance in time. Orders
count when they are taken, whatever becomes of them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol

from shoudan_kit.clock import beijing
from shoudan_kit.secrets.sealing import plain_account
from shoudan_order.pricing import NewOrder
from shoudan_order.refusals import OrderRefusal, RiskLimit, RiskRepeated
from shoudan_order.store.risk import Count, Counted, Rule, Tally
from shoudan_order.store.rows import Order


class Per(StrEnum):
    """What a rule counts by."""

    CHANNEL = "channel"
    PRODUCT = "product"
    ACCOUNT = "account"
    ACCOUNT_FACE = "account_face"


class Window(StrEnum):
    """The time a rule counts in: a day or month of Beijing, or since the subject's last order."""

    DAY = "day"
    MONTH = "month"
    SINCE_LAST = "since_last"


class Digest(Protocol):
    """A keyed digest of what is counted."""

    def __call__(self, *parts: object) -> bytes:
        """Equal parts, equal digests."""
        ...


RULES_MAX: Final = 100
DAY_CHARS: Final = len("2026-11-30")
MONTH_CHARS: Final = len("2026-11")
ALWAYS: Final = "-"  # the period of a rule that looks at the last order only


@dataclass(frozen=True, slots=True)
class Candidate:
    """An order that may be taken, and its counters by rule."""

    new: NewOrder
    order: Order
    counted: Mapping[str, Counted]


@dataclass(slots=True)
class Verdict:
    """What the rules say of a batch, by position: refusals, and (rule, outcome) of each hit."""

    refused: dict[int, OrderRefusal] = field(default_factory=dict[int, OrderRefusal])
    hits: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])


class Counters:
    """What orders of one batch are counted under, each kind of order and each subject worked out once."""

    def __init__(self, rules: Sequence[Rule], now: datetime, digest: Digest) -> None:
        self._digest = digest
        self._periods = {rule.rule_id: period(rule, now) for rule in rules}
        self._rules = rules
        self._of: dict[tuple[str, int], list[Rule]] = {}
        self._subjects: dict[tuple[object, ...], bytes] = {}
        self._found: dict[tuple[object, ...], dict[str, Counted]] = {}

    def of(self, new: NewOrder, order: Order) -> dict[str, Counted]:
        """The counters of an order, by rule."""
        known = (
            order.down_channel_no,
            order.line_id,
            order.down_product_id,
            new.rechage_account,
            order.face_micros,
        )
        found = self._found.get(known)
        if found is None:
            found = self._found[known] = dict(self._counted(new, order))
        return found

    def _counted(self, new: NewOrder, order: Order) -> Iterator[tuple[str, Counted]]:
        kind = (order.down_channel_no, order.line_id)
        if kind not in self._of:
            self._of[kind] = list(applying(self._rules, order))
        for rule in self._of[kind]:
            parts = subject(rule, new, order)
            if parts is None:
                continue
            key = (rule.per, *parts)
            if key not in self._subjects:
                self._subjects[key] = self._digest("risk", *key)
            name = rule.rule_id
            yield name, Counted(name, self._subjects[key], self._periods[name])


def applying(rules: Sequence[Rule], order: Order) -> Iterator[Rule]:
    """The rules of an order."""
    for rule in rules:
        of_channel = rule.channel_no in {"", order.down_channel_no}
        if rule.enabled and of_channel and rule.line_id in {0, order.line_id}:
            yield rule


def tally(counted: Iterable[tuple[Order, Collection[Counted]]]) -> dict[Counted, tuple[int, int]]:
    """Orders and their sale amount, by counter."""
    more: dict[Counted, tuple[int, int]] = {}
    for order, counters in counted:
        sell = order.sell_amount_micros
        for one in counters:
            orders, amount = more.get(one, (0, 0))
            more[one] = orders + 1, amount + sell
    return more


def may_break(rules: Mapping[str, Rule], counts: Mapping[Counted, Count], counted: Tally) -> bool:
    """Whether any order of a batch could break a rule; `counts` are with all of the batch counted.

    A bound that holds with all of them held with each. What is false here needs no `decide`.
    """
    for one, after in counts.items():
        rule = rules[one.rule_id]
        if rule.within == Window.SINCE_LAST:
            if counted[one][0] > 1 or _broken(rule, after, 0) is not None:
                return True
        elif (0 < rule.count_max < after.orders) or (
            0 < rule.amount_max_micros < after.amount_micros
        ):
            return True
    return False


def before(counts: Mapping[Counted, Count], counted: Tally) -> dict[Counted, Count]:
    """The counters as they were before a batch was counted."""
    return {
        one: Count(
            count.orders - counted[one][0], count.amount_micros - counted[one][1], count.age_s
        )
        for one, count in counts.items()
    }


def subject(rule: Rule, new: NewOrder, order: Order) -> tuple[object, ...] | None:
    """What the rule counts the order under; None when the order has no account to count by."""
    if rule.per == Per.CHANNEL:
        return (order.down_channel_no,)
    if rule.per == Per.PRODUCT:
        return (order.down_product_id,)
    if not new.rechage_account:
        return None
    return (
        plain_account(new.rechage_account),
        order.face_micros if rule.per == Per.ACCOUNT_FACE else 0,
    )


def period(rule: Rule, now: datetime) -> str:
    """The period of this moment."""
    if rule.within == Window.SINCE_LAST:
        return ALWAYS
    return beijing(now)[: DAY_CHARS if rule.within == Window.DAY else MONTH_CHARS]


def decide(
    rules: Mapping[str, Rule], counts: Mapping[Counted, Count], candidates: Sequence[Candidate]
) -> Verdict:
    """Go through a batch in order; an order that is let through counts for those behind it."""
    made, now = Verdict(), dict(counts)
    for index, one in enumerate(candidates):
        for rule_id, counted in one.counted.items():
            refusal = _broken(rules[rule_id], now[counted], one.order.sell_amount_micros)
            if refusal is None:
                continue
            outcome = _outcome(rules[rule_id], one.new)
            made.hits.append((rule_id, outcome))
            if outcome == "refused":
                made.refused.setdefault(index, refusal)
        if index not in made.refused:
            for counted in one.counted.values():
                was = now[counted]
                sell = one.order.sell_amount_micros
                now[counted] = Count(was.orders + 1, was.amount_micros + sell, 0)
    return made


def _outcome(rule: Rule, new: NewOrder) -> str:
    if rule.shadow:
        return "shadow"
    return "confirmed" if rule.confirmable and new.confirm_repeat else "refused"


def _broken(rule: Rule, count: Count, amount_micros: int) -> OrderRefusal | None:
    if rule.within == Window.SINCE_LAST:
        early = count.age_s is not None and count.age_s < rule.minutes * 60
        return RiskRepeated(rule.rule_id, rule.minutes) if early else None
    too_many = 0 < rule.count_max < count.orders + 1
    too_much = 0 < rule.amount_max_micros < count.amount_micros + amount_micros
    return RiskLimit(rule.rule_id, rule.within) if too_many or too_much else None


def problem(rule: Rule) -> str:
    """Why a rule makes no sense; empty for one that does."""
    if rule.per not in set(Per):
        return "per is not channel, product, account or account_face"
    if rule.within not in set(Window):
        return "within is not day, month or since_last"
    if rule.within == Window.SINCE_LAST:
        if not 1 <= rule.minutes <= 7 * 24 * 60:
            return "minutes is not 1 to 10080"
        return "count_max and amount_max are for day and month" if _bounds(rule) else ""
    if rule.minutes:
        return "minutes is for since_last"
    return "" if _bounds(rule) else "neither count_max nor amount_max is given"


def _bounds(rule: Rule) -> bool:
    return bool(rule.count_max or rule.amount_max_micros)
