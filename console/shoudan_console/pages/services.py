"""The services: which serve, what of their work has failed, what is paused, who outside is silent."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from grpc import StatusCode
from starlette.responses import Response

from shoudan.core.v1 import operations_service_pb2 as pb
from shoudan.core.v1.operations_service_pb2_grpc import OperationsServiceStub
from shoudan_console import calls
from shoudan_console.backend import SERVICES, Rpc
from shoudan_console.live import stream
from shoudan_console.page import Entry, Page
from shoudan_console.replicas import Replica
from shoudan_console.values import mark as _
from shoudan_console.visits import Panel, Visit
from shoudan_kit.rpc.refusal import Refused

PATH: Final = "/services"
QUEUES: Final = "/services/queues"
LIVE: Final = "/services/live"
EVERY_S: Final = 2.0  # with the second of a look: who is away is shown so within three
FAILED: Final = 90
WAITING: Final = 20
SOON: Final = timedelta(days=2)  # those of seven days are renewed earlier
COUNTED_MAX: Final = 200
REASON_MAX: Final = 256


@dataclass(frozen=True, slots=True)
class Seen:
    """What one look at a service found."""

    name: str
    serving: bool
    waiting: Panel[str]
    failed: Panel[str]
    resting: Panel[Sequence[Any]]
    paused: Panel[Sequence[Any]]


def _operation(service: str, method: str) -> Rpc:
    return Rpc(service, OperationsServiceStub, f"shoudan.core.v1.OperationsService/{method}")


async def _count(visit: Visit, service: str, status: int) -> str:
    """How many tasks wait, or have failed."""
    wanted: Any = [status]
    request = pb.ListTasksRequest(statuses=wanted, page_size=COUNTED_MAX)
    answer = await visit.ask(_operation(service, "ListTasks"), request)
    return f"{len(answer.tasks)}{'+' if answer.next_page_token else ''}"


async def _resting(visit: Visit, service: str) -> Sequence[Any]:
    rpc = _operation(service, "ListResting")
    return (await visit.ask(rpc, pb.ListRestingRequest())).hosts


async def _paused(visit: Visit, service: str) -> Sequence[Any]:
    rpc = _operation(service, "ListPausedQueues")
    return (await visit.ask(rpc, pb.ListPausedQueuesRequest())).queues


async def _look(visit: Visit, name: str) -> Seen:
    serving, panels = await asyncio.gather(
        visit.site.backend.serving(name),
        visit.panels(
            waiting=_count(visit, name, WAITING),
            failed=_count(visit, name, FAILED),
            resting=_resting(visit, name),
            paused=_paused(visit, name),
        ),
    )
    return Seen(
        name, serving, panels["waiting"], panels["failed"], panels["resting"], panels["paused"]
    )


async def _replicas(visit: Visit) -> Sequence[Replica]:
    """Every process, for those who may see the tasks of one."""
    if not visit.may(calls.list_tasks("order")):
        raise Refused(StatusCode.PERMISSION_DENIED, "console", "NOT_ALLOWED")
    return await visit.site.replicas.all()


async def _values(visit: Visit) -> dict[str, Any]:
    looking = asyncio.gather(*(_look(visit, name) for name in SERVICES))
    found, seen = await asyncio.gather(visit.panel(_replicas(visit)), looking)
    known = visit.site.replicas.known
    now = datetime.now(UTC)  # certificates and starts are of the real time
    may = visit.may(_operation("order", "PauseQueue"))
    values = {"seen": seen, "replicas": found, "known": known, "now": now, "soon": SOON}
    return {**values, "may": may}


async def live(visit: Visit) -> Response:
    """The same panels again and again."""
    return stream(visit, _part, EVERY_S)


async def _part(visit: Visit) -> Response:
    return visit.render("services_live.html", **await _values(visit))


async def show(visit: Visit, problem: str = "", paused: Sequence[str] | None = None) -> Response:
    """All services at one look."""
    return visit.render(
        "services.html",
        400 if problem else 200,
        **await _values(visit),
        names=SERVICES,
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


PAGES: Final = (Page(PATH, show), Page(LIVE, live), Page(QUEUES, act=pause))
NAVIGATION: Final = (
    Entry(PATH, _("Services"), _("Administer"), tuple(map(calls.list_tasks, SERVICES))),
)
