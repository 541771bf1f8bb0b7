"""`shoudan audit-log ...`: who changed what in all services, as a file for auditors, and the proof of it."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Annotated, Any, Final

import typer

from shoudan.core.v1 import audit_log_service_pb2 as pb
from shoudan.core.v1 import audit_log_service_pb2_grpc as stubs
from shoudan.identity.v1 import identity_service_pb2 as identity_pb
from shoudan.identity.v1 import identity_service_pb2_grpc as identity_grpc
from shoudan_cli.clients import SERVICES, Clients, Failed, errors, open_clients, run, settings
from shoudan_kit.clock import beijing
from shoudan_kit.ids import id_of
from shoudan_kit.spreadsheet import Bom, mark_of, safe

app = typer.Typer(no_args_is_help=True)

PAGES_MAX: Final = 200  # of 10 000 rows each that a list looks through in one service
NAMES_MAX: Final = 1_000
EXPORT_S: Final = 240.0  # one stream; what it left out is asked for again, behind its last row
FIELDS: Final = tuple(one.name for one in pb.AuditLogRow.DESCRIPTOR.fields)

Service = Annotated[str, typer.Option(help=f"Of {', '.join(SERVICES)}; all without it.")]
Since = Annotated[str, typer.Option(help="From this time on, such as 2026-11-29T08:00+08:00.")]
Until = Annotated[str, typer.Option(help="Before this time.")]
Operator = Annotated[str, typer.Option(help="Number of an operator, or name of a service.")]
Action = Annotated[str, typer.Option(help="Such as AuditService/DecideAudit.")]
Subject = Annotated[str, typer.Option(help="Kind, or kind:key, such as account or audit:5.")]
Request = Annotated[str, typer.Option(help="Number of the request.")]


@app.command("ls")
def list_rows(
    service: Service = "",
    since: Since = "",
    until: Until = "",
    operator: Operator = "",
    action: Action = "",
    subject: Subject = "",
    request: Request = "",
    count: Annotated[int, typer.Option(help="At most so many.", min=1, max=1000)] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
) -> None:
    """What was changed or refused, newest first."""
    wanted = _filter(since, until, operator, action, subject, request)
    run(lambda: _list(_chosen(service), wanted, count, as_json=as_json))


@app.command()
def export(
    output: Annotated[Path | None, typer.Option(help="File; without it, the terminal.")] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="CSV in place of JSON lines.")] = False,
    bom: Bom = False,
    service: Service = "",
    since: Since = "",
    until: Until = "",
    operator: Operator = "",
    action: Action = "",
    subject: Subject = "",
    request: Request = "",
) -> None:
    """Every row with its block, oldest first, services merged by time."""
    wanted = _filter(since, until, operator, action, subject, request)
    mark = mark_of(bom=bom, as_csv=as_csv)
    run(lambda: _export(_chosen(service), wanted, output, mark, as_csv=as_csv))


@app.command()
def verify(
    service: Service = "",
    heads: Annotated[
        Path | None,
        typer.Option(
            help="File with the last blocks: compared with, then written. Keep it elsewhere."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
) -> None:
    """Compute every block again; exit code 1 when something was changed, removed or forged."""
    known = _read_heads(heads)
    run(lambda: _verify(_chosen(service), known, as_json=as_json))
    if heads is not None:
        heads.write_text(json.dumps(known, indent=2) + "\n", "utf-8")


def _chosen(service: str) -> tuple[str, ...]:
    if service and service not in SERVICES:
        raise typer.BadParameter(f"of {', '.join(SERVICES)}", param_hint="--service")
    return (service,) if service else SERVICES


def _filter(
    since: str, until: str, operator: str, action: str, subject: str, request: str
) -> pb.AuditLogFilter:
    kind, _, key = subject.partition(":")
    made = pb.AuditLogFilter(
        caller_ref=operator, action=action, subject_kind=kind, subject_key=key, request_id=request
    )
    for text, field, option in (
        (since, made.start_time, "--since"),
        (until, made.end_time, "--until"),
    ):
        if text:
            field.FromDatetime(_moment(text, option))
    return made


def _moment(text: str, option: str) -> datetime:
    with suppress(ValueError):
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return moment
    raise typer.BadParameter("ISO time with zone", param_hint=option)


# ---------------------------------------------------------------- ls
async def _list(
    chosen: Iterable[str], wanted: pb.AuditLogFilter, count: int, *, as_json: bool
) -> None:
    rows: list[pb.AuditLogRow] = []
    away = False
    async with open_clients(settings()) as clients:
        for service in chosen:
            try:
                rows += await _newest(clients, service, wanted, count)
            except Failed as error:
                errors.print(str(error), style="yellow", markup=False)
                away = True
        rows.sort(key=_order, reverse=True)
        names = await _names(clients, rows[:count])
    for row in rows[:count]:
        shown = _shown(row, names)
        typer.echo(json.dumps(shown, ensure_ascii=False) if as_json else _line(shown))
    if away:
        raise Failed("a service did not answer: the list is not whole")


async def _newest(
    clients: Clients, service: str, wanted: pb.AuditLogFilter, count: int
) -> list[pb.AuditLogRow]:
    rows: list[pb.AuditLogRow] = []
    token = ""
    for _ in range(PAGES_MAX):
        request = pb.ListAuditLogRequest(
            filter=wanted, page_size=count - len(rows), page_token=token
        )
        page = await clients.call(service, stubs.AuditLogServiceStub, "ListAuditLog", request)
        rows += page.rows
        token = page.next_page_token
        if not token or len(rows) >= count:
            return rows
    typer.echo(f"{service}: there is more: narrow it by --since and --until", err=True)
    return rows


async def _names(clients: Clients, rows: Iterable[pb.AuditLogRow]) -> dict[str, str]:
    """Operators' names by number; none where identity is away or keeps them from this caller."""
    numbers = {row.caller_ref for row in rows if row.caller_kind == "operator"}
    ids = sorted(found for one in numbers if (found := id_of(one)) is not None)
    names: dict[str, str] = {}
    for start in range(0, len(ids), NAMES_MAX):
        request = identity_pb.GetOperatorNamesRequest(operator_ids=ids[start : start + NAMES_MAX])
        stub = identity_grpc.IdentityServiceStub
        try:
            found = await clients.call("identity", stub, "GetOperatorNames", request)
        except Failed as error:
            errors.print(f"names are not known: {error}", style="yellow", markup=False)
            return names
        names |= {str(number): name for number, name in found.names.items()}
    return names


