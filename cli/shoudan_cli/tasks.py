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
    """List tasks, longest due first."""
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
                answer = await _call(clients, service, "ListTasks", request)
            except Failed as error:
                if len(chosen) == 1:
                    raise
                console.print(str(error), style="yellow", markup=False)
                continue
            for task in answer.tasks:
                table.add_row(service, *_row(task))
    console.print(table)


def _row(task: core.Task) -> tuple[str, ...]:
    word = next((name for name, number in STATUSES.items() if number == task.status), "?")
    return (
        str(task.task_id),
        task.name,
        task.queue_name,
        task.order_no,
        word,
        f"{task.count}/{task.max_count}",
        beijing(task.next_execute_time.ToDatetime(UTC)),
        task.last_error,
    )


async def _retry(service: str, request: core.RetryTasksRequest) -> None:
    async with open_clients(settings()) as clients:
        answer = await _call(clients, service, "RetryTasks", request)
    console.print(f"{answer.count} task(s) {'would be' if request.dry_run else 'are'} due")


async def _pause(service: str, request: core.PauseQueueRequest) -> None:
    async with open_clients(settings()) as clients:
        answer = await _call(clients, service, "PauseQueue", request)
    console.print(f"paused: {', '.join(answer.paused_queues) or 'nothing'}")
