"""`shoudan bill …`: fund bills (资金账单), proved against the ledger, and trade bills (交易账单)."""

from __future__ import annotations

import calendar
from collections.abc import AsyncIterator, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from grpc import aio

from shoudan.order.v1.audit_service_pb2_grpc import AuditServiceStub
from shoudan.pay.v1 import ledger_service_pb2 as pb
from shoudan_kit.money import micros_to_yuan
from shoudan_kit.rpc.command import run_command
from shoudan_pay.commands import bill_files, trade_bills
from shoudan_pay.commands.bill_files import BillInvalid, BillWriter, Manifest, Running
from shoudan_pay.commands.bill_sheets import Style
from shoudan_pay.commands.calls import (
    CALL_S,
    DEFAULT_TARGET,
    Ident,
    Target,
    console,
    fail,
    plain,
    run,
)
from shoudan_pay.commands.day_proof import DayDiffers, DayProof
from shoudan_pay.commands.trade_bills import SUPPLY, TRADE, TradeManifest

FUND: Final = "fund"
ACCOUNTS_MAX: Final = 100
EXPORT_S: Final = 3600.0

ORDER_TARGET: Final = "127.0.0.1:50051"

app = typer.Typer(no_args_is_help=True)

OrderTarget = Annotated[
    str, typer.Option(help="gRPC address of the order service.", envvar="SHOUDAN_ORDER_TARGET")
]
Bill = Annotated[Path, typer.Argument(help="The bill's file; its manifest is beside it.")]


@app.callback()
def bill() -> None:
    """Bills of closed days."""


@app.command()
def make(
    ident: Ident,
    eid: Annotated[str, typer.Argument(help="Channel or member number whose accounts are billed.")],
    out: Annotated[Path, typer.Option(help="Folder the bill is published in.")],
    day: Annotated[str, typer.Option(help="Accounting day, yyyy-mm-dd.")] = "",
    month: Annotated[str, typer.Option(help="Or a whole month, yyyy-mm.")] = "",
    groups: Annotated[str, typer.Option(help="Only kinds of account that begin so.")] = "",
    bom: Annotated[bool, typer.Option(help="Begin with a byte order mark, for Excel.")] = False,
    backtick: Annotated[
        bool, typer.Option(help="Put ` before each cell, so that Excel keeps long numbers.")
    ] = False,
    packed: Annotated[bool, typer.Option("--gzip", help="Pack it with gzip.")] = False,
    xlsx: Annotated[bool, typer.Option("--xlsx", help="As a workbook, without the marks.")] = False,
    kind: Annotated[
        str,
        typer.Option(
            help="fund: movements of its accounts; trade: orders and refunds of a down channel;"
            " supply: deliveries and returns of a supplier."
        ),
    ] = FUND,
    target: Target = DEFAULT_TARGET,
    order_target: OrderTarget = ORDER_TARGET,
) -> None:
    """Make and publish a bill; a repeat finds it, and proves that it would be the same."""
    first, last = _period(day, month)
    if kind not in {FUND, TRADE, SUPPLY}:
        raise typer.BadParameter("say fund, trade or supply", param_hint="--kind")
    if xlsx and (bom or backtick or packed):
        raise typer.BadParameter("--xlsx goes without --bom, --backtick and --gzip")
    if not out.is_dir():
        raise typer.BadParameter(f"{out} is no folder", param_hint="--out")
    name = "-".join((kind, _plain_name(ident), _plain_name(eid), month or day))
    style = Style(bom, backtick, packed, xlsx)
    if kind != FUND:
        _trade(order_target, (out, name, style), (kind, eid), _days(first, last))
        return
    writer = BillWriter(out, name, style)
    try:
        made, existed = run(
            target, lambda stub: _made(stub, writer, (ident, groups, eid), (first, last))
        )
    except (BillInvalid, DayDiffers) as error:
        fail(str(error))
    finally:
        writer.discard()
    _print(out / made.file, made, "was there before" if existed else "published")


@app.command()
def verify(file: Bill) -> None:
    """Whether a bill has the bytes that were published, and comes to its sums. Exit code 1 when not."""
    try:
        made = bill_files.verify(file) if _is_fund(file) else trade_bills.verify(file)
    except (BillInvalid, OSError) as error:
        fail(f"{file.name}: {error}")
    _print(file, made, "holds")


@app.command()
def show(file: Bill) -> None:
    """What a bill's manifest says."""
    try:
        made = _manifest(bill_files.manifest_path(file))
    except (BillInvalid, OSError) as error:
        fail(f"{file.name}: {error}")
    _print(file, made, "published")


