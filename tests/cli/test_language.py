"""What `up` and `demo` say is in one language, that of the terminal or the one asked for."""

from __future__ import annotations

import re

import pytest
import typer

from shoudan_cli.language import said
from shoudan_kit.language import _one_of, chosen

CJK = re.compile("[\u4e00-\u9fff]")
# Lines as a run prints them; addresses and names are the same in both languages.
SAID = (
    "✔ postgres  18.4  127.0.0.1:21938  (gone at the end)",
    "✔ nats      127.0.0.1:30834  JetStream on, TLS",
    "✔ identity  first operator admin, password for one login: TQ5U-3XRP",
    "✔ services  order :29036  pay :22961  healthy",
    "✔ console   http://127.0.0.1:30643/  for operators, in a browser",
    "✔ sandbox   http://127.0.0.1:27793/  supplier, notify inbox, payment component",
    "✔ catalogue 58 changed",
    "  system    one of its own (7025787cd8a6f077), gone at the end",
    "! ports that others use, moved: gateway 8600→8601",
    "  stopping: what is under way is finished first",
    "✔ stopped",
    "the next morning, on a clock turned by 3:01:02:",
    "  2026-12-01 is closed: 6 movements of 4 accounts, all here",
    "  bill of yesterday: fund-test.csv, 3 rows, sha256 9315",
)
LIFE = (
    "     0.003 s  下单           ",
    "     0.020 s  下游支付         198 元",
    "     0.020 s  最低价绑定        ycup #915324669391799263",
    "     0.041 s  上游结果         ycup R_0000 success 0.003 s",
    "     0.046 s  开始发货         ",
    "     0.050 s  发货完成         ",
    "     0.063 s  上游支付         190 元",
    "     0.063 s  下游通知         ",
    "  balance of test: 99999.99 → 99801.99 元 (-198)",
)


@pytest.mark.parametrize("line", SAID)
def test_a_chinese_run_says_each_line_in_chinese(line: str) -> None:
    shown = said(line, "zh")
    assert CJK.search(shown)
    assert not re.search(r"[a-z]+ [a-z]+ [a-z]+", shown), "a sentence was left in English"
    assert said(line, "en") == line


@pytest.mark.parametrize("line", LIFE)
def test_an_english_run_has_no_chinese(line: str) -> None:
    assert not CJK.search(said(line, "en"))
    assert CJK.search(said(line, "zh"))


def test_the_columns_of_a_life_stand_below_each_other() -> None:
    shown = [said(line, "en") for line in LIFE if len(line.split()) > 3 and "元" in line][:2]
    assert {line.index("1") for line in shown} == {shown[0].index("1")}


def test_the_option_goes_before_the_terminal() -> None:
    assert chosen("", {"LANG": "zh_CN.UTF-8"}) == "zh"
    assert chosen("", {"LANG": "C.UTF-8"}) == "en"
    assert chosen("", {}) == "en"
    assert chosen("", {"LC_ALL": "en_GB.UTF-8", "LANG": "zh_CN.UTF-8"}) == "en"
    assert chosen("en", {"LANG": "zh_CN.UTF-8"}) == "en"
    with pytest.raises(typer.BadParameter, match="one of zh, en"):
        _one_of("fr")
