"""`shoudan db ended`: which rows of a service have ended and may leave its database, and why others stay."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Final, NoReturn

import typer
from rich.table import Table

from shoudan_cli.clients import console
from shoudan_cli.parts import Service, said

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shoudan_kit.db.ended import Ended
    from shoudan_kit.db.shard_map import Home

DAYS_MIN: Final = 90  # younger rows may be refunded, asked about or still counted

KeepDays = Annotated[
    int, typer.Option(min=DAYS_MIN, help="Rows that nothing changed for so many days.")
]


def ended(service: Service, keep_days: KeepDays) -> None:
    """Count the rows that may go, and those that stay by their first reason; change nothing."""
    from shoudan_kit.db.ended import GOES, HELD

    declared, homes = ended_of(service)
    with said(service):
        before, found = asyncio.run(_count(declared, homes, timedelta(days=keep_days)))
    why = {one.word: one.why for one in declared.stays} | {HELD: "a hold keeps it"}
    table = Table(declared.table, f"made before {before:%Y-%m-%d}", "why")
    for reason, count in sorted(found.items(), key=lambda one: (one[0] != GOES, one[0])):
        table.add_row(reason or "may go", f"{count:,}", why.get(reason, ""))
    console.print(table)


def ended_of(service: str) -> tuple[Ended, tuple[Home, ...]]:
    """What a service declares, and its databases."""
    from shoudan_cli.process import declared, targets

    one = declared(service)
    if one.schema is None or one.schema.ended is None:
        _wrong("no rows of this service leave by number")
    (target,) = targets([one])
    return one.schema.ended, tuple(target.shards.homes)


async def _count(
    ended: Ended, homes: tuple[Home, ...], keep: timedelta
) -> tuple[datetime, Mapping[str, int]]:
    """Of all shards together; holds are those of the first."""
    from shoudan_kit.db.ended import before_of, counted, holds_of
    from shoudan_kit.db.owner import as_owner

    async with as_owner(homes[0].owner_url, homes[0].schema) as db, db.begin():
        holds, before = await holds_of(db, ended), await before_of(db, keep)
    sums: dict[str, int] = {}
    for home in homes:
        async with as_owner(home.owner_url, home.schema) as db, db.begin():
            for reason, count in (await counted(db, ended, before, holds)).items():
                sums[reason] = sums.get(reason, 0) + count
    return before, sums


def _wrong(words: str) -> NoReturn:
    raise typer.BadParameter(words, param_hint="SERVICE")
