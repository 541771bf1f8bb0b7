"""`shoudan shard`: the map of a service's shards, shown, checked and changed."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.progress import Progress as Bar
from rich.table import Table

from shoudan_cli.clients import console, errors
from shoudan_cli.process import declared, settings_of, targets

if TYPE_CHECKING:
    from shoudan_cli.process import Target
    from shoudan_kit.config import MigrateSettings
    from shoudan_kit.db.shard_copy import Progress, Say
    from shoudan_kit.db.shard_map import ShardMap
    from shoudan_kit.db.shard_move import Move

app = typer.Typer(no_args_is_help=True)

Service = Annotated[
    str, typer.Argument(help="order, pay, delivery, erp_ingest, identity or finance.")
]
Shard = Annotated[int, typer.Argument(min=0, help="The shard's number.")]
Server = Annotated[str, typer.Argument(help="A server that the map names.")]


@app.callback()
def group() -> None:
    """Shards of a service: its map, shown, checked and changed."""


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


@app.command("move")
def move_shard(
    service: Service,
    shard: Shard,
    server: Server,
    plan: Annotated[
        bool, typer.Option("--plan", help="Say what would be done and what stands against it.")
    ] = False,
    copy_only: Annotated[
        bool,
        typer.Option("--copy-only", help="Copy and follow, stop before writers are stopped."),
    ] = False,
    undo: Annotated[
        bool, typer.Option("--undo", help="Give the move up: the shard stays, the copy goes.")
    ] = False,
    prove: Annotated[
        bool, typer.Option(help="Compare all rows of both copies before the switch.")
    ] = True,
    source_url_file: Annotated[
        Path | None,
        typer.Option(
            help="File with the URL by which the new server reaches the old one; without it the owner's."
        ),
    ] = None,
    map_out: Annotated[
        Path | None, typer.Option(help="Write the next map here, not over the map in use.")
    ] = None,
) -> None:
    """Move a shard to another server while the service works; run again, it goes on where it was stopped."""
    from shoudan_kit import faults
    from shoudan_kit.db import shard_move

    (target,) = targets([declared(service)])
    move, text = _planned(target, shard, server, source_url_file)
    faults.arm(settings_of(target.service).profile)
    if plan:
        _show_plan(move)
        return
    with _refused(service):
        if undo:
            asyncio.run(shard_move.undo(move))
            console.print(f"{service}: shard {shard} stays on {move.source.server}")
            return
        with Bar(console=errors, transient=True) as bar:
            say = _showing(bar, f"{service} shard {shard}")
            away_s = asyncio.run(shard_move.run(move, say, copy_only=copy_only, prove=prove))
    if copy_only:
        console.print(f"{service}: shard {shard} is copied and followed; writers were not stopped")
        return
    _write_map(map_out or _map_file(target), text)
    console.print(
        f"{service}: shard {shard} is on {server}, it was at neither place for {away_s:.1f} s;"
        f" epoch {move.after.epoch} is in {map_out or _map_file(target)}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


@app.command("drop")
def drop_shard(service: Service, shard: Shard, server: Server) -> None:
    """Drop the copy that a moved shard left behind on a server."""
    from shoudan_kit.db import shard_move

    (target,) = targets([declared(service)])
    if shard >= target.shards.shards or server not in target.shards.urls:
        _wrong(service, f"the map has no shard {shard}, or no server {server}")
    with _refused(service):
        asyncio.run(shard_move.drop(target.shards, shard, server))
    console.print(f"{service}: shard {shard} is gone from {server}")


@app.command("grow")
def grow_service(service: Service) -> None:
    """Give a service with rows the map of its settings: keys that exist stay in shard 0. Stop it before."""
    from shoudan_kit.db.shard_grow import grow

    (target,) = targets([declared(service)])
    if not target.shards.epoch:
        _wrong(service, "write a map and name it in its settings (SHOUDAN_<SERVICE>_SHARDS)")
    with _refused(service):
        done = asyncio.run(grow(target.service.schema, target.shards, _map_file(target)))
    if done.existed:
        console.print(f"{service}: has this map; {done.keys} keys are pinned to shard 0")
        return
    for line in (
        f"{service}: {done.keys} keys are pinned to shard 0, {_map_file(target)} names them",
        f"next: shoudan migrate {service}; the map and the file beside it to every machine; start",
    ):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


@app.command("split-plan")
def split_plan(
    service: Service,
    servers: Annotated[list[str], typer.Argument(help="The servers to spread over; own is one.")],
) -> None:
    """Say which moves spread a service's shards evenly over servers; nothing is changed."""
    from shoudan_kit.db.shard_map import OWN
    from shoudan_kit.db.shard_map_text import spread

    found = map_of(service)
    if not found.epoch:
        _wrong(service, "it has no map: shoudan shard grow gives it one")
    if unknown := sorted(set(servers) - set(found.urls)):
        _wrong(service, f"the map has no server {', '.join(unknown)}: add it with spare = true")
    if OWN not in servers or len(servers) > found.shards or len(set(servers)) < len(servers):
        _wrong(service, f"name each server once, {OWN} among them, at most {found.shards}")
    moves = spread(found.homes, servers)
    for shard, _, to in moves:
        console.print(f"shoudan shard move {service} {shard} {to}", markup=False, highlight=False)
    if not moves:
        console.print(f"{service}: is spread evenly")


