"""The revisions of a service as their files say, and whether a database has what this release needs."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib.resources import files
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from shoudan_kit.db.errors import Unavailable, describe
from shoudan_kit.db.pool import Database
from shoudan_kit.db.text_statements import statement

VERSION_TABLE: Final = "alembic_version"
LOOK_S_MAX: Final = 3.0
_FILE: Final = re.compile(r"([0-9]{4})_[a-z0-9_]+\.py")
_PHASE: Final = re.compile(r'^PHASE(?:: [A-Za-z\[\]]+)? = "([a-z]+)"$', re.MULTILINE)
CURRENT: Final = statement(f"SELECT version_num FROM {VERSION_TABLE}")


class Phase(StrEnum):
    """What a revision may do; a file says `PHASE = "index"`, and expands when it says nothing."""

    EXPAND = "expand"  # adds: the release before runs on
    INDEX = "index"  # makes indexes concurrently, outside of a transaction
    VALIDATE = "validate"  # proves constraints that were added NOT VALID
    CONTRACT = "contract"  # takes away what no running release needs: `shoudan migrate --contract`


@dataclass(frozen=True, slots=True)
class Revision:
    """One file of a service's migrations/versions."""

    number: str
    phase: Phase


@cache
def revisions(package: str) -> tuple[Revision, ...]:
    """All revisions of a package, oldest first."""
    found: list[Revision] = []
    for one in (files(package) / "migrations" / "versions").iterdir():
        if named := _FILE.fullmatch(one.name):
            phase = _PHASE.search(one.read_text("utf-8"))
            found.append(Revision(named[1], Phase(phase[1]) if phase else Phase.EXPAND))
    return tuple(sorted(found, key=lambda one: one.number))


def needed(package: str) -> str:
    """The revision this release's code needs: the newest that does not only take away."""
    return max(
        (one.number for one in revisions(package) if one.phase is not Phase.CONTRACT), default=""
    )


class SchemaCheck:
    """A readiness check: the database has what this release needs. A newer database has, too."""

    def __init__(self, database: Database, package: str) -> None:
        self._database, self._needed = database, needed(package)
        self._there = False

    async def __call__(self) -> str | None:
        """None when it has; else what is missing. Once it was there it is not looked for again."""
        if self._there:
            return None
        try:
            async with asyncio.timeout(LOOK_S_MAX), self._database.connect() as db:
                current = (await db.execute(CURRENT)).scalar()
        except (SQLAlchemyError, Unavailable, OSError, TimeoutError) as error:
            return f"revision {self._needed} is needed, which one is there is not known: {describe(error)}"
        if current is None or str(current) < self._needed:
            return (
                f"revision {self._needed} is missing, the database is at {current or 'none'}:"
                " shoudan migrate"
            )
        self._there = True
        return None
