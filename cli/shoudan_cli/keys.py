"""`shoudan keys ...`: the keys that secrets and personal data are sealed under, in all services."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

import typer
from rich.progress import Progress, TaskID

from shoudan.core.v1 import sealing_service_pb2 as pb
from shoudan.core.v1 import sealing_service_pb2_grpc as stubs
from shoudan_cli.clients import Clients, Failed, errors, open_clients, run, settings

app = typer.Typer(no_args_is_help=True)

SERVICES: Final = ("order", "pay", "delivery", "erp_ingest", "identity")
SHOWN_MAX: Final = 20


@dataclass(slots=True)
class _Walked:
    """What the walk through one column gave."""

    looked: int = 0
    resealed: int = 0
    counts: Counter[str] = field(default_factory=Counter[str])
    unreadable: list[str] = field(default_factory=list[str])

    def add(self, page: pb.ResealRowsResponse) -> None:
        """Count one page."""
        self.looked += page.looked
        self.resealed += page.resealed
        self.counts.update({one.key_id: one.count for one in page.counts})
        self.unreadable += page.unreadable


@app.callback()
def keys() -> None:
    """A group, though it has one command."""


@app.command()
def rotate(
    service: Annotated[
        list[str] | None, typer.Option(help="Only these services; all of them by default.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count by key and change nothing.")
    ] = False,
    rows: Annotated[int, typer.Option(help="Rows of one transaction.", min=1, max=5000)] = 1000,
) -> None:
    """Seal everything anew under the first key of each ring. May be stopped and run again.

    Before, put the new key first in SHOUDAN_<SERVICE>_PERSONAL_KEYS and restart the service; the old key
    may go when a second run names it no more. Exit code 1 when something cannot be opened.
    """
    if unknown := set(service or ()) - set(SERVICES):
        raise typer.BadParameter(f"no such service: {', '.join(sorted(unknown))}")
    run(lambda: _rotate(service or SERVICES, rows, dry_run=dry_run))


async def _call(clients: Clients, service: str, rpc: str, request: Any) -> Any:
    return await clients.call(service, stubs.SealingServiceStub, rpc, request)


async def _rotate(services: Any, rows: int, *, dry_run: bool) -> None:
    lost = 0
    async with open_clients(settings()) as clients:
        for service in services:
            listed = await _call(clients, service, "ListSealed", pb.ListSealedRequest())
            if not listed.columns:
                typer.echo(f"{service}  no key of its own: nothing is sealed")
                continue
            typer.echo(
                f"{service}  first key {listed.key_ids[0]}, ring {', '.join(listed.key_ids)}"
            )
            lost += await _rotate_shard(clients, service, listed, rows, 0, dry_run=dry_run)
            for shard in range(1, listed.shards):
                typer.echo(f"{service}  shard {shard}")
                asked = pb.ListSealedRequest(shard=shard)
                there = await _call(clients, service, "ListSealed", asked)
                lost += await _rotate_shard(clients, service, there, rows, shard, dry_run=dry_run)
    if lost:
        raise Failed(f"{lost} rows cannot be opened: their key is lost, or they were changed")


async def _rotate_shard(
    clients: Clients,
    service: str,
    listed: pb.ListSealedResponse,
    rows: int,
    shard: int,
    *,
    dry_run: bool,
) -> int:
    """All columns of one shard; how many rows cannot be opened."""
    lost = 0
    with Progress(console=errors, transient=True) as progress:
        for column in listed.columns:
            bar = progress.add_task(f"{service} {column.name}", total=column.rows or None)
            request = pb.ResealRowsRequest(
                column=column.name, rows=rows, dry_run=dry_run, shard=shard
            )
            walked = await _walk(clients, service, request, progress, bar)
            _show(column.name, walked, frozenset(listed.key_ids), dry_run=dry_run)
            lost += len(walked.unreadable)
    return lost


async def _walk(
    clients: Clients, service: str, request: pb.ResealRowsRequest, progress: Progress, bar: TaskID
) -> _Walked:
    """All rows of one column; each page is a transaction of its own."""
    walked, done = _Walked(), False
    while not done:
        page = await _call(clients, service, "ResealRows", request)
        walked.add(page)
        progress.advance(bar, page.looked)
        request.after, done = page.next, page.done
    return walked


def _show(column: str, walked: _Walked, ring: frozenset[str], *, dry_run: bool) -> None:
    """What was found and done, one line a column; rows that cannot be opened by their keys."""
    under = ", ".join(
        f"{count} under {key_id}{'' if key_id in ring else ' (not in the ring)'}"
        for key_id, count in sorted(walked.counts.items())
    )
    done = "" if dry_run else f"; {walked.resealed} sealed anew"
    typer.echo(f"  {column}  {walked.looked} rows, {under or 'nothing sealed'}{done}")
    for key in walked.unreadable[:SHOWN_MAX]:
        typer.echo(f"    cannot be opened: {column} {key}")
    if len(walked.unreadable) > SHOWN_MAX:
        typer.echo(f"    and {len(walked.unreadable) - SHOWN_MAX} more")
