"""`shoudan report ...`: sums of a period as CSV, written line by line as the service streams them."""

from __future__ import annotations

import asyncio
import csv
import sys
from collections.abc import AsyncIterator
from contextlib import nullcontext
from datetime import date, datetime, time, timedelta, timezone
from pathlib import Path
from typing import Annotated, Any, Final, TextIO

import typer

from shoudan_kit.money import micros_to_yuan
from shoudan_kit.spreadsheet import Bom, mark_of, safe
from shoudan_order.commands import DEFAULT_TARGET, Target

app = typer.Typer(no_args_is_help=True)

# The days of a report are those of the documents.
CHINA: Final = timezone(timedelta(hours=8))
STREAM_S: Final = 600.0
MICROS: Final = "_micros"

From = Annotated[str, typer.Option("--from", help="First day, YYYY-MM-DD (Asia/Shanghai).")]
To = Annotated[str, typer.Option("--to", help="Last day, YYYY-MM-DD (Asia/Shanghai).")]
Csv = Annotated[Path | None, typer.Option("--csv", help="File to write; without it, the terminal.")]


@app.command()
def profit(
    first: From, last: To, out: Csv = None, bom: Bom = False, target: Target = DEFAULT_TARGET
) -> None:
    """By day and product line: what was sold, what it cost, what is left."""
    _write("KIND_PROFIT", (first, last), out, target, bom=bom)


@app.command()
def up(
    first: From, last: To, out: Csv = None, bom: Bom = False, target: Target = DEFAULT_TARGET
) -> None:
    """By supplier: what was delivered and what it cost."""
    _write("KIND_UP_CHANNEL", (first, last), out, target, bom=bom)


@app.command()
def down(
    first: From, last: To, out: Csv = None, bom: Bom = False, target: Target = DEFAULT_TARGET
) -> None:
    """By channel: what was sold, what it cost, what is left."""
    _write("KIND_DOWN_CHANNEL", (first, last), out, target, bom=bom)


def _write(kind: str, days: tuple[str, str], out: Path | None, target: str, *, bom: bool) -> None:
    import grpc

    start, end = _day(days[0]), _day(days[1]) + timedelta(days=1)
    if end <= start:
        raise typer.BadParameter("--to is before --from")
    try:
        with (
            nullcontext(sys.stdout)
            if out is None
            else out.open("w", encoding="utf-8", newline="") as file
        ):
            file.write(mark_of(bom=bom))
            count = asyncio.run(_copy(_lines(target, kind, start, end), file))
    except grpc.RpcError as error:
        details = getattr(error, "details", None)
        typer.echo(f"refused: {details() if details else error}", err=True)
        raise typer.Exit(1) from None
    if out is not None:
        typer.echo(f"{count} lines in {out}")


def _day(text: str) -> datetime:
    try:
        return datetime.combine(date.fromisoformat(text), time(), CHINA)
    except ValueError:
        raise typer.BadParameter(f"{text}: not a day like 2026-01-31") from None


async def _lines(target: str, kind: str, start: datetime, end: datetime) -> AsyncIterator[Any]:
    from shoudan.order.v1 import audit_service_pb2 as pb
    from shoudan.order.v1 import audit_service_pb2_grpc as stubs
    from shoudan_kit.rpc.command import command_channel

    request = pb.ReportRequest(kind=pb.ReportRequest.Kind.Value(kind))
    request.start_time.FromDatetime(start)
    request.end_time.FromDatetime(end)
    channel = command_channel(target, "order")
    try:
        stub = stubs.AuditServiceStub(channel)
        async for line in stub.Report(request, timeout=STREAM_S):
            yield line
    finally:
        await channel.close()


async def _copy(lines: AsyncIterator[Any], file: TextIO) -> int:
    """Write each line as it comes; amounts in 元. How many there were."""
    writer, count = csv.writer(file), 0
    async for line in lines:
        labels, sums = sorted(line.labels), sorted(line.sums_micros)
        if not count:
            writer.writerow([*labels, "count", *(name.removesuffix(MICROS) for name in sums)])
        values = [micros_to_yuan(line.sums_micros[name]) for name in sums]
        writer.writerow([*(safe(line.labels[name]) for name in labels), line.count, *values])
        count += 1
    return count
