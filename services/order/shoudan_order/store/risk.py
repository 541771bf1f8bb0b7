"""Statements on risk rules, their counters, and the list of blocked and exempt accounts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db.columns import Rows, returned
from shoudan_kit.db.text_statements import statement

FORGET_MAX: Final = 5_000  # deleted by one statement


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. Empty channel and zero line are all of them; zero bounds are none.

    `shadow` only counts what the rule would refuse. A `confirmable` rule lets an order through that says so.
    """

    rule_id: str
    per: str
    within: str
    minutes: int = 0
    count_max: int = 0
    amount_max_micros: int = 0
    channel_no: str = ""
    line_id: int = 0
    shadow: bool = True
    confirmable: bool = False
    enabled: bool = True


class Counted(msgspec.Struct, frozen=True, order=True):
    """What one counter counts: a rule, a subject under a key, a period."""

    rule_id: str
    subject: bytes
    period: str


class Count(msgspec.Struct, frozen=True):
    """How a counter stands; `age_s` since its last order, None before the first."""

    orders: int = 0
    amount_micros: int = 0
    age_s: int | None = None


# Orders and their sale amount, by counter.
Tally = Mapping[Counted, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Entry:
    """An account that is blocked (or exempt from the rules), by its keyed digest."""

    entry_id: int
    exempt: bool
    subject: bytes
    channel_no: str
    account_tail: str
    reason: str
    made_by: str
    expire_time: datetime | None


_RULES: Final = Rows(Rule)
_ENTRIES: Final = Rows(Entry)

_VERSION = statement("SELECT version FROM oms_risk_version WHERE one")
_RAISE = statement("""
INSERT INTO oms_risk_version (one, version) VALUES (true, 1)
ON CONFLICT (one) DO UPDATE SET version = oms_risk_version.version + 1 RETURNING version
""")
_LIST = statement(f"SELECT {_RULES.of()} FROM oms_risk_rule ORDER BY rule_id")
_ANY = statement("SELECT EXISTS (SELECT FROM oms_risk_entry)")
_PAGE = statement(f"""
SELECT {_ENTRIES.of()} FROM oms_risk_entry WHERE entry_id > :after ORDER BY entry_id LIMIT :most
""")

_SET_RULE = statement("""
INSERT INTO oms_risk_rule (rule_id, per, within, minutes, count_max, amount_max_micros, channel_no, line_id,
    shadow, confirmable, enabled)
VALUES (:rule_id, :per, :within, :minutes, :count_max, :amount_max_micros, :channel_no, :line_id,
    :shadow, :confirmable, :enabled)
ON CONFLICT (rule_id) DO UPDATE SET per = excluded.per, within = excluded.within,
    minutes = excluded.minutes, count_max = excluded.count_max,
    amount_max_micros = excluded.amount_max_micros, channel_no = excluded.channel_no,
    line_id = excluded.line_id, shadow = excluded.shadow, confirmable = excluded.confirmable,
    enabled = excluded.enabled
""")
_REMOVE_RULE = statement("""
WITH counted AS (DELETE FROM oms_risk_counter WHERE rule_id = :rule_id)
DELETE FROM oms_risk_rule WHERE rule_id = :rule_id RETURNING rule_id
""")
_SET_ENTRY = statement("""
INSERT INTO oms_risk_entry (entry_id, exempt, subject, channel_no, account_tail, reason, made_by, expire_time)
VALUES (:entry_id, :exempt, :subject, :channel_no, :account_tail, :reason, :made_by, :expire_time)
ON CONFLICT (subject, channel_no, exempt) DO UPDATE SET reason = excluded.reason,
    made_by = excluded.made_by, expire_time = excluded.expire_time
RETURNING entry_id
""")
_REMOVE_ENTRY = statement(
    "DELETE FROM oms_risk_entry WHERE entry_id = :entry_id RETURNING entry_id"
)

# Written anew to lock it: of two batches with the same counter the second reads what the first has counted.
# In the order of their keys, so that two batches wait for each other in the same order.
_LOCK = statement("""
INSERT INTO oms_risk_counter AS c (rule_id, subject, period)
SELECT g.rule_id, g.subject, g.period
FROM unnest(CAST(:rule_ids AS text[]), CAST(:subjects AS bytea[]), CAST(:periods AS text[]))
    AS g(rule_id, subject, period)
ORDER BY g.rule_id, g.subject, g.period
ON CONFLICT (rule_id, subject, period) DO UPDATE SET order_count = c.order_count
RETURNING c.rule_id, c.subject, c.period, c.order_count, c.amount_micros,
    CAST(floor(EXTRACT(epoch FROM shoudan_now() - c.last_time)) AS bigint)
""")
_LOOK = statement("""
SELECT c.rule_id, c.subject, c.period, c.order_count, c.amount_micros,
    CAST(floor(EXTRACT(epoch FROM shoudan_now() - c.last_time)) AS bigint)
FROM unnest(CAST(:rule_ids AS text[]), CAST(:subjects AS bytea[]), CAST(:periods AS text[]))
    AS g(rule_id, subject, period)
JOIN oms_risk_counter c ON c.rule_id = g.rule_id AND c.subject = g.subject AND c.period = g.period
""")
_COUNT = statement("""
UPDATE oms_risk_counter c SET order_count = c.order_count + g.orders,
    amount_micros = c.amount_micros + g.amount, before_time = c.last_time, last_time = shoudan_now()
FROM unnest(CAST(:rule_ids AS text[]), CAST(:subjects AS bytea[]), CAST(:periods AS text[]),
    CAST(:orders AS bigint[]), CAST(:amounts AS bigint[])) AS g(rule_id, subject, period, orders, amount)
WHERE c.rule_id = g.rule_id AND c.subject = g.subject AND c.period = g.period
""")
# For the statement that takes the orders: counts all of a batch, and gives the counters as they are with it.
# `age_s` is that of the last order before the batch.
COUNT_BATCH: Final = """INSERT INTO oms_risk_counter AS c
        (rule_id, subject, period, order_count, amount_micros, last_time)
    SELECT g.rule_id, g.subject, g.period, g.orders, g.amount, shoudan_now()
    FROM unnest(CAST(:count_rules AS text[]), CAST(:count_subjects AS bytea[]),
        CAST(:count_periods AS text[]), CAST(:count_orders AS bigint[]),
        CAST(:count_amounts AS bigint[])) AS g(rule_id, subject, period, orders, amount)
    ORDER BY g.rule_id, g.subject, g.period
    ON CONFLICT (rule_id, subject, period) DO UPDATE
        SET order_count = c.order_count + excluded.order_count,
            amount_micros = c.amount_micros + excluded.amount_micros,
            before_time = c.last_time, last_time = excluded.last_time
    RETURNING c.rule_id, c.subject, c.period, c.order_count, c.amount_micros,
        CAST(floor(EXTRACT(epoch FROM shoudan_now() - c.before_time)) AS bigint) AS age_s"""
# What such a batch has counted and not taken, in its own transaction. Where none was taken, none was last.
_UNCOUNT = statement("""
UPDATE oms_risk_counter c SET order_count = c.order_count - g.orders,
    amount_micros = c.amount_micros - g.amount,
    last_time = CASE WHEN g.all_of_it THEN c.before_time ELSE c.last_time END
FROM unnest(CAST(:rule_ids AS text[]), CAST(:subjects AS bytea[]), CAST(:periods AS text[]),
    CAST(:orders AS bigint[]), CAST(:amounts AS bigint[]), CAST(:all_of_it AS boolean[]))
    AS g(rule_id, subject, period, orders, amount, all_of_it)
WHERE c.rule_id = g.rule_id AND c.subject = g.subject AND c.period = g.period
""")
_LISTED = statement("""
SELECT subject, channel_no, exempt FROM oms_risk_entry
WHERE subject = ANY(CAST(:subjects AS bytea[])) AND (expire_time IS NULL OR expire_time > shoudan_now())
""")
# Whatever ended before the month before this one, and repeats that no rule can look at any more.
_FORGET = statement(f"""
DELETE FROM oms_risk_counter WHERE (rule_id, subject, period) IN (
    SELECT rule_id, subject, period FROM oms_risk_counter
    WHERE last_time < shoudan_now() - interval '62 days'
    ORDER BY last_time LIMIT {FORGET_MAX} FOR UPDATE SKIP LOCKED)
RETURNING 1
""")


async def version(db: AsyncConnection) -> int:
    """The newest version of rules and list; 0 before the first."""
    return (await db.execute(_VERSION)).scalar() or 0


async def raise_version(db: AsyncConnection) -> int:
    """Take the writers' lock; the version after this change."""
    return int((await db.execute(_RAISE)).scalar_one())


async def rules(db: AsyncConnection) -> list[Rule]:
    """Every rule, by its name."""
    return _RULES.all(await db.execute(_LIST))


async def any_entry(db: AsyncConnection) -> bool:
    """Whether the list has an entry at all."""
    return bool((await db.execute(_ANY)).scalar_one())


async def entries(db: AsyncConnection, after: int, most: int) -> list[Entry]:
    """A page of the list, oldest first."""
    return _ENTRIES.all(await db.execute(_PAGE, {"after": after, "most": most}))


async def set_rule(db: AsyncConnection, rule: Rule) -> None:
    """Make a rule exactly so."""
    await db.execute(_SET_RULE, asdict(rule))


async def remove_rule(db: AsyncConnection, rule_id: str) -> bool:
    """Remove a rule and what it has counted; whether it was there."""
    return bool(await returned(db, _REMOVE_RULE, rule_id=rule_id))


async def set_entry(db: AsyncConnection, entry: Entry) -> int:
    """Put an account on the list; the number of its entry, which stays when it was there."""
    return int((await db.execute(_SET_ENTRY, asdict(entry))).scalar_one())


async def remove_entry(db: AsyncConnection, entry_id: int) -> bool:
    """Take an entry off the list; whether it was there."""
    return bool(await returned(db, _REMOVE_ENTRY, entry_id=entry_id))


def _binds(counted: Sequence[Counted]) -> dict[str, Any]:
    return {
        "rule_ids": [one.rule_id for one in counted],
        "subjects": [one.subject for one in counted],
        "periods": [one.period for one in counted],
    }


async def counts(
    db: AsyncConnection, counted: Sequence[Counted], *, lock: bool
) -> dict[Counted, Count]:
    """How distinct counters stand, locked to the end of the transaction or only looked at."""
    found = await db.execute(_LOCK if lock else _LOOK, _binds(counted))
    return {
        Counted(rule_id, bytes(subject), period): Count(orders, amount, age_s)
        for rule_id, subject, period, orders, amount, age_s in found
    }


async def count(db: AsyncConnection, more: Tally) -> None:
    """Add orders and amounts to locked counters."""
    binds = _binds(list(more)) | {
        "orders": [orders for orders, _ in more.values()],
        "amounts": [amount for _, amount in more.values()],
    }
    await db.execute(_COUNT, binds)


def batch_binds(counted: Tally) -> dict[str, Any]:
    """The binds of COUNT_BATCH, in the order in which it locks."""
    keys = sorted(counted)
    return {
        "count_rules": [one.rule_id for one in keys],
        "count_subjects": [one.subject for one in keys],
        "count_periods": [one.period for one in keys],
        "count_orders": [counted[one][0] for one in keys],
        "count_amounts": [counted[one][1] for one in keys],
    }


async def uncount(db: AsyncConnection, less: Tally, counted: Tally) -> None:
    """Take back what a batch counted of orders that it did not take; `counted` is all that it counted."""
    keys = sorted(less)
    binds = _binds(keys) | {
        "orders": [less[one][0] for one in keys],
        "amounts": [less[one][1] for one in keys],
        "all_of_it": [less[one][0] == counted[one][0] for one in keys],
    }
    await db.execute(_UNCOUNT, binds)


async def listed(db: AsyncConnection, subjects: Sequence[bytes]) -> list[tuple[bytes, str, bool]]:
    """Entries of these accounts that have not expired: subject, channel ("" for all), exempt."""
    return [tuple(row) for row in await db.execute(_LISTED, {"subjects": subjects})]


async def forget(db: AsyncConnection) -> bool:
    """Delete counters of long ago, at most FORGET_MAX; whether there may be more."""
    return len(await returned(db, _FORGET)) == FORGET_MAX
