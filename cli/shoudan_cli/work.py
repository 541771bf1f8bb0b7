"""`shoudan work ...`: everything that waits for a person, in all services, and its decision."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

import typer

from shoudan.core.v1 import operations_service_pb2 as core
from shoudan.core.v1 import operations_service_pb2_grpc as core_grpc
from shoudan.core.v1 import work_service_pb2 as pb
from shoudan.core.v1 import work_service_pb2_grpc as stubs
from shoudan.core.v1.proposal_service_pb2 import Proposal
from shoudan_cli.clients import Clients, Failed, console, errors, open_clients, run, settings
from shoudan_cli.config import who
from shoudan_cli.proposals import call_or_propose
from shoudan_kit.clock import beijing
from shoudan_kit.money import micros_to_yuan
from shoudan_kit.proposals.command import Why, lines
from shoudan_kit.proposals.work import METHOD

app = typer.Typer(no_args_is_help=True)

# The services with kinds of open work; what delivery does not know waits at order.
CALLING: Final = ("order", "pay", "delivery")  # those that call hosts outside
SERVICES: Final = ("order", "pay", "erp_ingest")

Kind = Annotated[str, typer.Argument(help="As `shoudan work ls` shows it.")]
Key = Annotated[str, typer.Argument(help="As `shoudan work ls` shows it.")]


@app.command("ls")
def list_work(
    kind: Annotated[list[str] | None, typer.Option(help="Only these kinds.")] = None,
    count: Annotated[
        int, typer.Option(help="At most so many of each service.", min=1, max=1000)
    ] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
) -> None:
    """Everything that waits, oldest first within its kind: why, since when, what ends it."""
    request = pb.ListOpenWorkRequest(kinds=kind or [], page_size=count)
    run(lambda: _list(request, as_json=as_json))


@app.command()
def show(kind: Kind, key: Key) -> None:
    """One item with all that is known, and its history."""
    run(lambda: _show(kind, key))


@app.command()
def decide(
    kind: Kind,
    key: Key,
    decision: Annotated[str, typer.Argument(help="One of those the item offers.")],
    reason: Annotated[str, typer.Option(help="Why; recorded with your name.")],
    by: Annotated[str, typer.Option(help="Who decides.")] = "",
) -> None:
    """End an item."""
    request = pb.DecideWorkRequest(
        kind=kind, key=key, decision=decision, by=by or who(), reason=reason
    )
    run(lambda: _decide(request))


@app.command()
def resting() -> None:
    """Hosts outside that do not answer, as one process of each service knows them."""
    run(_resting)


async def _resting() -> None:
    found, away = 0, False
    async with open_clients(settings()) as clients:
        for service in CALLING:
            request = core.ListRestingRequest()
            stub = core_grpc.OperationsServiceStub
            try:
                answer = await clients.call(service, stub, "ListResting", request)
            except Failed as error:
                errors.print(str(error), style="yellow", markup=False)
                away = True
                continue
            for one in answer.hosts:
                found += 1
                state = "off" if one.off else "resting"
                since = (
                    f", no answer for {timedelta(seconds=one.failing_s)}" if one.failing_s else ""
                )
                again = f", tried again in {one.left_s} s" if one.left_s else ""
                typer.echo(f"{one.calls} {one.group} {one.host}  {state}{since}{again}")
    if away:
        raise Failed("a service did not answer: the list is not whole")
    if not found:
        typer.echo("everybody answers")


async def _call(clients: Clients, service: str, rpc: str, request: Any) -> Any:
    return await clients.call(service, stubs.WorkServiceStub, rpc, request)


async def _list(request: pb.ListOpenWorkRequest, *, as_json: bool) -> None:
    items: list[pb.OpenWork] = []
    kinds: set[str] = set()
    away, more = False, False
    async with open_clients(settings()) as clients:
        for service in SERVICES:
            try:
                answer = await _call(clients, service, "ListOpenWork", request)
            except Failed as error:
                errors.print(str(error), style="yellow", markup=False)
                away = True
                continue
            items += answer.items
            kinds |= set(answer.kinds)
            more = more or bool(answer.next_page_token)
    if not away and (unknown := set(request.kinds) - kinds):
        raise Failed(f"no such kind: {', '.join(sorted(unknown))}; of {', '.join(sorted(kinds))}")
    for item in items:
        typer.echo(json.dumps(_row(item), ensure_ascii=False) if as_json else _lines(item))
    if not items and not as_json and not away:
        typer.echo("nothing waits for a person")
    if more:
        typer.echo("there is more: --kind, or a larger --count", err=True)
    if away:
        raise Failed("a service did not answer: the list is not whole")


async def _found(clients: Clients, kind: str, key: str) -> tuple[str, pb.OpenWork]:
    """The service that has it, and the item. Raises Failed when it waits no more."""
    service, item = await _owner(clients, kind, key)
    if item is None:
        raise Failed(f"no {kind} waits under {key}")
    return service, item


async def _owner(clients: Clients, kind: str, key: str) -> tuple[str, pb.OpenWork | None]:
    """The service that has the kind, and the item if it waits."""
    request = pb.ListOpenWorkRequest(kinds=[kind], key=key)
    away: Failed | None = None
    for service in SERVICES:
        try:
            answer = await _call(clients, service, "ListOpenWork", request)
        except Failed as error:
            away = error
            continue
        if answer.items:
            return service, answer.items[0]
        if kind in answer.kinds:
            return service, None
    raise away or Failed(f"no such kind: {kind}")


async def _show(kind: str, key: str) -> None:
    async with open_clients(settings()) as clients:
        service, item = await _found(clients, kind, key)
        history = await clients.call(
            service,
            core_grpc.OperationsServiceStub,
            "GetHistory",
            core.GetHistoryRequest(keys=[key]),
        )
    typer.echo(_lines(item))
    for event in history.events:
        moment = beijing(event.time.ToDatetime(UTC))
        typer.echo(f"    {moment}  {event.subject.rpartition('.')[2]}  {event.text}".rstrip())


async def _decide(request: pb.DecideWorkRequest) -> None:
    async with open_clients(settings()) as clients:
        service, _ = await _owner(clients, request.kind, request.key)
        answer = await call_or_propose(
            clients, service, stubs.WorkServiceStub, METHOD, request, Why(request.reason)
        )
    if isinstance(answer, Proposal):
        for line in lines(service, answer):
            typer.echo(line)
        return
    before = f" before, by {answer.by}: {answer.reason}" if answer.repeated else ""
    console.print(f"{request.kind} {request.key}: {answer.decision}{before}", markup=False)


def _row(item: pb.OpenWork) -> dict[str, Any]:
    """What `--json` prints, with exactly these keys."""
    since = item.since.ToDatetime(UTC)
    return {
        "kind": item.kind,
        "key": item.key,
        "state": item.state,
        "reason": item.reason,
        "evidence": item.evidence,
        "decisions": list(item.decisions),
        "since": since.isoformat(timespec="seconds"),
        "age_s": max(0, int((datetime.now(UTC) - since).total_seconds())),
        "amount": micros_to_yuan(item.amount_micros),
    }


def _lines(item: pb.OpenWork) -> str:
    """Lines instead of a table: none of it may be cut off, and its numbers are to be copied."""
    row = _row(item)
    since, age = beijing(item.since.ToDatetime(UTC)), timedelta(seconds=row["age_s"])
    amount = f"  {row['amount']} 元" if item.amount_micros else ""
    head = f"{item.kind} {item.key}  {item.state}{amount}  since {since} ({age})"
    words: Sequence[str] = (item.reason, item.evidence)
    details = "".join(f"\n    {text}" for text in words if text)
    return f"{head}{details}\n    decide: {', '.join(item.decisions) or 'see the runbook'}"
