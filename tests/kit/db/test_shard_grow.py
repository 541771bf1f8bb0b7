"""Promises of a service that ran without a map and gets one: nothing that exists moves or is lost, what is
new is spread."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from shoudan.erp.v1 import erp_service_pb2 as pb
from shoudan_cli.main import collected
from shoudan_erp_ingest.app import SERVICE
from shoudan_kit.config import ConfigError
from shoudan_kit.db import shard_grow
from shoudan_kit.db.shard_grow import Grown
from shoudan_kit.db.shard_keys import shard_of_key, shard_of_number
from shoudan_kit.db.shard_map import read
from shoudan_kit.embedded import DatabaseUrls
from shoudan_kit.service import Process
from tests.erp_ingest.conftest import NAME, open_desk
from tests.erp_ingest.harness import ErpHarness, body, settings, trade

OLD, NEW = [f"old-{n}" for n in range(8)], [f"new-{n}" for n in range(8)]
MAP = """# of a test
epoch = 1
shards = 4  # for ever

[[ranges]]
shards = "0-3"
server = "own"
"""


@pytest.fixture
async def alone(new_database: Callable[[str], Awaitable[DatabaseUrls]]) -> DatabaseUrls:
    """A database of a service without a map, with a trade of every old customer."""
    urls = await new_database(NAME)
    async with open_desk(urls, customers=[*OLD, *NEW]) as harness:
        for one in OLD:
            await pushed(harness, one, "T1")
    return urls


@pytest.fixture
def file(tmp_path: Path, alone: DatabaseUrls, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A map that the service's settings name."""
    (made := tmp_path / "map.toml").write_text(MAP)
    monkeypatch.setenv("SHOUDAN_ERP_INGEST_SHARDS", str(made))
    monkeypatch.setenv("SHOUDAN_ERP_INGEST_DATABASE_URL", alone.service)
    monkeypatch.setenv("SHOUDAN_ERP_INGEST_OWNER_DATABASE_URL", alone.owner)
    return made


async def pushed(harness: ErpHarness, customer: str, tid: str) -> Any:
    (result,) = await harness.push(body(trade(tid=tid)), sender=customer)
    assert not result.HasField("refusal"), result
    return result


def written(file: Path) -> str:
    return file.read_text()


async def command(*words: str) -> tuple[int, str]:
    ended = await asyncio.to_thread(CliRunner().invoke, collected(), [*words])
    return ended.exit_code, " ".join(ended.output.split())


async def test_old_keys_stay_where_they_are_and_new_ones_are_spread(
    alone: DatabaseUrls, file: Path
) -> None:
    code, said = await command("migrate", NAME)
    assert (code, "shoudan shard grow first" in said) == (1, True)
    code, said = await command("shard", "grow", NAME)
    assert (code, "8 keys are pinned to shard 0" in said) == (0, True), said
    code, said = await command("shard", "grow", NAME)
    assert (code, "has this map; 8 keys" in said) == (0, True), said
    assert "shards = 4  # for ever" in written(file)
    without = Process(SERVICE, settings(alone))
    with pytest.raises(ConfigError, match="public is shard 0 of 4, and no map is set"):
        await without.start()
    await without.stop()
    code, said = await command("migrate", NAME)
    assert code == 0, said
    spread = {shard_of_key([one], 4) for one in OLD}
    assert len(spread) > 1  # the hashes alone would have them elsewhere
    async with open_desk(alone, shards=file, customers=[*OLD, *NEW]) as harness:
        for one in OLD:
            again = await pushed(harness, one, "T1")
            assert again.changed == 0  # what exists is found, so a repeat is one
            assert shard_of_number((await pushed(harness, one, "T2")).push_id, 4) == 0
        for one in NEW:
            made = await pushed(harness, one, "T1")
            assert shard_of_number(made.push_id, 4) == shard_of_key([one], 4)
        found = (await harness.stub.SearchTrades(pb.SearchTradesRequest())).trades
        assert len(found) == 2 * len(OLD) + len(NEW)
    code, said = await command("shard", "ls", NAME)
    assert code == 0, said


async def test_a_service_that_works_gets_no_map(alone: DatabaseUrls, file: Path) -> None:
    async with open_desk(alone):
        code, said = await command("shard", "grow", NAME)
        assert (code, "stop them all" in said) == (1, True), said
    assert written(file) == MAP
    code, said = await command("shard", "grow", NAME)
    assert code == 0, said


async def test_a_map_that_cannot_be_written_changes_nothing_and_is_written_by_the_next_try(
    alone: DatabaseUrls, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, _: str | bytes) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(shard_grow, "replace_file", full)
        code, said = await command("shard", "grow", NAME)
        assert (code, "No space left on device" in said) == (1, True), said
    assert written(file) == MAP
    async with open_desk(alone, customers=[*OLD, *NEW]) as harness:  # it goes on without one
        await pushed(harness, NEW[0], "T1")
    code, said = await command("shard", "grow", NAME)
    assert (code, "9 keys" in said) == (0, True), said


async def test_another_map_than_the_one_it_has_is_refused(alone: DatabaseUrls, file: Path) -> None:
    assert (await command("shard", "grow", NAME))[0] == 0
    _turned(file)
    code, said = await command("shard", "grow", NAME)
    assert (code, "public is shard 0 of 4, the map says 0 of 8" in said) == (1, True), said


def _turned(file: Path) -> None:
    file.write_text(written(file).replace("shards = 4", "shards = 8").replace("0-3", "0-7"))


@pytest.mark.parametrize("service", ["order", "pay", "delivery", "erp_ingest"])
async def test_the_keys_of_every_service_can_be_read(
    service: str, new_database: Callable[[str], Awaitable[DatabaseUrls]], tmp_path: Path
) -> None:
    urls = await new_database(service)
    (entry,) = entry_points(group="shoudan.services", name=service)
    declared: Any = entry.load()
    (map_file := tmp_path / "map.toml").write_text(MAP)
    found = read(map_file, *urls, owner=True)
    assert await shard_grow.grow(declared.schema, found, map_file) == Grown(0, existed=False)
    again = read(map_file, *urls, owner=True)
    assert await shard_grow.grow(declared.schema, again, map_file) == Grown(0, existed=True)