@app.command("ls")
def list_bills(folder: Annotated[Path, typer.Argument(help="Folder of bills.")]) -> None:
    """The bills that are published in a folder."""
    for path in sorted(
        one for kind in (FUND, TRADE, SUPPLY) for one in folder.glob(f"{kind}-*.json")
    ):
        try:
            made = _manifest(path)
        except (BillInvalid, OSError) as error:
            fail(f"{path.name}: {error}")
        plain(console, f"{made.file}  {made.rows} rows  sha256 {made.sha256}")


def _is_fund(path: Path) -> bool:
    return path.name.startswith(f"{FUND}-")


def _manifest(path: Path) -> Manifest | TradeManifest:
    return bill_files.read_manifest(path) if _is_fund(path) else trade_bills.read_manifest(path)


def _trade(
    target: str, place: tuple[Path, str, Style], whose: tuple[str, str], days: list[str]
) -> None:
    async def asked(channel: aio.Channel) -> tuple[TradeManifest, bool]:
        return await trade_bills.made(AuditServiceStub(channel), *place, whose, days)

    try:
        made, existed = run_command(target, "order", asked)
    except BillInvalid as error:
        fail(str(error))
    _print(place[0] / made.file, made, "was there before" if existed else "published")


def _days(first: date, last: date) -> list[str]:
    return [(first + timedelta(days=at)).isoformat() for at in range((last - first).days + 1)]


def _print(path: Path, made: Manifest | TradeManifest, how: str) -> None:
    plain(console, f"{path}: {how}, {made.rows} rows, sha256 {made.sha256}")
    if isinstance(made, TradeManifest):
        for total in made.sums:
            words = f"{total.kind} {total.result}: {total.rows} 笔, {micros_to_yuan(total.amount_micros)} 元"
            plain(console, f"  {words}")
        return
    for one in made.accounts:
        moved = f"+ {micros_to_yuan(one.credits_micros)} - {micros_to_yuan(one.debits_micros)}"
        ends = micros_to_yuan(one.opening_micros), micros_to_yuan(one.closing_micros)
        plain(console, f"  {one.groups}/{one.eid}: {ends[0]} {moved} = {ends[1]} 元")


def _period(day: str, month: str) -> tuple[date, date]:
    if bool(day) == bool(month):
        raise typer.BadParameter("say --day or --month")
    try:
        first = date.fromisoformat(day or f"{month}-01")
    except ValueError:
        raise typer.BadParameter(f"{day or month} is no day or month") from None
    if day:
        return first, first
    return first, first.replace(day=calendar.monthrange(first.year, first.month)[1])


def _plain_name(text: str) -> str:
    """Of letters, digits and _ alone: it becomes part of a file's name."""
    return "".join(one if one.isalnum() and one.isascii() else "_" for one in text)


async def _made(
    stub: Any, writer: BillWriter, whose: tuple[str, str, str], period: tuple[date, date]
) -> tuple[Manifest, bool]:
    ident, groups, eid = whose
    sums: list[bill_files.AccountSum] = []
    days = period[0].isoformat(), period[1].isoformat()
    for account in await _accounts(stub, ident, groups, eid):
        request = pb.ListAccountDaysRequest(account=account.key, from_day=days[0], to_day=days[1])
        found = await stub.ListAccountDays(request, timeout=CALL_S)
        running = Running(account, found.opening_micros, found.days)
        async for rows in _rows(stub, running):
            writer.add(rows)
        sums.append(running.total())
    if not sums:
        raise BillInvalid(f"{ident} has no account of {eid}")
    return writer.publish(ident, eid, days, sums)


async def _accounts(stub: Any, ident: str, groups: str, eid: str) -> Sequence[pb.Account]:
    request = pb.ListAccountsRequest(
        ident=ident, groups_prefix=groups, eid=eid, page_size=ACCOUNTS_MAX
    )
    found = await stub.ListAccounts(request, timeout=CALL_S)
    if found.next_page_token:
        raise BillInvalid(f"more than {ACCOUNTS_MAX} accounts: say which --groups")
    return [one for one in found.accounts if one.key.groups != "platform"]


async def _rows(stub: Any, running: Running) -> AsyncIterator[list[list[str]]]:
    """The account's rows, page by page, each day proved to be what the ledger closed it with."""
    if not running.days:
        return
    proof = DayProof(running.days)
    piece = pb.ExportRecordsRequest.Piece(
        account_id=running.account.account_id,
        seq_from=running.days[0].seq_from,
        seq_to=running.days[-1].seq_to,
    )
    request = pb.ExportRecordsRequest(pieces=[piece])
    async for part in stub.ExportRecords(request, timeout=EXPORT_S):
        yield [running.cells(record, proof.day_of(record)) for record in part.records]
    proof.end()
