"""The map of a service's shards: how many there are, and which database holds the schema of each."""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shoudan_kit.db import pinned_keys
from shoudan_kit.db.pinned_keys import NONE, PinnedKeys
from shoudan_kit.db.url import DatabaseUrl, DatabaseUrlInvalid
from shoudan_kit.ids import SHARD_MAX

SHARDS_MAX: Final = SHARD_MAX + 1  # what the bits of a number hold
OWN: Final = "own"  # the server that the settings database_url and owner_database_url name
FIRST_SCHEMA: Final = "public"  # of the first shard, and of a service that has one
FILE_BYTES_MAX: Final = 65_536
EPOCH_MAX: Final = 2**31 - 1
MISTAKES_MAX: Final = 20
CONTENTS_CHARS: Final = 12
_RANGE: Final = re.compile(r"(\d{1,4})(?:-(\d{1,4}))?")
_SERVER: Final = re.compile(r"[a-z][a-z0-9_]{0,30}")


class ShardMapInvalid(ValueError):
    """Everything that is wrong with a map, without anything secret."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("; ".join(mistakes))
        self.mistakes = mistakes


@dataclass(frozen=True, slots=True)
class Home:
    """Where one shard of a service lives. `server` is the map's name of its database, `contents` stands for
    what the whole map says."""

    shard: int
    shards: int
    epoch: int
    server: str = OWN
    url: str = field(default="", repr=False)
    owner_url: str = field(default="", repr=False)
    contents: str = ""

    def at(self, url: str, owner_url: str) -> Home:
        """The same home, reached by these."""
        return replace(self, url=url, owner_url=owner_url)

    @property
    def schema(self) -> str:
        """The schema that holds its tables; that of the first shard is where a single one has them."""
        return schema_of(self.shard)

    @property
    def session(self) -> dict[str, str]:
        """What a session is opened with, so that it works on this shard."""
        return {"search_path": self.schema} if self.shards > 1 else {}


ONLY: Final = Home(0, 1, 0)  # of a service without a map


@dataclass(frozen=True, slots=True)
class ShardMap:
    """Every shard's home, by its number."""

    epoch: int
    homes: tuple[Home, ...]
    urls: Mapping[str, tuple[str, str]] = field(
        default_factory=dict[str, tuple[str, str]], repr=False, compare=False
    )  # of each server, the spare ones, too: the service's and the owner's
    pinned: PinnedKeys = field(default=NONE, repr=False, compare=False)

    @property
    def shards(self) -> int:
        """How many there are: a power of two."""
        return len(self.homes)

    @property
    def servers(self) -> dict[str, list[Home]]:
        """The homes of each server, in the order of their shards."""
        found: dict[str, list[Home]] = {}
        for home in self.homes:
            found.setdefault(home.server, []).append(home)
        return found

    def moved(self, shard: int, server: str) -> ShardMap:
        """The next map, in which this shard lives on another server that the map knows."""
        names = [server if one.shard == shard else one.server for one in self.homes]
        contents, epoch = contents_of(names, self.pinned.sha256), self.epoch + 1
        homes = (
            replace(one, epoch=epoch, server=name, contents=contents).at(*self.urls[name])
            for one, name in zip(self.homes, names, strict=True)
        )
        return replace(self, epoch=epoch, homes=tuple(homes))

    def refuses(self, other: ShardMap) -> str | None:
        """Why `other` cannot follow this map in a running process; None when it can, or is the same."""
        if other.shards != self.shards:
            return (
                f"shards = {other.shards}: there are {self.shards}, and their number never changes"
            )
        if other.pinned.sha256 != self.pinned.sha256:
            return "pinned: names other keys, and no key ever gets another shard"
        if other.epoch < self.epoch:
            return f"epoch = {other.epoch}: older than {self.epoch}, which is in use"
        if other.epoch == self.epoch and other.homes != self.homes:
            return f"epoch = {other.epoch}: says something else than the map in use; a change raises it"
        return None


