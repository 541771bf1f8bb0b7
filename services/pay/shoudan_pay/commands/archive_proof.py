"""`shoudan ledger prove-archive`: records that have left are the front of their chains."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from shoudan_pay.commands.calls import console, errors


def prove_archive(
    place: Annotated[
        str, typer.Argument(envvar="SHOUDAN_ARCHIVE", help="A folder, or an address fsspec knows.")
    ],
) -> None:
    """Prove every archived record by its seal, and that the database goes on where they end.

    Needs pay's settings: the ledger's keys and the owner's URL of each shard.
    """
    from shoudan_kit.archive.place import ArchiveFailed, Place
    from shoudan_kit.config import MigrateSettings
    from shoudan_kit.db.owner import as_owner
    from shoudan_kit.db.shard_settings import map_of
    from shoudan_pay.config import PaySettings
    from shoudan_pay.ledger.archived_files import Archived, prove
    from shoudan_pay.ledger.chain_hash import trust_of

    trust = trust_of(PaySettings.load("pay"))

    async def of_shards() -> list[Archived]:
        found: list[Archived] = []
        for home in map_of(MigrateSettings.load("pay"), owner=True).homes:
            async with as_owner(home.owner_url, home.schema) as db:
                found.append(await prove(db, Place(place), home.schema, trust))
        return found

    try:
        shards = asyncio.run(of_shards())
    except ArchiveFailed as error:
        errors.print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None
    wrong = [one for shard in shards for one in shard.findings]
    for one in wrong:
        console.print(f"{one.account_id}/{one.record_id}: {one.what}", style="red", markup=False)
    console.print(f"{sum(one.records for one in shards):,} archived records, {len(wrong)} findings")
    if wrong:
        raise typer.Exit(1)
