"""`shoudan serve` and `shoudan migrate`: one service as one process, one database brought up to date."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from importlib.metadata import entry_points
from typing import Annotated, Any, Final, NoReturn

import typer

from shoudan_cli.clients import console, errors
from shoudan_kit.config import ConfigError, MigrateSettings

GROUP: Final = "shoudan.services"
ONE_SHARD: Final = "this service cannot have several shards"

ServiceName = Annotated[
    str, typer.Argument(help="order, pay, delivery, erp_ingest, identity or gateway.")
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
) -> None:
    """Bring the databases up to date. Repeats change nothing."""
    chosen = [declared(service)] if service else [declared(name) for name in _names()]
    databases = owners([one for one in chosen if one.schema is not None])
    for one, urls in databases:  # all of them answer before the first one is changed
        _migrate(one, *urls, plan_only=True, shown=plan, contract=contract)
    for one, urls in databases if not plan else ():
        _migrate(one, *urls, plan_only=False, shown=True, contract=contract)


def owners(services: Sequence[Any]) -> list[tuple[Any, tuple[str, str, bool]]]:
    """Of each service: its URL, its owner's, whether its clock turns. Ends with all mistakes at once."""
    found: list[tuple[Any, tuple[str, str, bool]]] = []
    wrong: list[ConfigError] = []
    for service in services:
        try:
            urls = MigrateSettings.load(service.name)
            if urls.shards is not None and not service.settings.shardable:
                raise ConfigError(service.name, [f"shards = {urls.shards}: {ONE_SHARD}"])
        except ConfigError as error:
            wrong.append(error)
        else:
            owner = urls.owner_database_url or urls.database_url
            turnable = urls.profile != "prod"
            found.append((service, (urls.database_url.reveal(), owner.reveal(), turnable)))
    if wrong:
        _stop(*wrong)
    return found


def settings_of(service: Any) -> MigrateSettings:
    """What a service's section says of its databases. Ends with all mistakes at once."""
    try:
        return MigrateSettings.load(service.name)
    except ConfigError as error:
        _stop(error)


def _migrate(
    service: Any,
    url: str,
    owner: str,
    turnable: bool,
    *,
    plan_only: bool,
    shown: bool,
    contract: bool,
) -> None:
    from shoudan_kit.db.migrate import plan, role_of, upgrade
    from shoudan_kit.db.owner import Locked
    from shoudan_kit.db.server_version import ServerTooOld

    name, schema = service.name, service.schema
    if plan_only:
        work = plan(name, schema, owner, contract=contract)
    else:
        role = role_of(url, owner)
        work = upgrade(name, schema, owner, role, turnable=turnable, contract=contract)
    try:
        done = asyncio.run(work)
    except (Locked, ServerTooOld) as error:
        errors.print(f"{name}: {error}", style="red", markup=False, highlight=False)
        raise typer.Exit(1) from None
    if not shown:
        return
    verb = "to run" if plan_only else "run"
    console.print(f"{name}: at {done.current or 'nothing'}, {len(done.pending)} {verb}")
    for one in done.pending:
        _print(one)
    for words in done.parts:
        console.print(f"  {words}", markup=False, highlight=False)
    if done.waiting:
        console.print("  after every process runs this release: shoudan migrate --contract")
        for one in done.waiting:
            _print(one)


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
