"""`shoudan bench`: what this system does on this machine, measured through its own front doors."""

from __future__ import annotations

import os
from collections.abc import Coroutine, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar, cast

import typer

from shoudan_cli.clients import Failed, console, errors

T = TypeVar("T")

app = typer.Typer()
IN_FLIGHT: Final = 512
SECONDS: Final = 10.0
StoredOption = Annotated[
    int,
    typer.Option(min=0, max=5_000_000, help="Finished orders that are there before; one shard."),
]
SuppliersOption = Annotated[
    int, typer.Option(min=1, max=1_000, help="That deliver, each an equal part of the orders.")
]
ZipfOption = Annotated[
    float, typer.Option(min=0, max=4, help="Exponent by which channels order unevenly; 0: in turn.")
]
CurveOption = Annotated[
    str, typer.Option(help="Orders in flight, such as 1,32,512: a run each, batch sizes of all.")
]


@app.callback(invoke_without_command=True)
def group(context: typer.Context) -> None:
    """Measure what this machine can do. Alone: whole orders a second, and their time at half of that."""
    if context.invoked_subcommand is not None:
        return
    from shoudan_cli import bench_lifecycle

    most = _measured(bench_lifecycle.bench(SECONDS, IN_FLIGHT, _say))
    half = most.lifecycles_per_s / 2
    calm = _measured(bench_lifecycle.bench(SECONDS, IN_FLIGHT, _say, rate=half))
    typer.echo(f"{most.lifecycles_per_s:.0f} orders/s")
    typer.echo(f"{calm.p50_ms:.0f} ms, p99 {calm.p99_ms:.0f} ms, at {half:.0f} orders/s")


def _say(line: str) -> None:
    errors.print(line, markup=False, highlight=False, soft_wrap=True)


def _measured(bench: Coroutine[Any, Any, T], *, own: bool = True) -> T:
    """Run a bench; what it cannot do ends the command in words. `own`: on a system started for it."""
    import uvloop

    from shoudan_kit.embedded import EmbeddedError
    from shoudan_kit.process.supervise import NotStarted

    if own:
        _say("system: one of its own, started for this and gone at the end")
    try:
        return uvloop.run(bench)
    except (Failed, EmbeddedError, NotStarted) as error:
        errors.print(str(error), style="red", markup=False, highlight=False)
        raise typer.Exit(1) from None


@app.command()
def lifecycle(
    seconds: Annotated[float, typer.Option(min=1, max=600, help="Of the window measured.")] = 10,
    in_flight: Annotated[
        int, typer.Option(min=1, help="Orders between request and notify.")
    ] = IN_FLIGHT,
    rate: Annotated[
        float,
        typer.Option(min=0, help="Orders a second, due whatever the system does; 0: --in-flight."),
    ] = 0,
    shards: Annotated[
        int, typer.Option(min=1, max=16, help="Of each service, in one database.")
    ] = 1,
    channels: Annotated[
        int, typer.Option(min=1, max=1_000, help="Orders take turns among so many.")
    ] = 1,
    replicas: Annotated[
        int, typer.Option(min=1, max=4, help="Processes of each service and of the gateway.")
    ] = 1,
    rules: Annotated[
        bool, typer.Option("--rules", help="With risk rules, stated prices, suppliers by outcome.")
    ] = False,
    stored: StoredOption = 0,
    suppliers: SuppliersOption = 1,
    zipf: ZipfOption = 0,
    curve: CurveOption = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    compare: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Of --json before: print the differences."),
    ] = None,
) -> None:
    """Whole orders per second, request to notify, and their CPU time; no rate when a check fails."""
    from dataclasses import asdict

    from shoudan_cli import bench_lifecycle
    from shoudan_cli.bench_layout import PRODUCTS_MAX, Layout

    if channels * suppliers > PRODUCTS_MAX:
        raise typer.BadParameter(f"--channels times --suppliers is above {PRODUCTS_MAX}")
    layout = Layout(shards, channels, replicas, rules, stored, suppliers)
    if curve:
        points: dict[int, dict[str, Any]] = {}
        for one in in_flights(curve):
            found = _measured(bench_lifecycle.bench(seconds, one, _say, layout, 0, zipf))
            points[one] = asdict(found)
        _print_curve(points, as_json=as_json)
        return
    before = _read(compare) if compare is not None else None
    figures = _measured(bench_lifecycle.bench(seconds, in_flight, _say, layout, rate, zipf))
    if as_json:
        console.print_json(data=asdict(figures))
    elif before is None:
        console.print(figures)
    if before is not None:
        for line in differences(before, asdict(figures)):
            _say(line)


