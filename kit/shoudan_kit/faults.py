"""Named places where a test may let the process die, to prove that dying there loses nothing."""

from __future__ import annotations

import os
from typing import Final

EXIT_CODE: Final = 137  # what a SIGKILL looks like to the parent
VARIABLE: Final = "SHOUDAN_FAULTS"

_left: dict[str, int] = {}


def arm(profile: str, text: str | None = None) -> None:
    """Read `name:exit` or `name:exit@3` (third hit), comma separated, from SHOUDAN_FAULTS or `text`.

    Called once at start; empty arms nothing. ValueError on anything else, and on any fault at all in
    the prod profile.
    """
    text = os.environ.get(VARIABLE, "") if text is None else text
    _left.clear()
    for part in filter(None, text.split(",")):
        name, _, action = part.partition(":")
        verb, _, nth = action.partition("@")
        if not name or verb != "exit" or not (nth or "1").isdecimal() or int(nth or "1") < 1:
            raise ValueError(f"{VARIABLE}: {part!r} is not of the form name:exit or name:exit@3")
        _left[name] = int(nth or "1")
    if _left and profile == "prod":
        _left.clear()
        raise ValueError(f"{VARIABLE} must not be set in the prod profile")


def hit(name: str) -> None:
    """Die here with exit code 137 if this point is armed and its turn has come; else do nothing."""
    if not _left:
        return
    left = _left.get(name)
    if left is None:
        return
    if left == 1:
        # No flush, no finally, no atexit: as abrupt as a kill.
        os._exit(EXIT_CODE)
    _left[name] = left - 1
