"""`shoudan db parts`, `hold`, `release` and `drop-parts`: the monthly parts of tables that only grow."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.table import Table

from shoudan_cli.clients import console, errors
from shoudan_kit.ids import time_of

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from shoudan_kit.db.partitions import Part, Prove

ARCHIVE_VARIABLE: Final = "SHOUDAN_ARCHIVE"

Service = Annotated[str, typer.Argument(help="order, pay, delivery, erp_ingest or identity.")]
Before = Annotated[
    datetime, typer.Option(formats=["%Y-%m-%d"], help="UTC: parts that end by then.")
]


def parts(service: Service) -> None:
    """Show the monthly parts of a service's tables, and how large they are."""
    from shoudan_kit.db.partitions import parts_of

    _show(asyncio.run(parts_of(owner_of(service))))


def hold(
    service: Service,
    part: Annotated[str, typer.Argument(help="Name of a part, as `shoudan db parts` shows it.")],
    reason: Annotated[str, typer.Option(help="Why; shown with the part.")],
) -> None:
    """Keep a part: it is not dropped until `shoudan db release`."""
    _mark(service, part, reason)


def release(service: Service, part: Annotated[str, typer.Argument()]) -> None:
    """Lift the hold of a part."""
    _mark(service, part, "")


def _mark(service: str, part: str, reason: str) -> None:
    from shoudan_kit.db import partitions

    with said(service):
        asyncio.run(partitions.hold(owner_of(service), part, reason))
    console.print(f"{part}: {'on hold' if reason else 'released'}", markup=False, highlight=False)


def drop_parts(
    service: Service,
    before: Before,
    archived: Annotated[
        str, typer.Option(envvar=ARCHIVE_VARIABLE, help="Where they are archived; proved before.")
    ] = "",
    unarchived: Annotated[
        bool, typer.Option("--unarchived", help="Drop what is in no archive, too.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete the oldest rows, whole parts at once, each after its archive is proved to hold them."""
    from shoudan_kit.db.partitions import drop

    if not archived and not unarchived:
        raise typer.BadParameter("say --archived PLACE, or --unarchived", param_hint="--archived")
    owner, moment = owner_of(service), before.replace(tzinfo=UTC)
    prove = None if unarchived else _proof(service, archived)
    with said(service):
        old = asyncio.run(drop(owner, moment, ask=True))
        if not old:
            console.print(f"{service}: no part ends by {moment:%Y-%m-%d}")
            return
        _show(old)
        if not yes:
            typer.confirm("This cannot be undone. Drop these parts?", abort=True)
        dropped = asyncio.run(drop(owner, moment, prove=prove))
    console.print(f"{service}: {len(dropped)} parts dropped")


def _proof(service: str, address: str) -> Prove:
    """What is asked of a part before it is dropped: that its archive holds the rows it holds."""
    from shoudan_kit.archive.place import ArchiveFailed, Place
    from shoudan_kit.archive.write import prove

    with said(service):
        place = Place(address)

    async def proved(connection: AsyncConnection, part: Part) -> None:
        manifest = place.manifest(service, part.table, part.name)
        if manifest is None:
            raise ArchiveFailed(f"{part.name} is not archived there: shoudan db archive")
        place.check(manifest)
        await prove(connection, part, manifest)

    return proved


@contextmanager
def said(service: str) -> Generator[None]:
    """What a command refuses, as its end."""
    from shoudan_kit.archive.place import ArchiveFailed
    from shoudan_kit.db.owner import Locked
    from shoudan_kit.db.partitions import Kept

    try:
        yield
    except (ArchiveFailed, Kept, Locked) as error:
        errors.print(
            f"{service}: {error}", style="red", markup=False, highlight=False, soft_wrap=True
        )
        raise typer.Exit(1) from None


def owner_of(service: str) -> str:
    """The owner's URL, as `shoudan migrate` reads it."""
    from shoudan_cli.process import declared, targets

    one = declared(service)
    if one.schema is None:
        raise typer.BadParameter("it has no database", param_hint="SERVICE")
    (found,) = targets([one])
    if found.shards.shards > 1:
        raise typer.BadParameter(
            "it has several shards, which this cannot do yet", param_hint="SERVICE"
        )
    return found.shards.homes[0].owner_url


def _show(found: Sequence[Part]) -> None:
    table = Table("table", "part", "from", "to", "MiB", "on hold")
    for one in found:
        low, high = (f"{time_of(end):%Y-%m-%d}" if end else "-" for end in (one.low, one.high))
        table.add_row(one.table, one.name, low, high, f"{one.total_bytes / 2**20:.1f}", one.hold)
    console.print(table)
