"""`shoudan shard`: the map of a service's shards, shown and checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from shoudan_cli.clients import console, errors
from shoudan_cli.process import declared, settings_of

if TYPE_CHECKING:
    from shoudan_kit.config import MigrateSettings
    from shoudan_kit.db.shard_map import ShardMap

app = typer.Typer(no_args_is_help=True)

Service = Annotated[str, typer.Argument(help="order, pay, delivery, erp_ingest or identity.")]


@app.callback()
def group() -> None:
    """Shards of a service: its map, shown and checked."""


@app.command("ls")
def list_shards(service: Service) -> None:
    """Show the map: where each shard lives. Exit code 1 with every mistake when it cannot be used."""
    from shoudan_kit.db.url import DatabaseUrl

    found = map_of(service)
    table = Table("shard", "schema", "server", "database")
    for home in found.homes:
        url = DatabaseUrl.parse(home.url)
        table.add_row(
            str(home.shard), home.schema, home.server, f"{url.database} at {', '.join(url.places)}"
        )
    console.print(table)
    epoch = f"epoch {found.epoch}" if found.epoch else "no map: one shard"
    console.print(f"{service}: {epoch}", markup=False, highlight=False)


def map_of(service: str, *, owner: bool = False) -> ShardMap:
    """The service's map; ends the command with every mistake in it."""
    from shoudan_kit.db.shard_map import ShardMapInvalid
    from shoudan_kit.db.shard_settings import map_of as read

    one = declared(service)
    if one.schema is None:
        raise typer.BadParameter("it has no database", param_hint="SERVICE")
    settings: MigrateSettings = settings_of(one)
    try:
        return read(settings, owner=owner)
    except ShardMapInvalid as error:
        for mistake in error.mistakes:
            said = f"{service}: {settings.shards}: {mistake}"
            errors.print(said, style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None
