"""`shoudan finance …`: the accounting days that are here, and the proof that nothing is missing of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, date
from typing import Annotated, Any, Final, TypeVar

import typer

from shoudan.finance.v1 import finance_service_pb2 as pb
from shoudan.finance.v1 import finance_service_pb2_grpc as stubs
from shoudan.finance.v1 import trade_service_pb2 as trade_pb
from shoudan.finance.v1 import trade_service_pb2_grpc as trade_stubs
from shoudan_kit.clock import beijing
from shoudan_kit.money import micros_to_yuan
from shoudan_kit.rpc.command import run_command

T = TypeVar("T")

CALL_S: Final = 30.0
PAGE: Final = 1000
DEFAULT_TARGET: Final = "127.0.0.1:50056"

app = typer.Typer(no_args_is_help=True)

Target = Annotated[
    str, typer.Option(help="gRPC address of finance.", envvar="SHOUDAN_FINANCE_TARGET")
]
Which = Annotated[str, typer.Argument(metavar="DAY", help="Accounting day, yyyy-mm-dd.")]


@app.callback()
def finance() -> None:
    """The books: accounting days and their proof."""


@app.command()
def days(
    from_day: Annotated[str, typer.Option(help="From this day on, yyyy-mm-dd.")] = "",
    target: Target = DEFAULT_TARGET,
) -> None:
    """List accounting days, oldest first."""
    for one in _run(target, lambda stub: _all(stub, from_day)):
        typer.echo(_line(one))


@app.command()
def day(which: Which, target: Target = DEFAULT_TARGET) -> None:
    """Show a day and its proof. Exit code 1 unless it is complete."""
    request = pb.GetDayRequest(day=_checked(which))
    found = _run(target, lambda stub: stub.GetDay(request, timeout=CALL_S)).day
    typer.echo(_line(found))
    if found.HasField("prove_time"):
        typer.echo(f"proved {beijing(found.prove_time.ToDatetime(UTC))}")
    if found.status != pb.DAY_STATUS_COMPLETE:
        raise typer.Exit(1)
    typer.echo(f"proof {found.digest.hex()}")


@app.command()
def recheck(which: Which, target: Target = DEFAULT_TARGET) -> None:
    """Fetch what is missing of a day and prove it at once."""
    request = pb.RecheckDayRequest(day=_checked(which))
    found = _run(target, lambda stub: stub.RecheckDay(request, timeout=CALL_S)).day
    again = found.status != pb.DAY_STATUS_COMPLETE
    typer.echo(f"{which}: is looked at again" if again else _line(found))


@app.command("trade-days")
def trade_days(
    from_day: Annotated[str, typer.Option(help="From this day on, yyyy-mm-dd.")] = "",
    target: Target = DEFAULT_TARGET,
) -> None:
    """List days of trades, oldest first, and whether the ledger agrees with them."""
    for one in _run_trades(target, lambda stub: _all_trades(stub, from_day)):
        typer.echo(_trade_line(one))


@app.command("trade-day")
def trade_day(
    which: Which,
    recheck: Annotated[bool, typer.Option(help="Fetch and prove it again at once.")] = False,
    target: Target = DEFAULT_TARGET,
) -> None:
    """Show a day of trades. Exit code 1 unless the ledger agrees with each of them."""
    day = _checked(which)
    if recheck:
        again = trade_pb.RecheckTradeDayRequest(day=day)
        found = _run_trades(target, lambda stub: stub.RecheckTradeDay(again, timeout=CALL_S)).day
    else:
        request = trade_pb.GetTradeDayRequest(day=day)
        found = _run_trades(target, lambda stub: stub.GetTradeDay(request, timeout=CALL_S)).day
    typer.echo(_trade_line(found))
    if found.status != trade_pb.TRADE_DAY_STATUS_AGREES:
        raise typer.Exit(1)


def _trade_line(one: trade_pb.TradeDay) -> str:
    status = trade_pb.TradeDayStatus.Name(one.status).removeprefix("TRADE_DAY_STATUS_").lower()
    apart = f": {one.apart} apart, first {one.what}" if one.apart else ""
    return f"{one.day}: {one.trades} trades: {status}{apart}"


def _line(one: pb.Day) -> str:
    status = pb.DayStatus.Name(one.status).removeprefix("DAY_STATUS_").lower()
    moved = f"+ {micros_to_yuan(one.credits_micros)} - {micros_to_yuan(one.debits_micros)} 元"
    words = f"{one.movements} movements of {one.accounts} accounts, {moved}"
    return f"{one.day}: {words}: {status}" + (f": {one.what}" if one.what else "")


def _checked(which: str) -> str:
    try:
        return date.fromisoformat(which).isoformat()
    except ValueError:
        raise typer.BadParameter(f"{which} is no day of the form yyyy-mm-dd") from None


async def _all(stub: Any, from_day: str) -> list[pb.Day]:
    found: list[pb.Day] = []
    request = pb.ListDaysRequest(from_day=from_day, page_size=PAGE)
    while True:
        page = await stub.ListDays(request, timeout=CALL_S)
        found += page.days
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


def _run(target: str, ask: Callable[[Any], Awaitable[T]]) -> T:
    return run_command(target, "finance", lambda channel: ask(stubs.FinanceServiceStub(channel)))


async def _all_trades(stub: Any, from_day: str) -> list[trade_pb.TradeDay]:
    found: list[trade_pb.TradeDay] = []
    request = trade_pb.ListTradeDaysRequest(from_day=from_day, page_size=PAGE)
    while True:
        page = await stub.ListTradeDays(request, timeout=CALL_S)
        found += page.days
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


def _run_trades(target: str, ask: Callable[[Any], Awaitable[T]]) -> T:
    return run_command(
        target, "finance", lambda channel: ask(trade_stubs.TradeServiceStub(channel))
    )
