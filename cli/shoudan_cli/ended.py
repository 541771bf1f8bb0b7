"""`shoudan db ended` and `archive-ended`: rows that have ended leave a database, and why others stay."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn

import typer
from rich.table import Table

from shoudan_cli.clients import console
from shoudan_cli.parts import ARCHIVE_VARIABLE, Service, homes_of, said
from shoudan_kit.clock import BEIJING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from shoudan_kit.archive.ended import Done
    from shoudan_kit.archive.place import Place
    from shoudan_kit.db.chains import Chains
    from shoudan_kit.db.ended import Ended, Hold
    from shoudan_kit.db.schema import Schema
    from shoudan_kit.db.shard_map import Home

DAYS_MIN: Final = 90  # younger rows may be refunded, asked about or still counted

KeepDays = Annotated[
    int, typer.Option(min=DAYS_MIN, help="Rows that nothing changed for so many days.")
]


def ended(service: Service, keep_days: KeepDays) -> None:
    """Count the rows that may go, and those that stay by their first reason; change nothing."""
    from shoudan_kit.db.ended import GOES

    leaving = leaving_of(service)
    with said(service):
        before, found = asyncio.run(leaving.count(timedelta(days=keep_days)))
    table = Table(leaving.declared.table, f"made before {before:%Y-%m-%d}", "why")
    for reason, count in sorted(found.items(), key=lambda one: (one[0] != GOES, one[0])):
        table.add_row(reason or "may go", f"{count:,}", leaving.whys().get(reason, ""))
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

    leaving = leaving_of(service)
    faults.arm(settings_of(declared(service)).profile)
    with said(service):
        place = Place(to)
        before, counts = asyncio.run(leaving.count(timedelta(days=keep_days)))
        console.print(
            f"{service}: {counts.get(GOES, 0):,} of {leaving.declared.table} may go",
            highlight=False,
        )
        if not yes:
            typer.confirm("They leave the database. Go on?", abort=True)
        for home in leaving.homes:
            asyncio.run(leaving.archive(home, place, before))


@dataclass(frozen=True, slots=True)
class Leaving:
    """What leaves a service's databases; `keeper` is the database that has the holds, and the statement."""

    service: str
    declared: Ended | Chains
    homes: tuple[Home, ...]
    keeper: Home
    holds: str

    def whys(self) -> Mapping[str, str]:
        """Each reason to stay, in words."""
        from shoudan_kit.db.chains import BEHIND, UNCOPIED
        from shoudan_kit.db.ended import HELD

        whys = {one.word: one.why for one in self.declared.stays} | {HELD: "a hold keeps it"}
        return whys | {
            BEHIND: "an earlier day of its account stays",
            UNCOPIED: "the books have not copied and proved it",
        }

    async def count(self, keep: timedelta) -> tuple[datetime, Mapping[str, int]]:
        """Of all shards together; and the moment before which a row must have been made."""
        from shoudan_kit.db.chains import Chains, counted_days
        from shoudan_kit.db.ended import before_of, counted
        from shoudan_kit.db.owner import as_owner

        holds, copied, sums = await self._holds(), await self._copied(), dict[str, int]()
        async with as_owner(self.homes[0].owner_url, self.homes[0].schema) as db, db.begin():
            before = await before_of(db, keep)
        for home in self.homes:
            async with as_owner(home.owner_url, home.schema) as db, db.begin():
                if isinstance(self.declared, Chains):
                    found = await counted_days(db, self.declared, _day(before), copied, holds)
                else:
                    found = await counted(db, self.declared, before, holds)
            for reason, number in found.items():
                sums[reason] = sums.get(reason, 0) + number
        return before, sums

    async def archive(self, home: Home, place: Place, before: datetime) -> None:
        """One shard."""
        from shoudan_kit.archive.chains import WantedDays, archive_days
        from shoudan_kit.archive.ended import Wanted, archive_ended
        from shoudan_kit.db.chains import Chains
        from shoudan_kit.db.owner import as_owner

        async with as_owner(home.owner_url, home.schema) as db:
            if isinstance(self.declared, Chains):
                days = WantedDays(_day(before), await self._copied(), self._holds)
                await archive_days(db, self.service, self.declared, place, days, _print_lot)
            else:
                wanted = Wanted(before, self._holds)
                await archive_ended(db, self.service, self.declared, place, wanted, _print_lot)

    async def _holds(self) -> Sequence[Hold]:
        """Every hold. Raises ArchiveFailed where they cannot be read: then nothing may go."""
        from shoudan_kit.db.ended import Hold

        return [Hold(*row) for row in await _rows(self.keeper, self.holds, "the holds")]

    async def _copied(self) -> Sequence[date]:
        """Days that the books have whole. Raises ArchiveFailed where that cannot be read."""
        from shoudan_kit.db.chains import Chains

        if not isinstance(self.declared, Chains):
            return ()
        books = self.declared.copied_in
        sql, home = _schema_of(books).copied, homes_of(books)[0]
        return [row[0] for row in await _rows(home, sql, "what the books have")]


def leaving_of(service: str) -> Leaving:
    """What a service declares, its databases, and where holds are kept: that one's must be set here, too."""
    schema = _schema_of(service)
    found = schema.ended or schema.chains
    if found is None:
        _wrong("no rows of this service leave by number")
    keeper = schema
    if found.holds_in:
        keeper = _schema_of(found.holds_in)
        console.print(f"{service}: holds are those of {found.holds_in}", highlight=False)
    assert keeper.ended is not None, "who keeps holds has rows that leave"
    there = homes_of(found.holds_in or service)[0]
    return Leaving(service, found, tuple(homes_of(service)), there, keeper.ended.holds)


def _schema_of(service: str) -> Schema:
    from shoudan_cli.process import declared

    schema: Schema | None = declared(service).schema
    if schema is None:
        _wrong("no rows of this service leave by number")
    return schema


async def _rows(home: Home, sql: str, what: str) -> Sequence[Any]:
    from sqlalchemy import text
    from sqlalchemy.exc import SQLAlchemyError

    from shoudan_kit.archive.place import ArchiveFailed
    from shoudan_kit.db.errors import describe
    from shoudan_kit.db.owner import as_owner

    try:
        async with as_owner(home.owner_url, home.schema) as db, db.begin():
            return (await db.execute(text(sql))).all()
    except (SQLAlchemyError, OSError) as error:
        raise ArchiveFailed(f"{what} cannot be read: {describe(error)}") from None


def _day(moment: datetime) -> date:
    """The day of Beijing."""
    return moment.astimezone(BEIJING).date()


def _print_lot(done: Done) -> None:
    stayed = f", {done.stayed:,} changed meanwhile and stay" if done.stayed else ""
    console.print(f"{done.lot_no}  archived: {done.gone:,}{stayed}", markup=False, highlight=False)


def _wrong(words: str) -> NoReturn:
    raise typer.BadParameter(words, param_hint="SERVICE")
