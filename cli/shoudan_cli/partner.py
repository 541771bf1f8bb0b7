"""`shoudan partner key ...`: the stored secrets that partners, suppliers and platforms sign with."""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from shoudan.core.v1 import credential_service_pb2 as pb
from shoudan.core.v1 import credential_service_pb2_grpc as stubs
from shoudan_cli import checklist
from shoudan_cli.clients import Clients, Failed, console, errors, open_clients, run, settings
from shoudan_cli.config import who
from shoudan_kit.clock import beijing

app = typer.Typer(no_args_is_help=True)
key = typer.Typer(no_args_is_help=True)
app.add_typer(key, name="key", help="Secrets: issue, rotate, revoke, list.")
app.command("checklist")(checklist.checklist)

SERVICES: Final = ("order", "pay", "erp_ingest", "delivery")  # those that own credentials
SECRET_BYTES_MAX: Final = 16_384
HOUR_S: Final = 3_600

Kind = Annotated[str, typer.Argument(help="channel, notify … as `shoudan partner key ls` lists.")]
Owner = Annotated[str, typer.Argument(help="Number of the channel, name of the sender …")]
Reason = Annotated[str, typer.Option(help="Why; recorded with your name.")]
By = Annotated[str, typer.Option(help="Who does it.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON instead of lines.")]
SecretFile = Annotated[
    Path | None,
    typer.Option(help="File with the secret that the other side gave; - reads it from stdin."),
]
RequestKey = Annotated[
    str,
    typer.Option(help="Key of this request: a repeat with the same one issues nothing more."),
]


@key.command()
def issue(
    kind: Kind,
    owner: Owner,
    reason: Reason,
    secret_file: SecretFile = None,
    valid_days: Annotated[
        int | None, typer.Option(help="Days after which it ends by itself.", min=1, max=3650)
    ] = None,
    request_key: RequestKey = "",
    by: By = "",
    as_json: AsJson = False,
) -> None:
    """Store one more secret and show it, this once. The others of the owner stay."""
    request = pb.IssueCredentialRequest(
        request_key=request_key or secrets.token_hex(16),
        kind=kind,
        owner=owner,
        secret=_given(secret_file),
        by=by or who(),
        reason=reason,
    )
    if valid_days is not None:
        request.expire_time.FromDatetime(datetime.now(UTC) + timedelta(days=valid_days))
    run(lambda: _store("IssueCredential", request, as_json=as_json))


@key.command()
def rotate(
    kind: Kind,
    owner: Owner,
    reason: Reason,
    overlap_hours: Annotated[
        int, typer.Option(help="Hours for which the old one is good, too.", min=0, max=2160)
    ] = 168,
    secret_file: SecretFile = None,
    request_key: RequestKey = "",
    by: By = "",
    as_json: AsJson = False,
) -> None:
    """Store a new secret and show it, this once; the others end after the overlap."""
    request = pb.RotateCredentialRequest(
        request_key=request_key or secrets.token_hex(16),
        kind=kind,
        owner=owner,
        secret=_given(secret_file),
        overlap_s=overlap_hours * HOUR_S,
        by=by or who(),
        reason=reason,
    )
    run(lambda: _store("RotateCredential", request, as_json=as_json))


@key.command()
def revoke(
    kind: Kind,
    owner: Owner,
    reason: Reason,
    number: Annotated[
        int | None, typer.Option("--id", help="Which one, when the owner has several.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All of the owner.")] = False,
    by: By = "",
) -> None:
    """End a secret now, for good: every gateway refuses it within a second."""
    run(lambda: _revoke(kind, owner, number, by or who(), reason, every=every))


