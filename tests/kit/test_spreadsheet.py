"""What a spreadsheet would calculate is text; every command that writes CSV can mark it for Excel."""

from __future__ import annotations

import re

import pytest

from shoudan_kit.spreadsheet import safe
from tests.test_tidy import ROOT

WRITES = re.compile(r"csv\.writer\(")


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@a", "\tb", "\rc"])
def test_text_that_would_be_calculated_is_marked(text: str) -> None:
    assert safe(text) == f"'{text}"


def test_other_text_stays() -> None:
    assert safe("1-1") == "1-1"


def test_every_command_that_writes_csv_has_the_mark() -> None:
    """Commands take `Bom`; pages and bills write BOM themselves."""
    folders = ("cli/shoudan_cli", "services", "console", "gateway")
    found = {
        str(path.relative_to(ROOT)): text
        for folder in folders
        for path in (ROOT / folder).rglob("*.py")
        if WRITES.search(text := path.read_text("utf-8"))
    }
    assert len(found) >= 5
    lacking = [name for name, text in found.items() if not re.search(r"\b(Bom|BOM)\b", text)]
    assert lacking == []
