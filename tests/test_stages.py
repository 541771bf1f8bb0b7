"""All tests run in one of the two stages of `just check`, and one that runs alone says why."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.shares import LONG, SYSTEM, rank, share_of

ROOT = Path(__file__).parents[1]
JUSTFILE = (ROOT / "justfile").read_text()
# What a stage may say besides its marker: how tests are shared out, never which of them.
SHARED_OUT = {"-n", "3", "--dist", "loadfile", "--no-loadscope-reorder"}
MARKED = "pytest.mark.alone("  # what the second stage looks for in a file


def recipe(name: str) -> str:
    found = re.search(rf"^{name}\b[^\n]*:\n((?:[ \t]+.*\n)+)", JUSTFILE, re.MULTILINE)
    assert found, f"no recipe {name}"
    return found[1]


def selects(stage: str) -> list[str]:
    """What the stage gives to pytest, without how tests are shared out."""
    (line,) = [line for line in recipe(stage).splitlines() if "pytest" in line]
    (together,) = re.findall(r'^together := "(.*)"$', JUSTFILE, re.MULTILINE)
    given = line.partition("-m pytest")[2].replace("{{together}}", together)
    return [word for word in shlex.split(given) if word not in SHARED_OUT]


def test_every_test_is_in_one_of_the_two_stages() -> None:
    together = selects("tests-together")
    assert together[:4] == ["-o", "cache_dir=.venv/together", "-m", "not alone"]
    assert together[4:] == ["||", "bash", "tools/second_look.sh"]
    marker, files = selects("tests-alone")[:2], selects("tests-alone")[2:]
    assert marker == ["-m", "alone"]
    assert files == shlex.split(r"$(grep -rl --include='*.py' 'pytest\.mark\.alone(' tests)")
    (stages,) = re.findall(r"for recipe in (tests-.*); do", recipe("check"))
    assert stages.split()[:2] == ["tests-together", "tests-alone"]


def test_what_begins_first_is_there_and_what_shares_a_system_is_one_share() -> None:
    files = {str(one.relative_to(ROOT)) for one in (ROOT / "tests").rglob("test_*.py")}
    shares = {share_of(one) for one in files}
    assert [one for one in LONG if one not in shares] == []
    assert len(set(LONG)) == len(LONG)
    assert {share_of(f"tests/system/test_{one}.py") for one in ("orders", "faults")} == {SYSTEM}
    assert share_of("tests/system/test_tls.py") == "tests/system/test_tls.py"
    assert rank("tests/system/test_orders.py") < rank("tests/cli/test_up.py") < rank("tests/a.py")


def marks(text: str) -> Iterator[tuple[int, str]]:
    """Where a test is marked `alone`, and why not in the one way that the second stage finds."""
    tree = ast.parse(text)
    calls = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and node.value == "alone":
            yield node.lineno, "by a string"
        if not isinstance(node, ast.Attribute) or node.attr != "alone":
            continue
        call = calls.get(id(node))
        said = (
            [isinstance(one, ast.Constant) and bool(one.value) for one in call.args] if call else []
        )
        if not ast.unparse(call or node).startswith(MARKED):
            yield node.lineno, f"not by {MARKED}"
        else:
            yield node.lineno, "" if said == [True] else "without a reason"


def test_a_test_that_runs_alone_is_found_and_says_why() -> None:
    here = Path(__file__)
    found = {
        f"{path.relative_to(ROOT)}:{line}": wrong
        for path in sorted(here.parent.rglob("*.py"))
        if path != here
        for line, wrong in marks(path.read_text())
    }
    assert found, "the second stage is empty"
    assert not {where: wrong for where, wrong in found.items() if wrong}


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("m = pytest.mark.alone('measures time')", ""),
        ("m = pytest.mark.alone", "not by pytest.mark.alone("),
        ("m = mark.alone('measures time')", "not by pytest.mark.alone("),
        ("m = pytest.mark.alone()", "without a reason"),
        ("m = pytest.mark.alone('')", "without a reason"),
        ("item.add_marker('alone')", "by a string"),
    ],
)
def test_a_mark_that_the_second_stage_would_miss_is_refused(text: str, wrong: str) -> None:
    assert list(marks(text)) == [(1, wrong)]


def test_every_test_runs_on_a_host_that_is_not_in_utc() -> None:
    """So that a time read in the host's zone is wrong in the first stage, wherever CI runs."""
    assert re.search(r'^tests-together \$TZ="CST-8":$', JUSTFILE, re.MULTILINE)