def contents_of(servers: Sequence[str], pinned: str = "") -> str:
    """What stands for a map in the marks of its schemas: the server of each shard, by the map's names, and
    the keys that are pinned."""
    said = [*servers, pinned] if pinned else servers
    return hashlib.sha256("\n".join(said).encode()).hexdigest()[:CONTENTS_CHARS]


def shards_in(which: str, shards: int) -> range:
    """The shards of a range such as 0-3, or 5; none when it is no such range."""
    match = _RANGE.fullmatch(which)
    if match is None:
        return range(0)
    first, last = int(match[1]), int(match[2] or match[1])
    return range(first, last + 1) if first <= last < max(shards, 1) else range(0)


def schema_of(shard: int) -> str:
    """The schema of a shard: not configured, so that no two shards can be given the same one."""
    return f"shard_{shard:02}" if shard else FIRST_SCHEMA


def single(url: str, owner_url: str = "") -> ShardMap:
    """The map of a service that has none: one shard in the database of its settings."""
    return ShardMap(0, (Home(0, 1, 0, OWN, url, owner_url or url),))


class _Server(BaseModel):
    """One table of `[servers]`; each URL is given itself or as a file that holds it. A `spare` one may hold
    no shard."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    database_url: str = ""
    database_url_file: Path | None = None
    owner_database_url: str = ""
    owner_database_url_file: Path | None = None
    spare: bool = False


class _Range(BaseModel):
    """One of `[[ranges]]`: shards from first to last, both within."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    shards: str
    server: str


class _Document(BaseModel):
    """The whole file."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    epoch: Annotated[int, Field(ge=1, le=EPOCH_MAX, strict=True)]
    shards: Annotated[int, Field(ge=1, strict=True)]
    pinned: Annotated[str, Field(pattern="^([0-9a-f]{64})?$")] = ""
    servers: dict[str, _Server] = {}
    ranges: list[_Range] = Field(max_length=SHARDS_MAX)


def read(path: Path, own_url: str, own_owner_url: str = "", *, owner: bool = False) -> ShardMap:
    """The map in this file; `owner`: the owners' URLs are read, too. Raises ShardMapInvalid."""
    try:
        with path.open("rb") as file:
            text = file.read(FILE_BYTES_MAX + 1).decode()
    except OSError as error:
        raise ShardMapInvalid([f"cannot be read ({error.strerror})"]) from None
    except UnicodeDecodeError:
        raise ShardMapInvalid(["is no text"]) from None
    if len(text) > FILE_BYTES_MAX:
        raise ShardMapInvalid([f"has more than {FILE_BYTES_MAX} characters"])
    found = parse(text, own_url, own_owner_url, owner=owner)
    if not found.pinned.sha256:
        return found
    try:
        pinned = pinned_keys.read(path, found.pinned.sha256)
    except OSError as error:
        why = f"cannot be read ({error.strerror})"
    except ValueError as error:
        why = str(error)
    else:
        return replace(found, pinned=pinned)
    raise ShardMapInvalid([f"pinned: {pinned_keys.beside(path)} {why}"])


def parse(text: str, own_url: str, own_owner_url: str = "", *, owner: bool = False) -> ShardMap:
    """The map in this TOML. Raises ShardMapInvalid with every mistake in it."""
    try:
        document = _Document.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError:  # its text may hold a piece of a URL
        raise ShardMapInvalid(["is not TOML"]) from None
    except ValidationError as error:
        found = (_said(one) for one in error.errors(include_url=False, include_input=False))
        raise ShardMapInvalid(list(found)[:MISTAKES_MAX]) from None
    mistakes: list[str] = []
    servers = _servers(document.servers, (own_url, own_owner_url or own_url), owner, mistakes)
    placed = _placed(document, mistakes)
    mistakes += _unplaced(document, placed, servers)
    if mistakes:
        raise ShardMapInvalid(mistakes[:MISTAKES_MAX])
    numbers = range(document.shards)
    contents = contents_of([placed[shard] for shard in numbers], document.pinned)
    homes = (
        Home(shard, len(numbers), document.epoch, name, *servers[name], contents)
        for shard, name in ((shard, placed[shard]) for shard in numbers)
    )
    return ShardMap(document.epoch, tuple(homes), servers, PinnedKeys(document.pinned))


