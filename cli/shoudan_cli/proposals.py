"""`shoudan proposal ...`: calls that wait for a second operator, in all services, and their decision."""

from __future__ import annotations

import json
import sys
from datetime import UTC
from typing import Annotated, Any, Final

import typer
from google.protobuf import json_format
from google.protobuf.descriptor_pool import Default
from google.protobuf.message_factory import GetMessageClass

from shoudan.core.v1 import proposal_service_pb2 as pb
from shoudan.core.v1 import proposal_service_pb2_grpc as stubs
from shoudan_cli.clients import Clients, Failed, errors, open_clients, run, settings
from shoudan_kit.ids import id_of
from shoudan_kit.money import micros_to_yuan
from shoudan_kit.proposals import command
from shoudan_kit.proposals.command import Why
from shoudan_kit.proposals.refusals import ProposalNotFound, ProposalRequired

app = typer.Typer(no_args_is_help=True)

SERVICES: Final = ("order", "pay", "finance")  # those with methods of two persons
STATES: Final = {
    name.removeprefix("PROPOSAL_STATE_").lower(): number
    for name, number in pb.ProposalState.items()
    if number
}

Number = Annotated[str, typer.Argument(help="As `shoudan proposal ls` shows it, such as pay:123.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object per line.")]


@app.command("ls")
def list_proposals(
    state: Annotated[
        list[str] | None, typer.Option(help=f"Only these: {', '.join(STATES)}.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Those that have ended, too.")] = False,
    count: Annotated[
        int, typer.Option(help="At most so many of each service.", min=1, max=1000)
    ] = 100,
    as_json: AsJson = False,
) -> None:
    """What waits for a second person, newest first."""
    wanted = [] if every and not state else [_state(one) for one in state or ["open"]]
    run(lambda: _list(wanted, count, as_json=as_json))


@app.command()
def show(number: Number, as_json: AsJson = False) -> None:
    """One proposal: its call, what it would change, who decided."""
    run(lambda: _show(number, as_json=as_json))


@app.command()
def approve(
    number: Number,
    reason: Annotated[str, typer.Option(help="Why; recorded with your name.")] = "",
    as_json: AsJson = False,
) -> None:
    """Make the call of a proposal of another operator. Exit code 1 when the call is refused."""
    run(lambda: _decide("ApproveProposal", pb.ApproveProposalRequest, number, reason, as_json))


@app.command()
def refuse(
    number: Number,
    reason: Annotated[str, typer.Option(help="Why; recorded with your name.")],
    as_json: AsJson = False,
) -> None:
    """End a proposal of another operator without its call."""
    run(lambda: _decide("RefuseProposal", pb.RefuseProposalRequest, number, reason, as_json))


@app.command()
def withdraw(
    number: Number,
    reason: Annotated[str, typer.Option(help="Why; recorded with your name.")] = "",
    as_json: AsJson = False,
) -> None:
    """Take back a proposal of your own."""
    run(lambda: _decide("WithdrawProposal", pb.WithdrawProposalRequest, number, reason, as_json))


@app.command()
def make(
    method: Annotated[str, typer.Argument(help="Such as shoudan.pay.v1.LedgerService/Post.")],
    reason: Annotated[str, typer.Option(help="Why; who approves reads it.")],
    evidence: Annotated[str, typer.Option(help="What shows that it is right.")] = "",
    as_json: AsJson = False,
) -> None:
    """Propose any call; its request is read as JSON from standard input."""
    service, request = _request(method, sys.stdin.read())
    run(lambda: _make(service, method, request, Why(reason, evidence), as_json=as_json))


async def call_or_propose(
    clients: Clients, service: str, stub: Any, method: str, request: Any, why: Why
) -> Any:
    """The answer of a call, or the pb.Proposal of it where one person may not make it. Raises Failed."""
    try:
        return await clients.call(service, stub, method.partition("/")[2], request)
    except Failed as error:
        if error.refused is None or error.refused.reason != ProposalRequired.reason:
            raise
    asked = command.proposed(method, request, why)
    return (await _call(clients, service, "Propose", asked)).proposal


async def _list(states: list[int], count: int, *, as_json: bool) -> None:
    request = pb.ListProposalsRequest(states=[_value(one) for one in states], page_size=count)
    away, found = False, 0
    async with open_clients(settings()) as clients:
        for service in SERVICES:
            try:
                answer = await _walk(clients, service, request)
            except Failed as error:
                errors.print(str(error), style="yellow", markup=False)
                away = True
                continue
            for one in answer:
                found += 1
                typer.echo(_json(service, one) if as_json else command.summary(service, one))
    if away:
        raise Failed("a service did not answer: the list is not whole")
    if not found and not as_json:
        typer.echo("no proposals")


