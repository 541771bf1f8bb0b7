"""`shoudan db parts` and `shoudan db drop-parts`: the monthly parts of tables that only grow."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from shoudan_cli.clients import console, errors
from shoudan_kit.ids import time_of

if TYPE_CHECKING:
    from shoudan_kit.db.partitions import Part

Service = Annotated[str, typer.Argument(help="order, pay, delivery, erp_ingest or identity.")]


def parts(service: Service) -> None:
    """Show the monthly parts of a service's tables, and how large they are."""
    from shoudan_kit.db.partitions import parts_of

    _show(asyncio.run(parts_of(_owner(service))))


def drop_parts(
    service: Service,
    before: Annotated[
        datetime, typer.Option(formats=["%Y-%m-%d"], help="UTC: parts that end by then.")
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete the oldest rows, whole parts at once. What is deleted is found in backups only."""
    from shoudan_kit.db.owner import Locked
    from shoudan_kit.db.partitions import Kept, drop

    owner, moment = _owner(service), before.replace(tzinfo=UTC)
    try:
        old = asyncio.run(drop(owner, moment, ask=True))
        if not old:
            console.print(f"{service}: no part ends by {moment:%Y-%m-%d}")
            return
        _show(old)
        if not yes:
            typer.confirm("This cannot be undone. Drop these parts?", abort=True)
        dropped = asyncio.run(drop(owner, moment))
    except (Kept, Locked) as error:
        errors.print(f"{service}: {error}", style="red", markup=False, highlight=False)
        raise typer.Exit(1) from None
    console.print(f"{service}: {len(dropped)} parts dropped")


def _owner(service: str) -> str:
    """The owner's URL, as `shoudan migrate` reads it."""
    from shoudan_cli.process import declared, owners

    one = declared(service)
    if one.schema is None:
        raise typer.BadParameter("it has no database", param_hint="SERVICE")
    ((_, (_, owner, _)),) = owners([one])
    return owner


def _show(found: Sequence[Part]) -> None:
    table = Table("table", "part", "from", "to", "MiB")
    for one in found:
        low, high = (f"{time_of(end):%Y-%m-%d}" if end else "-" for end in (one.low, one.high))
        table.add_row(one.table, one.name, low, high, f"{one.total_bytes / 2**20:.1f}")
    console.print(table)
