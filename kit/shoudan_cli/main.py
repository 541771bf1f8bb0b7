"""The one command: its own sub-commands, and those that installed packages bring along."""

from __future__ import annotations

from importlib.metadata import entry_points, version
from typing import Annotated, Final, cast

import typer

from shoudan_cli import config, demo, process, status, tasks

GROUP: Final = "shoudan.commands"

app = typer.Typer(
    name="shoudan",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    help="Order acquiring for prepaid goods: orders, ledger, delivery, refunds, notifies.",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(version("shoudan"))
        raise typer.Exit


@app.callback()
def root(
    show: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Order acquiring for prepaid goods."""


def collected() -> typer.Typer:
    """The whole command. A package's app with one command and no name of its own joins at the top."""
    app.command()(process.serve)
    app.command()(process.migrate)
    app.command()(status.status)
    app.command()(demo.demo)
    app.add_typer(config.app, name="config")
    app.add_typer(tasks.app, name="task")
    for entry in sorted(entry_points(group=GROUP), key=lambda one: one.name):
        found = cast("typer.Typer", entry.load())
        if found.registered_callback is None and len(found.registered_commands) == 1:
            app.add_typer(found)
        else:
            app.add_typer(found, name=entry.name)
    return app


def main() -> None:
    """Console script."""
    collected()()
