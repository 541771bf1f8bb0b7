"""`shoudan hold ...`: orders that stay in the database whatever their age."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime, timedelta, timezone
from typing import Annotated, Any, Final

import typer

from shoudan_kit.clock import beijing
from shoudan_order.commands import DEFAULT_TARGET, Reason, Target, call

app = typer.Typer(no_args_is_help=True)

PAGE: Final = 1_000
CHINA: Final = timezone(timedelta(hours=8))
Name = Annotated[str, typer.Argument(help="Name of the case, such as CASE-2027-12.")]


@app.callback()
def group() -> None:
    """Holds: orders that stay in the database whatever their age."""


@app.command("set")
def set_hold(
    hold_no: Name,
    reason: Reason,
    order_id: Annotated[int, typer.Option("--order", min=0, help="This order; 0 for any.")] = 0,
    channel_no: Annotated[
        str, typer.Option("--channel", help="Orders of this channel; empty for any.")
    ] = "",
    first: Annotated[
        datetime | None,
        typer.Option("--from", formats=["%Y-%m-%d"], help="First day they were made (Beijing)."),
    ] = None,
    last: Annotated[
        datetime | None,
        typer.Option("--to", formats=["%Y-%m-%d"], help="Last day they were made (Beijing)."),
    ] = None,
    target: Target = DEFAULT_TARGET,
) -> None:
    """Hold an order, a channel, a period, or what they have in common; a repeat changes nothing."""
    from shoudan.order.v1 import retention_service_pb2 as pb

    hold = pb.OrderHold(hold_no=hold_no, order_id=order_id, channel_no=channel_no, reason=reason)
    if first is not None:
        hold.start_time.FromDatetime(first.replace(tzinfo=CHINA))
    if last is not None:
        hold.end_time.FromDatetime(last.replace(tzinfo=CHINA) + timedelta(days=1))
    call(target, "Retention", "SetHold", pb.SetHoldRequest(hold=hold, by=getpass.getuser()))
    typer.echo(f"{hold_no}: held")


@app.command()
def lift(hold_no: Name, reason: Reason, target: Target = DEFAULT_TARGET) -> None:
    """End a hold: what has ended may be archived again."""
    from shoudan.order.v1 import retention_service_pb2 as pb

    request = pb.LiftHoldRequest(hold_no=hold_no, by=getpass.getuser(), reason=reason)
    call(target, "Retention", "LiftHold", request)
    typer.echo(f"{hold_no}: lifted")


@app.command("list")
def holds(
    after: Annotated[str, typer.Option(help="The token that the page before ended with.")] = "",
    target: Target = DEFAULT_TARGET,
) -> None:
    """Every hold, by name, at most 1000."""
    from rich.console import Console
    from rich.table import Table

    from shoudan.order.v1 import retention_service_pb2 as pb

    request = pb.ListHoldsRequest(page_size=PAGE, page_token=after)
    found: Any = call(target, "Retention", "ListHolds", request)
    table = Table("hold", "order", "channel", "made from", "made before", "by", "why")
    for one in found.holds:
        start, end = (
            beijing(getattr(one, name).ToDatetime(UTC)) if one.HasField(name) else ""
            for name in ("start_time", "end_time")
        )
        number, channel = str(one.order_id or "any"), one.channel_no or "any"
        table.add_row(one.hold_no, number, channel, start, end, one.made_by, one.reason)
    Console().print(table)
    if found.next_page_token:
        typer.echo(f"there is more: --after {found.next_page_token}", err=True)
