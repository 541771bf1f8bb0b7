"""Every replica of the system as its ops port shows it: who is away is found out within a second."""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from shoudan_kit.http.client import Answered, HttpClient
from shoudan_kit.process import replicas
from shoudan_kit.process.replicas import Look

PROBE_S: Final = 1.0
KEEP_S: Final = 1.5  # one look serves all who ask within
SINCE_S: Final = 60.0  # rates are of about the last minute
LOOKS_MAX: Final = 40
BODY_BYTES_MAX: Final = 4 * 2**20
OK: Final = 200
BUILD: Final = "shoudan_build_info"
EXPIRES: Final = "shoudan_certificate_expires_timestamp_seconds"
STARTED: Final = "process_start_time_seconds"
MEMORY: Final = "process_resident_memory_bytes"
IN_FLIGHT: Final = "shoudan_rpc_in_progress"
LATE: Final = "shoudan_tasks_due_age_seconds"
DEAD: Final = "shoudan_tasks_dead"
EVENTS_LATE: Final = "shoudan_outbox_lag_seconds"
READ: Final = (
    BUILD, EXPIRES, STARTED, MEMORY, IN_FLIGHT, LATE, DEAD, EVENTS_LATE,
    *(f"{name}_{end}" for name in replicas.CALLS for end in ("bucket", "count")),
)  # fmt: skip
# Outcomes that are a failing of ours; every other one is an answer.
FAILINGS: Final = frozenset(
    {"INTERNAL", "UNKNOWN", "UNAVAILABLE", "DEADLINE_EXCEEDED", "DATA_LOSS"}
)


@dataclass(frozen=True, slots=True)
class Replica:
    """One process, and what matters of its metrics; None where it says nothing of it."""

    service: str
    name: str
    version: str
    state: str
    serving: bool
    expires: datetime | None
    started: datetime | None
    calls_per_s: float | None
    failing_share: float | None
    p99_s: float | None
    in_flight: float | None
    late_s: float | None
    dead: float | None
    events_late_s: float | None
    memory_bytes: float | None


class Replicas:
    """Looks at all of them at once; `ops_urls` as `shoudan top` has them."""

    def __init__(self, ops_urls: Mapping[str, str]) -> None:
        self._urls = dict(ops_urls)
        self._http = HttpClient(
            "ops", connect_s=PROBE_S / 2, total_s=PROBE_S, body_bytes_max=BODY_BYTES_MAX
        )
        self._looks: deque[list[Look]] = deque(maxlen=LOOKS_MAX)
        self._at = 0.0
        self._one_at_a_time = asyncio.Lock()

    @property
    def known(self) -> bool:
        """Whether it is known where they are."""
        return bool(self._urls)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def all(self) -> list[Replica]:
        """Each replica, by service and address, as seen a moment ago. Raises nothing."""
        async with self._one_at_a_time:
            if not self._looks or time.monotonic() - self._at > KEEP_S:
                self._looks.append(await self._look())
                self._at = time.monotonic()
            now = self._looks[-1]
            before = self._before()
        return [_replica(one, before.get(one.address)) for one in now]

    def _before(self) -> Mapping[str, Look]:
        """The oldest look of the last minute at each, without those of now."""
        found: dict[str, Look] = {}
        for looks in list(self._looks)[:-1]:
            for one in looks:
                if one.samples and self._at - one.at <= SINCE_S:
                    found.setdefault(one.address, one)
        return found

    async def _look(self) -> list[Look]:
        places = await asyncio.gather(*(self._addresses(url) for url in self._urls.values()))
        asked = [
            self._one(service, address)
            for service, addresses in zip(self._urls, places, strict=True)
            for address in addresses
        ]
        return list(await asyncio.gather(*asked))

    async def _addresses(self, url: str) -> Sequence[str]:
        try:
            return await asyncio.wait_for(asyncio.to_thread(replicas.addresses, url), PROBE_S)
        except TimeoutError:
            return [url]

    async def _one(self, service: str, address: str) -> Look:
        at = time.monotonic()
        ready, metrics = await asyncio.gather(
            self._http.send("GET", f"{address}/readyz"),
            self._http.send("GET", f"{address}/metrics"),
        )
        if not isinstance(ready, Answered) or not isinstance(metrics, Answered):
            return Look(service, address, "no answer", at)
        try:
            reasons = dict(json.loads(ready.body).get("reasons", {}))
        except (ValueError, AttributeError, TypeError):
            return Look(service, address, "answers like no process of ours", at)
        state = "serving" if ready.status == OK else ", ".join(reasons) or f"HTTP {ready.status}"
        text = replicas.wanted(metrics.body.decode("utf-8", "replace"), READ)
        return Look(service, address, state, at, reasons, replicas.samples(text))


def _replica(now: Look, before: Look | None) -> Replica:
    return Replica(
        now.service,
        now.label(BUILD, "replica") or now.address.rpartition("/")[2],
        now.label(BUILD, "version"),
        now.state,
        now.ok,
        _moment(_least(now, EXPIRES)),
        _moment(now.worst(STARTED)),
        replicas.calls_per_s(now, before),
        _failing_share(now, before),
        replicas.quantile(0.99, now, before),
        now.worst(IN_FLIGHT),
        now.worst(LATE),
        now.total(DEAD) if DEAD in now.samples else None,
        now.worst(EVENTS_LATE),
        now.worst(MEMORY),
    )


def _least(look: Look, metric: str) -> float | None:
    return min(look.samples.get(metric, {}).values(), default=None)


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def _failing_share(now: Look, before: Look | None) -> float | None:
    """The part of the calls since the look before, else since its start, that failed; None without calls."""
    failed, all_ = 0.0, 0.0
    for name in replicas.CALLS:
        for labels, value in now.samples.get(f"{name}_count", {}).items():
            earlier = before.samples.get(f"{name}_count", {}).get(labels, 0.0) if before else 0.0
            count = max(0.0, value - earlier)
            code = dict(labels).get("code", "")
            all_ += count
            failed += count if code in FAILINGS or code.startswith("5") else 0.0
    return failed / all_ if all_ else None
