"""Promises of a map that changes: a newer one is taken by a running process, no other one is."""

from __future__ import annotations

from pathlib import Path

import pytest

from shoudan_kit import metrics
from shoudan_kit.cell import Cell
from shoudan_kit.config import ServiceSettings
from shoudan_kit.db.errors import NotConnected, Unavailable
from shoudan_kit.db.pool import OTHERS_WAIT, retry
from shoudan_kit.db.shard_map import Home, parse
from shoudan_kit.service import App, Running, Service
from shoudan_kit.shards import MapWatch, Shards

OWN = "postgresql://a@localhost/b"
MAP = """
epoch = {epoch}
shards = {shards}
[servers.two]
database_url = "postgresql://a@localhost/c"
spare = true
[[ranges]]
shards = "{ranges}"
server = "own"
"""


class Sharded(ServiceSettings):
    """A service that may have several shards."""

    shardable = True


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A map of two shards in a file."""
    (found := tmp_path / "map.toml").write_text(MAP.format(epoch=3, shards=2, ranges="0-1"))
    return found


@pytest.fixture
def watch(file: Path) -> MapWatch:
    """What looks at it, in a process that is not started."""
    environ = {"SHOUDAN_DATABASE_URL": OWN, "SHOUDAN_SHARDS": str(file)}
    settings = Sharded.load("any", environ=environ)

    async def start(_: App[Sharded]) -> Running:
        return Running()

    service = Service("any", Sharded, start)

    def make(home: Home) -> Cell[Sharded]:
        return Cell(service, App("any", settings, home=home), Running())

    found = parse(file.read_text(), OWN)
    return MapWatch(settings, Shards(found.homes, make, found))


def epoch(watch: MapWatch) -> int:
    """That of the map in use; the metric says the same."""
    known = watch._shards.known
    assert known is not None
    assert metrics.REGISTRY.get_sample_value("shoudan_shard_map_epoch") == known.epoch
    return known.epoch


def refused() -> bool:
    return metrics.REGISTRY.get_sample_value("shoudan_shard_map_refused") == 1


REFUSED = [
    (MAP.format(epoch=2, shards=2, ranges="0-1"), "epoch = 2: older than 3, which is in use"),
    (
        MAP.format(epoch=3, shards=2, ranges="0-1").replace("/c", "/d").replace("0-1", "0")
        + '[[ranges]]\nshards = "1"\nserver = "two"\n',
        "epoch = 3: says something else than the map in use; a change raises it",
    ),
    (MAP.format(epoch=4, shards=4, ranges="0-3"), "shards = 4: there are 2"),
    (MAP.format(epoch=4, shards=2, ranges="0"), "ranges: shard 1 is in none"),
    (
        MAP.format(epoch=4, shards=2, ranges="0-1") + '[[ranges]]\nshards = "1"\nserver = "two"\n',
        "ranges: shard 1 is in two of them",
    ),
    ("epoch = 4", "shards: Field required"),
]


@pytest.mark.parametrize(("written", "said"), REFUSED)
async def test_a_map_that_cannot_follow_is_refused_in_words_and_the_old_one_kept(
    written: str, said: str, file: Path, watch: MapWatch, capsys: pytest.CaptureFixture[str]
) -> None:
    await watch.look()
    assert not refused()
    _write(file, written)
    await watch.look()
    assert said in "".join(capsys.readouterr())  # other tests set where the log goes
    assert (epoch(watch), refused()) == (3, True)
    _write(file, MAP.format(epoch=4, shards=2, ranges="0-1"))
    await watch.look()
    assert (epoch(watch), refused()) == (4, False)


async def test_a_map_that_goes_away_changes_nothing_and_may_come_back(
    file: Path, watch: MapWatch
) -> None:
    await watch.look()
    away = _renamed(file, file.with_suffix(".away"))
    await watch.look()
    assert (epoch(watch), refused()) == (3, True)
    away.write_text(away.read_text().replace("epoch = 3", "epoch = 9"))
    _renamed(away, file)
    await watch.look()
    assert (epoch(watch), refused()) == (9, False)


def _renamed(file: Path, name: Path) -> Path:
    return file.replace(name)


def _write(file: Path, text: str) -> None:
    file.write_text(text)


async def test_what_others_wait_for_is_not_tried_again_while_no_host_answers() -> None:
    """By itself a request waits for a server that comes back; in a batch the others would wait, too."""
    tried: list[bool] = []

    async def away() -> None:
        tried.append(OTHERS_WAIT.get())
        raise NotConnected(None, "no host")

    token = OTHERS_WAIT.set(True)
    with pytest.raises(Unavailable):
        await retry(away, tries=2)
    OTHERS_WAIT.reset(token)
    with pytest.raises(Unavailable):
        await retry(away, tries=2)
    assert tried == [True, False, False]


async def test_what_others_wait_for_is_not_tried_again_after_silence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A session that ends at once was a failover, which another try survives."""
    tried = 0

    async def lost() -> None:
        nonlocal tried
        tried += 1
        raise ConnectionResetError

    token = OTHERS_WAIT.set(True)
    for silent_s, expected in ((3, 2), (0, 1)):
        monkeypatch.setattr("shoudan_kit.db.pool.SILENT_S", silent_s)
        tried = 0
        with pytest.raises(Unavailable):
            await retry(lost, tries=2)
        assert tried == expected
    OTHERS_WAIT.reset(token)
