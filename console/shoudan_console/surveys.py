"""A survey of the orders of a period, as pages draw it: bars that lead to their orders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urlencode

from shoudan.order.v1 import order_service_pb2 as pb
from shoudan_console import calls, values
from shoudan_console.visits import Visit
from shoudan_kit.clock import BEIJING

PARTS: Final = 48
COUNT_MAX: Final = 30_000  # of one part, as the service counts
GOOD: Final = (0, 91)
BAD: Final = (90,)
WIDTH: Final = 960
HEIGHT: Final = 120


@dataclass(frozen=True, slots=True)
class _Ended:
    """How orders ended, of those looked at."""

    looked_at: int
    succeeded: int
    failed: int
    took_ms: Mapping[int, int]

    @property
    def rate(self) -> str:
        """Of those that have ended, how many succeeded."""
        return values.percent(self.succeeded, self.succeeded + self.failed)

    @property
    def p50(self) -> str:
        return took(self.took_ms, 50)

    @property
    def p99(self) -> str:
        return took(self.took_ms, 99)


@dataclass(frozen=True, slots=True)
class Bar(_Ended):
    """One part of the period; `height` is of the picture."""

    start: datetime
    end: datetime
    count: int
    x: int
    width: int
    height: int
    bad_height: int
    path: str

    @property
    def more(self) -> bool:
        return self.count >= COUNT_MAX


@dataclass(frozen=True, slots=True)
class Survey(_Ended):
    """A period in equal parts."""

    bars: Sequence[Bar]
    highest: int
    total: int
    more: bool

    @property
    def running(self) -> int:
        return self.looked_at - self.succeeded - self.failed


def took(bins: Mapping[int, int], percent: int) -> str:
    """So long at most so many per cent of them took, to a tenth; a dash for none."""
    rank, seen = -(-sum(bins.values()) * percent // 100), 0
    for upper_ms, count in sorted(bins.items()):
        seen += count
        if seen >= rank:
            whole_s, rest_ms = divmod(upper_ms, 1_000)
            return f"{whole_s}.{rest_ms // 100} s" if whole_s < 60 else f"{whole_s // 60} min"
    return "–"


async def survey(visit: Visit, start: datetime, end: datetime, **filters: str) -> Survey:
    """The orders of a period, of one `channel` or of all. Bars lead to a list with these filters."""
    request = pb.GetSurveyRequest(channel_no=filters.get("channel", ""), parts=PARTS)
    request.start_time.FromDatetime(start)
    request.end_time.FromDatetime(end)
    found: dict[datetime, Any] = {}
    backend, call_s = visit.site.backend, visit.site.settings.call_s
    async for line in backend.stream(calls.GET_SURVEY, request, visit.caller, call_s):
        found[datetime.fromisoformat(line.labels["start"])] = line
    step = (end - start) / PARTS
    edges = [start + step * number for number in range(PARTS)]
    lines = {edge: _nearest(found, edge, step) for edge in edges}
    highest = max((line.count for line in found.values()), default=0)
    bars = [
        _bar(number, edge, step, lines[edge], highest, filters) for number, edge in enumerate(edges)
    ]
    bins: dict[int, int] = {}
    for one in bars:
        for upper_ms, count in one.took_ms.items():
            bins[upper_ms] = bins.get(upper_ms, 0) + count
    return Survey(
        looked_at=sum(one.looked_at for one in bars),
        succeeded=sum(one.succeeded for one in bars),
        failed=sum(one.failed for one in bars),
        took_ms=bins,
        bars=bars,
        highest=highest,
        total=sum(one.count for one in bars),
        more=any(one.more for one in bars),
    )


def _nearest(found: Mapping[datetime, Any], edge: datetime, step: timedelta) -> Any:
    """The line of this part: edges travel as text, to the millisecond."""
    return next((line for at, line in found.items() if abs(at - edge) * 2 < step), None)


def _bar(
    number: int,
    edge: datetime,
    step: timedelta,
    line: Any,
    highest: int,
    filters: Mapping[str, str],
) -> Bar:
    stands: Mapping[int, int] = dict(line.statuses) if line is not None else {}
    good = sum(stands.get(one, 0) for one in GOOD)
    bad = sum(stands.get(one, 0) for one in BAD)
    count = line.count if line is not None else 0
    looked_at = line.looked_at if line is not None else 0
    height = -(-count * HEIGHT // highest) if highest else 0
    width = WIDTH // PARTS
    kept = {name: value for name, value in filters.items() if value}
    asked = {**kept, "from": _edge(edge), "to": _edge(edge + step)}
    return Bar(
        looked_at=looked_at,
        succeeded=good,
        failed=bad,
        took_ms=dict(line.took_ms) if line is not None else {},
        start=edge,
        end=edge + step,
        count=count,
        x=number * width,
        width=width - 2,
        height=height,
        bad_height=height * bad // looked_at if looked_at else 0,
        path=f"/orders?{urlencode(asked)}",
    )


def _edge(moment: datetime) -> str:
    """A moment as a filter has it."""
    return moment.astimezone(BEIJING).strftime("%Y-%m-%d %H:%M:%S")
