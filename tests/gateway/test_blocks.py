"""Every block of code on the partners' pages is run by a test, read by one, or is no code."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.test_tidy import ROOT

FENCE = re.compile(r"^ *```(\w*)[^\n]*\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
PAGES = sorted([*(ROOT / "docs/site").glob("*/*.md"), *(ROOT / "docs/reference/http").glob("*.md")])
# Which test runs the blocks of a page, by their language.
PLATFORMS = "tests/pay/platforms/test_snippets.py"
RUN_BY = {
    ("index", "sh"): "tests/system/test_afternoon.py",
    ("sandbox", "sh"): "tests/system/test_afternoon.py",
    ("cards", "python"): "tests/order/test_notified_cards.py",
} | {
    (page, language): PLATFORMS
    for page in ("chinaums", "dingdang")
    for language in ("python", "go", "java", "javascript", "php")
}
RUNS = re.compile(r"^\s*(curl|shoudan|python3?|pip|export|sh|bash)\s", re.MULTILINE)
NO_CODE = {"", "text", "mermaid"}  # shapes of messages, addresses, pictures


def blocks(page: Path) -> list[tuple[str, str]]:
    return FENCE.findall(page.read_text("utf-8"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT / "docs")))
def test_a_block_is_run_or_read_or_no_code(page: Path) -> None:
    for language, text in blocks(page):
        if language == "json":
            json.loads(text)
        elif language in NO_CODE:
            assert not RUNS.search(text), f"a command that no test runs: {text[:80]}"
        else:
            test = RUN_BY.get((page.stem, language))
            assert test is not None, f"no test runs this {language}: {text[:80]}"
            assert page.stem in (ROOT / test).read_text("utf-8")


def test_the_walk_sees_the_pages() -> None:
    found = {(page.stem, language) for page in PAGES for language, _ in blocks(page)}
    assert set(RUN_BY) <= found
    assert len(PAGES) > 20


def test_each_command_that_a_page_names_is_there() -> None:
    frozen = (ROOT / "tests/frozen_names.txt").read_text("utf-8")
    known = set(re.findall(r"shoudan [a-z-]+(?: [a-z-]+)*", frozen))
    wrong: list[str] = []
    for page in PAGES:
        for words in re.findall(
            r"`shoudan ((?:[a-z][a-z-]*)(?: [a-z][a-z-]*)*)", page.read_text("utf-8")
        ):
            parts = words.split()
            if not any(f"shoudan {' '.join(parts[:n])}" in known for n in range(1, len(parts) + 1)):
                wrong.append(f"{page.name}: shoudan {words}")
    assert wrong == []
