"""`shoudan db parts`, `hold`, `release` and `drop-parts`: the monthly parts of tables that only grow."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Mapping, Sequence
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
    from shoudan_kit.db.shard_map import Home

ARCHIVE_VARIABLE: Final = "SHOUDAN_ARCHIVE"
_HEADS: Final = ("table", "part", "from", "to", "MiB", "on hold")

Service = Annotated[
    str, typer.Argument(help="order, pay, delivery, erp_ingest, identity or finance.")
]
Before = Annotated[
    datetime, typer.Option(formats=["%Y-%m-%d"], help="UTC: parts that end by then.")
]


def parts(service: Service) -> None:
    """Show the monthly parts of a service's tables, and how large they are."""
    from shoudan_kit.db.partitions import parts_of

    homes = homes_of(service)
    _show({one: asyncio.run(parts_of(one.owner_url, one.schema)) for one in homes})


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
        for home in homes_of(service):  # each shard has a part of this name
            asyncio.run(partitions.hold(home.owner_url, part, reason, home.schema))
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
    moment, dropped = before.replace(tzinfo=UTC), 0
    homes = homes_of(service)
    with said(service):
        old = {
            one: asyncio.run(drop(one.owner_url, moment, schema=one.schema, ask=True))
            for one in homes
        }
        if not any(old.values()):
            console.print(f"{service}: no part ends by {moment:%Y-%m-%d}")
            return
        _show(old)
        if not yes:
            typer.confirm("This cannot be undone. Drop these parts?", abort=True)
        for one in homes:  # of several shards each by itself: run again, the rest is dropped
            prove = None if unarchived else _proof(service, archived, one.schema)
            gone = asyncio.run(drop(one.owner_url, moment, schema=one.schema, prove=prove))
            dropped += len(gone)
    console.print(f"{service}: {dropped} parts dropped")


def _proof(service: str, address: str, schema: str) -> Prove:
    """What is asked of a part before it is dropped: that its archive holds the rows it holds."""
    from shoudan_kit.archive.place import ArchiveFailed, Place
    from shoudan_kit.archive.write import archived_as, prove

    with said(service):
        place = Place(address)

    async def proved(connection: AsyncConnection, part: Part) -> None:
        name = archived_as(part, schema)
        manifest = place.manifest(service, part.table, name)
        if manifest is None:
            raise ArchiveFailed(f"{name} is not archived there: shoudan db archive")
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


def homes_of(service: str) -> Sequence[Home]:
    """Where the shards of a service are, with the owner's URLs, as `shoudan migrate` reads them."""
    from shoudan_cli.process import declared, targets

    one = declared(service)
    if one.schema is None:
        raise typer.BadParameter("it has no database", param_hint="SERVICE")
    (found,) = targets([one])
    return found.shards.homes


def _show(found: Mapping[Home, Sequence[Part]]) -> None:
    several = len(found) > 1
    table = Table(*(["shard"] if several else []), *_HEADS)
    for home, parts in found.items():
        for one in parts:
            low, high = (f"{time_of(end):%Y-%m-%d}" if end else "-" for end in (one.low, one.high))
            row = (one.table, one.name, low, high, f"{one.total_bytes / 2**20:.1f}", one.hold)
            table.add_row(*([str(home.shard)] if several else []), *row)
    console.print(table)
