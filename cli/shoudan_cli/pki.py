"""`shoudan pki`: a small authority in a folder, and the certificates of the processes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final, TypeVar

import typer
from rich.table import Table

from shoudan_cli.clients import console, errors
from shoudan_kit.tls.authority import AUTHORITY, CA_KEY, DAYS, Authority, AuthorityError, Issued

T = TypeVar("T")

EVERY_S_MIN: Final = 60.0

app = typer.Typer(no_args_is_help=True)

Folder = Annotated[
    Path,
    typer.Option(help="Folder of authority and certificates.", envvar="SHOUDAN_PKI_FOLDER"),
]
DAYS_VARIABLE: Final = "SHOUDAN_PKI_DAYS"
Days = Annotated[float, typer.Option(help="Days a certificate lives.", envvar=DAYS_VARIABLE)]


@app.command()
def init(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Certificates to issue as well: NAME or NAME=HOST,ADDRESS,…"),
    ] = None,
    folder: Folder = Path("pki"),
    days: Days = DAYS,
    group_readable: Annotated[
        list[str] | None,
        typer.Option(help="A name whose key the folder's group may read, as PostgreSQL's has to."),
    ] = None,
) -> None:
    """Make the authority and the certificates named, as far as they are missing."""

    def made() -> list[Issued]:
        fresh = not (folder / AUTHORITY / CA_KEY).exists()
        authority = Authority.init(folder) if fresh else Authority(folder)
        there = {one.name for one in authority.show() if not one.wrong}
        wanted = dict(_split(one) for one in names or [])
        return [
            authority.issue(name, also, days=days, group=name in (group_readable or []))
            for name, also in wanted.items()
            if name not in there
        ]

    _print(_done(made))


@app.command()
def issue(
    names: Annotated[list[str], typer.Argument(help="NAME or NAME=HOST,ADDRESS,…")],
    folder: Folder = Path("pki"),
    days: Days = DAYS,
) -> None:
    """Issue a new key and certificate for each process named; its old one is no longer in place."""

    def made() -> list[Issued]:
        return [Authority(folder).issue(name, also, days=days) for name, also in map(_split, names)]

    _print(_done(made))


@app.command()
def rotate(
    folder: Folder = Path("pki"),
    days: Annotated[
        float | None, typer.Option(help="Days the new ones live; without it as long as the old.")
    ] = None,
    every_s: Annotated[
        float | None,
        typer.Option(help="Do it again after so many seconds, for ever.", min=EVERY_S_MIN),
    ] = None,
) -> None:
    """Renew what is in the last third of its life, or not usable. Processes take it without a restart."""
    while True:
        _print(_done(lambda: Authority(folder).rotate(days=days)))
        if every_s is None:
            return
        time.sleep(every_s)


@app.command()
def show(folder: Folder = Path("pki")) -> None:
    """List names, serials and ends, and what is wrong; exit code 1 if something is."""
    found = _done(lambda: Authority(folder).show())
    _print(found)
    if any(one.wrong for one in found):
        raise typer.Exit(1)


def _split(text: str) -> tuple[str, list[str]]:
    name, _, also = text.partition("=")
    return name, [one for one in also.split(",") if one]


def _done(work: Callable[[], T]) -> T:
    try:
        return work()
    except AuthorityError as error:
        errors.print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
    except OSError as error:
        words = f"{error.filename}: {error.strerror}"
        errors.print(words, style="red", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(1)


def _print(found: list[Issued]) -> None:
    if not found:
        return
    table = Table("name", "serial", "expires (UTC)", "further names", "wrong")
    for one in found:
        expires = f"{one.expires:%Y-%m-%d %H:%M}" if one.expires else "-"
        table.add_row(one.name, one.serial, expires, " ".join(one.names), one.wrong or "-")
    console.print(table, markup=False)