def _planned(target: Target, shard: int, server: str, source: Path | None) -> tuple[Move, str]:
    """The move, and the text of the map after it; ends the command when there can be none."""
    from shoudan_kit.db.shard_map_text import NotEdited, edited
    from shoudan_kit.db.shard_move import FIRST_STAYS, Move
    from shoudan_kit.db.url import DatabaseUrl, DatabaseUrlInvalid

    name, before = target.service.name, target.shards
    if not before.epoch:
        _wrong(name, "it has no map: one shard, which is not moved")
    if shard >= before.shards:
        _wrong(name, f"there are {before.shards} shards, from 0")
    if shard == 0:
        _wrong(name, FIRST_STAYS)
    if server not in before.urls:
        _wrong(name, f"the map has no server {server}: add it with spare = true")
    if before.homes[shard].server == server:
        _wrong(name, f"shard {shard} is on {server}")
    after = before.moved(shard, server)
    try:
        text = edited(_map_file(target).read_text("utf-8"), after)
        reach = DatabaseUrl.parse(source.read_text().strip()).conninfo if source else ""
    except (NotEdited, DatabaseUrlInvalid, OSError) as error:
        _wrong(name, str(error))
    schema = target.service.schema
    return Move(name, schema, shard, before, after, target.turnable, reach), text


def _show_plan(move: Move) -> None:
    """What a move does; exit code 1 with everything that stands against it."""
    from shoudan_kit.db import shard_copy, shard_move

    async def look() -> tuple[list[str], str, int]:
        mistakes = await shard_move.problems(move)
        source = (await shard_move.marks_of(move)).source
        return mistakes, "" if source is None else source.state, await shard_copy.size(move.source)

    with _refused(move.service):
        mistakes, state, bytes_ = asyncio.run(look())
    size = f"{bytes_ / 2**20:.1f} MiB"
    lines = (
        f"{move.source.schema}: {move.source.server} to {move.target.server}, {size}",
        f"begun: {state or 'no'}",
        "1. the tables are made there, and followed by logical replication while the service works",
        "2. the service loses its rights on the old ones; the rest is copied, all rows are compared",
        f"3. the service gets its rights on the new ones; the map of epoch {move.after.epoch} is written",
        f"4. later: shoudan shard drop {move.service} {move.shard} {move.source.server}",
    )
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    for one in mistakes:
        errors.print(one, style="red", markup=False, highlight=False, soft_wrap=True)
    if mistakes:
        raise typer.Exit(1)


def _showing(bar: Bar, words: str) -> Say:
    """A progress bar: tables that are copied, and what is behind."""
    task = bar.add_task(words, total=None)

    def say(now: Progress) -> None:
        behind = f"{words}: {now.ready} of {now.tables} tables, {now.behind_bytes / 2**20:.1f} MiB behind"
        bar.update(task, description=behind, completed=now.ready, total=now.tables or None)

    return say


def _map_file(target: Target) -> Path:
    found = settings_of(target.service).shards
    assert found is not None, "it has a map"
    return found


def _write_map(path: Path, text: str) -> None:
    from shoudan_kit.db.shard_map_text import replace_file

    try:
        replace_file(path, text)
    except OSError as error:
        words = f"{path} cannot be written ({error.strerror}); the shard has moved, the map is now:"
        errors.print(words, style="red", markup=False, highlight=False, soft_wrap=True)
        console.print(text, markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None


@contextmanager
def _refused(service: str) -> Generator[None]:
    """What a move is refused with, as the end of the command."""
    from shoudan_kit.db.errors import away, describe
    from shoudan_kit.db.owner import Locked
    from shoudan_kit.db.shard_copy import MoveFailed
    from shoudan_kit.db.shard_grow import NotGrown
    from shoudan_kit.db.shard_marks import WrongShard

    try:
        yield
    except (MoveFailed, Locked, NotGrown, WrongShard) as error:
        _wrong(service, str(error))
    except Exception as error:
        if not away(error):
            raise
        _wrong(service, f"a database is away: {describe(error)}")


def _wrong(service: str, words: str) -> NoReturn:
    errors.print(f"{service}: {words}", style="red", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(1) from None


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
