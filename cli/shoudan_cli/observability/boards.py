"""Grafana's boards: every metric of the registry is drawn on one, by its kind; service levels stand first."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from shoudan_cli.observability.alerts import RECORDED
from shoudan_kit.metrics import PREFIX

SOURCE: Final = {"type": "prometheus", "uid": "shoudan"}
WIDTH, HEIGHT, ACROSS = 12, 8, 24


@dataclass(frozen=True, slots=True)
class Measured:
    """A metric: its name as Prometheus shows it, its type, labels and meaning."""

    name: str
    kind: str
    labels: tuple[str, ...]
    about: str


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture: what it is called, what it means, its queries with their legends, its unit."""

    title: str
    about: str
    queries: tuple[tuple[str, str], ...]
    unit: str


@dataclass(frozen=True, slots=True)
class Board:
    """A page of panels."""

    uid: str
    title: str
    starts: tuple[str, ...]  # metrics whose names begin so, without prefix


# The last board takes what begins otherwise, so that a new metric is drawn without a change here.
BOARDS: Final = (
    Board("orders", "Orders", ("order", "notify", "open_")),
    Board("gateway", "Gateway", ("http_seconds", "http_conn", "gateways", "backend", "notifies")),
    Board("calls", "Calls and batches", ("rpc_", "batch_")),
    Board("tasks", "Tasks and events", ("task", "outbox", "events")),
    Board(
        "suppliers",
        "Suppliers and hosts",
        ("breaker", "hosts", "http_client", "supplier", "card_kinds"),
    ),
    Board("ledger", "Ledger and audit log", ("ledger", "audit_log", "parts")),
    Board("processes", "Processes", ("",)),
)


def board_of(name: str) -> Board:
    """The board that draws a metric."""
    bare = name.removeprefix(PREFIX)
    return next(one for one in BOARDS if bare.startswith(one.starts))


def panels(board: Board, measured: Sequence[Measured]) -> list[Panel]:
    """What a board shows."""
    levels = [*_levels()] if board is BOARDS[0] else []
    return levels + [panel(one) for one in measured if board_of(one.name) is board]


def _levels() -> Iterator[Panel]:
    for one in RECORDED:
        goal = f" Objective {one.objective:.0%}." if one.objective else ""
        unit = "percentunit" if "ratio" in one.name else "ops"
        yield Panel(one.name, f"{one.expression}.{goal}", ((one.name, "now"),), unit)


def panel(one: Measured) -> Panel:
    """How a metric is drawn: a rate, the worst value, or the median and the 99th percentile."""
    by = ", ".join(("service", *one.labels))
    legend = " ".join(f"{{{{{label}}}}}" for label in ("service", *one.labels))
    unit = "s" if one.name.endswith("_seconds") else "short"
    if one.kind == "counter":
        return Panel(
            one.name, one.about, ((f"sum by ({by}) (rate({one.name}[5m]))", legend),), "ops"
        )
    if one.kind == "gauge":
        if one.name.endswith("_timestamp_seconds"):
            unit, query = "dateTimeFromNow", f"max by ({by}) ({one.name}) * 1000"
        else:
            query = f"max by ({by}) ({one.name})"
        return Panel(one.name, one.about, ((query, legend),), unit)
    quantiles = tuple(
        (
            f"histogram_quantile({share}, sum by (le, {by}) (rate({one.name}_bucket[5m])))",
            f"p{round(share * 100)} {legend}",
        )
        for share in (0.5, 0.99)
    )
    return Panel(one.name, one.about, quantiles, unit)


def board(which: Board, measured: Sequence[Measured]) -> str:
    """The JSON that Grafana provisions."""
    made = [_placed(number, one) for number, one in enumerate(panels(which, measured))]
    document: dict[str, Any] = {
        "uid": f"shoudan-{which.uid}",
        "title": f"shoudan: {which.title}",
        "tags": ["shoudan"],
        "timezone": "browser",
        "refresh": "10s",
        "schemaVersion": 39,
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": []},
        "panels": made,
    }
    return json.dumps(document, ensure_ascii=False, indent=1) + "\n"


def _placed(number: int, one: Panel) -> dict[str, Any]:
    row, column = divmod(number, ACROSS // WIDTH)
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": one.title,
        "description": one.about,
        "datasource": SOURCE,
        "gridPos": {"h": HEIGHT, "w": WIDTH, "x": column * WIDTH, "y": row * HEIGHT},
        "fieldConfig": {"defaults": {"unit": one.unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": chr(65 + i), "expr": query, "legendFormat": legend, "datasource": SOURCE}
            for i, (query, legend) in enumerate(one.queries)
        ],
    }
