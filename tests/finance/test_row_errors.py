"""Promises of row errors: each code has a text in both languages with the same facts, and each is used."""

from __future__ import annotations

import re
from pathlib import Path
from string import Formatter

import pytest

from shoudan_finance import row_errors
from shoudan_finance.row_errors import WORDS, for_people, wrong

ROOT = Path(__file__).parents[2]
FOLDER = Path(row_errors.__file__).parent
CODE = re.compile(r'"([A-Z]+(?:_[A-Z]+)+|FORMULA|OUTSIDE|ROUNDED)"')
MAKERS = (
    "statement_files",
    "statement_lines",
    "exception_sheets",
    "exception_commands",
    "rpc/exceptions",
)
CHINESE = re.compile("[\u4e00-\u9fff]")


def places(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}


@pytest.mark.parametrize("code", WORDS)
def test_both_texts_hold_the_same_facts(code: str) -> None:
    english, chinese = WORDS[code]
    assert places(english) == places(chinese) or code == "FILE_TOO_LARGE"
    assert CHINESE.search(chinese)
    facts = dict.fromkeys(places(english) | places(chinese), "{7}")
    made = wrong(3, "金额", code, **facts)
    assert "{7}" in made.why or not facts  # what stands in a file is no place of a text
    assert "{7}" in made.why_zh or not facts


def test_every_code_that_is_given_has_texts_and_no_text_is_idle() -> None:
    given = {
        one for name in MAKERS for one in CODE.findall((FOLDER / f"{name}.py").read_text("utf-8"))
    }
    assert set(WORDS) - given == set()
    assert {one for one in given if one in WORDS} == set(WORDS)


def test_an_error_is_a_line_in_the_language_asked_for() -> None:
    one = wrong(3, "金额", "AMOUNT_NOT_YUAN", text="1e3")
    assert for_people(one, "en") == "row 3, 金额: '1e3' is no amount in yuan [AMOUNT_NOT_YUAN]"
    assert for_people(one, "zh") == "第 3 行，金额：“1e3”不是以元为单位的金额 [AMOUNT_NOT_YUAN]"
    whole = wrong(0, "", "FOOTER_MISSING", begins="合计")
    assert for_people(whole, "en").startswith("file: no row begins with 合计")
    assert for_people(whole, "zh").startswith("整个文件：没有以“合计”开头的合计行")


def test_what_stands_in_a_file_is_cut_short() -> None:
    assert len(wrong(1, "", "FOOTER_NO_AMOUNT", text="9" * 5000).why) < 80


def test_the_document_lists_every_code_with_its_texts() -> None:
    page = (ROOT / "docs/reconciliation.md").read_text("utf-8")
    listed = [f"| `{code}` | {chinese} | {english} |" for code, (english, chinese) in WORDS.items()]
    assert [one for one in listed if one not in page] == []
