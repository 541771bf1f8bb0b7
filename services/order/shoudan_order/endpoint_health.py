"""How an endpoint does: counted attempt by attempt, alerted at parts of a threshold, switched off. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec

from shoudan_kit.http.client import Answered, HttpResult
from shoudan_order.endpoint_states import ENDPOINT, EndpointEvent, EndpointState
from shoudan_order.store.endpoints import Health

LEVELS: Final = (50, 70, 90, 100)  # percent of the failures in a row that switch an endpoint off
RECENT_MAX: Final = 50
ANSWER_CHARS_MAX: Final = 128
# What an answer may repeat that is no one else's to read: numbers of accounts and cards, secrets.
_SECRET: Final = re.compile(r"[0-9]{7,}|whsec_\S+|[A-Za-z0-9+/=_-]{24,}")


class Threshold(msgspec.Struct, frozen=True):
    """What switches an endpoint off: so many failures in a row, the first of them so long ago."""

    fails_max: int
    dead: timedelta

    def level(self, fails: int) -> int:
        """The highest part of it, in percent, that so many failures reach."""
        return max((one for one in LEVELS if fails * 100 >= one * self.fails_max), default=0)


class Edge(msgspec.Struct, frozen=True):
    """A change that people are to know of, once: `what` is the last word of its event."""

    what: str
    health: Health


class Result(msgspec.Struct, frozen=True):
    """What came of one attempt; `answer` is empty when it was acknowledged."""

    acknowledged: bool
    answer: str = ""


def after(
    health: Health, results: Sequence[Result], now: datetime, threshold: Threshold
) -> tuple[Health, list[Edge]]:
    """How an endpoint does after these attempts, in order, and what is to be alerted of it."""
    edges: list[Edge] = []
    for one in results:
        health = _counted(health, one, now)
        level = threshold.level(health.fails)
        if level > health.alert_level or (health.alert_level and not health.fails):
            health = msgspec.structs.replace(health, alert_level=level, alert_time=now)
            edges.append(Edge("alert" if level else "recovered", health))
        dead = health.fail_time is not None and now - health.fail_time >= threshold.dead
        if dead and level == LEVELS[-1] and ENDPOINT.allows(health.state, EndpointEvent.DIED):
            reason = f"{health.fails} attempts in a row were not acknowledged"
            health = moved(health, EndpointEvent.DIED, reason, now)
            edges.append(Edge("off", health))
    return health, edges


def _counted(health: Health, one: Result, now: datetime) -> Health:
    recent = (health.recent + ("1" if one.acknowledged else "0"))[-RECENT_MAX:]
    return msgspec.structs.replace(
        health,
        recent=recent,
        sent=health.sent + 1,
        acknowledged=health.acknowledged + one.acknowledged,
        fails=0 if one.acknowledged else health.fails + 1,
        fail_time=None if one.acknowledged else health.fail_time or now,
        answer=health.answer if one.acknowledged else one.answer,
        answer_time=now,
    )


def moved(health: Health, event: EndpointEvent, reason: str, now: datetime) -> Health:
    """The endpoint after what a person or the threshold says; one that is resumed begins anew."""
    state = ENDPOINT.next(health.state, event)
    health = msgspec.structs.replace(health, state=state, reason=reason, change_time=now)
    if state != EndpointState.ACTIVE:
        return health
    return msgspec.structs.replace(health, fails=0, fail_time=None, alert_level=0)


def masked(outcome: HttpResult) -> tuple[int, str]:
    """HTTP status, and what an attempt came to in a few words that show nothing secret."""
    if not isinstance(outcome, Answered):
        return 0, _words(outcome.reason)
    return outcome.status, _words(
        f"HTTP {outcome.status} {outcome.body.decode('utf-8', 'replace')}"
    )


def _words(text: str) -> str:
    shown = "".join(one if one.isprintable() else " " for one in text[: 4 * ANSWER_CHARS_MAX])
    return _SECRET.sub("***", shown).strip()[:ANSWER_CHARS_MAX]
