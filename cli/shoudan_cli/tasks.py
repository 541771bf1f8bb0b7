"""`shoudan task ...`: what waits, what failed, push again, pause a queue."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from typing import Annotated, Any

import typer
from rich.table import Table

from shoudan.core.v1 import operations_service_pb2 as core
from shoudan.core.v1 import operations_service_pb2_grpc as core_grpc
from shoudan_cli.clients import SERVICES, Clients, Failed, console, open_clients, run, settings
from shoudan_cli.config import who
from shoudan_kit.clock import beijing

app = typer.Typer(no_args_is_help=True)

STATUSES = {
    "waiting": core.TASK_STATUS_WAITING,
    "processing": core.TASK_STATUS_PROCESSING,
    "failed": core.TASK_STATUS_FAILED,
    "done": core.TASK_STATUS_DONE,
}
PAGES_MAX = 200  # of 10 000 tasks each
Service = Annotated[str, typer.Option(help=f"Of {', '.join(SERVICES)}; all without it.")]


@app.command("ls")
def list_tasks(
    service: Service = "",
    status: Annotated[
        str, typer.Option(help=f"Of {', '.join(STATUSES)}; waiting kinds without it.")
    ] = "",
    kind: Annotated[str, typer.Option(help="Only this kind.")] = "",
    queue: Annotated[str, typer.Option(help="Only this queue.")] = "",
    order: Annotated[str, typer.Option(help="Only of this order.")] = "",
    count: Annotated[
        int, typer.Option(help="At most so many of each service.", min=1, max=1000)
    ] = 50,
) -> None:
    """List tasks, oldest first."""
    if status and status not in STATUSES:
        raise typer.BadParameter(f"of {', '.join(STATUSES)}", param_hint="--status")
    request = core.ListTasksRequest(
        statuses=[STATUSES[status]] if status else [],
        name=kind,
        queue_name=queue,
        order_no=order,
        page_size=count,
    )
    run(lambda: _list(_chosen(service), request))


@app.command()
def retry(
    service: Annotated[str, typer.Argument(help=f"Of {', '.join(SERVICES)}.")],
    task_id: Annotated[list[int] | None, typer.Argument(help="These tasks.")] = None,
    failed: Annotated[str, typer.Option(help="All failed tasks of this kind instead.")] = "",
    deadline_s: Annotated[int, typer.Option(help="Seconds until they fail again.", min=1)] = 900,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count only.")] = False,
) -> None:
    """Push tasks again: they are due at once, with a new deadline."""
    if bool(task_id) == bool(failed):
        raise typer.BadParameter(
            "give task numbers or --failed KIND, not both", param_hint="TASK_ID"
        )
    request = core.RetryTasksRequest(
        task_ids=task_id or [], failed_name=failed, deadline_s=deadline_s, dry_run=dry_run
    )
    run(lambda: _retry(_chosen(service)[0], request))


@app.command()
def pause(
    service: Annotated[str, typer.Argument(help=f"Of {', '.join(SERVICES)}.")],
    queue: Annotated[str, typer.Argument(help="The queue.")],
    resume: Annotated[bool, typer.Option("--resume", help="Let it work again.")] = False,
    reason: Annotated[str, typer.Option(help="Why; written down.")] = "",
    by: Annotated[str, typer.Option(help="Who asks; written down.")] = "",
) -> None:
    """Stop one queue on all replicas; tasks wait."""
    request = core.PauseQueueRequest(
        queue_name=queue, paused=not resume, by=by or who(), reason=reason
    )
    run(lambda: _pause(_chosen(service)[0], request))


def _chosen(service: str) -> Sequence[str]:
    if service and service not in SERVICES:
        raise typer.BadParameter(f"of {', '.join(SERVICES)}")
    return (service,) if service else SERVICES


async def _call(clients: Clients, service: str, rpc: str, request: Any) -> Any:
    return await clients.call(service, core_grpc.OperationsServiceStub, rpc, request)


async def _list(chosen: Sequence[str], request: core.ListTasksRequest) -> None:
    table = Table(
        "service", "task", "kind", "queue", "order", "status", "count", "due", "last error"
    )
    async with open_clients(settings()) as clients:
        for service in chosen:
            try:
                tasks, more = await _pages(clients, service, request)
            except Failed as error:
                if len(chosen) == 1:
                    raise
                console.print(str(error), style="yellow", markup=False)
                continue
            for task in tasks:
                table.add_row(service, *_row(task))
            if more:
                console.print(f"{service}: there may be more; name a kind, a queue or an order")
    console.print(table)


async def _pages(
    clients: Clients, service: str, request: core.ListTasksRequest
) -> tuple[list[core.Task], bool]:
    """As many tasks as are asked for, over the pages of the walk; whether it may have left some out."""
    asked = core.ListTasksRequest()
    asked.CopyFrom(request)
    found: list[core.Task] = []
    for _ in range(PAGES_MAX):
        asked.page_size = request.page_size - len(found)
        page = await _call(clients, service, "ListTasks", asked)
        found += page.tasks
        asked.page_token = page.next_page_token
        if not page.next_page_token or len(found) == request.page_size:
            break
    return found, bool(asked.page_token)


def _row(task: core.Task) -> tuple[str, ...]:
    word = next((name for name, number in STATUSES.items() if number == task.status), "?")
    return (
        str(task.task_id),
        task.name,
        task.queue_name,
        task.order_no,
        word,
        f"{task.count}/{task.max_count}",
        _due(task),
        task.last_error,
    )


def _due(task: core.Task) -> str:
    if not task.HasField("next_execute_time"):
        return "queue paused"
    return beijing(task.next_execute_time.ToDatetime(UTC))


async def _retry(service: str, request: core.RetryTasksRequest) -> None:
    """Call after call, each a transaction of its own; what is done stays done when one fails."""
    count, word = 0, "would be" if request.dry_run else "are"
    async with open_clients(settings()) as clients:
        try:
            while True:
                answer = await _call(clients, service, "RetryTasks", request)
                count += answer.count
                request.page_token = answer.next_page_token
                if not answer.next_page_token:
                    break
        finally:
            console.print(f"{count} task(s) {word} due")


async def _pause(service: str, request: core.PauseQueueRequest) -> None:
    async with open_clients(settings()) as clients:
        answer = await _call(clients, service, "PauseQueue", request)
    console.print(f"paused: {', '.join(answer.paused_queues) or 'nothing'}")
