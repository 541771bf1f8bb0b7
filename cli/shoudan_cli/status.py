"""`shoudan status`: which services answer, and how far tasks and events lag behind."""

from __future__ import annotations

import asyncio
import urllib.request
from dataclasses import dataclass
from typing import Any, Final
from urllib.error import HTTPError, URLError

import typer
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from rich.table import Table

from shoudan_cli.clients import (
    SERVICES,
    Clients,
    ClientSettings,
    answered,
    console,
    open_clients,
    resolved,
    run,
)
from shoudan_cli.systems import described

PROBE_S: Final = 3.0
METRICS_BYTES_MAX: Final = 4 * 2**20
SHOWN: Final = {
    "shoudan_tasks_due_age_seconds": "tasks late (s)",
    "shoudan_tasks_dead": "tasks dead",
    "shoudan_outbox_lag_seconds": "events late (s)",
    "shoudan_orders_parked": "orders parked",
    "shoudan_open_work": "open work, most of a kind",
    "shoudan_parts_missing": "months without a part",
    "shoudan_hosts_resting": "hosts resting, most of a kind",
}


@dataclass(frozen=True, slots=True)
class Seen:
    """What one look at a service told."""

    name: str
    ok: bool
    state: str
    figures: dict[str, float]


def status() -> None:
    """Show the health of every service; exit code 1 unless all serve."""
    which, seen = run(_look)
    console.print(which, markup=False, highlight=False, soft_wrap=True)
    table = Table("service", "state", *SHOWN.values())
    for one in seen:
        style = "green" if one.ok else "red"
        figures = [f"{one.figures[name]:g}" if name in one.figures else "-" for name in SHOWN]
        table.add_row(one.name, f"[{style}]{one.state}[/{style}]", *figures)
    console.print(table)
    if not all(one.ok for one in seen):
        raise typer.Exit(1)


async def _look() -> tuple[str, list[Seen]]:
    """Which system it is, and its services."""
    found, system = resolved()
    answers = await answered(system, found)
    which = described(answers[0]) if answers else f"no service answers ({found.order_target}, …)"
    async with open_clients(found) as clients:
        services = [_service(clients, found, name) for name in SERVICES]
        which = f"{which}\n{_secured(found)}"
        return which, list(await asyncio.gather(*services, _gateway(found)))


def _secured(found: ClientSettings) -> str:
    """How the services are reached."""
    files = found.tls_files
    if files is None:
        return "gRPC in plaintext: for this machine alone"
    material = files.read()
    return f"gRPC by mutual TLS as {material.name}, until {material.expires:%Y-%m-%d %H:%M} UTC"


async def _service(clients: Clients, found: ClientSettings, name: str) -> Seen:
    stub: Any = health_pb2_grpc.HealthStub(clients.channel(name))
    try:
        answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=PROBE_S)
        state = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status).lower()
    except aio.AioRpcError as error:
        state = error.code().name.lower()
    return Seen(name, state == "serving", state, await _figures(found.ops_urls.get(name, "")))


async def _gateway(found: ClientSettings) -> Seen:
    state, _ = await asyncio.to_thread(_get, f"{found.gateway_url}/openapi.json")
    figures = await _figures(found.ops_urls.get("gateway", ""))
    return Seen("gateway", state == "200", "serving" if state == "200" else state, figures)


async def _figures(ops_url: str) -> dict[str, float]:
    """The worst value of each figure shown."""
    if not ops_url:
        return {}
    _, text = await asyncio.to_thread(_get, f"{ops_url}/metrics")
    figures: dict[str, float] = {}
    for line in text.splitlines():
        name, _, rest = line.partition("{") if "{" in line else line.partition(" ")
        if name in SHOWN:
            value = float(rest.rpartition(" ")[2])
            figures[name] = max(value, figures.get(name, 0.0))
    return figures


def _get(url: str) -> tuple[str, str]:
    """Status and body, or the reason in words. Only addresses of the settings."""
    if not url.startswith(("http://", "https://")):
        return "no http(s) address", ""
    try:
        with urllib.request.urlopen(url, timeout=PROBE_S) as answer:  # noqa: S310 - checked above
            return str(answer.status), answer.read(METRICS_BYTES_MAX).decode("utf-8", "replace")
    except HTTPError as error:
        return str(error.code), ""
    except (URLError, OSError) as error:
        return f"no answer ({type(error).__name__})", ""
