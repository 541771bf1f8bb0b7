"""`shoudan bill …`: bills of complete days, made by finance, exported as files, proved."""

from __future__ import annotations

import asyncio
import calendar
import hashlib
import os
from collections.abc import Awaitable, Callable
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn, TypeVar
from uuid import uuid4

import typer
from rich.console import Console
from rich.progress import Progress

from shoudan.finance.v1 import bill_service_pb2 as pb
from shoudan.finance.v1 import bill_service_pb2_grpc as stubs
from shoudan_finance import bill_files, trade_bills
from shoudan_finance.bill_files import BillInvalid, Manifest
from shoudan_finance.bill_making import FUND
from shoudan_finance.trade_bills import MERCHANT, SUPPLY, TRADE, TradeManifest
from shoudan_kit.money import micros_to_yuan
from shoudan_kit.rpc.command import run_command

T = TypeVar("T")

CALL_S: Final = 30.0
EXPORT_S: Final = 3600.0
LOOK_S: Final = 0.2
PAGE: Final = 1000
DEFAULT_TARGET: Final = "127.0.0.1:50056"
DRAFT: Final = ".draft-"

console, errors = Console(), Console(stderr=True)
app = typer.Typer(no_args_is_help=True)

Target = Annotated[
    str, typer.Option(help="gRPC address of finance.", envvar="SHOUDAN_FINANCE_TARGET")
]
Number = Annotated[
    int, typer.Argument(metavar="BILL", help="Number of the bill, as `ls` shows it.")
]
Folder = Annotated[Path | None, typer.Option(help="Folder to export the file and its manifest to.")]


@app.callback()
def bill() -> None:
    """Bills of complete days."""


@app.command()
def make(
    ident: Annotated[str, typer.Argument(help="System that owns the accounts, such as oms.")],
    eid: Annotated[
        str, typer.Argument(help="Channel, supplier or member; - for all, with --groups.")
    ],
    day: Annotated[str, typer.Option(help="Accounting day, yyyy-mm-dd.")] = "",
    month: Annotated[str, typer.Option(help="Or a whole month, yyyy-mm.")] = "",
    groups: Annotated[str, typer.Option(help="Only kinds of account that begin so.")] = "",
    bom: Annotated[bool, typer.Option(help="Begin with a byte order mark, for Excel.")] = False,
    backtick: Annotated[
        bool, typer.Option(help="Put ` before each cell, so that Excel keeps long numbers.")
    ] = False,
    packed: Annotated[bool, typer.Option("--gzip", help="Pack it with gzip.")] = False,
    xlsx: Annotated[bool, typer.Option("--xlsx", help="As a workbook, without the marks.")] = False,
    pdf: Annotated[
        bool,
        typer.Option("--pdf", help="As a statement for people: sums by kind and day, no rows."),
    ] = False,
    kind: Annotated[
        str,
        typer.Option(
            help="fund: movements of its accounts; trade: orders and refunds of a down channel;"
            " supply: deliveries and returns of a supplier; merchant: pays and refunds of a merchant of"
            " PayServer."
        ),
    ] = FUND,
    out: Folder = None,
    target: Target = DEFAULT_TARGET,
) -> None:
    """Have a bill made and wait until it is published; one that is there stays as it is."""
    first, last = _period(day, month)
    if kind not in {FUND, TRADE, SUPPLY, MERCHANT}:
        raise typer.BadParameter("say fund, trade, supply or merchant", param_hint="--kind")
    form = "xlsx" if xlsx else "pdf" if pdf else "csv"
    if (xlsx and pdf) or (form != "csv" and (bom or backtick or packed)):
        raise typer.BadParameter("--xlsx or --pdf, without --bom, --backtick and --gzip")
    _is_folder(out)
    request = pb.MakeBillRequest(
        kind=kind,
        ident=ident if kind == FUND else "",
        groups=groups,
        eid="" if eid == "-" else eid,
        first_day=first.isoformat(),
        last_day=last.isoformat(),
        format=form,
        bom=bom,
        backtick=backtick,
        packed=packed,
    )
    made = _run(target, lambda stub: _made(stub, request))
    _print(made, _manifest_of(made))
    if out is not None:
        _export(target, made, out)


