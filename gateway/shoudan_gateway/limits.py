"""Limits by caller: rates of partners and addresses, calls of partners in flight; totals of all gateways.

A limit is a total. This gateway holds a share of it (kit/shoudan_kit/limits/shares.py) and decides from
memory; what it was asked for is sent to the others once a beat. Documented in docs/reference/http/limits.md.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import msgspec
from msgspec.structs import replace

from shoudan_gateway.config import GatewaySettings
from shoudan_gateway.protocol import GatewayError, Inbound, Places, Problem, Quota
from shoudan_kit.clock import Clock
from shoudan_kit.limits.rates import PARTIES_MAX, Rate, Rates
from shoudan_kit.limits.shares import Shares

Kind = Literal["partner", "address"]


class Limit(msgspec.Struct, frozen=True):
    """The totals of one caller."""

    rate: Rate
    calls_max: int


class Limited(Problem):
    """A caller is above one of its limits; `quota` says which and until when."""

    def __init__(self, quota: Quota) -> None:
        super().__init__(GatewayError.TOO_MANY_CALLS)
        self.quota = quota


class CallerLimits:
    """Counts the calls of every caller at this gateway against its share. What it keeps is bounded."""

    def __init__(self, settings: GatewaySettings, shares: Shares, clock: Clock) -> None:
        self.shares, self._clock = shares, clock
        self._partner = Limit(
            Rate(settings.channel_rate_per_s, settings.channel_burst), settings.caller_in_flight_max
        )
        self._address = Rate(settings.address_rate_per_s, settings.address_burst)
        self._rates: dict[Kind, Rates] = {"partner": Rates(0, 1), "address": Rates(0, 1)}
        self._drawn: Counter[str] = Counter()
        self._totals: dict[str, float] = {}
        self._calls: dict[str, tuple[int, int]] = {}

    def of_partner(self, rate_per_s: int = 0, calls_max: int = 0) -> Limit:
        """The limit of a partner whose catalogue says these; 0 is what the settings say."""
        common = self._partner
        if not rate_per_s and not calls_max:
            return common
        rate = common.rate
        if rate_per_s:  # bursts as long as the common one
            seconds = rate.burst / rate.per_s if rate.per_s else 1.0
            rate = Rate(rate_per_s, max(1.0, rate_per_s * seconds))
        return Limit(rate, calls_max or common.calls_max)

    def address(self, request: Inbound) -> Inbound:
        """Count a request of its address, before anything else is known of it. Raises Limited."""
        if not request.remote:
            return request
        return self._draw("address", f"address {request.remote}", self._address, request)

    def partner(self, party: str, limit: Limit, request: Inbound) -> Inbound:
        """Count a request of an authenticated partner. Raises Limited."""
        return self._draw("partner", party, limit.rate, request)

    def _draw(self, kind: Kind, party: str, rate: Rate, request: Inbound) -> Inbound:
        if rate.per_s <= 0:
            return request
        now = self._clock.monotonic()
        self._count(party, rate.per_s)
        drawn = self._rates[kind].draw(party, now, rate.part(self.shares.of(party, now)))
        quota = Quota(kind, rate, drawn)
        if not drawn.within:
            raise Limited(quota)
        return replace(request, quotas=(*request.quotas, quota))

    def _count(self, party: str, per_s: float) -> None:
        if len(self._drawn) < PARTIES_MAX or party in self._drawn:
            self._drawn[party] += 1
            self._totals[party] = per_s

    def calls_max(self, party: str, limit: Limit) -> int:
        """Calls in flight that this gateway's share of a caller's total allows; one at least."""
        return max(1, int(limit.calls_max * self.shares.of(party, self._clock.monotonic())))

    def began(self, party: str, limit: Limit, calls: int) -> None:
        """A call was let in, or turned away because as many as may be were in flight."""
        if len(self._calls) < PARTIES_MAX or party in self._calls:
            self._calls[party] = (max(calls, self._calls.get(party, (0, 0))[0]), limit.calls_max)

    def asked(self, seconds: float) -> dict[str, float]:
        """What part of its total each caller has asked for since the last call, at most all of it."""
        found = {
            party: count / seconds / self._totals[party] for party, count in self._drawn.items()
        }
        for party, (calls, total) in self._calls.items():
            found[party] = max(found.get(party, 0.0), calls / total)
        self._drawn.clear()
        self._totals.clear()
        self._calls.clear()
        return {party: min(1.0, part) for party, part in found.items()}


def retry_after_s(failure: Problem) -> int | None:
    """Whole seconds until it is worth trying again; None where waiting is no cure."""
    if isinstance(failure, Limited):
        return max(1, math.ceil(failure.quota.drawn.wait_s))
    return 1 if failure.error in {GatewayError.BUSY, GatewayError.TOO_MANY_CALLS} else None


def policy(quotas: Sequence[Quota], places: Places | None = None) -> str:
    """`RateLimit-Policy`: each limit's whole quota and the seconds it fills in, and the calls in flight."""
    shown = [_quota(one.name, one.rate) for one in quotas]
    if places is not None:
        shown.append(f'"calls";q={places.calls_max};qu="concurrent-requests"')
    return ", ".join(shown)


@lru_cache(maxsize=1024)  # kinds and rates are few
def _quota(name: str, rate: Rate) -> str:
    return f'"{name}";q={int(rate.burst)};w={math.ceil(rate.burst / rate.per_s)}'


def remaining(quotas: Sequence[Quota], places: Places | None = None) -> str:
    """`RateLimit`: what is left of each at this gateway, and the seconds until it is whole again."""
    shown = [f'"{one.name}";r={one.drawn.left};t={math.ceil(one.drawn.full_s)}' for one in quotas]
    if places is not None:
        shown.append(f'"calls";r={places.left}')
    return ", ".join(shown)
