"""`shoudan books …`: trial balance, income, debts by age, invoices' data, and the closing of periods."""

from __future__ import annotations

import calendar
import csv
import sys
from collections.abc import Awaitable, Callable
from datetime import date, timedelta
from typing import Annotated, Any, Final, TypeVar

import typer
from google.protobuf.message import Message
from grpc import aio

from shoudan.core.v1.proposal_service_pb2 import Proposal
from shoudan.finance.v1 import book_service_pb2 as pb
from shoudan.finance.v1 import book_service_pb2_grpc as stubs
from shoudan_kit.money import micros_to_yuan
from shoudan_kit.proposals.command import ReasonMissing, Why, call_or_propose, lines
from shoudan_kit.rpc.command import run_command, stop_command
from shoudan_kit.spreadsheet import Bom, mark_of, safe

T = TypeVar("T")

CALL_S: Final = 30.0
REPORT_S: Final = 600.0
PAGE: Final = 1000
REOPEN: Final = "shoudan.finance.v1.BookService/ReopenPeriod"
DEFAULT_TARGET: Final = "127.0.0.1:50056"
# Days that a debt has lasted, up to and with; the last bucket has no end.
AGES: Final = (7, 30, 60, 90)
_MICROS: Final = "_micros"
_PPM: Final = "_ppm"
REFUND: Final = 2  # kind of an invoice
PERCENT: Final = 100

app = typer.Typer(no_args_is_help=True)

Target = Annotated[
    str, typer.Option(help="gRPC address of finance.", envvar="SHOUDAN_FINANCE_TARGET")
]
Period = Annotated[
    str, typer.Argument(metavar="PERIOD", help="Day yyyy-mm-dd, month yyyy-mm, or day..day.")
]
Csv = Annotated[bool, typer.Option("--csv", help="As CSV, amounts in 元.")]


Reason = Annotated[str, typer.Option(help="Why; kept with it.")]


@app.callback()
def books() -> None:
    """What the books say of a period, and its closing."""


@app.command("trial-balance")
def trial_balance(
    which: Period,
    ident: Annotated[str, typer.Option(help="Only accounts of this system.")] = "",
    as_csv: Csv = False,
    bom: Bom = False,
    target: Target = DEFAULT_TARGET,
) -> None:
    """What each account had, moved and has; and the sums."""
    mark = mark_of(bom=bom, as_csv=as_csv)
    first, last = _period(which)
    request = pb.ExportTrialBalanceRequest(first_day=first, last_day=last, ident=ident)
    found: list[pb.AccountBalance] = _run(
        target, lambda stub: _all(stub.ExportTrialBalance(request, timeout=REPORT_S), "accounts")
    )
    if as_csv:
        _csv(pb.AccountBalance, found, mark)
        return
    for one in found:
        name = f"{one.ident}/{one.groups}/{one.eid}"
        typer.echo(f"{name}: {_moved(one)}")
    total = pb.AccountBalance()
    for one in found:
        for field in ("opening_micros", "debits_micros", "credits_micros", "closing_micros"):
            setattr(total, field, getattr(total, field) + getattr(one, field))
    typer.echo(f"{len(found)} accounts: {_moved(total)}")


@app.command()
def income(
    which: Period,
    by: Annotated[str, typer.Option(help="line, channel or supplier.")] = "line",
    as_csv: Csv = False,
    bom: Bom = False,
    target: Target = DEFAULT_TARGET,
) -> None:
    """What trades came to by line, channel or supplier: sales, refunds, costs, profit."""
    mark = mark_of(bom=bom, as_csv=as_csv)
    first, last = _period(which)
    request = pb.ExportIncomeRequest(first_day=first, last_day=last, by=by)
    found: list[pb.Income] = _run(
        target, lambda stub: _all(stub.ExportIncome(request, timeout=REPORT_S), "incomes")
    )
    if as_csv:
        _csv(pb.Income, found, mark)
        return
    for one in found:
        sold = f"+ {_yuan(one.sales_micros)} - {_yuan(one.refunds_micros)}"
        bought = f"- {_yuan(one.costs_micros)} + {_yuan(one.returns_micros)}"
        words = f"{one.orders} orders, {sold} {bought}: profit {_yuan(one.profit_micros)} 元"
        if one.losses:
            words += f", {one.losses} deliveries at a loss of {_yuan(one.loss_micros)} 元"
        typer.echo(f"{by} {one.key}: {words}")


