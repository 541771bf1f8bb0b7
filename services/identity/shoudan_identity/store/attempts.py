"""Failed logins, counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db.text_statements import statement

FORGOTTEN = "1 day"
SWEEP_MAX = 5_000


@dataclass(frozen=True, slots=True)
class Counted:
    """What one attempt counts against, and how many fail before a wait is asked."""

    scope: int
    key: bytes
    free: int


# Counted as failed before it is checked, so that attempts side by side cannot all pass the same count;
# no row is changed while the wait lasts. The wait doubles from 1 s with each failure beyond the free ones.
_CHARGE = statement(f"""
INSERT INTO login_attempt AS a (scope, key, failures, next_time, update_time)
VALUES (:scope, :key, 1, shoudan_now(), shoudan_now())
ON CONFLICT (scope, key) DO UPDATE SET
    failures = CASE WHEN a.update_time < shoudan_now() - interval '{FORGOTTEN}' THEN 1
        ELSE least(a.failures, 1000000) + 1 END,
    next_time = CASE WHEN a.update_time < shoudan_now() - interval '{FORGOTTEN}'
            OR a.failures + 1 < :free THEN shoudan_now()
        ELSE shoudan_now()
            + least(:wait_s_max, power(2, least(a.failures + 1 - :free, 30))) * interval '1 second' END,
    update_time = shoudan_now()
WHERE a.next_time <= shoudan_now()
RETURNING failures
""")
_WAIT = statement("""
SELECT next_time - shoudan_now() AS wait FROM login_attempt WHERE scope = :scope AND key = :key
""")
_CLEAR = statement("DELETE FROM login_attempt WHERE scope = :scope AND key = :key")
# A success takes back its own charge and no one else's failures.
_TAKE_BACK = statement("""
UPDATE login_attempt SET failures = failures - 1,
    next_time = CASE WHEN failures = :charged THEN shoudan_now() ELSE next_time END
WHERE scope = :scope AND key = :key AND failures > 0
""")
_FORGET = statement(f"""
DELETE FROM login_attempt WHERE (scope, key) IN (
    SELECT scope, key FROM login_attempt WHERE update_time < shoudan_now() - interval '{FORGOTTEN}'
    ORDER BY update_time LIMIT :most
)
""")


async def charge(
    db: AsyncConnection, counted: Sequence[Counted], wait_s_max: float
) -> tuple[list[int], float]:
    """Count an attempt against each, in order; (their counts, 0), or ([], seconds to wait) for a refusal.

    After a refusal the transaction is to be given up, so that nothing counts that was not checked.
    """
    counts: list[int] = []
    for one in counted:
        binds = {"scope": one.scope, "key": one.key}
        charged = {**binds, "free": one.free, "wait_s_max": wait_s_max}
        count: int | None = (await db.execute(_CHARGE, charged)).scalar_one_or_none()
        if count is None:
            wait = (await db.execute(_WAIT, binds)).scalar_one()
            return [], max(0.0, wait.total_seconds())
        counts.append(count)
    return counts, 0.0


async def succeed(db: AsyncConnection, counted: Sequence[Counted], counts: Sequence[int]) -> None:
    """The last one's failures are over; of the others this attempt is taken back."""
    *others, own = zip(counted, counts, strict=True)
    for one, count in others:
        await db.execute(_TAKE_BACK, {"scope": one.scope, "key": one.key, "charged": count})
    await db.execute(_CLEAR, {"scope": own[0].scope, "key": own[0].key})


async def take_back(db: AsyncConnection, counted: Sequence[Counted], counts: Sequence[int]) -> None:
    """This attempt was no failure and no success: it is not counted."""
    for one, count in zip(counted, counts, strict=True):
        await db.execute(_TAKE_BACK, {"scope": one.scope, "key": one.key, "charged": count})


async def forget(db: AsyncConnection) -> int:
    """Delete some of the counts that are old; how many."""
    return (await db.execute(_FORGET, {"most": SWEEP_MAX})).rowcount