def _said(error: Any) -> str:
    """One mistake of shape: where, and what."""
    return f"{'.'.join(str(one) for one in error['loc'])}: {error['msg']}"


def _servers(
    given: Mapping[str, _Server], own: tuple[str, str], owner: bool, mistakes: list[str]
) -> dict[str, tuple[str, str]]:
    """The URLs of each server: the service's, and its owner's when it is wanted."""
    found = {OWN: own}
    for name, server in given.items():
        if name == OWN:
            mistakes.append(f"servers.{OWN}: is the database of the settings, which has no entry")
        elif _SERVER.fullmatch(name) is None:
            mistakes.append(f"servers.{name[:40]}: a name is a-z, 0-9 and _, at most 31 characters")
        else:
            place = f"servers.{name}.database_url"
            url = _url(place, server.database_url, server.database_url_file, mistakes)
            if not url:
                mistakes.append(f"{place}: is needed, or database_url_file")
            owner_url = ""
            if owner:
                place = f"servers.{name}.owner_database_url"
                text, file = server.owner_database_url, server.owner_database_url_file
                owner_url = _url(place, text, file, mistakes) or url
            found[name] = (url, owner_url)
    return found


def _url(place: str, text: str, file: Path | None, mistakes: list[str]) -> str:
    if text and file:
        mistakes.append(f"{place}: is given twice, itself and as a file")
    if file is not None and not text:
        try:
            with file.open("rb") as opened:
                text = opened.read(FILE_BYTES_MAX).decode().rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            mistakes.append(f"{place}_file: {file} cannot be read ({type(error).__name__})")
            return "unread"
    try:
        if text:
            DatabaseUrl.parse(text)
    except DatabaseUrlInvalid as wrong:
        mistakes.append(f"{place}: {wrong}")
    return text


def _placed(document: _Document, mistakes: list[str]) -> dict[int, str]:
    """The server of each shard that a range names; each is in one range at most."""
    found: dict[int, str] = {}
    for one in document.ranges:
        match = _RANGE.fullmatch(one.shards)
        if match is None:
            mistakes.append(f"ranges: {one.shards[:40]!r} is no range such as 0-3, or 5")
            continue
        first, last = int(match[1]), int(match[2] or match[1])
        if first > last or last >= max(document.shards, 1):
            mistakes.append(f"ranges: {one.shards} is not within 0-{document.shards - 1}")
            continue
        for shard in range(first, min(last, SHARD_MAX) + 1):
            if shard in found:
                mistakes.append(f"ranges: shard {shard} is in two of them")
            found[shard] = one.server
    return found


def _unplaced(
    document: _Document, placed: Mapping[int, str], servers: Mapping[str, object]
) -> Iterator[str]:
    """What is wrong with the whole."""
    count = document.shards
    if count > SHARDS_MAX:
        yield f"shards: {count} is more than {SHARDS_MAX}, which the numbers have bits for"
        return
    if count & (count - 1):
        yield f"shards: {count} is no power of two"
    for shard in range(count):
        if shard not in placed:
            yield f"ranges: shard {shard} is in none"
    for name in sorted(set(placed.values()) - set(servers)):
        yield f"ranges: there is no server {name[:40]!r}"
    spare = {name for name, server in document.servers.items() if server.spare}
    for name in sorted(set(servers) - set(placed.values()) - {OWN} - spare):
        yield f"servers.{name}: holds no shard and is not spare"
    if placed.get(0, OWN) != OWN:
        yield f"ranges: shard 0 is on {placed[0][:40]!r}; what a system has once lives there, so it is {OWN}"