@app.command()
def losses(
    which: Period, as_csv: Csv = False, bom: Bom = False, target: Target = DEFAULT_TARGET
) -> None:
    """Deliveries that were booked at a loss, and their sums by line and supplier."""
    mark = mark_of(bom=bom, as_csv=as_csv)
    first, last = _period(which)
    request = pb.ExportLossesRequest(first_day=first, last_day=last)
    found: list[pb.Loss] = _run(
        target, lambda stub: _all(stub.ExportLosses(request, timeout=REPORT_S), "losses")
    )
    if as_csv:
        _csv(pb.Loss, found, mark)
        return
    sums: dict[tuple[int, str], list[int]] = {}
    for one in found:
        words = f"order {one.order_id}, line {one.line_id}, {one.up_channel_no}"
        typer.echo(f"{one.day} #{one.number} of {words}: {_yuan(one.loss_micros)} 元")
        sums.setdefault((one.line_id, one.up_channel_no), []).append(one.loss_micros)
    for (line_id, channel_no), lost in sorted(sums.items()):
        words = f"{len(lost)} at a loss, {_yuan(sum(lost))} 元"
        typer.echo(f"line {line_id}, {channel_no}: {words}")


@app.command()
def debts(
    day: Annotated[str, typer.Argument(help="At the end of this day, yyyy-mm-dd.")],
    as_csv: Csv = False,
    bom: Bom = False,
    target: Target = DEFAULT_TARGET,
) -> None:
    """Accounts below zero, since when, and their sums by age: of channels what is owed to us, of
    suppliers what we owe."""
    mark = mark_of(bom=bom, as_csv=as_csv)
    request = pb.ExportDebtsRequest(day=_day(day))
    found: list[pb.Debt] = _run(
        target, lambda stub: _all(stub.ExportDebts(request, timeout=REPORT_S), "debts")
    )
    if as_csv:
        _csv(pb.Debt, found, mark)
        return
    sums: dict[str, int] = {}
    for one in found:
        words = f"{_yuan(one.owed_micros)} 元 since {one.since_day}, {one.days} days"
        typer.echo(f"{one.ident}/{one.groups}/{one.eid}: {words}")
        sums[_age(one.days)] = sums.get(_age(one.days), 0) + one.owed_micros
    for age, owed in sums.items():
        typer.echo(f"{age} days: {_yuan(owed)} 元")


@app.command()
def invoices(
    which: Period,
    bom: Bom = False,
    sums: Annotated[bool, typer.Option("--sums", help="What they come to, by rate.")] = False,
    target: Target = DEFAULT_TARGET,
) -> None:
    """Orders that need an invoice and refunds of such, as CSV for the invoicing system."""
    first, last = (date.fromisoformat(one) for one in _period(which))
    days = [str(first + timedelta(days=at)) for at in range((last - first).days + 1)]

    async def ask(stub: Any) -> list[pb.Invoice]:
        found: list[pb.Invoice] = []
        for one in days:
            request = pb.ExportInvoicesRequest(day=one)
            found += await _all(stub.ExportInvoices(request, timeout=REPORT_S), "invoices")
        return found

    found = _run(target, ask)
    if sums:
        _rates(found)
    else:
        _csv(pb.Invoice, found, mark_of(bom=bom))


def _rates(found: list[pb.Invoice]) -> None:
    """Amounts and service fees by rate: orders, what refunds took back, what is left to invoice."""
    sums: dict[tuple[str, str], list[int]] = {}
    for one in found:
        taken_back = one.kind == REFUND
        for what, known, ppm, micros in (
            ("amounts", one.HasField("rate_ppm"), one.rate_ppm, one.amount_micros),
            (
                "service fees",
                one.HasField("service_rate_ppm"),
                one.service_rate_ppm,
                one.service_micros,
            ),
        ):
            rate = f"{micros_to_yuan(ppm * PERCENT)}%" if known else "no rate"
            if micros:
                sums.setdefault((what, rate), [0, 0])[taken_back] += micros
    for (what, rate), (sold, back) in sorted(sums.items()):
        typer.echo(f"{what} at {rate}: {_yuan(sold)} - {_yuan(back)} = {_yuan(sold - back)} 元")


@app.command()
def close(
    which: Period,
    by: Annotated[str, typer.Option(help="Who closes it.")],
    target: Target = DEFAULT_TARGET,
) -> None:
    """Close a day or a month; refused while a day is not complete or exceptions wait."""
    first, last = _period(which)
    request = pb.ClosePeriodRequest(first_day=first, last_day=last, by=by)
    found = _run(target, lambda stub: stub.ClosePeriod(request, timeout=REPORT_S))
    typer.echo(("was closed before: " if found.existed else "closed: ") + _closed(found.period))


