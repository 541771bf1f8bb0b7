"""Where the statements and the head log of a shard are: each has a series of its own."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

from shoudan_kit.service import App
from shoudan_pay.config import PaySettings


def statements_folder(app: App[PaySettings]) -> Path | None:
    """That of the settings for the first shard, a folder in it for each other one; None: none are made."""
    top = app.settings.ledger_statements_dir
    return top / app.home.schema if top is not None and app.home.shard else top


async def make_folder(app: App[PaySettings]) -> None:
    """Make that of a shard that is not the first. What cannot be made is said when it is written to."""
    folder = statements_folder(app)
    if folder is not None and app.home.shard:
        with suppress(OSError):
            await asyncio.to_thread(folder.mkdir, exist_ok=True)


def scope_of(app: App[PaySettings]) -> str:
    """What metrics say of which ledger a proof was."""
    return "all" if app.home.shards == 1 else app.home.schema
