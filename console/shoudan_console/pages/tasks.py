"""Durable work of the services: what has failed, what waits, and beginning it again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from starlette.responses import Response

from shoudan.core.v1 import operations_service_pb2 as pb
from shoudan_console import calls
from shoudan_console.backend import SERVICES
from shoudan_console.lists import Action, Column, Filter, Found, Listing, Query, over_services
from shoudan_console.page import Entry, Page, listing_pages
from shoudan_console.values import Status, moment_of
from shoudan_console.values import mark as _
from shoudan_console.visits import Missing, Visit

PATH: Final = "/tasks"
RETRY: Final = "/tasks/retry"
FAILED: Final = "90"
KIND_MAX: Final = 64
CALLS_MAX: Final = 20
STATES: Final = {
    20: (_("Waiting"), "busy"),
    30: (_("Running"), "busy"),
    0: (_("Done"), "good"),
    90: (_("Failed"), "bad"),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One task."""

    service: str
    task_id: int
    name: str
    queue: str
    order_no: str
    status: Status
    count: str
    due: datetime | None
    create_time: datetime
    error: str


def row_of(service: str, one: Any) -> Row:
    """A task as its service gives it."""
    word, tone = STATES.get(one.status, (str(one.status), "idle"))
    return Row(
        service,
        one.task_id,
        one.name,
        one.queue_name,
        one.order_no,
        Status(word, tone, one.status),
        f"{one.count}/{one.max_count}",
        moment_of(one.next_execute_time),
        one.create_time.ToDatetime(UTC),
        one.last_error,
    )


async def fetch(visit: Visit, query: Query) -> Found:
    """A page, oldest first in each service; those that failed without a filter."""
    status = query.text("status") or FAILED
    wanted: Any = [] if status == "all" else [int(status)]

    async def of(service: str, size: int, token: str) -> tuple[list[Any], str]:
        request = pb.ListTasksRequest(
            statuses=wanted,
            name=query.text("name"),
            queue_name=query.text("queue"),
            order_no=query.text("order"),
            page_size=size,
            page_token=token,
        )
        answer = await visit.ask(calls.list_tasks(service), request)
        return [row_of(service, one) for one in answer.tasks], answer.next_page_token

    one = query.text("service")
    return await over_services([one] if one else SERVICES, query, of)


LISTING: Final = Listing(
    name="tasks",
    path=PATH,
    title=_("Tasks"),
    intro=_("Work that is stored until it is done. What has failed waits here for a person."),
    columns=(
        Column("task_id", _("Task"), lambda row: row.task_id, "code"),
        Column("service", _("Service"), lambda row: row.service),
        Column("name", _("Kind of work"), lambda row: row.name, "code"),
        Column("status", _("Status"), lambda row: row.status, "status"),
        Column("count", _("Attempts"), lambda row: row.count, "number"),
        Column(
            "order",
            _("Belongs to"),
            lambda row: row.order_no,
            "code",
            lambda row: f"/search?q={row.order_no}",
            small=False,
        ),
        Column("due", _("Due"), lambda row: row.due, "time", small=False),
        Column("error", _("Last error"), lambda row: row.error, small=False),
        Column("queue", _("Queue"), lambda row: row.queue, "code", small=False),
    ),
    fetch=fetch,
    empty=_("No task has failed."),
    filters=(
        Filter(
            "status",
            _("Status"),
            "choice",
            (
                ("all", _("Every status")),
                *((str(number), word) for number, (word, _tone) in STATES.items() if number),
            ),
        ),
        Filter("service", _("Service"), "choice", tuple((name, name) for name in SERVICES)),
        Filter("name", _("Kind of work"), hint="delivery.report"),
        Filter("queue", _("Queue")),
        Filter("order", _("Belongs to")),
    ),
    actions=(
        Action(
            _("Begin again"),
            RETRY,
            lambda row: (
                {"service": row.service, "task_id": str(row.task_id)}
                if row.status.number == 90
                else None
            ),
            calls.retry_tasks("order"),
        ),
    ),
    template="tasks.html",
)


async def retry(visit: Visit) -> Response:
    """Make a failed task due, or all of a kind. A repeat finds nothing to do."""
    service, text = visit.form.get("service", ""), visit.form.get("task_id", "")
    name = visit.form.get("kind", "").strip()[:KIND_MAX]
    if service in SERVICES and name and not text:
        count = await _retry_kind(visit, service, name)
        return visit.redirect(PATH, done="retry", key=str(count), service=service)
    if service not in SERVICES or not text.isascii() or not text.isdigit():
        raise Missing
    await visit.ask(calls.retry_tasks(service), pb.RetryTasksRequest(task_ids=[int(text)]))
    return visit.redirect(PATH, done="retry", key=text)


async def _retry_kind(visit: Visit, service: str, name: str) -> int:
    """How many failed tasks of a kind were made due: a thousand with each call, and so many calls at most."""
    request, count = pb.RetryTasksRequest(failed_name=name), 0
    for _turn in range(CALLS_MAX):
        answer = await visit.ask(calls.retry_tasks(service), request)
        count += answer.count
        request.page_token = answer.next_page_token
        if not request.page_token:
            break
    return count


PAGES: Final = (*listing_pages(LISTING), Page(RETRY, act=retry))
NAVIGATION: Final = (
    Entry(PATH, _("Tasks"), _("Administer"), tuple(map(calls.list_tasks, SERVICES))),
)
