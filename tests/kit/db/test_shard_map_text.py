"""Promises of the next map: it says what was meant and keeps the operator's words, or is not written."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from shoudan_kit.db.shard_map import ShardMap, parse
from shoudan_kit.db.shard_map_text import NotEdited, edited, replace_file, spread

OWN = ("postgresql://erp@db1/erp", "postgresql://owner@db1/erp")
TEXT = """# the map of erp_ingest
epoch = 7   # raised by hand
shards = 4

[servers.two]
database_url = "postgresql://erp@db2/erp"   # the second room

[[ranges]]
shards = "0-2"
server = "own"

# the loud one
[[ranges]]
shards = "3"
server = "two"

[servers.three]
database_url = "postgresql://erp@db3/erp"
spare = true
"""


def known(text: str = TEXT) -> ShardMap:
    return parse(text, *OWN, owner=True)


def placed(found: ShardMap) -> list[str]:
    return [one.server for one in found.homes]


def test_the_next_map_keeps_what_was_written_and_says_what_is_new() -> None:
    after = known().moved(3, "three")
    text = edited(TEXT, after)
    assert known(text).homes == after.homes
    assert placed(known(text)) == ["own", "own", "own", "three"]
    for words in ("epoch = 8   # raised by hand", "# the second room", "# the loud one"):
        assert words in text
    assert text.index("spare = true") < text.index("# the second room")  # it holds nothing now
    again = edited(text, known(text).moved(2, "two"))
    assert placed(known(again)) == ["own", "own", "two", "three"]
    assert again.count("spare = true") == 2
    assert known().refuses(known(again)) is None


SPARE = '[servers.two]\ndatabase_url = "postgresql://erp@db2/erp"\nspare = true\n'
INLINE = f'epoch = 1\nshards = 2\nranges = [{{shards = "0-1", server = "own"}}]\n{SPARE}'
QUOTED = f'shards = 2\n"epoch" = 1\n{SPARE}[[ranges]]\nshards = "0-1"\nserver = "own"\n'


@pytest.mark.parametrize("text", [INLINE, QUOTED])
def test_a_file_of_another_form_is_not_edited(text: str) -> None:
    with pytest.raises(NotEdited, match="the map cannot be edited by the command"):
        edited(text, known(text).moved(1, "two"))


def test_a_file_is_replaced_at_once_with_its_rights(tmp_path: Path) -> None:
    (file := tmp_path / "map.toml").write_text("old")
    file.chmod(0o640)
    replace_file(file, "new")
    assert (file.read_text(), file.stat().st_mode & 0o777) == ("new", 0o640)
    assert list(tmp_path.iterdir()) == [file]


def test_moves_spread_shards_evenly_and_are_as_few_as_can_be() -> None:
    text = "epoch = 1\nshards = 16\n" + "".join(
        f'[servers.{name}]\ndatabase_url = "postgresql://erp@{name}/erp"\nspare = true\n'
        for name in ("two", "three", "four")
    )
    found = known(text + '[[ranges]]\nshards = "0-15"\nserver = "own"\n')
    for count in range(1, 5):
        for servers in itertools.permutations(("own", "two", "three", "four"), count):
            if "own" not in servers:
                continue
            after = placed(found)
            for shard, source, to in spread(found.homes, servers):
                assert after[shard] == source != to
                after[shard] = to
            counts = [after.count(name) for name in servers]
            assert sum(counts) == 16
            assert max(counts) - min(counts) <= 1
            assert after[0] == "own"
            assert sum(one != "own" for one in after) == 16 - counts[servers.index("own")]
    assert spread(known().homes, ("own", "two", "three")) == [(2, "own", "three")]
    assert spread(known().homes, ("own",)) == [(3, "two", "own")]
