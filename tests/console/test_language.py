"""Promises about languages: every text has its Chinese, and a browser gets the one it asks for."""

from __future__ import annotations

import re

import pytest

from shoudan_console.language import chosen, texts
from tools import console_texts


def test_every_text_is_translated_and_compiled() -> None:
    wanted, given = console_texts.texts(), console_texts.known()
    assert len(wanted) > 100
    assert console_texts.missing(wanted, given) == [], "translate it in console.po"
    po, mo = console_texts.written(console_texts.catalog(wanted, given))
    assert console_texts.PO.read_bytes() == po, "run: just texts"
    assert console_texts.MO.read_bytes() == mo, "run: just texts"


def test_a_text_without_a_translation_is_found() -> None:
    assert console_texts.missing({"a", "b"}, {"a": "甲", "b": ""}) == ["b"]


def test_a_translation_has_the_places_of_its_text() -> None:
    for text, translated in console_texts.known().items():
        places = [sorted(re.findall(r"%\(\w+\)s", one)) for one in (text, translated)]
        assert places[0] == places[1], text


@pytest.mark.parametrize(
    ("cookie", "accepted", "expected"),
    [
        ("", "", "zh"),
        ("", "en-GB,en;q=0.9,zh;q=0.1", "en"),
        ("", "fr-FR,fr;q=0.9", "zh"),
        ("zh", "en", "zh"),
        ("xx", "en", "en"),
    ],
)
def test_a_browser_gets_the_language_it_asks_for(cookie: str, accepted: str, expected: str) -> None:
    assert chosen(cookie, accepted) == expected


def test_words_are_those_of_the_glossary() -> None:
    chinese = texts("zh")
    known = {
        "Order": "订单",
        "Delivery": "发货",
        "Refund": "退款",
        "Commission": "佣金",
        "Reversal": "红冲",
    }
    assert {text: chinese(text) for text in known} == known
