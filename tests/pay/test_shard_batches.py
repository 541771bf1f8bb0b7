"""Promise: four shards of one server commit postings in batches nearly as large as a single shard does."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from shoudan_kit.embedded import Postgres
from shoudan_pay.ledger.group_commit import Ledger
from tests.pay.ledger.harness import YUAN, posting
from tests.pay.test_shards import USERS, key, opened
from tests.shard_maps import migrate

POSTERS, TURNS = 48, 12
WHOLE_MAP = 'epoch = 1\nshards = {0}\n[[ranges]]\nshards = "0-{1}"\nserver = "own"\n'


async def sizes(
    postgres: Postgres, folder: Path, monkeypatch: pytest.MonkeyPatch, shards: int
) -> list[int]:
    """How many groups each commit made, while so many callers post one after the other."""
    name, file = f"pay_{secrets.token_hex(4)}", folder / f"{shards}.toml"
    await postgres.create_database(name, service="pay")
    urls, found = postgres.urls("pay", name), list[int]()
    written = WHOLE_MAP.format(shards, shards - 1)
    await asyncio.to_thread(file.write_text, written)
    await migrate("pay", written, urls)
    run = Ledger._run

    async def counted(self: Ledger, gathered: Sequence[Any]) -> Any:
        found.append(len(gathered))
        return await run(self, gathered)

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "_run", counted)
        async with opened(urls, shards=file) as harness:

            async def post(n: int) -> None:
                for turn in range(TURNS):
                    one = posting(key(USERS[n % len(USERS)]), YUAN, f"{shards}-{n}-{turn}")
                    await harness.post(one)

            await asyncio.gather(*map(post, range(POSTERS)))
    assert sum(found) == POSTERS * TURNS
    return found


async def test_four_shards_of_a_server_commit_nearly_as_many_postings_at_a_time_as_one(
    postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = await sizes(postgres, tmp_path, monkeypatch, 1)
    four = await sizes(postgres, tmp_path, monkeypatch, 4)
    # With slots of its own each shard makes ten times as many commits; with common ones twice as many.
    assert len(four) < 4 * len(one), (len(one), len(four))
