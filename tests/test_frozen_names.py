"""Names that are data stay: what the code declares is what tests/frozen_names.txt lists."""

from __future__ import annotations

from pathlib import Path

from tools import freeze


def test_every_name_that_is_data_is_the_one_that_was_frozen() -> None:
    before, now = freeze.frozen(), freeze.names()
    assert freeze.gone(before, now) == [], "gone or renamed; if that is meant: just freeze --drop"
    assert now == before, "new names: just freeze"


def test_a_renamed_column_is_seen_and_an_added_one_takes_none_away() -> None:
    before = {"tables": ["order t: a b"], "enums": ["E: A=1"]}
    assert freeze.gone(before, {"tables": ["order t: a b c"], "enums": ["E: A=1"]}) == []
    assert freeze.gone(before, {"tables": ["order u: a b"], "enums": ["E: A=1"]}) != []
    assert freeze.gone(before, {"tables": ["order t: a c"], "enums": ["E: A=1"]}) != []
    assert freeze.gone(before, {"tables": ["order t: a b"], "enums": ["E: A=2"]}) != []
    assert freeze.gone(before, {"tables": ["order t: a b"]}) != []


def test_the_page_reads_back_as_it_was_written(tmp_path: Path) -> None:
    found = {"queues": ["a:b", "c"], "enums": ["E: A=1"]}
    file = tmp_path / "frozen.txt"
    file.write_text(freeze.page(found), "utf-8")
    assert freeze.frozen(file) == found
