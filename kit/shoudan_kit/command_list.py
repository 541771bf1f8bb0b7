"""A sub-command of `shoudan` as the list shows it: its app is loaded only when it runs."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True, slots=True)
class Command:
    """One word after `shoudan`: where it is, and its line in the list.

    `place` is "package.module:name" of a Typer app, or of a function that is a command by itself. What
    declares a Command imports nothing that the command needs, so that `shoudan --help` stays quick.
    """

    place: str
    help: str

    def load(self) -> Any:
        """The app or the function itself."""
        module, _, name = self.place.partition(":")
        return getattr(import_module(module), name)