@app.command("ls")
def list_bills(
    eid: Annotated[str, typer.Option(help="Only of this channel, supplier or member.")] = "",
    from_day: Annotated[str, typer.Option(help="With --eid: from this day on.")] = "",
    most: Annotated[int, typer.Option(help="At most so many.", min=1)] = 50,
    target: Target = DEFAULT_TARGET,
) -> None:
    """Bills: newest first, or one's by their first day."""
    request = pb.ListBillsRequest(eid=eid, from_day=from_day, page_size=min(most, PAGE))
    for one in _run(target, lambda stub: _listed(stub, request, most)):
        _plain(console, _line(one))


@app.command()
def notices(
    most: Annotated[int, typer.Option(help="At most so many.", min=1, max=1000)] = 50,
    target: Target = DEFAULT_TARGET,
) -> None:
    """What channels were notified of, newest first."""
    request = pb.ListNoticesRequest(page_size=most)
    for one in _run(target, lambda stub: stub.ListNotices(request, timeout=CALL_S)).notices:
        word = "acknowledged"
        if one.answer or not one.HasField("end_time"):
            word = f"{one.tries} tries: {one.answer or 'none answered yet'}"
        _plain(console, f"bill {one.bill_id} to {one.channel_no}: {word}")


@app.command()
def show(number: Number, target: Target = DEFAULT_TARGET) -> None:
    """A bill and the sums it comes to. Exit code 1 unless it is published."""
    found = _run(target, lambda stub: _get(stub, number))
    if found.status != pb.BILL_STATUS_PUBLISHED:
        _fail(_line(found))
    _print(found, _manifest_of(found))


@app.command()
def export(
    number: Number,
    out: Annotated[Path, typer.Option(help="Folder to export the file and its manifest to.")],
    target: Target = DEFAULT_TARGET,
) -> None:
    """Write a published bill's file and manifest; a file that is there already is not written over."""
    _is_folder(out)
    _export(target, _run(target, lambda stub: _get(stub, number)), out)


@app.command()
def verify(
    which: Annotated[
        str, typer.Argument(help="A bill's file, its manifest beside it; or a bill's number.")
    ],
    target: Target = DEFAULT_TARGET,
) -> None:
    """Whether a file is what was published and comes to its sums; or whether a bill made again has the
    same bytes. Exit code 1 when not."""
    if which.isdecimal():
        request = pb.VerifyBillRequest(bill_id=int(which))
        found = _run(target, lambda stub: stub.VerifyBill(request, timeout=EXPORT_S))
        if not found.same:
            _fail(f"{which}: made again it is another one")
        _plain(console, f"{which}: made again it has the same bytes")
        return
    file = Path(which)
    try:
        made = bill_files.verify(file) if _is_fund(file) else trade_bills.verify(file)
    except (BillInvalid, OSError) as error:
        _fail(f"{file.name}: {error}")
    _plain(console, f"{file}: holds, {made.rows} rows, sha256 {made.sha256}")
    _print_sums(made)


def _is_fund(path: Path) -> bool:
    return path.name.startswith(f"{FUND}-")


def _manifest_of(one: pb.Bill) -> Manifest | TradeManifest:
    kind = Manifest if one.kind == FUND else TradeManifest
    return bill_files.read(one.manifest.encode(), kind, one.file)


def _line(one: pb.Bill) -> str:
    days = one.first_day if one.first_day == one.last_day else f"{one.first_day}..{one.last_day}"
    status = pb.BillStatus.Name(one.status).removeprefix("BILL_STATUS_").lower()
    whose = "/".join(text for text in (one.ident, one.groups, one.eid) if text)
    ends = f"{one.file}  sha256 {one.sha256}" if one.sha256 else one.what
    return f"{one.bill_id}  {one.kind}  {whose}  {days}  {status}  {one.rows} rows  {ends}".rstrip()


def _print(one: pb.Bill, made: Manifest | TradeManifest) -> None:
    _plain(console, f"{one.bill_id} {one.file}: published, {one.rows} rows, sha256 {one.sha256}")
    _print_sums(made)


