"""Before a command runs: its system is resolved, proved, named, and in prod confirmed."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from importlib.metadata import entry_points
from typing import Any, Final

import typer

GROUP: Final = "shoudan.commands"
ALL: Final = ("order", "pay", "delivery", "erp_ingest")
# Groups of the command itself that call services, beside those that services bring along.
OWN_GROUPS: Final = frozenset({"config", "dictionary", "task", "work", "personal"})
READING: Final = frozenset(
    {"ls", "show", "search", "quarantined", "parked", "dead", "profit", "up", "down", "verify"}
    | {"balance", "accounts", "records", "notices", "export", "check", "tables", "diff"}
)


def prepare(args: Sequence[str], *, yes: bool) -> None:
    """Resolve the system of a command that calls services. Ends with one sentence when it is unclear."""
    services = _services(args[0]) if args else ()
    if not services or len(args) < 2 or {"--help", "-h"} & set(args):
        return
    from shoudan_cli.clients import errors
    from shoudan_cli.systems import SystemUnclear
    from shoudan_kit.config import ConfigError

    try:
        asyncio.run(_prepare(services, args, yes=yes))
    except (SystemUnclear, ConfigError) as error:
        errors.print(str(error), style="red", markup=False, highlight=False)
        raise typer.Exit(1) from None


def _services(group: str) -> Sequence[str]:
    """The services that a group's commands call."""
    if group in OWN_GROUPS:
        return ALL
    for entry in entry_points(group=GROUP, name=group):
        service = entry.value.partition(".")[0].removeprefix("shoudan_")
        return (service,) if service in ALL else ()
    return ()


async def _prepare(services: Sequence[str], args: Sequence[str], *, yes: bool) -> None:
    from shoudan_cli.clients import resolved

    found, system = resolved()
    targets = {name: str(getattr(found, f"{name}_target")) for name in ALL}
    if system is not None and not _own_target(args):
        from shoudan_cli.systems import prove

        ours = [targets[one] for one in services if targets[one] == system.targets.get(one)]
        await prove(system, ours)
    for name, target in targets.items():  # what the commands' own --target options read
        os.environ[f"SHOUDAN_{name.upper()}_TARGET"] = target
    if args[1] not in READING and "--dry-run" not in args:
        await _confirm(system, _own_target(args) or targets[services[0]], yes=yes)


def _own_target(args: Sequence[str]) -> str:
    """The address that the command line itself gives."""
    for one, after in zip(args, [*args[1:], ""], strict=True):
        if one == "--target":
            return after
        if one.startswith("--target="):
            return one.partition("=")[2]
    return ""


async def _confirm(system: Any, target: str, *, yes: bool) -> None:
    """Name the system that is about to change; in prod a person or --yes says so."""
    from shoudan_cli.clients import errors
    from shoudan_cli.systems import SystemUnclear, answers_as

    which = f"system {system.name}, {system.gateway_url}" if system else f"the system at {target}"
    errors.print(which, markup=False, highlight=False)
    if yes or not await answers_as(target, "shoudan.profile.prod"):
        return
    if not sys.stdin.isatty():
        raise SystemUnclear(f"{which} is in production: shoudan --yes …")
    if not typer.confirm("It is in production. Change it?", err=True):
        raise typer.Exit(1)
