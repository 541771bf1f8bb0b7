"""What the commands of this service share: how they call it, and how they say no."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final, NoReturn, TypeVar

import typer
from google.protobuf.message import Message
from grpc import aio
from rich.console import Console

from shoudan.core.v1.proposal_service_pb2 import Proposal
from shoudan.pay.v1 import ledger_service_pb2 as pb
from shoudan.pay.v1 import ledger_service_pb2_grpc as stubs
from shoudan_kit.proposals.command import ReasonMissing, Why, call_or_propose, lines
from shoudan_kit.rpc.command import run_command

T = TypeVar("T")

CALL_S: Final = 30.0
DEFAULT_TARGET: Final = "127.0.0.1:50052"

console, errors = Console(), Console(stderr=True)

Target = Annotated[
    str, typer.Option(help="gRPC address of the pay service.", envvar="SHOUDAN_PAY_TARGET")
]
Ident = Annotated[str, typer.Argument(help="System that owns it, such as oms.")]
Groups = Annotated[str, typer.Argument(help="Kind of account, such as down_channel; - for none.")]
Reason = Annotated[str, typer.Option(help="Why; a second person reads it before approving.")]
Evidence = Annotated[str, typer.Option(help="What shows that it is right, such as a ticket.")]
Eid = Annotated[str, typer.Argument(help="Channel or member number.")]


def run(
    target: str,
    ask: Callable[[Any], Awaitable[T]],
    stub: Callable[[Any], Any] = stubs.LedgerServiceStub,
) -> T:
    """Ask the pay service; a refusal or a failure becomes one line on stderr and exit code 1."""

    return run_command(target, "pay", lambda channel: ask(stub(channel)))


def run_or_propose(target: str, method: str, request: Message, why: Why) -> Any:
    """Call LedgerService; None when it was proposed because two persons are needed, as the lines then say."""

    async def asked(channel: aio.Channel) -> Any:
        call = getattr(stubs.LedgerServiceStub(channel), method)
        name = f"shoudan.pay.v1.LedgerService/{method}"
        return await call_or_propose(
            channel, name, request, lambda: call(request, timeout=CALL_S), why
        )

    try:
        made = run_command(target, "pay", asked)
    except ReasonMissing as missing:
        fail(str(missing))
    if not isinstance(made, Proposal):
        return made
    for line in lines("pay", made):
        plain(console, line)
    return None


def fail(words: str) -> NoReturn:
    """One line on stderr and exit code 1."""
    plain(errors, words)
    raise typer.Exit(1)


def plain(where: Console, words: str) -> None:
    """Words from data: no colours or links are read out of them."""
    where.print(words, markup=False, highlight=False, soft_wrap=True)


def key(ident: str, groups: str, eid: str) -> pb.AccountKey:
    """How the account is named in calls."""
    return pb.AccountKey(ident=ident, groups=groups, eid=eid)
