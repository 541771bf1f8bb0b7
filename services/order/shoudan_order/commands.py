"""`shoudan order|audit|notify ...`: an order's life, what only a person can decide, notifies given up."""

from __future__ import annotations

import asyncio
import getpass
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import typer

from shoudan_order.targets import DEFAULT_TARGET, Target

order = typer.Typer(no_args_is_help=True, help="Orders: show one whole, pause, resume.")
audit = typer.Typer(no_args_is_help=True, help="What waits for a person: list, decide, retry.")
notify = typer.Typer(no_args_is_help=True, help="Notifies that were given up: list, send again.")

CALL_S = 10.0
STATUSES = {"success": 0, "failed": 90, "partial": 91}

Reason = Annotated[str, typer.Option(help="Why; it is recorded with your name.")]


@order.callback()
def orders() -> None:
    """Orders."""


@order.command()
def show(order_id: int, target: Target = DEFAULT_TARGET) -> None:
    """One order whole, and its life as order, pay and delivery saw it."""
    from rich.console import Console
    from rich.table import Table

    from shoudan.order.v1 import order_service_pb2 as pb

    found: Any = call(target, "Order", "GetOrder", pb.GetOrderRequest(order_id=order_id))
    life: Any = call(target, "Order", "GetLifecycle", pb.GetLifecycleRequest(order_id=order_id))
    console = Console()
    console.print(found.order)
    table = Table("time", "service", "tag", "what", "text")
    for moment in life.moments:
        table.add_row(
            moment.time.ToJsonString(),
            moment.service,
            moment.tag,
            moment.subject.rpartition(".")[2],
            moment.text,
        )
    console.print(table)


@order.command()
def pause(order_ids: list[int], reason: Reason, target: Target = DEFAULT_TARGET) -> None:
    """Bind nothing more of these orders to suppliers; what was handed over goes on."""
    _pause(order_ids, reason, target, paused=True)


@order.command()
def resume(order_ids: list[int], reason: Reason, target: Target = DEFAULT_TARGET) -> None:
    """Let paused orders go on."""
    _pause(order_ids, reason, target, paused=False)


def _pause(order_ids: list[int], reason: str, target: str, *, paused: bool) -> None:
    from shoudan.order.v1 import audit_service_pb2 as pb

    message = pb.PauseDeliveryRequest(
        order_ids=order_ids, paused=paused, by=getpass.getuser(), reason=reason
    )
    done: Any = call(target, "Audit", "PauseDelivery", message)
    changed = ", ".join(map(str, done.order_ids)) or "nothing changed"
    typer.echo(f"{'paused' if paused else 'resumed'}: {changed}")


@notify.command()
def dead(channel_no: str = "", target: Target = DEFAULT_TARGET) -> None:
    """Notifies that were given up, oldest first, at most 1000."""
    from rich.console import Console
    from rich.table import Table

    from shoudan.order.v1 import audit_service_pb2 as pb

    message = pb.ListDeadNotifiesRequest(channel_no=channel_no, page_size=1_000)
    found: Any = call(target, "Audit", "ListDeadNotifies", message)
    table = Table("notify", "order", "refund", "attempts", "last answer", "to")
    for one in found.notifies:
        refund = str(one.refund_id or "")
        count = str(one.notify_count)
        table.add_row(
            str(one.notify_id), str(one.order_id), refund, count, one.notify_msg, one.notify_url
        )
    Console().print(table)


@notify.command()
def resend(
    notify_ids: Annotated[list[int] | None, typer.Argument()] = None,
    channel_no: Annotated[str, typer.Option(help="All given up of this channel.")] = "",
    target: Target = DEFAULT_TARGET,
) -> None:
    """Give notifies that were given up three more attempts: these, or all of a channel."""
    from shoudan.order.v1 import audit_service_pb2 as pb

    if not notify_ids and not channel_no:
        raise typer.BadParameter("which: numbers, or --channel-no")
    message = pb.ResendNotifiesRequest(
        notify_ids=notify_ids or [], channel_no=channel_no, by=getpass.getuser()
    )
    done: Any = call(target, "Audit", "ResendNotifies", message)
    typer.echo(f"{done.count} sent again")


@audit.command("ls")
def list_audits(order_id: int = 0, target: Target = DEFAULT_TARGET) -> None:
    """What waits for a decision, oldest first."""
    from rich.console import Console
    from rich.table import Table

    from shoudan.order.v1 import audit_service_pb2 as pb

    found: Any = call(target, "Audit", "ListAudits", pb.ListAuditsRequest(order_id=order_id))
    table = Table("audit", "order", "of", "kind", "why")
    for one in found.audits:
        kind = pb.AuditType.Name(one.type).removeprefix("AUDIT_TYPE_").lower()
        number = str(one.delivery_id or one.refund_id or one.order_id)
        table.add_row(str(one.audit_id), str(one.order_id), number, kind, one.message)
    Console().print(table)


@audit.command()
def decide(audit_id: int, status: str, reason: Reason, target: Target = DEFAULT_TARGET) -> None:
    """End an audit: success, failed or partial."""
    from shoudan.order.v1 import audit_service_pb2 as pb

    if status not in STATUSES:
        raise typer.BadParameter(f"one of {', '.join(STATUSES)}")
    request = pb.DecideAuditRequest(
        audit_id=audit_id, status=STATUSES[status], by=getpass.getuser(), reason=reason
    )
    call(target, "Audit", "DecideAudit", request)
    typer.echo(f"audit {audit_id}: {status}")


@audit.command()
def request(kind: str, number: int, reason: Reason, target: Target = DEFAULT_TARGET) -> None:
    """Ask for an audit: `order NUMBER`, `refund NUMBER` (partial success), `false_success DELIVERY`."""
    from shoudan.order.v1 import audit_service_pb2 as pb

    message = pb.RequestAuditRequest(
        type=pb.AuditType.Value(f"AUDIT_TYPE_{kind.upper()}"),
        id=number,
        by=getpass.getuser(),
        reason=reason,
    )
    made: Any = call(target, "Audit", "RequestAudit", message)
    typer.echo(f"audit {made.audit.audit_id} waits")


@audit.command()
def retry(step: str, number: int, reason: Reason, target: Target = DEFAULT_TARGET) -> None:
    """Make a step due again: bind, up_pay, order_notify, return, up_refund, down_refund, refund_notify."""
    from shoudan.order.v1 import audit_service_pb2 as pb

    message = pb.RetryStepRequest(
        step=pb.RetryStepRequest.Step.Value(f"STEP_{step.upper()}"),
        id=number,
        by=getpass.getuser(),
        reason=reason,
    )
    made: Any = call(target, "Audit", "RetryStep", message)
    typer.echo(f"task {made.task_id}" if made.task_id else "nothing to do")


def call(target: str, service: str, method: str, message: Any) -> Any:
    """One unary call; a refusal ends the command with its words."""
    import grpc

    from shoudan.order.v1 import audit_service_pb2_grpc, order_service_pb2_grpc
    from shoudan_kit.rpc import connect

    async def run() -> Any:
        channel = connect(target)
        stubs = {
            "Order": order_service_pb2_grpc.OrderServiceStub,
            "Audit": audit_service_pb2_grpc.AuditServiceStub,
        }
        try:
            call: Callable[..., Awaitable[Any]] = getattr(stubs[service](channel), method)
            return await call(message, timeout=CALL_S)
        finally:
            await channel.close()

    try:
        return asyncio.run(run())
    except grpc.RpcError as error:
        details = getattr(error, "details", None)
        typer.echo(f"refused: {details() if details else error}", err=True)
        raise typer.Exit(1) from None