@app.command()
def reopen(
    period: Annotated[str, typer.Argument(help="Day yyyy-mm-dd, or month yyyy-mm.")],
    reason: Reason = "",
    target: Target = DEFAULT_TARGET,
) -> None:
    """Open a closed day or month again: proposed by one person, approved by another."""
    first, last = _period(period)
    request = pb.ReopenPeriodRequest(first_day=first, last_day=last, reason=reason)

    async def ask(channel: aio.Channel) -> Proposal | pb.ReopenPeriodResponse:
        call = stubs.BookServiceStub(channel).ReopenPeriod
        return await call_or_propose(
            channel, REOPEN, request, lambda: call(request, timeout=CALL_S), Why(reason)
        )

    if not reason:
        stop_command(str(ReasonMissing()))
    made = run_command(target, "finance", ask)
    for one in lines("finance", made) if isinstance(made, Proposal) else [f"{period}: open again"]:
        typer.echo(one)


@app.command()
def reopenings(target: Target = DEFAULT_TARGET) -> None:
    """Periods that were opened again, newest first."""
    request = pb.ListReopeningsRequest(page_size=PAGE)
    for one in _run(target, lambda stub: stub.ListReopenings(request, timeout=CALL_S)).reopenings:
        days = (
            one.first_day if one.first_day == one.last_day else f"{one.first_day}..{one.last_day}"
        )
        who = f"closed by {one.closed_by}, opened by {one.reopened_by}"
        typer.echo(f"{days}: {_yuan(one.closing_micros)} 元, {who}: {one.reason}")


@app.command()
def periods(target: Target = DEFAULT_TARGET) -> None:
    """Closed periods, oldest first."""

    async def ask(stub: Any) -> list[pb.Period]:
        found: list[pb.Period] = []
        request = pb.ListPeriodsRequest(page_size=PAGE)
        while True:
            page = await stub.ListPeriods(request, timeout=CALL_S)
            found += page.periods
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    for one in _run(target, ask):
        typer.echo(_closed(one))


def _closed(one: pb.Period) -> str:
    days = one.first_day if one.first_day == one.last_day else f"{one.first_day}..{one.last_day}"
    return f"{days}: {one.accounts} accounts, {_moved(one)}, by {one.closed_by}, {one.digest.hex()}"


def _moved(one: Any) -> str:
    moved = f"+ {_yuan(one.credits_micros)} - {_yuan(one.debits_micros)}"
    return f"{_yuan(one.opening_micros)} {moved} = {_yuan(one.closing_micros)} 元"


def _age(days: int) -> str:
    low = 0
    for high in AGES:
        if days <= high:
            return f"{low}-{high}"
        low = high + 1
    return f"over {AGES[-1]}"


def _yuan(micros: int) -> str:
    return micros_to_yuan(micros)


def _csv(kind: type[Message], found: list[Any], mark: str) -> None:
    """Rows with the contract's names; amounts in 元, no cell that a spreadsheet calculates."""
    names = [field.name for field in kind.DESCRIPTOR.fields]
    sys.stdout.write(mark)
    out = csv.writer(sys.stdout)
    out.writerow([name.replace(_MICROS, "_yuan").replace(_PPM, "") for name in names])
    for one in found:
        out.writerow([_cell(one, name) for name in names])


def _cell(one: Any, name: str) -> str:
    value = getattr(one, name)
    if name.endswith(_PPM):  # a rate that is not configured is no rate of nothing
        return micros_to_yuan(value) if one.HasField(name) else ""
    if name.endswith(_MICROS):
        return _yuan(value)
    return safe(value) if isinstance(value, str) else str(value)


def _period(text: str) -> tuple[str, str]:
    first, _, last = text.partition("..")
    if last:
        return _day(first), _day(last)
    try:
        month = date.fromisoformat(f"{text}-01")
    except ValueError:
        return _day(text), _day(text)
    end = month.replace(day=calendar.monthrange(month.year, month.month)[1])
    return month.isoformat(), end.isoformat()


def _day(text: str) -> str:
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise typer.BadParameter(f"{text} is no day of the form yyyy-mm-dd") from None


async def _all(stream: Any, name: str) -> list[Any]:
    return [one async for part in stream for one in getattr(part, name)]


def _run(target: str, ask: Callable[[Any], Awaitable[T]]) -> T:
    return run_command(target, "finance", lambda channel: ask(stubs.BookServiceStub(channel)))
