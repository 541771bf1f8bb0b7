"""`shoudan order ...` and `shoudan audit ...`: see an order's life, decide what only a person can."""

from __future__ import annotations

import asyncio
import getpass
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import typer

order = typer.Typer(no_args_is_help=True, help="Orders: show one whole.")
audit = typer.Typer(no_args_is_help=True, help="What waits for a person: list, decide, retry.")

CALL_S = 10.0
DEFAULT_TARGET = "127.0.0.1:50051"
STATUSES = {"success": 0, "failed": 90, "partial": 91}

Target = Annotated[
    str, typer.Option(help="gRPC address of the order service.", envvar="SHOUDAN_ORDER_TARGET")
]
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

    found: Any = _call(target, "Order", "GetOrder", pb.GetOrderRequest(order_id=order_id))
    life: Any = _call(target, "Order", "GetLifecycle", pb.GetLifecycleRequest(order_id=order_id))
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


@audit.command("ls")
def list_audits(order_id: int = 0, target: Target = DEFAULT_TARGET) -> None:
    """What waits for a decision, oldest first."""
    from rich.console import Console
    from rich.table import Table

    from shoudan.order.v1 import audit_service_pb2 as pb

    found: Any = _call(target, "Audit", "ListAudits", pb.ListAuditsRequest(order_id=order_id))
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
    _call(target, "Audit", "DecideAudit", request)
    typer.echo(f"audit {audit_id}: {status}")


@audit.command()
def request(kind: str, number: int, reason: Reason, target: Target = DEFAULT_TARGET) -> None:
    """Ask for an audit: `order NUMBER` (partial success) or `false_success DELIVERY`."""
    from shoudan.order.v1 import audit_service_pb2 as pb

    message = pb.RequestAuditRequest(
        type=pb.AuditType.Value(f"AUDIT_TYPE_{kind.upper()}"),
        id=number,
        by=getpass.getuser(),
        reason=reason,
    )
    made: Any = _call(target, "Audit", "RequestAudit", message)
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
    made: Any = _call(target, "Audit", "RetryStep", message)
    typer.echo(f"task {made.task_id}" if made.task_id else "nothing to do")


def _call(target: str, service: str, method: str, message: Any) -> Any:
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
