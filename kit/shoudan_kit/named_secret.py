"""Secrets that configuration names but never holds: in the environment, in a file it names, in a folder."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

LINES_MAX: Final = 2  # the key in use and the one that replaces it
NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


def text(name: str, folder: Path | None = None) -> str:
    """The whole secret, such as a key in PEM; empty when it is nowhere.

    Looked for in SHOUDAN_SECRET_<NAME>, in the file that SHOUDAN_SECRET_<NAME>_FILE names, in `folder`.
    """
    if not NAME.fullmatch(name):
        return ""
    variable = f"SHOUDAN_SECRET_{name.upper().replace('-', '_')}"
    if given := os.environ.get(variable, ""):
        return given.strip()
    file = os.environ.get(f"{variable}_FILE", "")
    path = Path(file) if file else folder / name if folder is not None else None
    try:
        return path.read_text("utf-8").strip() if path is not None else ""
    except (OSError, UnicodeDecodeError):
        return ""


def lines(name: str, folder: Path | None = None) -> tuple[str, ...]:
    """The keys of a secret, one a line, at most two, the one to sign with first."""
    found = (line.strip() for line in text(name, folder).splitlines())
    return tuple(line for line in found if line)[:LINES_MAX]
