"""`shoudan statement …`: statements of suppliers, payment components and banks, imported and shown."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import typer
from grpc import aio

from shoudan.finance.v1 import statement_service_pb2 as pb
from shoudan.finance.v1 import statement_service_pb2_grpc as stubs
from shoudan_finance.row_errors import for_people
from shoudan_kit.clock import beijing
from shoudan_kit.language import Lang, chosen
from shoudan_kit.money import micros_to_yuan
from shoudan_kit.rpc.command import run_command
from shoudan_kit.rpc.refusal import refused_from_rpc

T = TypeVar("T")

CALL_S: Final = 30.0
IMPORT_S: Final = 900.0
PART_BYTES: Final = 2**20
DEFAULT_TARGET: Final = "127.0.0.1:50056"
INVALID: Final = "ERROR_REASON_STATEMENT_INVALID"

app = typer.Typer(no_args_is_help=True)

Target = Annotated[
    str, typer.Option(help="gRPC address of finance.", envvar="SHOUDAN_FINANCE_TARGET")
]
Source = Annotated[str, typer.Option(help="Supplier, merchant or bank account it is of.")]


@app.callback()
def statement() -> None:
    """Statements (对账单) of suppliers, payment components and banks."""


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="The file.")],
    template: Annotated[str, typer.Option(help="How it is read: `shoudan statement templates`.")],
    source: Source = "",
    dry_run: Annotated[bool, typer.Option(help="Show what would be imported, row by row.")] = False,
    supersedes: Annotated[int, typer.Option(help="The statement that it corrects.")] = 0,
    reason: Annotated[str, typer.Option(help="Why, for the audit log.")] = "",
    lang: Lang = "",
    target: Target = DEFAULT_TARGET,
) -> None:
    """Import a statement, whole or not at all. Exit code 1 when rows are wrong."""
    request = pb.ImportStatementRequest(
        template=template,
        source=source,
        file_name=file.name,
        dry_run=dry_run,
        supersedes=supersedes,
        reason=reason,
    )
    found = _run(target, lambda stub: _imported(stub, file, request))
    for one in found.preview:
        typer.echo(_row(one))
    for wrong in found.errors:
        typer.echo(for_people(wrong, chosen(lang)), err=True)
    typer.echo(_line(found.statement))
    if found.existed:
        typer.echo("imported before: the same file")
    if found.error_count:
        typer.echo(f"{found.error_count} rows are wrong: nothing can be imported", err=True)
        raise typer.Exit(1)


@app.command()
def ls(
    source: Source = "",
    most: Annotated[int, typer.Option(help="How many.", min=1, max=1000)] = 100,
    target: Target = DEFAULT_TARGET,
) -> None:
    """List statements, newest first."""
    request = pb.ListStatementsRequest(source=source, page_size=most)
    for one in _run(target, lambda stub: stub.ListStatements(request, timeout=CALL_S)).statements:
        typer.echo(_line(one))


@app.command()
def show(
    which: Annotated[int, typer.Argument(metavar="NUMBER", help="Number of the statement.")],
    target: Target = DEFAULT_TARGET,
) -> None:
    """Show one statement."""
    request = pb.GetStatementRequest(statement_id=which)
    one = _run(target, lambda stub: stub.GetStatement(request, timeout=CALL_S)).statement
    typer.echo(_line(one))
    typer.echo(f"file {one.file_name}, {one.file_bytes} bytes, SHA-256 {one.sha256.hex()}")
    typer.echo(f"imported {beijing(one.create_time.ToDatetime(UTC))} by {one.by or '-'}")
    if one.supersedes:
        typer.echo(f"took the place of {one.supersedes}")


@app.command()
def templates(
    whole: Annotated[bool, typer.Option(help="All of each, as JSON.")] = False,
    target: Target = DEFAULT_TARGET,
) -> None:
    """List the templates that statements are read with."""
    request = pb.ListTemplatesRequest()
    for one in _run(target, lambda stub: stub.ListTemplates(request, timeout=CALL_S)).templates:
        typer.echo(f"{one.name}: {one.format}, {one.encoding}, {one.unit}: {one.title}")
        if whole:
            typer.echo(json.dumps(json.loads(one.json), ensure_ascii=False, indent=2))


async def _imported(
    stub: Any, file: Path, request: pb.ImportStatementRequest
) -> pb.ImportStatementResponse:
    """Store the parts of the file, then import it."""
    sha256, request.parts = hashlib.sha256(), 0
    for part in _parts(file):
        sha256.update(part)
        request.parts += 1
    request.sha256 = sha256.digest()
    with typer.progressbar(enumerate(_parts(file)), length=request.parts, label=file.name) as bar:
        for part_no, part in bar:
            given = pb.StorePartRequest(sha256=request.sha256, part_no=part_no, data=part)
            await stub.StorePart(given, timeout=CALL_S)
    try:
        return await stub.ImportStatement(request, timeout=IMPORT_S)
    except aio.AioRpcError as error:
        refused = refused_from_rpc(error)
        if refused is None or refused.reason != INVALID or request.dry_run:
            raise
    request.dry_run = True  # nothing was imported: all that is wrong is shown, not the first of it
    return await stub.ImportStatement(request, timeout=IMPORT_S)


def _parts(file: Path) -> Iterator[bytes]:
    with file.open("rb") as opened:
        while part := opened.read(PART_BYTES):
            yield part


def _line(one: pb.Statement) -> str:
    days = one.first_day if one.first_day == one.last_day else f"{one.first_day}..{one.last_day}"
    moved = f"+ {micros_to_yuan(one.credits_micros)} - {micros_to_yuan(one.debits_micros)} 元"
    word = pb.StatementStatus.Name(one.status).removeprefix("STATEMENT_STATUS_").lower()
    rows = f"{one.entries} rows, {one.duplicates} were here before, {one.skipped} skipped"
    return f"{one.statement_id or '-'} {one.source} {days or 'no rows'}: {rows}, {moved}: {word}"


def _row(one: pb.Row) -> str:
    numbers = " ".join(filter(None, (one.our_no, one.their_no, one.settle_no, one.account)))
    when = beijing(one.happen_time.ToDatetime(UTC))
    return f"  {one.row_no}: {when} {one.kind} {numbers} {micros_to_yuan(one.amount_micros)} 元 {one.outcome}"


def _run(target: str, ask: Callable[[Any], Awaitable[T]]) -> T:
    return run_command(target, "finance", lambda channel: ask(stubs.StatementServiceStub(channel)))
