"""`shoudan db ended` and `archive-ended`: rows that have ended leave a database, and why others stay."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Final, NoReturn

import typer
from rich.table import Table

from shoudan_cli.clients import console
from shoudan_cli.parts import ARCHIVE_VARIABLE, Service, said

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from shoudan_kit.archive.ended import Done
    from shoudan_kit.archive.place import Place
    from shoudan_kit.db.ended import Ended, Hold
    from shoudan_kit.db.shard_map import Home

DAYS_MIN: Final = 90  # younger rows may be refunded, asked about or still counted

KeepDays = Annotated[
    int, typer.Option(min=DAYS_MIN, help="Rows that nothing changed for so many days.")
]


def ended(service: Service, keep_days: KeepDays) -> None:
    """Count the rows that may go, and those that stay by their first reason; change nothing."""
    from shoudan_kit.db.ended import GOES, HELD

    declared, homes = ended_of(service)
    held = holder_of(service, declared, homes)
    with said(service):
        before, found = asyncio.run(_count(declared, held, homes, timedelta(days=keep_days)))
    why = {one.word: one.why for one in declared.stays} | {HELD: "a hold keeps it"}
    table = Table(declared.table, f"made before {before:%Y-%m-%d}", "why")
    for reason, count in sorted(found.items(), key=lambda one: (one[0] != GOES, one[0])):
        table.add_row(reason or "may go", f"{count:,}", why.get(reason, ""))
    console.print(table)


def archive_ended(
    service: Service,
    to: Annotated[
        str, typer.Argument(envvar=ARCHIVE_VARIABLE, help="A folder, or an address fsspec knows.")
    ],
    keep_days: KeepDays,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Write what may go to an archive, prove it, delete it. Run again, it goes on where it was stopped."""
    from shoudan_cli.process import declared, settings_of
    from shoudan_kit import faults
    from shoudan_kit.archive.place import Place
    from shoudan_kit.db.ended import GOES

    found, homes = ended_of(service)
    held = holder_of(service, found, homes)
    faults.arm(settings_of(declared(service)).profile)
    with said(service):
        place = Place(to)
        before, counts = asyncio.run(_count(found, held, homes, timedelta(days=keep_days)))
        console.print(
            f"{service}: {counts.get(GOES, 0):,} of {found.table} may go", highlight=False
        )
        if not yes:
            typer.confirm("They leave the database. Go on?", abort=True)
        for home in homes:
            asyncio.run(_archive(service, found, held, home, place, before))


def ended_of(service: str) -> tuple[Ended, tuple[Home, ...]]:
    """What a service declares, and its databases."""
    from shoudan_cli.process import declared, targets

    one = declared(service)
    if one.schema is None or one.schema.ended is None:
        _wrong("no rows of this service leave by number")
    (target,) = targets([one])
    return one.schema.ended, tuple(target.shards.homes)


@dataclass(frozen=True, slots=True)
class Holder:
    """Who keeps the holds of a service's rows: a declaration, and the first database of its service."""

    ended: Ended
    home: Home


def holder_of(service: str, ended: Ended, homes: tuple[Home, ...]) -> Holder:
    """The service itself, or the one it names: then that one's database must be set here, too."""
    if not ended.holds_in:
        return Holder(ended, homes[0])
    other, there = ended_of(ended.holds_in)
    console.print(f"{service}: holds are those of {ended.holds_in}", highlight=False)
    return Holder(other, there[0])


async def _holds(held: Holder) -> Sequence[Hold]:
    """Every hold. Raises ArchiveFailed where they cannot be read: then nothing may go."""
    from sqlalchemy.exc import SQLAlchemyError

    from shoudan_kit.archive.place import ArchiveFailed
    from shoudan_kit.db.ended import holds_of
    from shoudan_kit.db.errors import describe
    from shoudan_kit.db.owner import as_owner

    try:
        async with as_owner(held.home.owner_url, held.home.schema) as db, db.begin():
            return await holds_of(db, held.ended)
    except (SQLAlchemyError, OSError) as error:
        raise ArchiveFailed(f"the holds cannot be read: {describe(error)}") from None


async def _count(
    ended: Ended, held: Holder, homes: tuple[Home, ...], keep: timedelta
) -> tuple[datetime, Mapping[str, int]]:
    """Of all shards together."""
    from shoudan_kit.db.ended import before_of, counted
    from shoudan_kit.db.owner import as_owner

    holds = await _holds(held)
    async with as_owner(homes[0].owner_url, homes[0].schema) as db, db.begin():
        before = await before_of(db, keep)
    sums: dict[str, int] = {}
    for home in homes:
        async with as_owner(home.owner_url, home.schema) as db, db.begin():
            for reason, count in (await counted(db, ended, before, holds)).items():
                sums[reason] = sums.get(reason, 0) + count
    return before, sums


async def _archive(
    service: str, ended: Ended, held: Holder, home: Home, place: Place, before: datetime
) -> None:
    """One shard."""
    from shoudan_kit.archive.ended import Wanted, archive_ended
    from shoudan_kit.db.owner import as_owner

    wanted = Wanted(before, lambda: _holds(held))
    async with as_owner(home.owner_url, home.schema) as connection:
        await archive_ended(connection, service, ended, place, wanted, _print_lot)


def _print_lot(done: Done) -> None:
    stayed = f", {done.stayed:,} changed meanwhile and stay" if done.stayed else ""
    console.print(f"{done.lot_no}  archived: {done.gone:,}{stayed}", markup=False, highlight=False)


def _wrong(words: str) -> NoReturn:
    raise typer.BadParameter(words, param_hint="SERVICE")