def _print_curve(points: Mapping[int, Mapping[str, Any]], *, as_json: bool) -> None:
    for line in curve_of(points):
        _say(line)
    if as_json:
        console.print_json(data=points)


def in_flights(text: str) -> list[int]:
    """The numbers of --curve."""
    try:
        found = [int(one) for one in text.split(",")]
    except ValueError:
        found = []
    if not found or min(found) < 1:
        raise typer.BadParameter(f"--curve {text}: numbers above 0 with commas, such as 1,32,512")
    return found


def curve_of(points: Mapping[int, Mapping[str, Any]]) -> list[str]:
    """A line for each number in flight: rate, cost and latency, and the mean batch of each call."""
    lines = [
        f"{'in flight':>9} {'orders/s':>9} {'us/order':>9} {'p50 ms':>8} {'p99 ms':>8}  batches"
    ]
    for one, found in points.items():
        batches = " ".join(f"{name} {size}" for name, size in sorted(found["batch_sizes"].items()))
        total = found["cpu_us_per_order"]["total"]
        times = f"{found['p50_ms']:>8} {found['p99_ms']:>8}"
        lines.append(f"{one:>9} {found['lifecycles_per_s']:>9} {total:>9} {times}  {batches}")
    return lines


def _read(file: Path) -> Any:
    import msgspec

    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, Any])
    except msgspec.MsgspecError as error:
        errors.print(f"{file}: {error}", style="red", markup=False, highlight=False)
        raise typer.Exit(1) from None


