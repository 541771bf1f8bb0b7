"""`shoudan personal ...`: recharge accounts and phones in all services, found, sealed and erased."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Final

import typer

from shoudan.core.v1 import personal_service_pb2 as pb
from shoudan.core.v1 import personal_service_pb2_grpc as stubs
from shoudan.erp.v1 import erp_service_pb2 as erp
from shoudan.erp.v1 import erp_service_pb2_grpc as erp_stubs
from shoudan_cli.clients import Clients, Failed, console, open_clients, run, settings
from shoudan_cli.config import who
from shoudan_kit.secrets.sealing import plain_phone

app = typer.Typer(no_args_is_help=True)

# The services whose rows carry recharge accounts, in the order they are erased in: an order first, so
# that nothing is sent for it any more.
SERVICES: Final = ("order", "delivery")
SHOWN_MAX: Final = 1_000

Account = Annotated[str, typer.Argument(help="Recharge account; a phone however it is written.")]


@dataclass(slots=True)
class _Walked:
    """What a walk through one service's rows gave."""

    looked: int = 0
    sealed: int = 0
    erased: int = 0
    count: int = 0
    found: list[int] = field(default_factory=list[int])

    def add(self, page: pb.WalkAccountsResponse) -> None:
        """Count one page."""
        self.looked += page.looked
        self.sealed += page.sealed
        self.erased += len(page.erased)
        self.count += len(page.found)
        self.found += page.found[: SHOWN_MAX - len(self.found)]


@app.command()
def seal() -> None:
    """Seal the accounts that lie in clear: rows written before they were sealed. Repeat as you like."""
    run(_seal)


@app.command()
def search(account: Account) -> None:
    """The numbers of the orders and deliveries with this account, at most 1000 of each."""
    run(lambda: _search(account))


@app.command()
def erase(
    account: Account,
    reason: Annotated[str, typer.Option(help="Why; recorded with your name.")],
    by: Annotated[str, typer.Option(help="Who erases.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Erase this account from orders, deliveries and what ERPs pushed, for good."""
    if not yes:
        typer.confirm("This cannot be undone. Erase?", abort=True)
    run(lambda: _erase(account, by or who(), reason))


async def _walk(clients: Clients, service: str, **request: Any) -> _Walked:
    """All rows of a service, shard by shard and page by page; each page is a transaction of its own."""
    walked, shard, shards, after = _Walked(), 0, 1, 0
    while shard < shards:
        page = await clients.call(
            service,
            stubs.PersonalServiceStub,
            "WalkAccounts",
            pb.WalkAccountsRequest(after=after, shard=shard, **request),
        )
        walked.add(page)
        after, shards = page.next, max(page.shards, 1)
        if page.done:
            after, shard = 0, shard + 1
    return walked


async def _seal() -> None:
    async with open_clients(settings()) as clients:
        for service in SERVICES:
            walked = await _walk(clients, service)
            console.print(f"{service}: {walked.sealed} of {walked.looked} rows sealed")


async def _search(account: str) -> None:
    async with open_clients(settings()) as clients:
        for service in SERVICES:
            walked = await _walk(clients, service, account=account)
            for number in walked.found:
                typer.echo(f"{service}  {number}")
            if walked.count > len(walked.found):
                typer.echo(f"{service}: {walked.count} in all", err=True)


async def _erase(account: str, by: str, reason: str) -> None:
    left = 0
    async with open_clients(settings()) as clients:
        for service in SERVICES:
            walked = await _walk(
                clients, service, account=account, erase=True, by=by, reason=reason
            )
            console.print(f"{service}: {walked.erased} rows erased")
            left += walked.count - walked.erased
        if plain_phone(account):
            request = erp.EraseSubjectRequest(phone=account, by=by, reason=reason)
            answer = await clients.call(
                "erp_ingest", erp_stubs.ErpServiceStub, "EraseSubject", request
            )
            console.print(f"erp_ingest: {answer.documents} documents erased")
    if left:
        raise Failed(f"{left} rows are still open and keep it: erase again when they have ended")
