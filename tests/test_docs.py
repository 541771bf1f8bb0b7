"""Promises of the documents about the code: what they name exists, and what they draw is drawn from it."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.test_tidy import ROOT, tracked
from tools import pictures

IDEAS = sorted((ROOT / "docs/ideas").glob("*.md"))
# The pages that explain the code: every name in them is looked up, not only paths and modules.
EXPLAINING = [
    *IDEAS,
    *sorted((ROOT / "docs/decisions").glob("*.md")),
    ROOT / "docs/one-order.md",
    ROOT / "docs/architecture.md",
]
PAGES = [*EXPLAINING, ROOT / "README.md", ROOT / "README.zh.md", ROOT / "CONTRIBUTING.md"]
WHERE = re.compile(r"^\| [^|]+ \| \[([^\]]+)\]\(([^)]+)\) \| `([\w.]+)` \|$", re.MULTILINE)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
QUOTED = re.compile(r"`([^`\n]+)`")
PATH = re.compile(r"[\w.*-]+(?:/[\w.*-]+)*\.(?:py|md|toml|json|yaml|proto|txt)")
IN_FILE = re.compile(r"([\w/.-]+\.py): ([A-Za-z_][\w.]*)")
NAME = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*(?:\(\))?")
PROSE_LINES_MAX = 60
SKELETON_LINES_MAX = 12
# What documents name that stands in no code of ours.
FOREIGN = {"trade_no", "aiohttp"}


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return FENCE.sub("", page.read_text("utf-8"))


def shown(page: Path) -> str:
    return str(page.relative_to(ROOT))


@cache
def paths() -> list[str]:
    return tracked()


@cache
def words() -> frozenset[str]:
    """Every identifier that stands in a tracked file which is no document."""
    found: set[str] = set()
    for name in paths():
        body = (ROOT / name).read_bytes()
        if not name.endswith(".md") and not name.startswith("requirements") and b"\0" not in body:
            found |= set(re.findall(r"[A-Za-z_]\w*", body.decode()))
    return frozenset(found)


@cache
def files(text: str) -> list[str]:
    """The tracked files that a path in a document can mean: whole, from some folder on, or with `*`."""
    pattern = re.compile("(?:.*/)?" + re.escape(text).replace(r"\*", "[^/]*"))
    return [name for name in paths() if pattern.fullmatch(name)]


@cache
def symbols(name: str) -> frozenset[str]:
    """What a module defines: functions, classes, constants, and `Class.member`."""
    found: set[str] = set()
    for node in ast.parse((ROOT / name).read_text("utf-8")).body:
        found |= set(defined(node))
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{one}" for inner in node.body for one in defined(inner)}
    return frozenset(found)


def defined(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return [node.target.id]
    if isinstance(node, ast.Assign):
        return [one.id for one in node.targets if isinstance(one, ast.Name)]
    return []


@cache
def module_file(dotted: str) -> tuple[str, str] | None:
    """The file of the longest module in a dotted name, and what is left of the name."""
    parts = dotted.split(".")
    for end in range(len(parts), 0, -1):
        path = "/".join(parts[:end])
        for name in (*files(f"{path}.py"), *files(f"{path}/__init__.py")):
            return name, ".".join(parts[end:])
    return None


@pytest.mark.parametrize("page", ["README.md", "README.zh.md"])
def test_where_is_answers_fifteen_questions_with_a_file_and_a_symbol(page: str) -> None:
    rows = WHERE.findall((ROOT / page).read_text("utf-8"))
    assert len(rows) == 15
    for label, link, symbol in rows:
        assert label == link
        assert link in paths(), f"{page}: {link} is not there"
        assert symbol in symbols(link), f"{page}: {link} has no {symbol}"


def test_both_languages_point_to_the_same_places() -> None:
    english, chinese = (
        [row[1:] for row in WHERE.findall((ROOT / page).read_text("utf-8"))]
        for page in ("README.md", "README.zh.md")
    )
    assert english == chinese


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_every_file_and_symbol_named_exists(page: Path) -> None:
    wrong: list[str] = []
    for quoted in QUOTED.findall(prose(page)):
        if found := IN_FILE.fullmatch(quoted):
            path, symbol = found.groups()
            if not any(symbol in symbols(name) for name in files(path)):
                wrong.append(quoted)
        elif PATH.fullmatch(quoted) and not files(quoted):
            wrong.append(quoted)
        elif re.fullmatch(r"shoudan_[a-z_]+(\.\w+)+", quoted):
            there = module_file(quoted)
            if there is None or (there[1] and there[1] not in symbols(there[0])):
                wrong.append(quoted)
    assert not wrong, f"{shown(page)} names what is not there"


def test_each_hop_of_an_order_names_what_stands_in_its_service() -> None:
    page = (ROOT / "docs/one-order.md").read_text("utf-8")
    hops = re.findall(r"^\| (\d+) \|[^|]*\| (\w+) ([^|]*)\|", page, re.MULTILINE)
    wrong: list[str] = []
    for number, service, read in hops:
        package = next(ROOT.glob(f"**/shoudan_{service}/app.py")).parent
        for path, symbol in re.findall(r"`([\w/]+\.py): ([\w.]+)`", read):
            name = str((package / path).relative_to(ROOT))
            if name not in paths() or symbol not in symbols(name):
                wrong.append(f"{number}: {service} {path}: {symbol}")
    assert len(hops) == 19
    assert not wrong, "docs/one-order.md names what is not there"


@pytest.mark.parametrize("page", EXPLAINING, ids=shown)
def test_every_name_in_an_explanation_stands_in_the_code(page: Path) -> None:
    named = [
        one
        for quoted in QUOTED.findall(prose(page))
        if NAME.fullmatch(quoted)
        for one in re.findall(r"\w+", quoted)
    ]
    wrong = sorted(set(named) - words() - FOREIGN)
    assert not wrong, f"{shown(page)} names what no code has"


@pytest.mark.parametrize("page", IDEAS, ids=shown)
def test_an_idea_takes_two_screens_and_has_a_picture_from_the_code(page: Path) -> None:
    assert len(prose(page).splitlines()) <= PROSE_LINES_MAX
    text = page.read_text("utf-8")
    assert pictures.MARK.search(text), "add <!-- picture: name --> and <!-- end of picture -->"
    assert pictures.redrawn(text) == text, "run: just docs"


def test_every_picture_is_shown() -> None:
    shown_ = {name for page in IDEAS for _, name, _ in pictures.MARK.findall(page.read_text())}
    assert shown_ == set(pictures.PICTURES)


def test_each_skeleton_is_short_and_imports_what_exists() -> None:
    blocks = [
        code
        for language, code in FENCE.findall((ROOT / "CONTRIBUTING.md").read_text())
        if language == "python"
    ]
    assert len(blocks) >= 10
    for code in blocks:
        assert len([line for line in code.splitlines() if line.strip()]) <= SKELETON_LINES_MAX, code
        for node in ast.parse(code).body:
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("shoudan_"):
                there = module_file(node.module or "")
                assert there is not None, node.module
                assert not there[1], node.module
                assert {one.name for one in node.names} <= symbols(there[0]), node.module
