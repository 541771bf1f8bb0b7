"""`shoudan dictionary export`: all tables, columns, enums, error codes, events and settings as Markdown."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from shoudan_cli.clients import console

app = typer.Typer(no_args_is_help=True)


class Language(StrEnum):
    """The languages of the pages."""

    ZH = "zh"
    EN = "en"


@app.callback()
def group() -> None:
    """Keep `export` a sub-command although it is the only one."""


@app.command()
def export(
    lang: Annotated[Language, typer.Option(help="Language of the pages.")] = Language.EN,
    out: Annotated[
        Path | None, typer.Option(help="Folder for one file per page; stdout without it.")
    ] = None,
) -> None:
    """Write the reference. Needs no running system."""
    from shoudan_cli.reference.pages import pages

    made = pages(lang.value)
    if out is None:
        typer.echo("\n".join(made.values()), nl=False)
        return
    out.mkdir(parents=True, exist_ok=True)
    for name, text in made.items():
        (out / name).write_text(text, "utf-8")
    console.print(f"{len(made)} pages in {out}", markup=False, highlight=False)