@key.command("ls")
def list_keys(
    kind: Annotated[str, typer.Argument(help="Only of this kind.")] = "",
    owner: Annotated[str, typer.Argument(help="Only of this owner.")] = "",
    ended: Annotated[bool, typer.Option("--ended", help="Those that have ended, too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
) -> None:
    """Stored secrets by their fingerprints: whose, in force until when, last used."""
    run(lambda: _list(kind, owner, ended=ended, as_json=as_json))


def _given(file: Path | None) -> str:
    """The secret in a file, which no list of processes shows; empty without one."""
    if file is None:
        return ""
    try:
        raw = sys.stdin.buffer if str(file) == "-" else file.open("rb")
        with raw:
            return raw.read(SECRET_BYTES_MAX).decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        errors.print(f"{file}: cannot be read ({type(error).__name__})", style="red", markup=False)
        raise typer.Exit(1) from None


async def _call(clients: Clients, service: str, rpc: str, request: Any) -> Any:
    return await clients.call(service, stubs.CredentialServiceStub, rpc, request)


async def _kinds(clients: Clients) -> dict[str, str]:
    """The service that owns each kind."""
    found: dict[str, str] = {}
    for service in SERVICES:
        request = pb.ListCredentialsRequest(page_size=1)
        answer = await _call(clients, service, "ListCredentials", request)
        found |= dict.fromkeys(answer.kinds, service)
    return found


async def _owner_of(clients: Clients, kind: str) -> str:
    """The service that owns a kind. Raises Failed."""
    kinds = await _kinds(clients)
    if kind not in kinds:
        raise Failed(f"no such kind: {kind}; of {', '.join(sorted(kinds))}")
    return kinds[kind]


async def _store(rpc: str, request: Any, *, as_json: bool) -> None:
    async with open_clients(settings()) as clients:
        service = await _owner_of(clients, request.kind)
        answer = await _call(clients, service, rpc, request)
    if answer.repeated and not as_json:
        console.print(_line(answer.credential), markup=False, highlight=False)
        raise Failed("issued before by this request: its secret is not shown again; rotate for one")
    if as_json:
        shown = _row(answer.credential) | {"secret": answer.secret, "repeated": answer.repeated}
        typer.echo(json.dumps(shown, ensure_ascii=False))
        return
    errors.print(_line(answer.credential), markup=False, highlight=False)
    for one in getattr(answer, "retiring", ()):
        errors.print(f"replaces {_line(one)}", markup=False, highlight=False)
    errors.print("The secret, shown this once:", markup=False, highlight=False)
    typer.echo(answer.secret)


async def _live(clients: Clients, service: str, kind: str, owner: str) -> list[pb.Credential]:
    request = pb.ListCredentialsRequest(kind=kind, owner=owner)
    return list((await _call(clients, service, "ListCredentials", request)).credentials)


async def _revoke(
    kind: str, owner: str, number: int | None, by: str, reason: str, *, every: bool
) -> None:
    async with open_clients(settings()) as clients:
        service = await _owner_of(clients, kind)
        live = await _live(clients, service, kind, owner)
        for one in _meant(live, number, every=every):
            request = pb.RevokeCredentialRequest(
                credential_id=one.credential_id, by=by, reason=reason
            )
            answer = await _call(clients, service, "RevokeCredential", request)
            console.print(_line(answer.credential), markup=False, highlight=False)


def _meant(
    live: Sequence[pb.Credential], number: int | None, *, every: bool
) -> Sequence[pb.Credential]:
    """Which of the owner's are to end. Raises Failed."""
    if not live:
        raise Failed("nothing is in force there")
    if number is not None:
        live = [one for one in live if one.credential_id == number]
        if not live:
            raise Failed(f"credential {number} is not in force there")
    elif len(live) > 1 and not every:
        lines = "\n".join(map(_line, live))
        raise Failed(f"which one? --id NUMBER, or --all\n{lines}")
    return live


async def _list(kind: str, owner: str, *, ended: bool, as_json: bool) -> None:
    """Page by page of each service; those that answer are listed whatever the others do."""
    away = False
    async with open_clients(settings()) as clients:
        services = [await _owner_of(clients, kind)] if kind else SERVICES
        for service in services:
            request = pb.ListCredentialsRequest(kind=kind, owner=owner, ended=ended, page_size=1000)
            try:
                await _list_of(clients, service, request, as_json=as_json)
            except Failed as error:
                errors.print(str(error), style="yellow", markup=False)
                away = True
    if away:
        raise Failed("a service did not answer: the list is not whole")


async def _list_of(
    clients: Clients, service: str, request: pb.ListCredentialsRequest, *, as_json: bool
) -> None:
    """Everything that one service has, page by page."""
    while True:
        answer = await _call(clients, service, "ListCredentials", request)
        for one in answer.credentials:
            typer.echo(json.dumps(_row(one), ensure_ascii=False) if as_json else _line(one))
        if not answer.next_page_token:
            break
        request.page_token = answer.next_page_token
    if not as_json:
        errors.print(f"{service} has {', '.join(answer.kinds)}", style="dim", markup=False)


def _row(one: Any) -> dict[str, Any]:
    """What `--json` prints, with exactly these keys."""

    def moment(name: str) -> str | None:
        return getattr(one, name).ToDatetime(UTC).isoformat() if one.HasField(name) else None

    return {
        "credential_id": one.credential_id,
        "kind": one.kind,
        "owner": one.owner,
        "fingerprint": one.fingerprint,
        "status": _status(one),
        "not_before": moment("not_before"),
        "expire_time": moment("expire_time"),
        "last_used_time": moment("last_used_time"),
        "create_time": moment("create_time"),
        "created_by": one.created_by,
        "reason": one.reason,
        "ended_by": one.ended_by,
        "ended_reason": one.ended_reason,
        "readable": one.readable,
    }


def _status(one: pb.Credential) -> str:
    return pb.CredentialStatus.Name(one.status).removeprefix("CREDENTIAL_STATUS_").lower()


def _line(one: Any) -> str:
    """One line for people."""

    def moment(name: str, missing: str) -> str:
        return beijing(getattr(one, name).ToDatetime(UTC)) if one.HasField(name) else missing

    until = f"until {moment('expire_time', 'revoked')}"
    used = f"last used {moment('last_used_time', 'never')}"
    lost = "" if one.readable else "  NOT READABLE: its sealing key is lost"
    head = f"{one.kind} {one.owner}  {one.credential_id}  {one.fingerprint}  {_status(one)}"
    return f"{head}  {until}  {used}  by {one.created_by}: {one.reason}{lost}"
