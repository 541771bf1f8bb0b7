"""Promises of the templates: a mistake is named before anything is read with it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from shoudan_finance.templates import TemplateWrong, load

GOOD = '[[template]]\nname = "a"\ncolumns = { our_no = "n", amount = "m", time = "t" }\n'


def loaded(folder: Path, text: str) -> dict[str, object]:
    path = folder / "templates.toml"
    path.write_text(text, "utf-8")
    return dict(load(str(path)))


def test_a_configured_template_stands_beside_ours_or_in_place_of_one(tmp_path: Path) -> None:
    assert set(loaded(tmp_path, GOOD)) == {"a", *load("")}
    ours = loaded(tmp_path, GOOD.replace('"a"', '"plain-csv"'))
    assert ours["plain-csv"] != load("")["plain-csv"]


@pytest.mark.parametrize(
    ("was", "becomes", "said"),
    [
        ('"a"', '"A b"', "a name has a-z"),
        ("our_no", "ournumber", "columns are of"),
        ("amount", "face", "columns need amount"),
        ('name = "a"', 'name = "a"\nencoding = "klingon"', "klingon is no character set"),
        ('name = "a"', 'name = "a"\nencoding = "hex"', "hex is no character set"),
        ('name = "a"', 'name = "a"\nunit = "li"', "unit"),
        ('name = "a"', 'name = "a"\nkind = "gift"', "kind is of"),
        ('name = "a"', 'name = "a"\nheader = false', "numbers from 1"),
        ('name = "a"', 'name = "a"\nformat = "fixed"', "ranges of bytes"),
        ('name = "a"', 'name = "a"\ntime_zone = "CET"', "time_zone has the form"),
        ('name = "a"', 'name = "a"\ndue_days = 400', "due_days is 0 to 366"),
        ('name = "a"', 'name = "a"\nskip = [{ column = "kind" }]', "a skip has begins"),
        ('name = "a"', 'name = "a"\ndelimiter = ";;"', "delimiter is one character"),
        ('name = "a"', 'name = "a"\ncolor = "b"', "color"),
        ("[[template]]", "[[", "templates.toml"),
        (GOOD, GOOD + GOOD, "stands there twice"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, was: str, becomes: str, said: str) -> None:
    with pytest.raises(TemplateWrong, match=re.escape(said)):
        loaded(tmp_path, GOOD.replace(was, becomes))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(TemplateWrong, match=r"none\.toml"):
        load(str(tmp_path / "none.toml"))
