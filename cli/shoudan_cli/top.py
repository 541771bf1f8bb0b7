"""`shoudan top`: every replica of a running system, live in the terminal."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

import typer
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from shoudan_cli.clients import console, resolved, run
from shoudan_kit.process.replicas import Look, calls_per_s, look, quantile

EVERY_S: Final = 2.0
BREAKER: Final = {0.0: "closed", 1.0: "open", 2.0: "trying"}
# What each replica is asked, by the heading and the name in JSON; the worst of its labels.
FIGURES: Final = {
    "in_flight": ("in flight", "shoudan_rpc_in_progress"),
    "tasks_late_s": ("tasks late s", "shoudan_tasks_due_age_seconds"),
    "tasks_dead": ("dead", "shoudan_tasks_dead"),
    "events_late_s": ("events late s", "shoudan_outbox_lag_seconds"),
    "unknowns": ("open work", "shoudan_open_work"),
    "orders_parked": ("parked", "shoudan_orders_parked"),
}

Every = Annotated[float, typer.Option("--every", min=0.5, max=60, help="Seconds between looks.")]


def top(
    once: Annotated[bool, typer.Option("--once", help="Look once, and end.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON, a line for each look.")
    ] = False,
    every_s: Every = EVERY_S,
) -> None:
    """Show every replica of every service, live; exit code 1 with --once unless all serve."""
    looks = run(lambda: _watch(once=once, as_json=as_json, every_s=every_s))
    if once and not (looks and all(one.ok for one in looks)):
        raise typer.Exit(1)


async def _watch(*, once: bool, as_json: bool, every_s: float) -> list[Look]:
    """Looks until Ctrl-C; the last ones."""
    urls = resolved()[0].ops_urls
    before: list[Look] = []
    looks = await look(urls)
    if once:
        _print(looks, before, as_json=as_json)
        return looks
    if as_json:
        while True:
            _print(looks, before, as_json=True)
            await asyncio.sleep(every_s)
            before, looks = looks, await look(urls)
    with Live(shown(looks, before), console=console, screen=True, auto_refresh=False) as live:
        while True:
            live.update(shown(looks, before), refresh=True)
            await asyncio.sleep(every_s)
            before, looks = looks, await look(urls)


def _print(looks: Sequence[Look], before: Sequence[Look], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(facts(looks, before)))
    else:
        console.print(shown(looks, before))


def facts(looks: Sequence[Look], before: Sequence[Look]) -> dict[str, Any]:
    """Everything shown, as data."""
    earlier = {one.address: one for one in before}
    return {
        "replicas": [_replica(one, earlier.get(one.address)) for one in looks],
        "suppliers": suppliers(looks),
        "hosts_resting": {
            one.service: count for one in looks if (count := one.worst("shoudan_hosts_resting"))
        },
    }


def _replica(one: Look, before: Look | None) -> dict[str, Any]:
    figures = {name: one.worst(metric) for name, (_, metric) in FIGURES.items()}
    return {
        "service": one.service,
        "replica": one.label("shoudan_build_info", "replica") or one.address,
        "address": one.address,
        "version": one.label("shoudan_build_info", "version"),
        "state": one.state,
        "reasons": dict(one.reasons),
        "calls_per_s": calls_per_s(one, before),
        "p50_s": quantile(0.5, one, before),
        "p99_s": quantile(0.99, one, before),
        **figures,
    }


def suppliers(looks: Sequence[Look]) -> dict[str, str]:
    """The breaker of each supplier, as the replica that thinks worst of it sees it."""
    worst: dict[str, float] = {}
    for one in looks:
        for labels, value in one.samples.get("shoudan_breaker_state", {}).items():
            channel = dict(labels)["channel"]
            known = worst.get(channel, 0.0)
            worst[channel] = 1.0 if 1.0 in {known, value} else max(known, value)
    return {channel: BREAKER.get(worst[channel], "unknown") for channel in sorted(worst)}


def shown(looks: Sequence[Look], before: Sequence[Look]) -> Group:
    """The tables of one look."""
    said = facts(looks, before)
    headings = [heading for heading, _ in FIGURES.values()]
    table = Table("service", "replica", "version", "state", "calls/s", "p50", "p99", *headings)
    for one in said["replicas"]:
        style = "green" if one["state"] == "serving" else "red"
        table.add_row(
            one["service"],
            one["replica"],
            one["version"] or "-",
            Text(one["state"], style),
            _number(one["calls_per_s"]),
            _time(one["p50_s"]),
            _time(one["p99_s"]),
            *(_number(one[name]) for name in FIGURES),
        )
    if not said["replicas"]:
        return Group(Text("no ops ports are known: set SHOUDAN_CLI_OPS_URLS", "red"))
    return Group(table, *_below(said))


def _below(said: Mapping[str, Any]) -> list[Text]:
    """What is not by replica."""
    lines = [
        Text(f"supplier {channel}: {state}", "green" if state == "closed" else "red")
        for channel, state in said["suppliers"].items()
    ]
    resting = [
        Text(f"{service}: {count:g} hosts resting", "yellow")
        for service, count in said["hosts_resting"].items()
    ]
    return lines + resting


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds * 1000:g} ms" if seconds < 1 else f"{seconds:g} s"
