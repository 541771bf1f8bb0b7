"""`shoudan serve` and `shoudan migrate`: one service as one process, one database brought up to date."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn

import typer

from shoudan_cli.clients import console, errors
from shoudan_kit.config import ConfigError, MigrateSettings

if TYPE_CHECKING:
    from shoudan_kit.db.shard_map import Home, ShardMap

GROUP: Final = "shoudan.services"
ONE_SHARD: Final = "this service cannot have several shards"

ServiceName = Annotated[
    str,
    typer.Argument(help="order, pay, delivery, erp_ingest, identity, finance, gateway or console."),
]


def serve(
    service: ServiceName,
    roles: Annotated[
        str, typer.Option(help="What this replica does: rpc, tasks or both, separated by a comma.")
    ] = "rpc,tasks",
) -> None:
    """Run one service until SIGTERM or Ctrl-C, then drain."""
    from shoudan_kit.service import ROLES, run

    wanted = frozenset(part.strip() for part in roles.split(",") if part.strip())
    if not wanted or not wanted <= ROLES:
        raise typer.BadParameter(f"of {', '.join(sorted(ROLES))}", param_hint="--roles")
    try:
        run(declared(service), wanted)
    except ConfigError as error:
        _stop(error)


def migrate(
    service: Annotated[str | None, typer.Argument(help="Only this one; all without it.")] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Say what would run and what it locks, change nothing.")
    ] = False,
    contract: Annotated[
        bool,
        typer.Option("--contract", help="Take away what only releases before this one needed."),
    ] = False,
    server: Annotated[
        str | None,
        typer.Option(
            help="Only the shards on this server of the map; commands for several run at once."
        ),
    ] = None,
) -> None:
    """Bring the databases up to date. Repeats change nothing."""
    if server and not service:
        raise typer.BadParameter("name the service, too", param_hint="--server")
    chosen = [declared(service)] if service else [declared(name) for name in _names()]
    databases = targets([one for one in chosen if one.schema is not None])
    if server and server not in databases[0].shards.servers:
        known = ", ".join(databases[0].shards.servers)
        raise typer.BadParameter(f"one of {known}", param_hint="--server")
    for one in databases:
        _refuse_strays(one)
    for one in databases:  # all of them answer before the first one is changed
        _migrate(one, server, plan_only=True, shown=plan, contract=contract)
    for one in databases if not plan else ():
        _migrate(one, server, plan_only=False, shown=True, contract=contract)


@dataclass(frozen=True)
class Target:
    """The databases of one service: its map, and whether its clock turns."""

    service: Any
    shards: ShardMap
    turnable: bool


def targets(services: Sequence[Any]) -> list[Target]:
    """Where each service has its tables, with the owners' URLs. Ends with all mistakes at once."""
    from shoudan_kit.db.shard_map import ShardMapInvalid
    from shoudan_kit.db.shard_settings import map_of

    found: list[Target] = []
    wrong: list[ConfigError] = []
    for service in services:
        try:
            urls = MigrateSettings.load(service.name)
            if urls.shards is not None and not service.settings.shardable:
                raise ConfigError(service.name, [f"shards = {urls.shards}: {ONE_SHARD}"])
            shards = map_of(urls, owner=True)
        except ConfigError as error:
            wrong.append(error)
        except ShardMapInvalid as error:
            wrong.append(ConfigError(service.name, [f"shards: {one}" for one in error.mistakes]))
        else:
            found.append(Target(service, shards, urls.profile != "prod"))
    if wrong:
        _stop(*wrong)
    return found


def settings_of(service: Any) -> MigrateSettings:
    """What a service's section says of its databases. Ends with all mistakes at once."""
    try:
        return MigrateSettings.load(service.name)
    except ConfigError as error:
        _stop(error)


def _refuse_strays(target: Target) -> None:
    """A map that puts a shard where it is not is refused before anything is changed."""
    from shoudan_kit.db.errors import away, describe
    from shoudan_kit.db.shard_marks import WrongShard, refuse_strays

    if target.shards.shards == 1:
        return
    try:
        asyncio.run(refuse_strays(target.shards.homes))
    except WrongShard as error:
        said = str(error)
    except Exception as error:
        if not away(error):
            raise
        said = f"the database is away: {describe(error)}"
    else:
        return
    words = f"{target.service.name}: {said}"
    errors.print(words, style="red", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(1)


def _migrate(
    target: Target, server: str | None, *, plan_only: bool, shown: bool, contract: bool
) -> None:
    """The shards one after the other, as Alembic works on one database at a time; what fails on a server
    stops no other server."""

    async def one_server(homes: Sequence[Home]) -> bool:
        for home in homes:
            if not await _migrate_home(
                target, home, plan_only=plan_only, shown=shown, contract=contract
            ):
                return False
        return True

    servers = target.shards.servers
    chosen = {server: servers[server]} if server else servers
    done = [asyncio.run(one_server(homes)) for homes in chosen.values()]
    if not all(done):
        raise typer.Exit(1)


async def _migrate_home(
    target: Target, home: Home, *, plan_only: bool, shown: bool, contract: bool
) -> bool:
    """Bring one shard up to date; whether it is. What was done stays done, and is not done again."""
    from shoudan_kit.db.errors import away, describe
    from shoudan_kit.db.migrate import plan, role_of, upgrade
    from shoudan_kit.db.owner import Locked
    from shoudan_kit.db.server_version import ServerTooOld
    from shoudan_kit.db.shard_marks import WrongShard

    name, schema, owner = target.service.name, target.service.schema, home.owner_url
    label = f"{name} {home.schema}" if home.shards > 1 else name
    try:
        if plan_only:
            done = await plan(name, schema, owner, contract=contract, home=home)
        else:
            role = role_of(home.url, owner)
            turnable = target.turnable
            done = await upgrade(
                name, schema, owner, role, turnable=turnable, contract=contract, home=home
            )
    except Exception as error:
        if not (isinstance(error, Locked | ServerTooOld | WrongShard) or away(error)):
            raise
        words = f"the database is away: {describe(error)}" if away(error) else str(error)
        errors.print(
            f"{label}: {words}", style="red", markup=False, highlight=False, soft_wrap=True
        )
        return False
    if not shown:
        return True
    verb = "to run" if plan_only else "run"
    console.print(f"{label}: at {done.current or 'nothing'}, {len(done.pending)} {verb}")
    for one in done.pending:
        _print(one)
    for words in done.parts:
        console.print(f"  {words}", markup=False, highlight=False)
    if done.waiting:
        console.print("  after every process runs this release: shoudan migrate --contract")
        for one in done.waiting:
            _print(one)
    return True


def _print(one: Any) -> None:
    """A revision with its phase and what it locks."""
    console.print(f"  {one} ({one.phase})", markup=False, highlight=False)
    for table, lock in one.locks:
        words = f"    {table}: {lock.words}, {lock.stops}"
        console.print(words, markup=False, highlight=False)


def _names() -> list[str]:
    return sorted(entry.name for entry in entry_points(group=GROUP))


def declared(name: str) -> Any:
    """One service's declaration; only its own package is imported."""
    for entry in entry_points(group=GROUP):
        if entry.name == name:
            return entry.load()
    raise typer.BadParameter(f"one of {', '.join(_names())}", param_hint="SERVICE")


def _stop(*wrong: ConfigError) -> NoReturn:
    for error in wrong:
        errors.print(str(error), style="red", markup=False, highlight=False)
    raise typer.Exit(1) from None
