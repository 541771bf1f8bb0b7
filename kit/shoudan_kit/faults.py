"""Named places where a test may let the process fail, to prove that failing there loses nothing."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

EXIT_CODE: Final = 137  # what a SIGKILL looks like to the parent
VARIABLE: Final = "SHOUDAN_FAULTS"
FROM_FILE: Final = "file:"
RECORD: Final = "record"
PAUSE_S: Final = 3.0  # longer than the leases of the test profile's sweeps
VERBS: Final = frozenset({"exit", "pause", "raise", "drop"})

_left: dict[str, tuple[str, int]] = {}


class FaultRaised(RuntimeError):
    """What `raise` raises: an error that no handler expects."""


class _File:
    """A file that arms while the process runs; what fired is noted beside it, or what was passed."""

    def __init__(self) -> None:
        self.path: Path | None = None
        self._mark, self._recording = 0, False

    def follow(self, path: Path | None) -> None:
        """Look there from now on, or nowhere."""
        self.path, self._mark, self._recording = path, 0, False

    def look(self, name: str) -> None:
        """Arm what the file says, if that is new."""
        if self.path is None:
            return
        try:
            mark = self.path.stat().st_mtime_ns
            if mark != self._mark:
                self._mark, text = mark, self.path.read_text("utf-8").strip()
                self._recording = text == RECORD
                _take("" if self._recording else text)
        except FileNotFoundError:
            _left.clear()
        if self._recording:
            self._write(".passed", name)

    def note(self, name: str) -> None:
        """Take the fault away, so that a process that is started again has none, and say that it fired."""
        if self.path is not None:
            self.path.write_text("", "utf-8")
            self._write(".fired", name)

    def _write(self, suffix: str, name: str) -> None:
        assert self.path is not None
        with self.path.with_suffix(suffix).open("a", encoding="utf-8") as file:
            file.write(f"{name}\n")


_file = _File()


def arm(profile: str, text: str | None = None) -> None:
    """Read `name:verb` or `name:verb@3` (third hit), comma separated, from SHOUDAN_FAULTS or `text`.

    Verbs: exit (die), pause (stand still longer than a lease), raise (an error that no handler expects),
    drop (the connection is lost: what was done is not known). `file:PATH` reads them from a file, again
    whenever it changes; `record` in it notes the points that are passed. Called once at start; empty arms
    nothing. ValueError on anything else, and on any fault at all in the prod profile.
    """
    text = os.environ.get(VARIABLE, "") if text is None else text
    _left.clear()
    _file.follow(None)
    if text and profile == "prod":
        raise ValueError(f"{VARIABLE} must not be set in the prod profile")
    if text.startswith(FROM_FILE):
        _file.follow(Path(text.removeprefix(FROM_FILE)))
    else:
        _take(text)


def _take(text: str) -> None:
    _left.clear()
    for part in filter(None, text.split(",")):
        name, _, action = part.partition(":")
        verb, _, nth = action.partition("@")
        if not name or verb not in VERBS or not (nth or "1").isdecimal() or int(nth or "1") < 1:
            raise ValueError(f"{VARIABLE}: {part!r} is not of the form name:exit or name:exit@3")
        _left[name] = verb, int(nth or "1")


def hit(name: str) -> None:
    """Fail here as it was asked for, if this point is armed and its turn has come; else do nothing."""
    if _file.path is not None:
        _file.look(name)
    if not _left:
        return
    verb, left = _left.get(name, ("", 0))
    if left > 1:
        _left[name] = verb, left - 1
    elif verb:
        _fire(name, verb)


def _fire(name: str, verb: str) -> None:
    del _left[name]
    _file.note(name)
    match verb:
        case "exit":
            # No flush, no finally, no atexit: as abrupt as a kill.
            os._exit(EXIT_CODE)
        case "pause":
            time.sleep(PAUSE_S)  # the whole process, as a SIGSTOP does
        case "drop":
            raise ConnectionResetError(f"fault {name}")
        case _:
            raise FaultRaised(name)
