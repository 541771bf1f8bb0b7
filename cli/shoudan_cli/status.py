"""`shoudan status`: which services answer, and how far tasks and events lag behind."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Final

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
from shoudan_kit.clock_steps import span
from shoudan_kit.process.replicas import OK, get, look

PROBE_S: Final = 3.0
SHIFT: Final = "shoudan_clock_shift_seconds"
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
    """The result of one look at a service."""

    name: str
    ok: bool
    state: str
    figures: dict[str, float]
    replicas: tuple[int, int] = (
        0,
        0,
    )  # that serve, and that there are, as far as their ops ports are known


def status() -> None:
    """Show the health of every service; exit code 1 unless all serve."""
    which, seen = run(_look)
    console.print(which, markup=False, highlight=False, soft_wrap=True)
    table = Table("service", "state", "replicas", *SHOWN.values())
    for one in seen:
        style = "green" if one.ok else "red"
        figures = [f"{one.figures[name]:g}" if name in one.figures else "-" for name in SHOWN]
        of_all = "{}/{}".format(*one.replicas) if one.replicas[1] else "-"
        table.add_row(one.name, f"[{style}]{one.state}[/{style}]", of_all, *figures)
    console.print(table)
    if ahead_s := max((one.figures.get(SHIFT, 0) for one in seen), default=0):
        console.print(
            f"test clock: {span(int(ahead_s))} ahead (`shoudan clock show`)", markup=False
        )
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
    return await _seen(name, state, found)


async def _gateway(found: ClientSettings) -> Seen:
    status, words = await asyncio.to_thread(get, f"{found.gateway_url}/openapi.json")
    return await _seen("gateway", "serving" if status == OK else f"{status or words}", found)


async def _seen(name: str, state: str, found: ClientSettings) -> Seen:
    """A service with the worst value of each figure over its replicas; one that is away makes it not ok."""
    looks = await look({name: url}) if (url := found.ops_urls.get(name, "")) else []
    worst = {
        metric: [value for one in looks if (value := one.worst(metric)) is not None]
        for metric in (*SHOWN, SHIFT)
    }
    figures = {metric: max(values) for metric, values in worst.items() if values}
    serving = sum(one.ok for one in looks)
    return Seen(
        name, state == "serving" and serving == len(looks), state, figures, (serving, len(looks))
    )
