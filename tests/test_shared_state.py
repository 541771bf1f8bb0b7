"""Promises of the table of what replicas share: each row names a test that exists."""

from __future__ import annotations

import re

from tests.test_tidy import ROOT

PAGE = (ROOT / "docs/operations.md").read_text("utf-8")
ROW = re.compile(r"^\| [^|]+ \| [^|]+ \| `(tests/[\w/]+\.py)::(\w+)` \|$", re.MULTILINE)


def test_every_row_names_a_test_that_exists() -> None:
    table = PAGE.split("### What replicas share")[1].split("\n\n")[1]
    rows = ROW.findall(table)
    assert len(rows) == len(table.splitlines()) - 2
    for file, name in rows:
        assert f"def {name}(" in (ROOT / file).read_text("utf-8"), f"{file}::{name}"