def _print_sums(made: Manifest | TradeManifest) -> None:
    if isinstance(made, TradeManifest):
        for total in made.sums:
            words = f"{total.kind} {total.result}: {total.rows} 笔, {micros_to_yuan(total.amount_micros)} 元"
            _plain(console, f"  {words}")
        return
    for one in made.accounts:
        moved = f"+ {micros_to_yuan(one.credits_micros)} - {micros_to_yuan(one.debits_micros)}"
        ends = micros_to_yuan(one.opening_micros), micros_to_yuan(one.closing_micros)
        _plain(console, f"  {one.groups}/{one.eid}: {ends[0]} {moved} = {ends[1]} 元")


# ------------------------------------------------------------ files
def _is_folder(out: Path | None) -> None:
    if out is not None and not out.is_dir():
        raise typer.BadParameter(f"{out} is no folder", param_hint="--out")


def _export(target: str, one: pb.Bill, out: Path) -> None:
    """Write file and manifest beside their places, then rename them; the manifest last."""
    place = out / one.file
    manifest = bill_files.manifest_path(place)
    if manifest.exists():
        try:
            bill_files.hold_bytes(place, one.sha256)
        except (BillInvalid, OSError) as error:
            _fail(f"{place} is there, and is another one: {error}")
        _plain(console, f"{place}: is there")
        return
    drafts = [out / f"{DRAFT}{uuid4().hex}" for _ in range(2)]
    try:
        _run(target, lambda stub: _written(stub, one, drafts[0]))
        _sync(drafts[1], one.manifest.encode())
        drafts[0].replace(place)
        drafts[1].replace(manifest)
    finally:
        for draft in drafts:
            draft.unlink(missing_ok=True)
    _plain(console, f"{place}: exported")


def _sync(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


async def _written(stub: Any, one: pb.Bill, draft: Path) -> None:
    sha, request = hashlib.sha256(), pb.ExportBillRequest(bill_id=one.bill_id)
    with draft.open("wb") as file, Progress(console=errors, transient=True) as bar:
        shown = bar.add_task(one.file, total=one.bytes)
        async for part in stub.ExportBill(request, timeout=EXPORT_S):
            file.write(part.body)
            sha.update(part.body)
            bar.advance(shown, len(part.body))
        file.flush()
        os.fsync(file.fileno())
    if sha.hexdigest() != one.sha256:
        _fail(f"{one.file}: its bytes are not those that were published")


# ------------------------------------------------------------ calls
async def _made(stub: Any, request: pb.MakeBillRequest) -> pb.Bill:
    """The bill when it is published; how far it is meanwhile."""
    found = (await stub.MakeBill(request, timeout=CALL_S)).bill
    with Progress(console=errors, transient=True) as bar:
        shown = bar.add_task("rows", total=None)
        while found.status == pb.BILL_STATUS_MAKING:
            bar.update(shown, completed=found.rows, description=f"{found.rows} rows")
            await asyncio.sleep(LOOK_S)
            found = await _get(stub, found.bill_id)
    if found.status != pb.BILL_STATUS_PUBLISHED:
        _fail(_line(found))
    return found


async def _get(stub: Any, number: int) -> pb.Bill:
    request = pb.GetBillRequest(bill_id=number)
    found: pb.Bill = (await stub.GetBill(request, timeout=CALL_S)).bill
    return found


async def _listed(stub: Any, request: pb.ListBillsRequest, most: int) -> list[pb.Bill]:
    found: list[pb.Bill] = []
    while True:
        page = await stub.ListBills(request, timeout=CALL_S)
        found += page.bills
        if not page.next_page_token or len(found) >= most:
            return found[:most]
        request.page_token = page.next_page_token


def _run(target: str, ask: Callable[[Any], Awaitable[T]]) -> T:
    return run_command(target, "finance", lambda channel: ask(stubs.BillServiceStub(channel)))


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


def _fail(words: str) -> NoReturn:
    _plain(errors, words)
    raise typer.Exit(1)


def _plain(where: Console, words: str) -> None:
    """Words from data: no colours or links are read out of them."""
    where.print(words, markup=False, highlight=False, soft_wrap=True)