def differences(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> list[str]:
    """A line for each number that both have: its name, before, now, and by how much it grew."""
    lines: list[str] = []
    for name in filter(before.__contains__, now):
        value: object = now[name]
        other: object = before[name]
        if isinstance(value, Mapping) and isinstance(other, Mapping):
            inner = cast("Mapping[str, Any]", other), cast("Mapping[str, Any]", value)
            lines += differences(*inner, f"{prefix}{name}.")
        elif (
            isinstance(value, int | float)
            and isinstance(other, int | float)
            and not isinstance(value, bool)
        ):
            change = f"{value / other - 1:+.1%}" if other else ""
            lines.append(f"{prefix + name:36} {other!s:>12} {value!s:>12} {change:>8}".rstrip())
    return lines


@app.command()
def delivery(
    seconds: Annotated[
        float, typer.Option(min=1, max=600, help="Of each of the two windows.")
    ] = 15,
    in_flight: Annotated[
        int, typer.Option(min=1, max=10_000, help="Calls the slow supplier takes at a time.")
    ] = 2_000,
    latency: Annotated[
        float, typer.Option(min=0.01, max=60, help="Seconds the slow supplier thinks.")
    ] = 0.5,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Deliveries per second at a slow supplier, beside what its limit allows; and a channel beside it."""
    from dataclasses import asdict

    from shoudan_cli import bench_delivery

    figures = _measured(bench_delivery.bench(seconds, in_flight, latency, _say))
    if as_json:
        console.print_json(data=asdict(figures))
    else:
        console.print(figures)
    if not figures.fulfilled_once:
        raise typer.Exit(1)


@app.command()
def ledger(
    seconds: Annotated[float, typer.Option(min=1, max=60, help="Of each of the runs.")] = 7,
    target: Annotated[
        str,
        typer.Option(
            metavar="HOST:PORT",
            help="A running pay service to measure from outside, instead of one started for it. "
            "Its CPU, and the two figures to compare with, are null then; accounts of ident bench stay.",
        ),
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Postings per second on one account and on a thousand, beside a database without batches.

    Each run warms up for two seconds and is then watched in windows of one second; the figure is the
    median of the windows, so what else the machine does for a moment does not count. On a machine that
    is always busy it does: look at the load average printed beside each line.
    """
    from shoudan_cli import bench_ledger

    if target:
        figures = _measured(bench_ledger.bench_at(target, seconds, _say), own=False)
    else:
        figures = _measured(bench_ledger.bench(seconds, _say))
    if as_json:
        console.print_json(data=bench_ledger.as_dict(figures))


@app.command()
def erp(
    seconds: Annotated[float, typer.Option(min=1, max=60, help="Of pushing, after warming.")] = 8,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Trade pushes per second over HTTP, each checked afterwards to be kept byte for byte."""
    from dataclasses import asdict

    from shoudan_cli import bench_erp

    figures = _measured(bench_erp.bench(seconds, _say))
    if as_json:
        console.print_json(data=asdict(figures))
    if not figures.stored_equals_acknowledged:
        raise typer.Exit(1)


@app.command()
def reconcile(
    lines: Annotated[
        int, typer.Option(min=1_000, max=5_000_000, help="Of the statement, and trades of ours.")
    ] = 100_000,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """A statement imported and matched with as many trades; every difference must be found."""
    from dataclasses import asdict

    from shoudan_cli import bench_reconcile

    figures = _measured(bench_reconcile.bench(lines, _say))
    if as_json:
        console.print_json(data=asdict(figures))
    else:
        console.print(figures)
    if not figures.found_equals_made:
        raise typer.Exit(1)


@app.command()
def finance(
    movements: Annotated[
        int, typer.Option(min=1000, max=5_000_000, help="Movements of the day.")
    ] = 1_000_000,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """How fast finance copies and proves a closed day, makes its fund bill in every form, and matches a
    statement of as many lines, and the memory it takes.

    Nothing else should run on the machine: a million movements are posted first, in about a minute.
    """
    from dataclasses import asdict

    from shoudan_cli import bench_finance

    figures = _measured(bench_finance.bench(movements, _say))
    if as_json:
        console.print_json(data=asdict(figures))


@app.command(name="console")
def pages(
    stored: Annotated[
        int, typer.Option(min=1, max=5_000_000, help="Finished orders in the databases.")
    ] = 1_000_000,
    times: Annotated[int, typer.Option(min=1, max=1_000, help="That each page is asked for.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """How long each page of the console takes over so many orders, and the memory of each process.

    The orders are loaded first, a million in some minutes and about 10 GB of disk.
    """
    from dataclasses import asdict

    from shoudan_cli import bench_console

    figures = _measured(bench_console.bench(stored, times, _say))
    if as_json:
        console.print_json(data=asdict(figures))
    if figures.slow:
        raise typer.Exit(1)


@app.command()
def capacity(
    file: Annotated[Path, typer.Argument(help="Measurements, as --measure writes them.")],
    rate: Annotated[int, typer.Option(min=1, help="Orders a second to plan for.")] = 50_000,
    measure: Annotated[
        bool, typer.Option("--measure", help="Measure this machine first, and write the file.")
    ] = False,
    seconds: Annotated[float, typer.Option(min=1, max=60, help="Of each measurement.")] = 10,
) -> None:
    """What a rate of orders needs, computed from what this or another machine measured, as Markdown."""
    import msgspec

    from shoudan_cli import capacity as model

    if measure:
        found = _measured(_measure(seconds))
        file.write_bytes(msgspec.json.format(msgspec.json.encode(found)) + b"\n")
    try:
        known = msgspec.json.decode(file.read_bytes(), type=model.Measured)
    except (OSError, msgspec.MsgspecError) as error:
        errors.print(f"{file}: {error}", style="red", markup=False, highlight=False)
        raise typer.Exit(1) from None
    typer.echo(model.page(known, model.Machines(), rate), nl=False)


async def _measure(seconds: float) -> dict[str, Any]:
    from dataclasses import asdict

    from shoudan_cli import bench_ledger, bench_lifecycle
    from shoudan_cli.capacity import IN_FLIGHT

    load, cores = os.getloadavg()[0], os.cpu_count()
    return {
        "machine": f"{cores} cores, load average {load:.1f} before",
        "made": f"{datetime.now(UTC):%Y-%m-%d}",
        "lifecycle": asdict(await bench_lifecycle.bench(seconds, IN_FLIGHT, _say)),
        "ledger": bench_ledger.as_dict(await bench_ledger.bench(seconds, _say)),
    }