async def _walk(
    clients: Clients, service: str, request: pb.ListProposalsRequest
) -> list[pb.Proposal]:
    """As many as were asked for, page after page: one may be short and have a next."""
    found: list[pb.Proposal] = []
    asked = pb.ListProposalsRequest()
    asked.CopyFrom(request)
    while len(found) < request.page_size:
        answer = await _call(clients, service, "ListProposals", asked)
        found += answer.proposals
        asked.page_token = answer.next_page_token
        if not asked.page_token:
            break
    return found[: request.page_size]


async def _show(number: str, *, as_json: bool) -> None:
    async with open_clients(settings()) as clients:
        service, found = await _find(clients, number)
    _print(service, found, as_json=as_json)


async def _decide(rpc: str, kind: Any, number: str, reason: str, as_json: bool) -> None:
    async with open_clients(settings()) as clients:
        service, found = await _find(clients, number)
        request = kind(proposal_id=found.proposal_id, reason=reason)
        now = (await _call(clients, service, rpc, request)).proposal
    _print(service, now, as_json=as_json)
    if rpc == "ApproveProposal" and command.state_of(now) != "applied":
        raise Failed("the call was refused: what it is about has changed")


async def _make(service: str, method: str, request: Any, why: Why, *, as_json: bool) -> None:
    async with open_clients(settings()) as clients:
        asked = command.proposed(method, request, why)
        made = (await _call(clients, service, "Propose", asked)).proposal
    _print(service, made, as_json=as_json)


async def _find(clients: Clients, number: str) -> tuple[str, pb.Proposal]:
    """The service that has it, and the proposal. Raises Failed."""
    named, _, digits = number.rpartition(":")
    proposal_id = id_of(digits)
    if named not in {"", *SERVICES} or proposal_id is None:
        raise Failed(f"{number} is no number of a proposal, such as pay:123")
    request = pb.GetProposalRequest(proposal_id=proposal_id)
    away: Failed | None = None
    for service in (named,) if named else SERVICES:
        try:
            return service, (await _call(clients, service, "GetProposal", request)).proposal
        except Failed as error:
            if error.refused is None or error.refused.reason != ProposalNotFound.reason:
                away = error  # another service may have it
    raise away or Failed(f"no proposal has the number {number}")


async def _call(clients: Clients, service: str, rpc: str, request: Any) -> Any:
    return await clients.call(service, stubs.ProposalServiceStub, rpc, request)


def _request(method: str, text: str) -> tuple[str, Any]:
    """The service that has the method, and its request of this JSON. Raises BadParameter."""
    service, _, name = method.partition("/")
    try:
        found: Any = Default().FindServiceByName(service)
        kind = GetMessageClass(found.methods_by_name[name].input_type)
        request = json_format.Parse(text, kind())
    except KeyError:
        raise typer.BadParameter(f"{method}: no such method") from None
    except json_format.ParseError as error:
        raise typer.BadParameter(f"standard input is no request of {method}: {error}") from None
    package = service.split(".")[1]
    return "erp_ingest" if package == "erp" else package, request


def _state(word: str) -> int:
    if word not in STATES:
        raise typer.BadParameter(f"{word}: no such state; one of {', '.join(STATES)}")
    return STATES[word]


def _value(number: int) -> pb.ProposalState.ValueType:
    return pb.ProposalState.ValueType(number)


def _print(service: str, proposal: pb.Proposal, *, as_json: bool) -> None:
    if as_json:
        typer.echo(_json(service, proposal))
        return
    for line in command.lines(service, proposal):
        typer.echo(line)


def _json(service: str, one: pb.Proposal) -> str:
    """What `--json` prints, with exactly these keys."""
    known = one.HasField("amount_micros")
    row = {
        "id": f"{service}:{one.proposal_id}",
        "state": command.state_of(one),
        "method": one.method,
        "request": json.loads(one.request_json),
        "subject": one.subject,
        "amount": micros_to_yuan(one.amount_micros) if known else None,
        "dry_run": [[e.what, e.before, e.after] for e in one.dry_run],
        "reason": one.reason,
        "evidence": one.evidence,
        "maker": one.maker,
        "decider": one.decider,
        "decide_reason": one.decide_reason,
        "result": [[e.what, e.before, e.after] for e in one.result],
        "refusal": one.refusal,
        "expires": one.expire_time.ToDatetime(UTC).isoformat(timespec="seconds"),
    }
    return json.dumps(row, ensure_ascii=False)
