"""CSV that people open in a spreadsheet: a mark that it is UTF-8, and no cell that it calculates."""

from __future__ import annotations

from typing import Annotated, Final

import typer

BOM: Final = "\ufeff"  # without it Excel reads Chinese in the encoding of its machine
# What a spreadsheet takes for a formula when a cell begins with it.
FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")

# The option of every command that writes CSV; off by default, for programs trip over the mark.
Bom = Annotated[bool, typer.Option("--bom", help="Begin CSV with a byte order mark, for Excel.")]


def mark_of(*, bom: bool, as_csv: bool = True) -> str:
    """What a file begins with. Raises BadParameter for a mark without CSV."""
    if bom and not as_csv:
        raise typer.BadParameter("is for CSV", param_hint="--bom")
    return BOM if bom else ""


def safe(text: str) -> str:
    """Text from outside as a cell that no spreadsheet calculates."""
    return f"'{text}" if text.startswith(FORMULA) else text
