"""The one command: its own sub-commands, and those that installed packages bring along."""

from __future__ import annotations

import os
import sys
from importlib.metadata import entry_points, version
from typing import Annotated, Final, cast

import typer

from shoudan_cli import process

GROUP: Final = "shoudan.commands"
PIPE_COLUMNS: Final = 200


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(version("shoudan"))
        raise typer.Exit


def root(
    show: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Order acquiring for prepaid goods: orders, ledger, delivery, refunds, notifies."""


def collected() -> typer.Typer:
    """The whole command. An installed package's app joins under the name of its entry point."""
    from shoudan_cli import bench, config, ddl, demo, dictionary, sign, status, tasks, up, work
    from shoudan_fakes import commands as fakes

    app = typer.Typer(name="shoudan", no_args_is_help=True, pretty_exceptions_enable=False)
    app.callback()(root)
    for command in (up.up, demo.demo, status.status, process.serve, process.migrate):
        app.command()(command)
    groups = {
        "config": config.app,
        "task": tasks.app,
        "work": work.app,
        "bench": bench.app,
        "mock": fakes.app,
    }
    groups |= {"sign": sign.app, "db": ddl.app, "dictionary": dictionary.app}
    for entry in entry_points(group=GROUP):
        groups[entry.name] = cast("typer.Typer", entry.load())
    for name in sorted(groups):
        app.add_typer(groups[name], name=name)
    return app


def use_running_system(command: str) -> None:
    """Let a service's own commands find the services where all other commands find them.

    Their options read SHOUDAN_<SERVICE>_TARGET; it is set to what the one resolver says, so that ports
    moved by `shoudan up` are followed. Ends with every mistake in the settings.
    """
    if command not in {entry.name for entry in entry_points(group=GROUP)}:
        return
    from shoudan_cli.clients import SERVICES, settings
    from shoudan_kit.config import ConfigError

    try:
        found = settings()
    except ConfigError as error:
        raise SystemExit(str(error)) from None
    for service in SERVICES:
        target = cast("str", getattr(found, f"{service}_target"))
        os.environ[f"SHOUDAN_{service.upper()}_TARGET"] = target


def main() -> None:
    """Console script. A service's own process loads no other command, because five start at once."""
    if sys.argv[1:2] == ["serve"]:
        alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        alone.command()(process.serve)
        alone(sys.argv[2:], prog_name="shoudan serve")
    else:
        if not sys.stdout.isatty():  # a pipe has no width; tables cut to 80 columns tell little
            os.environ.setdefault("COLUMNS", str(PIPE_COLUMNS))
        use_running_system(sys.argv[1] if len(sys.argv) > 1 else "")
        collected()()
