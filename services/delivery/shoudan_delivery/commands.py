"""`shoudan channel ...`: see supplier channels, suspend, resume, hold and release them."""

from __future__ import annotations

import getpass
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(no_args_is_help=True)

CALL_S = 10.0

Target = Annotated[
    str,
    typer.Option(help="gRPC address of the delivery service.", envvar="SHOUDAN_DELIVERY_TARGET"),
]
Channel = Annotated[str, typer.Argument(help="Channel number, such as ycup.")]
Class = Annotated[int, typer.Option("--class", help="Service class 10, 20, 21 or 30; 0 for all.")]
Reason = Annotated[str, typer.Option(help="Why; operators see it.")]
DEFAULT_TARGET = "127.0.0.1:50053"


@app.callback()
def channel() -> None:
    """Supplier channels."""


@app.command("ls")
def list_channels(target: Target = DEFAULT_TARGET) -> None:
    """Every channel and whether it is used."""
    from shoudan.delivery.v1 import delivery_service_pb2 as pb

    _print(_call(target, "ListSuppliers", pb.ListSuppliersRequest()).suppliers)


@app.command()
def suspend(
    channel_no: Channel, reason: Reason, service_class: Class = 0, target: Target = DEFAULT_TARGET
) -> None:
    """Refuse new deliveries and fail the unsent ones, so that orders go elsewhere."""
    _switch(target, channel_no, service_class, "SUSPENDED", reason)


@app.command()
def resume(
    channel_no: Channel, reason: Reason = "resumed", service_class: Class = 0,
    target: Target = DEFAULT_TARGET,
) -> None:  # fmt: skip
    """Use a suspended channel again."""
    _switch(target, channel_no, service_class, "OPEN", reason)


@app.command()
def hold(
    channel_no: Channel, reason: Reason, service_class: Class = 0, target: Target = DEFAULT_TARGET
) -> None:
    """Take new deliveries but keep them until released."""
    _switch(target, channel_no, service_class, "HELD", reason)


@app.command()
def release(
    channel_no: Channel, reason: Reason = "released", service_class: Class = 0,
    target: Target = DEFAULT_TARGET,
) -> None:  # fmt: skip
    """Send what was held."""
    _switch(target, channel_no, service_class, "OPEN", reason)


@app.command("try")
def try_template(
    file: Annotated[Path, typer.Argument(help="Configuration file with the channel's template.")],
    recorded: Annotated[
        Path | None, typer.Option(help="File with the body of an answer or a notify as it came.")
    ] = None,
    call: Annotated[
        str, typer.Option(help="order, query, notify, balance, price or price_notify.")
    ] = "order",
    channel: Annotated[str, typer.Option(help="Which channel, when the file has several.")] = "",
    order_no: Annotated[int, typer.Option(help="Our number of the delivery.")] = 10**18 + 7,
    face: Annotated[str, typer.Option(help="Face value of one unit in yuan.")] = "100",
    num: Annotated[int, typer.Option(help="Units.")] = 1,
    account: Annotated[str, typer.Option(help="Account to recharge.")] = "13800000000",
    product: Annotated[str, typer.Option(help="The supplier's product.")] = "P1",
    status: Annotated[int, typer.Option(help="HTTP status of the recorded answer.")] = 200,
) -> None:
    """What a template would send, and how it reads a recorded answer; nothing is called, no secret shown."""
    import yaml

    from shoudan_delivery import trying
    from shoudan_delivery.store.rows import Outgoing
    from shoudan_kit.clock import SystemClock
    from shoudan_kit.money import yuan_to_micros

    if call not in trying.KINDS:
        raise typer.BadParameter(f"one of {', '.join(trying.KINDS)}")
    try:
        supplier = trying.channel_of(yaml.safe_load(file.read_bytes()), channel)
        delivery = Outgoing(
            order_no, "", "", "1", supplier.channel_no, supplier.service_class, product,
            yuan_to_micros(face), num, account, "", 0.0, overdue=False,
        )  # fmt: skip
        lines = list(trying.sent(supplier, call, delivery, SystemClock().now()))
        if recorded is not None:
            body = recorded.read_bytes()
            given = trying.Recorded(body, {}, status, query=body.decode("ascii", "replace").strip())
            lines += ["", *trying.understood(supplier, call, delivery, given)]
    except (OSError, ValueError, yaml.YAMLError) as error:
        typer.echo(f"cannot be tried: {error}", err=True)
        raise typer.Exit(2) from None
    for line in lines:
        typer.echo(line)


def _switch(target: str, channel_no: str, service_class: int, state: str, reason: str) -> None:
    from shoudan.delivery.v1 import delivery_service_pb2 as pb

    request = pb.SetSupplierStateRequest(
        channel_no=channel_no,
        service_class=service_class,
        state=pb.SupplierState.Value(f"SUPPLIER_STATE_{state}"),
        by=getpass.getuser(),
        reason=reason,
    )
    _print(_call(target, "SetSupplierState", request).suppliers)


def _call(target: str, method: str, request: Any) -> Any:
    from shoudan.delivery.v1 import delivery_service_pb2_grpc as rpc
    from shoudan_kit.rpc.client import call_options
    from shoudan_kit.rpc.command import run_command

    return run_command(
        target,
        "delivery",
        lambda channel: getattr(rpc.SupplierServiceStub(channel), method)(
            request, **call_options(CALL_S)
        ),
    )


def _print(suppliers: Sequence[Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    from shoudan.delivery.v1 import delivery_service_pb2 as pb

    table = Table("channel", "class", "state", "enabled", "in flight max", "request url", "reason")
    for one in suppliers:
        state = pb.SupplierState.Name(one.state).removeprefix("SUPPLIER_STATE_").lower()
        table.add_row(
            one.channel_no,
            str(one.service_class),
            state,
            "yes" if one.enabled else "no",
            str(one.concurrency_max),
            one.request_url,
            one.state_reason,
        )
    Console().print(table)
