"""`shoudan segments ...`: import number segments (号段), list them, find where a number belongs."""

from __future__ import annotations

import getpass
import zlib
from datetime import UTC
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from shoudan_kit.clock import beijing
from shoudan_order.commands import DEFAULT_TARGET, Reason, Target, call

app = typer.Typer(no_args_is_help=True)

IMPORT_S: Final = 120.0  # a million rows are read, sorted and stored


@app.command("import")
def import_segments(
    file: Annotated[Path, typer.Argument(help="CSV: segment,carrier_no,province_no[,digits].")],
    reason: Reason,
    target: Target = DEFAULT_TARGET,
) -> None:
    """Make the rows of a file the whole table; exit code 1, and nothing taken, with anything wrong in it."""
    from shoudan.order.v1 import catalogue_service_pb2 as pb

    try:
        packed = zlib.compress(file.read_bytes())
    except OSError as error:
        raise typer.BadParameter(f"{file}: {error.strerror}") from None
    request = pb.ImportSegmentsRequest(file=packed, by=getpass.getuser(), reason=reason)
    made: Any = call(target, "Catalogue", "ImportSegments", request, call_s=IMPORT_S)
    for one in made.problems:
        typer.echo(f"row {one.row}: {one.why}", err=True)
    if made.problem_count:
        typer.echo(f"{made.problem_count} problems; nothing was taken", err=True)
        raise typer.Exit(1)
    typer.echo(f"version {made.version}: {made.rows} segments")


@app.command("ls")
def list_segments(target: Target = DEFAULT_TARGET) -> None:
    """What is in the table, by carrier and province."""
    from rich.console import Console
    from rich.table import Table

    from shoudan.order.v1 import catalogue_service_pb2 as pb

    now: Any = call(target, "Catalogue", "GetSegments", pb.GetSegmentsRequest())
    if not now.version:
        typer.echo("nothing was imported yet")
        return
    when = beijing(now.import_time.ToDatetime(UTC))
    typer.echo(f"version {now.version}: {now.rows} segments, imported {when} by {now.made_by}")
    table = Table("carrier", "province", "numbers")
    for one in now.areas:
        table.add_row(one.carrier_no, one.province_no, str(one.numbers))
    Console().print(table)


@app.command()
def find(number: str, target: Target = DEFAULT_TARGET) -> None:
    """The carrier and province of a number; exit code 1 when no segment holds it."""
    from shoudan.order.v1 import catalogue_service_pb2 as pb

    request = pb.GetSegmentRequest(recharge_account=number)
    found: Any = call(target, "Catalogue", "GetSegment", request)
    if not found.HasField("area"):
        typer.echo("no segment holds this number", err=True)
        raise typer.Exit(1)
    typer.echo(f"carrier {found.area.carrier_no}, province {found.area.province_no}")
