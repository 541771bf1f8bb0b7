"""Every replica of a system, looked at through its ops port: state, version, and what its metrics say."""

from __future__ import annotations

import asyncio
import json
import socket
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from prometheus_client.parser import text_string_to_metric_families

OK: Final = 200
PROBE_S: Final = 3.0
BODY_BYTES_MAX: Final = 4 * 2**20
REPLICAS_MAX: Final = 64  # of one service, as many as share a database
CALLS: Final = ("shoudan_rpc_server_seconds", "shoudan_http_seconds")

Labels = frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Look:
    """One look at one replica; `samples` is empty when it did not answer."""

    service: str
    address: str
    state: str  # serving, or why not
    at: float
    reasons: Mapping[str, str] = field(default_factory=dict[str, str])
    samples: Mapping[str, Mapping[Labels, float]] = field(
        default_factory=dict[str, Mapping[Labels, float]]
    )

    @property
    def ok(self) -> bool:
        """Whether calls may be sent to it."""
        return self.state == "serving"

    def label(self, metric: str, name: str) -> str:
        """A label of the metric's first sample; empty without one."""
        first: Labels = next(iter(self.samples.get(metric, {})), Labels())
        return dict(first).get(name, "")

    def worst(self, metric: str, **labels: str) -> float | None:
        """The highest value of a metric with these labels; None when it has none."""
        wanted = labels.items()
        found = [
            value
            for of, value in self.samples.get(metric, {}).items()
            if wanted <= dict(of).items()
        ]
        return max(found, default=None)

    def total(self, metric: str) -> float:
        """The sum of a metric over its labels."""
        return sum(self.samples.get(metric, {}).values())


def addresses(url: str) -> list[str]:
    """The base URLs behind `url`: several separated by commas, a name as each of its addresses."""
    found: list[str] = []
    for one in filter(None, (part.strip().rstrip("/") for part in url.split(","))):
        parts = urlsplit(one)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            continue
        found += _resolved(one, parts.hostname, parts.port) if parts.scheme == "http" else [one]
    return list(dict.fromkeys(found))[:REPLICAS_MAX]


def _resolved(url: str, host: str, port: int | None) -> list[str]:
    try:
        known = socket.getaddrinfo(host, port or 80, socket.AF_INET, socket.SOCK_STREAM)
    except OSError:
        return [url]  # shown as a replica that does not answer
    return [f"http://{address[0]}:{address[1]}" for *_, address in known]


async def look(ops_urls: Mapping[str, str]) -> list[Look]:
    """A look at every replica of these services, all at once, by service and address."""
    found = await asyncio.gather(*(asyncio.to_thread(addresses, url) for url in ops_urls.values()))
    wanted = [
        (service, address)
        for service, all_ in zip(ops_urls, found, strict=True)
        for address in all_
    ]
    return list(await asyncio.gather(*(asyncio.to_thread(_look, *one) for one in wanted)))


def _look(service: str, address: str) -> Look:
    at = time.monotonic()
    status, body = get(f"{address}/readyz")
    if status == 0:
        return Look(service, address, f"no answer ({body})", at)
    reasons: dict[str, str] = {}
    try:
        reasons = dict(json.loads(body).get("reasons", {}))
    except (ValueError, AttributeError, TypeError):
        return Look(service, address, "answers like no process of ours", at)
    state = "serving" if status == OK else ", ".join(reasons) or f"HTTP {status}"
    _, text = get(f"{address}/metrics")
    return Look(service, address, state, at, reasons, samples(text))


def samples(text: str) -> dict[str, dict[Labels, float]]:
    """The values of an exposition by metric and labels; what is none gives nothing."""
    found: dict[str, dict[Labels, float]] = defaultdict(dict)
    try:
        for family in text_string_to_metric_families(text):
            for one in family.samples:
                found[one.name][frozenset(one.labels.items())] = one.value
    except ValueError:
        return {}
    return dict(found)


def get(url: str) -> tuple[int, str]:
    """Status and body; 0 and the kind of error without an answer. Only addresses of the settings."""
    if not url.startswith(("http://", "https://")):
        return 0, "no http(s) address"
    try:
        with urllib.request.urlopen(url, timeout=PROBE_S) as answer:  # noqa: S310 - http(s) checked
            return answer.status, answer.read(BODY_BYTES_MAX).decode("utf-8", "replace")
    except HTTPError as error:
        return error.code, error.read(BODY_BYTES_MAX).decode("utf-8", "replace")
    except (URLError, OSError, ValueError) as error:
        return 0, type(getattr(error, "reason", error)).__name__


def wanted(text: str, names: Sequence[str]) -> str:
    """The lines of an exposition about these metrics alone: reading a line costs far more than passing it."""
    prefixes = tuple(names)
    return "\n".join(one for one in text.splitlines() if one.startswith(prefixes)) + "\n"


def calls_per_s(now: Look, before: Look | None) -> float | None:
    """Calls answered a second since the look before; None without one."""
    if before is None or not now.samples or not before.samples or now.at <= before.at:
        return None
    done = sum(now.total(f"{one}_count") - before.total(f"{one}_count") for one in CALLS)
    return max(0.0, done) / (now.at - before.at)  # below 0: it was started anew


def quantile(share: float, now: Look, before: Look | None) -> float | None:
    """The time that this share of calls stayed below, since the look before, else since its start."""
    counts: dict[float, float] = defaultdict(float)
    for one in CALLS:
        for labels, value in now.samples.get(f"{one}_bucket", {}).items():
            earlier = before.samples.get(f"{one}_bucket", {}).get(labels, 0.0) if before else 0.0
            counts[float(dict(labels)["le"])] += value - earlier
    return _below(share, sorted(counts.items()))


def _below(share: float, buckets: Sequence[tuple[float, float]]) -> float | None:
    """The bound of the first bucket that holds this share; None when nothing was counted."""
    total = buckets[-1][1] if buckets else 0.0
    if total <= 0:
        return None
    bounds: Iterator[float] = (bound for bound, count in buckets if count >= share * total)
    bound = next(bounds)
    return buckets[-2][0] if bound == float("inf") and len(buckets) > 1 else bound
