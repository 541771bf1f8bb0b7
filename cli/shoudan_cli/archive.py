"""`shoudan db archive`, `archived` and `find`: old parts as Parquet files, and the rows in them."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import orjson
import typer
from rich.table import Table

from shoudan_cli.clients import console
from shoudan_cli.parts import ARCHIVE_VARIABLE, Service, homes_of, said
from shoudan_kit.ids import time_of

if TYPE_CHECKING:
    from shoudan_kit.archive.place import Manifest

Place = Annotated[
    str, typer.Argument(envvar=ARCHIVE_VARIABLE, help="A folder, or an address fsspec knows.")
]


def archive(
    service: Service,
    to: Place,
    before: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="UTC: parts that end by then.")
    ] = None,
    keep_days: Annotated[
        int | None, typer.Option(min=1, help="Instead of --before: parts older than so many days.")
    ] = None,
    table: Annotated[str, typer.Option(help="Only of this table.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say which, write nothing.")] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Compare what is archived with the rows once more.")
    ] = False,
) -> None:
    """Write the parts that have ended to an archive; the database keeps them. Repeats write nothing."""
    from shoudan_kit.archive.place import Place
    from shoudan_kit.archive.write import archive, archived_as
    from shoudan_kit.db.partitions import ended

    moment, homes = _moment(before, keep_days), homes_of(service)
    with said(service):
        for home in homes:
            owner, schema = home.owner_url, home.schema
            old = asyncio.run(ended(owner, moment, schema))
            parts = [one for one in old if table in {"", one.table}]
            if not parts:
                where = f" of shard {home.shard}" if len(homes) > 1 else ""
                console.print(f"{service}: no part{where} ends by {moment:%Y-%m-%d}")
                continue
            if dry_run:
                for one in parts:
                    name, size = archived_as(one, schema), one.total_bytes / 2**20
                    console.print(f"{name}  {size:.1f} MiB", highlight=False)
                continue
            place = Place(to)
            asyncio.run(
                archive(owner, service, parts, place, _print_line, again=again, schema=schema)
            )


def archived(
    service: Service,
    at: Place,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read every file: is it what was written?")
    ] = False,
) -> None:
    """Show what an archive holds of a service. Exit code 1 when a file is not what was written."""
    from shoudan_kit.archive.place import Place

    shown = Table("table", "part", "from", "to", "rows", "MiB", "proved")
    with said(service):
        place = Place(at)
        for one in place.manifests(service):
            if verify:
                place.check(one)
            low, high = (f"{time_of(end):%Y-%m-%d}" if end else "-" for end in (one.low, one.high))
            size = f"{one.bytes / 2**20:.2f}"
            shown.add_row(
                one.table, one.part, low, high, f"{one.rows:,}", size, one.proved or one.made
            )
    console.print(shown)


def find(
    service: Service,
    table: Annotated[str, typer.Argument(help="Table whose archived parts are searched.")],
    column: Annotated[str, typer.Argument(help="Column, as the data dictionary names it.")],
    value: Annotated[str, typer.Argument(help="What stands in it.")],
    at: Annotated[str, typer.Option(envvar=ARCHIVE_VARIABLE, help="The archive.")],
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 100,
) -> None:
    """Show archived rows as JSON, one a line, oldest part first."""
    from shoudan_kit.archive.place import Place
    from shoudan_kit.archive.read import find

    with said(service):
        for row in find(Place(at), service, table, column, value, limit):
            typer.echo(orjson.dumps(row, default=_text))


def _moment(before: datetime | None, keep_days: int | None) -> datetime:
    if (before is None) == (keep_days is None):
        raise typer.BadParameter("say one of --before and --keep-days", param_hint="--before")
    if keep_days is not None:
        return datetime.now(UTC) - timedelta(days=keep_days)
    assert before is not None
    return before.replace(tzinfo=UTC)


def _print_line(manifest: Manifest, new: bool) -> None:
    verb = "archived" if new else "was archived"
    size = f"{manifest.rows:,} rows, {manifest.bytes / 2**20:.2f} MiB"
    console.print(f"{manifest.part}  {verb}: {size}", markup=False, highlight=False)


def _text(value: object) -> str:
    """What JSON has no form of."""
    return value.hex() if isinstance(value, bytes) else str(value)
