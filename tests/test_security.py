"""Promises of docs/security.md: every requirement stands there, and every test it names is there."""

from __future__ import annotations

import ast
import re
from functools import cache

from tests.test_tidy import ROOT

PAGE = (ROOT / "docs/security.md").read_text("utf-8")
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")
ROW = re.compile(r"^\| (S\d+) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)


@cache
def functions_in(path: str) -> frozenset[str]:
    """The names of the tests in a file."""
    nodes = ast.walk(ast.parse((ROOT / path).read_text("utf-8")))
    return frozenset(
        one.name for one in nodes if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)
    )


def test_every_requirement_is_listed_in_order() -> None:
    assert [row[0] for row in ROW.findall(PAGE)] == [f"S{number}" for number in range(1, 22)]


def test_every_test_that_is_named_is_there() -> None:
    named = NAMED.findall(PAGE)
    assert len(named) > 50
    missing = [f"{path}::{name}" for path, name in named if name not in functions_in(path)]
    assert missing == []


def test_a_requirement_without_a_test_says_so() -> None:
    silent = [
        number
        for number, _, held in ROW.findall(PAGE)
        if not NAMED.search(held) and "**none**" not in held and "in part" not in held
    ]
    assert silent == []
