"""What the commands of this service share: how they call it, and how they say no."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final, NoReturn, TypeVar

import typer
from grpc import aio
from rich.console import Console

from shoudan.pay.v1 import ledger_service_pb2 as pb
from shoudan.pay.v1 import ledger_service_pb2_grpc as stubs
from shoudan_kit.rpc.command import command_channel
from shoudan_kit.rpc.refusal import refused_from_rpc

T = TypeVar("T")

CALL_S: Final = 30.0
DEFAULT_TARGET: Final = "127.0.0.1:50052"

console, errors = Console(), Console(stderr=True)

Target = Annotated[
    str, typer.Option(help="gRPC address of the pay service.", envvar="SHOUDAN_PAY_TARGET")
]
Ident = Annotated[str, typer.Argument(help="System that owns it, such as oms.")]
Groups = Annotated[str, typer.Argument(help="Kind of account, such as down_channel; - for none.")]
Eid = Annotated[str, typer.Argument(help="Channel or member number.")]


def run(
    target: str,
    ask: Callable[[Any], Awaitable[T]],
    stub: Callable[[Any], Any] = stubs.LedgerServiceStub,
) -> T:
    """Ask the pay service; a refusal or a failure becomes one line on stderr and exit code 1."""

    async def asked() -> T:
        channel = command_channel(target, "pay")
        try:
            return await ask(stub(channel))
        finally:
            await channel.close()

    try:
        return asyncio.run(asked())
    except aio.AioRpcError as error:
        refused = refused_from_rpc(error)
        fail(str(refused or f"{error.code().name} {error.details()}"))


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