def _order(row: pb.AuditLogRow) -> tuple[int, int, int]:
    return row.create_time.seconds, row.create_time.nanos, row.id


def _shown(row: pb.AuditLogRow, names: dict[str, str]) -> dict[str, Any]:
    """What `--json` and the export print, with exactly these keys."""
    made: dict[str, Any] = {name: getattr(row, name) for name in FIELDS}
    made["create_time"] = row.create_time.ToDatetime(UTC).isoformat(timespec="microseconds")
    made["caller_name"] = names.get(row.caller_ref, "") if row.caller_kind == "operator" else ""
    return made


def _line(row: dict[str, Any]) -> str:
    time = beijing(datetime.fromisoformat(row["create_time"]))
    who = row["caller_name"] or row["caller_ref"] or "?"
    what = f"{row['subject_kind']} {row['subject_key']}".strip()
    before = f"{row['before']} → " if row["before"] else ""
    proposal = f"  proposal {row['proposal_id']}" if row["proposal_id"] else ""
    details = "".join(
        f"\n    {text}" for text in (f"{before}{row['after']}", row["reason"]) if text
    )
    head = f"{time}  {row['service']}  {row['action']}  {row['caller_kind']} {who}"
    address = f"  from {row['address']}" if row["address"] else ""
    return f"{head}{address}  {what}  {row['outcome']}{proposal}{details}"


# ---------------------------------------------------------------- export
async def _export(
    chosen: Iterable[str],
    wanted: pb.AuditLogFilter,
    output: Path | None,
    mark: str,
    *,
    as_csv: bool,
) -> None:
    async with open_clients(settings()) as clients:
        if output is None:
            sys.stdout.write(mark)
            count = await _write(clients, chosen, wanted, sys.stdout, as_csv=as_csv)
        else:
            with output.open("w", encoding="utf-8", newline="") as file:
                file.write(mark)
                count = await _write(clients, chosen, wanted, file, as_csv=as_csv)
    typer.echo(f"{count} rows", err=True)


async def _write(
    clients: Clients,
    chosen: Iterable[str],
    wanted: pb.AuditLogFilter,
    file: IO[str],
    *,
    as_csv: bool,
) -> int:
    writer, count = csv.writer(file), 0
    if as_csv:
        writer.writerow(FIELDS)
    async for row in _merged([_rows(clients, service, wanted) for service in chosen]):
        shown = _shown(row, {})
        if as_csv:
            writer.writerow([_cell(shown[name]) for name in FIELDS])
        else:
            del shown["caller_name"]  # a file that stays has no names
            file.write(json.dumps(shown, ensure_ascii=False) + "\n")
        count += 1
    return count


