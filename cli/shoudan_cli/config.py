"""`shoudan config ...`: apply, plan and export of the configuration file."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Annotated

import typer

from shoudan_cli import apply as applying
from shoudan_cli.clients import Failed, console, errors, open_clients, run, settings
from shoudan_configuration.document import Document, DocumentError, load

app = typer.Typer(no_args_is_help=True)

File = Annotated[Path, typer.Argument(help="The YAML file.", dir_okay=False)]
By = Annotated[str, typer.Option(help="Who asks; written down with every change.")]


@app.command()
def apply(file: File, by: By = "") -> None:
    """Make the running system as FILE says. What is not in FILE stays. Repeats change nothing."""
    run(lambda: _work(file, by, dry_run=False))


@app.command()
def plan(file: File, by: By = "") -> None:
    """Say what `apply` would change."""
    run(lambda: _work(file, by, dry_run=True))


@app.command()
def export(
    file: Annotated[Path | None, typer.Argument(help="Where to write; stdout without it.")] = None,
    ident: Annotated[str, typer.Option(help="System whose accounts are written.")] = "oms",
) -> None:
    """Write the running system's configuration as `apply` takes it."""
    text = run(lambda: _export(ident))
    if file is None:
        typer.echo(text, nl=False)
    else:
        file.write_text(text, "utf-8")


async def _work(file: Path, by: str, *, dry_run: bool) -> None:
    document = read(file)
    async with open_clients(settings()) as clients:
        changes = await applying.apply(clients, document, by or who(), dry_run=dry_run)
        warnings = await applying.warnings(clients, document, by or who())
    for change in changes:
        console.print(change, markup=False, highlight=False)
    verb = "would change" if dry_run else "changed"
    console.print(f"{len(changes)} {verb}" if changes else "nothing to change")
    for warning in warnings:
        errors.print(f"at a loss: {warning}", markup=False, highlight=False, soft_wrap=True)


async def _export(ident: str) -> str:
    async with open_clients(settings()) as clients:
        return await applying.export(clients, ident)


def read(file: Path) -> Document:
    """The file, or Failed with everything that is wrong in it."""
    try:
        return load(file)
    except DocumentError as error:
        raise Failed(str(error)) from None


def who() -> str:
    """The person at the keyboard, as far as the machine knows."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
