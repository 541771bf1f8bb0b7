"""Secrets that configuration names but never holds: in the environment, in a file it names, in a folder."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from shoudan_kit.config import DEMO_MARK

LINES_MAX: Final = 2  # the key in use and the one that replaces it
NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
VARIABLES: Final = ("SHOUDAN_SECRET_", "SHOUDAN_COMPONENT_")
REFUSED: Final = "a demo secret must not be used in the prod profile"
FILES_MAX: Final = 1_000  # of a folder, looked at when a process starts
BYTES_MAX: Final = 65_536
# Keys that our own documents print: every reader can sign with them.
PRINTED: Final = frozenset({"0123456789abcdef0123456789abcdef", "s3cret"})


_armed = False


def arm(profile: str) -> None:
    """In prod a public secret counts as missing from now on, so that no call is believed by it."""
    global _armed  # noqa: PLW0603 - once, when the process starts
    _armed = profile == "prod"


def text(name: str, folder: Path | None = None) -> str:
    """The whole secret, such as a key in PEM; empty when it is nowhere.

    Looked for in SHOUDAN_SECRET_<NAME>, in the file that SHOUDAN_SECRET_<NAME>_FILE names, in `folder`.
    """
    secret = _found(name, folder)
    return "" if _armed and is_demo(secret) else secret


def is_demo_of(profile: str, name: str, folder: Path | None = None) -> bool:
    """Whether the prod profile refuses the secret that a configuration names."""
    return profile == "prod" and is_demo(_found(name, folder))


def _found(name: str, folder: Path | None) -> str:
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


def is_demo(secret: str) -> bool:
    """Whether it is public: made for demonstrations, or printed in our documents."""
    keys = {line.strip() for line in secret.splitlines()}
    return any(one.startswith(DEMO_MARK) or one in PRINTED for one in keys)


def demo_ones(environ: Mapping[str, str], folder: Path | None) -> Iterator[str]:
    """Where a demo secret stands: the variables and files of named secrets."""
    for variable, value in environ.items():
        if variable.startswith(VARIABLES):
            secret = _of_file(Path(value)) if variable.endswith("_FILE") else value
            if is_demo(secret):
                yield variable
    for file in sorted(folder.iterdir())[:FILES_MAX] if folder and folder.is_dir() else ():
        if is_demo(_of_file(file)):
            yield str(file)


def _of_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(BYTES_MAX).decode("utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
