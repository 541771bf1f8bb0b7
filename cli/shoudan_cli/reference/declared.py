"""What the installed services declare, found by entry point: tables, settings, enums, lifecycles."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from importlib import import_module
from importlib.metadata import entry_points
from pkgutil import walk_packages
from types import ModuleType
from typing import Any, Final

from sqlalchemy import MetaData

from shoudan_cli.clients import SECTION, ClientSettings
from shoudan_cli.process import GROUP
from shoudan_kit.config import Settings
from shoudan_kit.state_machine import Machine

STATES: Final = "states"
DICTIONARY: Final = "dictionary"


@dataclass(frozen=True, slots=True)
class Declared:
    """The parts of one service that the reference prints."""

    name: str
    package: str
    settings: type[Settings]
    metadata: MetaData | None

    def modules(self, name: str) -> Iterator[ModuleType]:
        """Its modules called `name`, at any depth, by path."""
        root = import_module(self.package)
        for found in walk_packages(root.__path__, f"{self.package}."):
            if found.name.rpartition(".")[2] == name:
                yield import_module(found.name)


def services() -> list[Declared]:
    """Every installed service, by name."""
    found: list[Declared] = []
    for entry in sorted(entry_points(group=GROUP), key=lambda one: one.name):
        one = entry.load()
        metadata = one.schema.metadata if one.schema is not None else None
        found.append(Declared(entry.name, entry.value.partition(".")[0], one.settings, metadata))
    return found


def sections() -> dict[str, type[Settings]]:
    """The settings of every section of the configuration."""
    return {**{one.name: one.settings for one in services()}, SECTION: ClientSettings}


def enums(module: ModuleType) -> list[type[Enum]]:
    """The enums a module makes itself, in its order; not the events of its lifecycles."""
    made = [one for one in vars(module).values() if isinstance(one, type) and issubclass(one, Enum)]
    own = [one for one in dict.fromkeys(made) if one.__module__ == module.__name__]
    return [one for one in own if not one.__name__.endswith("Event")]


def machines(module: ModuleType) -> list[Machine[Any, Any]]:
    """The lifecycles a module declares, in its order."""
    found: list[Any] = [one for one in vars(module).values() if isinstance(one, Machine)]
    return found


def dictionary() -> dict[str, list[tuple[str, str, str]]]:
    """(value, English name, Chinese name) by dictionary type, of every service that keeps a dictionary."""
    return {
        kind: [(word.value, word.english, word.chinese) for word in words]
        for service in services()
        for module in service.modules(DICTIONARY)
        for kind, words in getattr(module, "WORDS", {}).items()
    }
