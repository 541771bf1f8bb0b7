"""The one command: its own sub-commands, and those that installed packages bring along."""

from __future__ import annotations

import os
import sys
from importlib.metadata import entry_points, version
from typing import Annotated, Any, Final, cast

import typer
from typer.core import TyperGroup

from shoudan_cli import process
from shoudan_cli.choice import GROUP, prepare
from shoudan_cli.systems import NAME_VARIABLE

PIPE_COLUMNS: Final = 200


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(version("shoudan"))
        raise typer.Exit


def root(
    show: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    system: Annotated[
        str, typer.Option(help="System meant: name, data folder or gateway URL.")
    ] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Change a system in production.")] = False,
) -> None:
    """Order acquiring for prepaid goods: orders, ledger, delivery, refunds, notifies."""
    del show, system, yes  # read before the command is found


class Commands(TyperGroup):
    """Resolves the system that is meant before a command reads its options."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """As the base; the command's name comes first in `args`."""
        if system := ctx.params.get("system"):
            os.environ[NAME_VARIABLE] = system
        prepare(args, yes=bool(ctx.params.get("yes")))
        return super().resolve_command(ctx, args)


def collected() -> typer.Typer:
    """The whole command. An installed package's app joins under the name of its entry point."""
    from shoudan_cli import (
        bench,
        config,
        ddl,
        demo,
        dictionary,
        personal,
        sign,
        status,
        tasks,
        up,
        work,
    )
    from shoudan_fakes import commands as fakes

    app = typer.Typer(
        name="shoudan", cls=Commands, no_args_is_help=True, pretty_exceptions_enable=False
    )
    app.callback()(root)
    for command in (up.up, up.systems, demo.demo, status.status, process.serve, process.migrate):
        app.command()(command)
    groups = {
        "config": config.app,
        "task": tasks.app,
        "work": work.app,
        "personal": personal.app,
        "bench": bench.app,
        "mock": fakes.app,
    }
    groups |= {"sign": sign.app, "db": ddl.app, "dictionary": dictionary.app}
    for entry in entry_points(group=GROUP):
        groups[entry.name] = cast("typer.Typer", entry.load())
    for name in sorted(groups):
        app.add_typer(groups[name], name=name)
    return app


def main() -> None:
    """Console script. A service's own process loads no other command, because five start at once."""
    if sys.argv[1:2] == ["serve"]:
        alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        alone.command()(process.serve)
        alone(sys.argv[2:], prog_name="shoudan serve")
    else:
        if not sys.stdout.isatty():  # a pipe has no width; tables cut to 80 columns tell little
            os.environ.setdefault("COLUMNS", str(PIPE_COLUMNS))
        collected()()
