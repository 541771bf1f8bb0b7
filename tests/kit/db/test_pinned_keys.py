"""Promises of pinned keys: they are in the first shard for ever, all others are where their hash says."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoudan_kit.db import pinned_keys
from shoudan_kit.db.pinned_keys import PinnedKeys
from shoudan_kit.db.shard_keys import hash_of_key, shard_of_key
from shoudan_kit.db.shard_map import ShardMapInvalid, read

KEYS = st.lists(st.tuples(st.text(max_size=4), st.text(max_size=4)), max_size=20)


@given(pinned=KEYS, others=KEYS)
def test_a_pinned_key_is_in_the_first_shard_and_no_other_key_moves(pinned, others):
    data = pinned_keys.encoded(map(hash_of_key, pinned))
    known = PinnedKeys(pinned_keys.digest(data), data)
    assert len(known) == len(set(pinned))
    for key in pinned:
        assert shard_of_key(key, 16, known) == 0
    for key in set(others) - set(pinned):
        assert shard_of_key(key, 16, known) == shard_of_key(key, 16)


MAP = """epoch = 1
shards = 2
pinned = "{pinned}"
[[ranges]]
shards = "0-1"
server = "own"
"""


def test_a_map_is_refused_without_the_keys_that_it_names(tmp_path: Path):
    data = pinned_keys.encoded([hash_of_key(["a"]), hash_of_key(["b"])])
    file = tmp_path / "map.toml"
    file.write_text(MAP.format(pinned=pinned_keys.digest(data)))
    url = "postgresql://a@localhost/b"
    with pytest.raises(ShardMapInvalid, match=r"map.toml.pinned cannot be read"):
        read(file, url)
    for wrong in (data[:8], data + b"x", b""):
        pinned_keys.beside(file).write_bytes(wrong)
        with pytest.raises(ShardMapInvalid, match="is not the one that the map names"):
            read(file, url)
    pinned_keys.beside(file).write_bytes(data)
    found = read(file, url)
    assert len(found.pinned) == 2
    file.write_text(MAP.format(pinned=""))
    without = read(file, url)
    assert found.homes[0].contents != without.homes[0].contents
    assert found.refuses(without) == "pinned: names other keys, and no key ever gets another shard"
    file.write_text(MAP.format(pinned="abc"))
    with pytest.raises(ShardMapInvalid, match="pinned: "):
        read(file, url)
