"""The services: which serve, what of their work has failed, what is paused, who outside is silent."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from starlette.responses import Response

from shoudan.core.v1 import operations_service_pb2 as pb
from shoudan.core.v1.operations_service_pb2_grpc import OperationsServiceStub
from shoudan_console import calls
from shoudan_console.backend import SERVICES, Rpc
from shoudan_console.page import Entry, Page
from shoudan_console.values import mark as _
from shoudan_console.visits import Panel, Visit

PATH: Final = "/services"
QUEUES: Final = "/services/queues"
FAILED: Final = 90
COUNTED_MAX: Final = 1_000
REASON_MAX: Final = 256


@dataclass(frozen=True, slots=True)
class Seen:
    """What one look at a service found."""

    name: str
    serving: bool
    failed: Panel[str]
    resting: Panel[Sequence[Any]]


def _operation(service: str, method: str) -> Rpc:
    return Rpc(service, OperationsServiceStub, f"shoudan.core.v1.OperationsService/{method}")


async def _failed(visit: Visit, service: str) -> str:
    """How many tasks have failed."""
    wanted: Any = [FAILED]
    request = pb.ListTasksRequest(statuses=wanted, page_size=COUNTED_MAX)
    answer = await visit.ask(_operation(service, "ListTasks"), request)
    return f"{len(answer.tasks)}{'+' if answer.next_page_token else ''}"


async def _resting(visit: Visit, service: str) -> Sequence[Any]:
    rpc = _operation(service, "ListResting")
    return (await visit.ask(rpc, pb.ListRestingRequest())).hosts


async def _look(visit: Visit, name: str) -> Seen:
    serving, panels = await asyncio.gather(
        visit.site.backend.serving(name),
        visit.panels(failed=_failed(visit, name), resting=_resting(visit, name)),
    )
    return Seen(name, serving, panels["failed"], panels["resting"])


async def show(visit: Visit, problem: str = "", paused: Sequence[str] | None = None) -> Response:
    """All services at one look."""
    seen = await asyncio.gather(*(_look(visit, name) for name in SERVICES))
    return visit.render(
        "services.html",
        400 if problem else 200,
        seen=seen,
        names=SERVICES,
        may=visit.may(_operation("order", "PauseQueue")),
        problem=problem,
        paused=paused,
    )


async def pause(visit: Visit) -> Response:
    """Stop or resume one queue on all replicas. A repeat changes nothing."""
    form = visit.form
    service, queue = form.get("service", ""), form.get("queue", "").strip()
    reason, wish = form.get("reason", "").strip(), form.get("paused", "")
    if service not in SERVICES or not queue or not reason or wish not in {"yes", "no"}:
        return await show(visit, _("Say which service and queue, and why."))
    request = pb.PauseQueueRequest(
        queue_name=queue[:64],
        paused=wish == "yes",
        by=visit.known.operator,
        reason=reason[:REASON_MAX],
    )
    answer = await visit.ask(_operation(service, "PauseQueue"), request)
    return await show(visit, paused=list(answer.paused_queues))


PAGES: Final = (Page(PATH, show), Page(QUEUES, act=pause))
NAVIGATION: Final = (
    Entry(PATH, _("Services"), _("Administer"), tuple(map(calls.list_tasks, SERVICES))),
)
