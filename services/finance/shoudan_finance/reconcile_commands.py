"""`shoudan reconcile …`: runs of the reconciliation, and what they found."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC
from typing import Annotated, Any, Final, TypeVar

import typer

from shoudan.finance.v1 import reconcile_service_pb2 as pb
from shoudan.finance.v1 import reconcile_service_pb2_grpc as stubs
from shoudan_kit.clock import beijing
from shoudan_kit.rpc.command import run_command

T = TypeVar("T")

CALL_S: Final = 30.0
ASK_EVERY_S: Final = 0.5
DEFAULT_TARGET: Final = "127.0.0.1:50056"
WORDS: Final = (
    ("matched", "对平"),
    ("late", "迟到对平"),
    ("longs", "长款"),
    ("shorts", "短款"),
    ("amounts", "金额不符"),
    ("outcomes", "状态不符"),
    ("settled", "结算相符"),
    ("settlements", "结算不符"),
    ("awaiting", "在途"),
    ("uncovered", "缺对账单的日数"),
)

app = typer.Typer(no_args_is_help=True)

Target = Annotated[
    str, typer.Option(help="gRPC address of finance.", envvar="SHOUDAN_FINANCE_TARGET")
]
Source = Annotated[str, typer.Option(help="Supplier, merchant or bank account.")]


@app.callback()
def reconcile() -> None:
    """Reconciliation (对账): runs and what they found."""


@app.command()
def run(
    source: Annotated[str, typer.Argument(help="Supplier, merchant or bank account.")],
    wait_s: Annotated[int, typer.Option(help="Seconds to wait for its end.", min=0)] = 600,
    target: Target = DEFAULT_TARGET,
) -> None:
    """Match what a source has open. Exit code 1 when the run failed or has not ended in time."""
    found = _run(target, lambda stub: _ended(stub, source, wait_s))
    _show(found)
    if found.status != pb.RUN_STATUS_DONE:
        raise typer.Exit(1)


@app.command()
def runs(
    source: Source = "",
    most: Annotated[int, typer.Option(help="How many.", min=1, max=1000)] = 20,
    target: Target = DEFAULT_TARGET,
) -> None:
    """List runs, newest first."""
    request = pb.ListRunsRequest(source=source, page_size=most)
    for one in _run(target, lambda stub: stub.ListRuns(request, timeout=CALL_S)).runs:
        typer.echo(_line(one))


@app.command()
def show(
    which: Annotated[int, typer.Argument(metavar="NUMBER", help="Number of the run.")],
    target: Target = DEFAULT_TARGET,
) -> None:
    """Show one run and what it found."""
    request = pb.GetRunRequest(run_id=which)
    _show(_run(target, lambda stub: stub.GetRun(request, timeout=CALL_S)).run)


async def _ended(stub: Any, source: str, wait_s: int) -> pb.Run:
    request = pb.RunReconciliationRequest(source=source)
    found = (await stub.RunReconciliation(request, timeout=CALL_S)).run
    until = time.monotonic() + wait_s
    while found.status == pb.RUN_STATUS_WAITING and time.monotonic() < until:
        await asyncio.sleep(ASK_EVERY_S)
        asked = pb.GetRunRequest(run_id=found.run_id)
        found = (await stub.GetRun(asked, timeout=CALL_S)).run
    return found


def _line(one: pb.Run) -> str:
    word = pb.RunStatus.Name(one.status).removeprefix("RUN_STATUS_").lower()
    new = one.longs + one.shorts + one.amounts + one.outcomes + one.settlements
    found = f"{one.matched} matched, {new} exceptions, {one.awaiting} awaited"
    when = beijing(one.create_time.ToDatetime(UTC))
    why = f": {one.what}" if one.what else ""
    return f"{one.run_id} {one.source} {when}: {word}{why}: {found}"


def _show(one: pb.Run) -> None:
    typer.echo(_line(one))
    typer.echo(f"  looked at {one.ours} of ours, {one.theirs} of theirs")
    for name, word in WORDS:
        typer.echo(f"  {name} {word}: {getattr(one, name)}")


def _run(target: str, ask: Callable[[Any], Awaitable[T]]) -> T:
    return run_command(target, "finance", lambda channel: ask(stubs.ReconcileServiceStub(channel)))
