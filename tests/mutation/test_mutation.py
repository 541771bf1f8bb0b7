"""The run stays one: what it changes, where, and the list of what changes nothing.

That tests find the changes is shown by `just mutation`, which takes some minutes for each area.
"""

from __future__ import annotations

import ast
import json
from types import CodeType, FunctionType

import pytest

from tests.mutation.areas import AREAS
from tests.mutation.operators import changes
from tests.mutation.report import FIGURES, REPORT, page
from tests.mutation.run import all_changes, equivalents
from tests.mutation.worker import ROOT

MODULES = sorted({path for area in AREAS.values() for path in area.modules})

EXAMPLE = '''
"""A docstring."""
MOST: dict[str, int] = {"a": 1, "b": 2}

@cache
def allowed(one: int, *, most: int = 3) -> bool:
    """Another."""
    if one < most and one:
        note(one, loud=True)
        raise ValueError("too much")
    return not one + 2 >= most
'''


def test_what_is_changed() -> None:
    found = [one.key.removeprefix("x ") for one in changes(ast.parse(EXAMPLE), "x")]
    assert found == [
        "-: {'a': 1, 'b': 2} without 'a'",
        "-: {'a': 1, 'b': 2} without 'b'",
        "-: 'a' -> 'a?' in {'a': 1, 'b': 2}",
        "-: 'b' -> 'b?' in {'a': 1, 'b': 2}",
        "-: 1 -> 2 in {'a': 1, 'b': 2}",
        "-: 2 -> 3 in {'a': 1, 'b': 2}",
        "allowed: 3 -> 4",
        "allowed: if one < most and one -> if True",
        "allowed: if one < most and one -> if False",
        "allowed: one < most and one without one < most",
        "allowed: one < most and one without one",
        "allowed: one < most -> one <= most",
        "allowed: without `note(one, loud=True)`",
        "allowed: note(one, loud=True) without loud=True",
        "allowed: True -> False in loud=True",
        "allowed: without `raise ValueError('too much')`",
        "allowed: not one + 2 >= most -> one + 2 >= most",
        "allowed: one + 2 >= most -> one + 2 > most",
        "allowed: one + 2 -> one - 2",
        "allowed: 2 -> 3 in one + 2",
    ]


def test_a_changed_module_is_changed_there_alone_and_the_next_begins_with_the_first_one() -> None:
    tree = ast.parse("def half(one): return one // 2")
    whole = ast.unparse(tree)
    results: list[int] = []
    for one in changes(tree, "x"):
        code = next(c for c in one.compiled(tree, "x").co_consts if isinstance(c, CodeType))
        results.append(FunctionType(code, {})(8))
        assert ast.unparse(tree) == whole
    assert results == [16, 8 // 3]


def test_what_runs_at_import_is_told_from_what_runs_when_called() -> None:
    scopes = {one.key: one.scope for one in changes(ast.parse(EXAMPLE), "x")}
    assert scopes["x -: 1 -> 2 in {'a': 1, 'b': 2}"] == ""
    assert scopes["x allowed: 3 -> 4"] == ""
    assert scopes["x allowed: 2 -> 3 in one + 2"] == "allowed"


@pytest.mark.parametrize("path", MODULES)
def test_every_change_of_a_module_compiles_and_has_a_name_of_its_own(path: str) -> None:
    tree, found = all_changes(path)
    assert found
    assert len({one.key for one in found}) == len(found)
    for one in found[::17]:
        one.compiled(tree, path)


def test_every_change_that_is_listed_still_exists_and_has_a_reason() -> None:
    known = {one.key for path in MODULES for one in all_changes(path)[1]}
    gone = [key for key in equivalents() if key not in known]
    assert not gone, "strike these, the code has changed"
    assert all(equivalents().values())


def test_every_area_has_its_tests() -> None:
    assert all((ROOT / test).exists() for area in AREAS.values() for test in area.tests)


def test_the_page_says_what_the_figures_say() -> None:
    figures = json.loads(FIGURES.read_text("utf-8"))
    assert REPORT.read_text("utf-8") == page(figures)
    assert set(figures) <= set(AREAS)
