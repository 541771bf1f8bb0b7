"""Promises: a map places each shard once, or says everything that is wrong with it and nothing secret."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoudan_kit.config import ConfigError, ServiceSettings
from shoudan_kit.db.shard_map import (
    OWN,
    SHARDS_MAX,
    ShardMapInvalid,
    parse,
    read,
    schema_of,
    single,
)

OWN_URL, OTHER = "postgresql://erp@db1/erp", "postgresql://erp:hunter2@db2/erp"
SERVERS = f'[servers.two]\ndatabase_url = "{OTHER}"\n'


def document(
    *ranges: tuple[str, str], epoch: object = 1, shards: object = 4, more: str = SERVERS
) -> str:
    """A map as an operator writes it."""
    placed = "".join(f'[[ranges]]\nshards = "{a}"\nserver = "{b}"\n' for a, b in ranges)
    return f"epoch = {epoch}\nshards = {shards}\n{more}{placed}"


def test_each_shard_has_a_home_on_the_server_of_its_range():
    found = parse(document(("0-1", "own"), ("2", "two"), ("3", "two")), OWN_URL)
    assert [(one.shard, one.server, one.schema) for one in found.homes] == [
        (0, "own", "public"),
        (1, "own", "shard_01"),
        (2, "two", "shard_02"),
        (3, "two", "shard_03"),
    ]
    assert [one.url for one in found.homes] == [OWN_URL, OWN_URL, OTHER, OTHER]
    assert {one.epoch for one in found.homes} == {1}
    assert [len(homes) for homes in found.servers.values()] == [2, 2]
    assert "hunter2" not in repr(found)


def test_without_a_map_there_is_one_shard_where_the_tables_always_were():
    (home,) = single(OWN_URL).homes
    assert (home.shard, home.shards, home.schema, home.url) == (0, 1, "public", OWN_URL)


WRONG = [
    (document(("0-1", "own"), ("3", "two")), "ranges: shard 2 is in none"),
    (document(("0-2", "own"), ("2-3", "two")), "ranges: shard 2 is in two of them"),
    (document(("0-3", "own"), ("4", "two")), "ranges: 4 is not within 0-3"),
    (document(("0-3", "own"), ("3-2", "two")), "ranges: 3-2 is not within 0-3"),
    (document(("0-3", "own"), ("two", "two")), "ranges: 'two' is no range such as 0-3, or 5"),
    (document(("0-2", "own"), shards=3, more=""), "shards: 3 is no power of two"),
    (document(("0-31", "own"), shards=32, more=""), "shards: 32 is more than 16"),
    (document(("0-3", "own"), shards=0, more=""), "shards: Input should be greater"),
    (document(("0-1", "own"), ("2-3", "three")), "ranges: there is no server 'three'"),
    (document(("0-3", "own")), "servers.two: holds no shard"),
    (document(("0-3", "two")), "ranges: shard 0 is on 'two'"),
    (document(("0-3", "own"), epoch=0), "epoch: Input should be greater"),
    (document(("0-3", "own"), epoch='"1"'), "epoch: Input should be a valid integer"),
    (document(("0-3", "own")).replace("epoch", "epocha"), "epoch: Field required"),
    (document(("0-3", "own"), more="epochs = 2\n"), "epochs: Extra inputs are not permitted"),
    (document(more=""), "ranges: Field required"),
    (document(("0-3", "own"), more='[servers.own]\ndatabase_url = "x"\n'), "servers.own: is the"),
    (document(("0-3", "own"), more="[servers.A]\n"), "servers.A: a name is a-z"),
    (document(("0-1", "own"), ("2-3", "two"), more="[servers.two]\n"), "database_url: is needed"),
    (
        document(
            ("0-1", "own"),
            ("2-3", "two"),
            more='[servers.two]\ndatabase_url = "http://x:hunter2"\n',
        ),
        "servers.two.database_url: it must begin with postgresql://",
    ),
    ("epoch = 1\nepoch = 'hunter2", "is not TOML"),
]


@pytest.mark.parametrize(("text", "said"), WRONG)
def test_a_map_that_cannot_be_used_is_refused_with_the_reason(text, said):
    with pytest.raises(ShardMapInvalid) as refused:
        parse(text, OWN_URL)
    assert any(said in one for one in refused.value.mistakes), refused.value.mistakes
    assert "hunter2" not in str(refused.value)


def test_all_mistakes_are_said_at_once():
    text = document(("0-1", "own"), ("1-2", "three"))
    with pytest.raises(ShardMapInvalid) as refused:
        parse(text, OWN_URL)
    assert (
        len(refused.value.mistakes) == 4
    )  # twice placed, not placed, no such server, an empty one


@given(
    count=st.integers(0, 4).map(lambda power: 2**power),
    cuts=st.sets(st.integers(1, SHARDS_MAX - 1)),
    missing=st.one_of(st.none(), st.integers(0, SHARDS_MAX - 1)),
)
def test_a_map_is_taken_exactly_when_every_shard_is_placed_once(count, cuts, missing):
    edges = [0, *sorted(cut for cut in cuts if cut < count), count]
    ranges = [(a, b) for a, b in pairwise(edges)]
    left_out = missing is not None and missing < len(ranges)
    given_ranges = [one for n, one in enumerate(ranges) if not (left_out and n == missing)]
    text = document(*((f"{a}-{b - 1}", OWN) for a, b in given_ranges), shards=count, more="")
    if not left_out:
        assert [one.shard for one in parse(text, OWN_URL).homes] == list(range(count))
        return
    with pytest.raises(ShardMapInvalid):
        parse(text, OWN_URL)


@given(st.text(max_size=300))
def test_no_text_raises_anything_else(text):
    with pytest.raises(ShardMapInvalid):
        parse(text, OWN_URL)


def test_no_two_shards_have_the_same_schema():
    assert len({schema_of(shard) for shard in range(SHARDS_MAX)}) == SHARDS_MAX


def test_urls_come_from_files_and_the_owners_only_when_they_are_wanted(tmp_path):
    for name, url in (("two", OTHER), ("owner", "postgresql://owner@db2/erp")):
        (tmp_path / name).write_text(url + "\n")
    more = (
        f'[servers.two]\ndatabase_url_file = "{tmp_path}/two"\n'
        f'owner_database_url_file = "{tmp_path}/owner"\n'
    )
    file = tmp_path / "map.toml"
    file.write_text(document(("0-1", "own"), ("2-3", "two"), more=more))
    assert read(file, OWN_URL).homes[2].url == OTHER
    assert read(file, OWN_URL, "own", owner=True).homes[0].owner_url == "own"
    assert read(file, OWN_URL, owner=True).homes[2].owner_url == "postgresql://owner@db2/erp"
    (tmp_path / "owner").unlink()
    assert read(file, OWN_URL).homes[2].url == OTHER
    with pytest.raises(ShardMapInvalid, match=r"owner_database_url_file: .* cannot be read"):
        read(file, OWN_URL, owner=True)


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(ShardMapInvalid, match=r"cannot be read \(No such file"):
        read(tmp_path / "absent", OWN_URL)
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    with pytest.raises(ShardMapInvalid, match="is no text"):
        read(tmp_path / "bytes", OWN_URL)
    (tmp_path / "long").write_text("#" * 70_000)
    with pytest.raises(ShardMapInvalid, match="has more than 65536"):
        read(tmp_path / "long", OWN_URL)


class Sharded(ServiceSettings):
    """A service that may have several shards."""

    shardable = True


def load(file: Path, cls: type[ServiceSettings] = Sharded, **more: str) -> ServiceSettings:
    """The settings of a service with this map."""
    environ = {
        "SHOUDAN_DATABASE_URL": "postgresql://erp@localhost/erp",
        "SHOUDAN_ANY_SHARDS": str(file),
    }
    return cls.load("any", environ=environ | more)


def test_the_mistakes_of_a_map_are_mistakes_of_the_settings(tmp_path):
    file = tmp_path / "map.toml"
    file.write_text(document(("0-1", "own"), ("2-3", "two")))
    assert load(file).shards == file
    with pytest.raises(ConfigError, match="db_pool_size = 1: 2 shards are on the server own"):
        load(file, SHOUDAN_DB_POOL_SIZE="1")
    with pytest.raises(ConfigError, match="this service cannot have several shards"):
        load(file, ServiceSettings)
    with pytest.raises(
        ConfigError, match=r"servers\.two\.database_url: db2 is not on this machine"
    ):
        load(file, SHOUDAN_PROFILE="prod")
    assert load(file, SHOUDAN_TASK_SHARDS="0,2-3").task_shards == ["0", "2-3"]
    for wrong in ("4", "0-4", "3-2", "x"):
        with pytest.raises(ConfigError, match=f"task_shards: '{wrong}' is no range within 0-3"):
            load(file, SHOUDAN_TASK_SHARDS=wrong)
    with pytest.raises(ConfigError, match="task_shards: there is no map of shards"):
        ServiceSettings.load(
            "any", environ={"SHOUDAN_DATABASE_URL": OWN_URL, "SHOUDAN_TASK_SHARDS": "0"}
        )
    file.write_text("")
    with pytest.raises(ConfigError, match="3 mistake") as refused:
        load(file)
    assert "epoch: Field required" in str(refused.value)
