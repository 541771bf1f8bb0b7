"""The language that a command speaks to people: that of --lang, else of the environment, else English."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated, Final

import typer

LANGUAGES: Final = ("zh", "en")
VARIABLES: Final = ("SHOUDAN_LANG", "LC_ALL", "LC_MESSAGES", "LANG")  # the first that is set counts


def _one_of(text: str) -> str:
    if text and text not in LANGUAGES:
        raise typer.BadParameter(f"one of {', '.join(LANGUAGES)}")
    return text


Lang = Annotated[
    str, typer.Option("--lang", help="zh or en; that of LANG without it.", parser=_one_of)
]


def chosen(given: str, environ: Mapping[str, str] = os.environ) -> str:
    """The language that was asked for, or the terminal's."""
    named = given or next((environ[name] for name in VARIABLES if environ.get(name)), "")
    return "zh" if named.lower().startswith("zh") else "en"