async def _rows(
    clients: Clients, service: str, wanted: pb.AuditLogFilter
) -> AsyncIterator[pb.AuditLogRow]:
    """Every row of a service, stream after stream. Raises Failed."""
    after = 0
    while True:
        request = pb.ExportAuditLogRequest(filter=wanted, after_id=after)
        rows = clients.stream(
            service, stubs.AuditLogServiceStub, "ExportAuditLog", request, EXPORT_S
        )
        began = after
        try:
            async for message in rows:
                for row in message.rows:
                    yield row
                    after = row.id
        except Failed:
            if after == began:
                raise
            continue
        return


async def _merged(sources: list[AsyncIterator[pb.AuditLogRow]]) -> AsyncIterator[pb.AuditLogRow]:
    """Rows of all sources by time; of each, one is in memory."""
    heads: dict[int, pb.AuditLogRow] = {}
    for number, source in enumerate(sources):
        with suppress(StopAsyncIteration):
            heads[number] = await anext(source)
    while heads:
        number = min(heads, key=lambda one: _order(heads[one]))
        yield heads.pop(number)
        with suppress(StopAsyncIteration):
            heads[number] = await anext(sources[number])


def _cell(value: object) -> object:
    return safe(value) if isinstance(value, str) else value


# ---------------------------------------------------------------- verify
@dataclass(slots=True)
class _Proof:
    """What the proof of a service, or of one shard of it, came to."""

    service: str
    shard: int = 0
    blocks: int = 0
    rows: int = 0
    findings: int = 0
    last_block_no: int = 0
    last_digest: str = ""


async def _verify(
    chosen: Iterable[str], known: dict[str, dict[str, Any]], *, as_json: bool
) -> None:
    """Prove each service; `known` has its last block before, and afterwards the one there is now."""
    wrong = 0
    async with open_clients(settings()) as clients:
        for service in chosen:
            shard, shards = 0, 1
            while shard < shards:  # each has a chain of its own
                name = f"{service} shard {shard}" if shard else service
                proof = _Proof(name, shard)
                shards = await _prove(clients, service, proof, known.get(name, {}), as_json=as_json)
                known[name] = {"block_no": proof.last_block_no, "digest": proof.last_digest}
                wrong += proof.findings
                _show_proof(proof, as_json=as_json)
                shard += 1
    if wrong:
        raise Failed(f"{wrong} findings: the audit log is not as it was sealed")


def _read_heads(heads: Path | None) -> dict[str, dict[str, Any]]:
    """The last blocks that were kept, by service."""
    if heads is None or not heads.exists():
        return {}
    try:
        known: dict[str, dict[str, Any]] = json.loads(heads.read_text("utf-8"))
        for one in known.values():
            one["block_no"] = int(one["block_no"])
            bytes.fromhex(one["digest"])
    except (ValueError, KeyError, TypeError, AttributeError, OSError):
        words = f"{heads} is no file of this command"
        raise typer.BadParameter(words, param_hint="--heads") from None
    return known


def _show_proof(proof: _Proof, *, as_json: bool) -> None:
    if as_json:
        row = {name: getattr(proof, name) for name in _Proof.__slots__}
        typer.echo(json.dumps(row))
        return
    state = f"{proof.findings} findings" if proof.findings else "whole"
    last = f"last block {proof.last_block_no} {proof.last_digest}"
    typer.echo(f"{proof.service}: {state}, {proof.blocks} blocks, {proof.rows} rows, {last}")


async def _prove(
    clients: Clients, service: str, made: _Proof, known: dict[str, Any], *, as_json: bool
) -> int:
    """Prove one shard; gives how many the service has."""
    token = ""
    while True:
        request = pb.VerifyAuditLogRequest(page_token=token, shard=made.shard)
        if not token and known:
            request.expected_block_no = known["block_no"]
            request.expected_digest = bytes.fromhex(known["digest"])
        page = await clients.call(service, stubs.AuditLogServiceStub, "VerifyAuditLog", request)
        made.blocks, made.rows = made.blocks + page.blocks, made.rows + page.rows
        made.findings += len(page.findings)
        for one in page.findings:
            typer.echo(_found(made.service, one, as_json=as_json))
        made.last_block_no, made.last_digest = page.last_block_no, page.last_digest.hex()
        token = page.next_page_token
        if not token:
            return max(page.shards, 1)


def _found(service: str, one: pb.VerifyAuditLogResponse.Finding, *, as_json: bool) -> str:
    if as_json:
        names = [field.name for field in one.DESCRIPTOR.fields]
        return json.dumps({"service": service, **{name: getattr(one, name) for name in names}})
    blocks = _range("block", one.first_block, one.last_block)
    return f"{service}: {one.what}{blocks}{_range('row', one.first_id, one.last_id)}"


def _range(word: str, first: int, last: int) -> str:
    if not first:
        return ""
    return f", {word} {first}" if first == last else f", {word}s {first} to {last}"
