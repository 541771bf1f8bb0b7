"""Statements from where they are put: folders of this machine and, by SFTP, of others.

A file is imported as one that a person uploads: whole or not at all, once, whichever process finds it first.
"""

from __future__ import annotations

import asyncio
import fnmatch
import hashlib
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import asyncssh
from asyncssh.constants import FILEXFER_TYPE_REGULAR

from shoudan_finance import statement_imports
from shoudan_finance.context import Context
from shoudan_finance.refusals import FinanceRefusal, StatementTooLarge
from shoudan_finance.statement_imports import PART_BYTES, Asked, asked_of
from shoudan_finance.templates import Watched
from shoudan_kit import log, metrics
from shoudan_kit.db.errors import survived

# Of one place, those that changed last; what is read may stay there, some files a day for years.
FILES_MAX: Final = 20_000
LISTED_MAX: Final = 200_000  # names of one place that fit its pattern
QUIET_S: Final = 60  # a file that changed since is still being written
CONNECT_S: Final = 20
LOOK_S: Final = 600.0
BY: Final = "fetched"

REFUSED: Final = metrics.gauge(
    "finance_statement_files_refused",
    "Files of the places where statements are fetched that could not be imported at the last look.",
)

_log = log.get_logger("finance")


@dataclass(frozen=True, slots=True)
class Listed:
    """A file as its folder shows it."""

    name: str
    size: int
    changed_s: int  # seconds of the epoch


class Folder(Protocol):
    """A folder, wherever it is."""

    async def files(self, pattern: str) -> list[Listed]:
        """What lies in it under names that fit, at most LISTED_MAX."""
        ...

    async def read(self, name: str, most: int) -> bytes:
        """A file, of which no more than `most` bytes and one are read."""
        ...


class LocalFolder:
    """A folder of this machine."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def files(self, pattern: str) -> list[Listed]:
        """What lies in it; links are followed nowhere."""
        return await asyncio.to_thread(self._files, pattern)

    def _files(self, pattern: str) -> list[Listed]:
        found: list[Listed] = []
        for one in self._path.iterdir():
            if fnmatch.fnmatchcase(one.name, pattern) and one.is_file() and not one.is_symlink():
                stat = one.stat()
                found.append(Listed(one.name, stat.st_size, int(stat.st_mtime)))
                if len(found) == LISTED_MAX:
                    break
        return found

    async def read(self, name: str, most: int) -> bytes:
        """A file."""
        return await asyncio.to_thread(self._read, name, most)

    def _read(self, name: str, most: int) -> bytes:
        with (self._path / name).open("rb") as file:
            return file.read(most + 1)


class RemoteFolder:
    """A folder that is reached by SFTP."""

    def __init__(self, client: asyncssh.SFTPClient, path: str) -> None:
        self._client, self._path = client, path.rstrip("/")

    async def files(self, pattern: str) -> list[Listed]:
        """What lies in it."""
        found: list[Listed] = []
        async for one in self._client.scandir(self._path or "/"):
            name, attrs = str(one.filename), one.attrs
            fits = "/" not in name and fnmatch.fnmatchcase(name, pattern)
            if attrs.type == FILEXFER_TYPE_REGULAR and fits:
                found.append(Listed(name, attrs.size or 0, attrs.mtime or 0))
                if len(found) == LISTED_MAX:
                    break
        return found

    async def read(self, name: str, most: int) -> bytes:
        """A file."""
        async with self._client.open(f"{self._path}/{name}", "rb") as file:
            data: Any = await file.read(most + 1)
        return data


@asynccontextmanager
async def _opened(place: Watched) -> AsyncGenerator[Folder]:
    if not place.host:
        yield LocalFolder(Path(place.folder))
        return
    connected = asyncssh.connect(
        place.host,
        place.port,
        username=place.user,
        client_keys=[place.key],
        known_hosts=place.known_hosts,
        config=None,
        agent_path=None,
        connect_timeout=CONNECT_S,
    )
    async with connected as connection, connection.start_sftp_client() as client:
        yield RemoteFolder(client, place.folder)


class Fetcher:
    """Looks at places, and knows what of them it has read: a new process reads all of it once more."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._read: dict[str, set[Listed]] = {}
        self._refused: dict[str, set[Listed]] = {}

    async def look(self, place: Watched) -> None:
        """Import what is new. Raises OSError, asyncssh.Error when the place cannot be looked at."""
        async with asyncio.timeout(LOOK_S), _opened(place) as folder:
            files = _newest(place, await folder.files(place.pattern))
            read = self._read.setdefault(place.name, set())
            for one in self._wanted(place, files):
                await self._fetch(place, folder, one)
                read.add(one)
        # What is gone is forgotten, so that what is remembered stays bounded.
        self._read[place.name] = read & set(files)
        self._refused[place.name] = self._refused.get(place.name, set()) & set(files)
        REFUSED().set(sum(map(len, self._refused.values())))

    def _wanted(self, place: Watched, files: Sequence[Listed]) -> list[Listed]:
        quiet_s = int(time.time()) - QUIET_S
        read = self._read.get(place.name, set())
        return [one for one in files if one not in read and one.changed_s <= quiet_s]

    async def _fetch(self, place: Watched, folder: Folder, one: Listed) -> None:
        try:
            await self._import(place, folder, one)
        except FinanceRefusal as refusal:
            self._refused.setdefault(place.name, set()).add(one)
            _log.error("statement_file_refused", place=place.name, file=one.name, why=str(refusal))

    async def _import(self, place: Watched, folder: Folder, one: Listed) -> None:
        context, most = self._context, self._context.app.settings.statement_bytes_max
        template, source = asked_of(
            context, template=place.template, source=place.source, file_name=one.name
        )
        if one.size > most:
            raise StatementTooLarge("bytes", most)
        data = await folder.read(one.name, most)
        if len(data) > most:
            raise StatementTooLarge("bytes", most)
        sha256 = hashlib.sha256(data).digest()
        parts = [data[at : at + PART_BYTES] for at in range(0, len(data), PART_BYTES)]
        for part_no, part in enumerate(parts):
            await statement_imports.store_part(context, sha256, part_no, part)
        asked = Asked(sha256, len(parts), template, source, one.name, 0, BY)
        found = await statement_imports.import_file(context, asked)
        _log.info(
            "statement_fetched",
            place=place.name,
            file=one.name,
            existed=found.existed,
            statement_id=found.statement.statement_id,
        )


def _newest(place: Watched, files: list[Listed]) -> list[Listed]:
    """Those that changed last come first: a process that begins reads all of a place once more."""
    files.sort(key=lambda one: (-one.changed_s, one.name))
    if left := files[FILES_MAX:]:
        _log.error("statement_files_left", place=place.name, files=len(left))
    return files[:FILES_MAX]


async def fetch_forever(context: Context) -> None:
    """Look at every place again and again; one that cannot be reached stops no other."""
    fetcher = Fetcher(context)
    while True:
        for place in context.places:
            with survived(_log, "statements_not_fetched"):
                try:
                    await fetcher.look(place)
                except (OSError, asyncssh.Error, TimeoutError) as error:
                    _log.warning("place_away", place=place.name, error=type(error).__name__)
        await asyncio.sleep(context.app.settings.statement_fetch_s)
