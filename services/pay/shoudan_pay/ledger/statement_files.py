"""The folder of statements: one file a statement, its heads first, the signed line last, never changed.

Everything here waits for the disk: call it in a thread.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final, Self
from uuid import uuid4

import msgspec

from shoudan_pay.ledger.entries import Head
from shoudan_pay.ledger.statements import Keys, Read, Statement, StatementInvalid

LINE_BYTES_MAX: Final = 4096
CHUNK_BYTES: Final = 2**20
FILE_MODE: Final = 0o440
DRAFT: Final = ".draft-"
_NAME: Final = re.compile(r"statement-([0-9]{8})-([0-9]{4}-[0-9]{2}-[0-9]{2})\.jsonl")
_decoder: Final = msgspec.json.Decoder(Head)
_encoder: Final = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class Kept:
    """A statement in its file; the line that is signed comes behind `heads_bytes` of heads."""

    path: Path
    read: Read
    heads_bytes: int
    signed: bytes

    @property
    def statement(self) -> Statement:
        """What was signed."""
        return self.read.statement


@dataclass(slots=True)
class Series:
    """The statements of a folder, oldest first, and what is wrong with them as a series.

    `highest` is the highest number any file has in its name; `restart` the number of the statement that
    began the series anew.
    """

    kept: list[Kept] = field(default_factory=list[Kept])
    wrong: list[str] = field(default_factory=list[str])
    highest: int = 0
    restart: int = 0

    @property
    def last(self) -> Kept | None:
        """The newest that can be read."""
        return self.kept[-1] if self.kept else None


def file_name(statement: Statement) -> str:
    """`statement-00000017-2026-11-29.jsonl`."""
    return f"statement-{statement.number:08d}-{statement.day}.jsonl"


def read_file(path: Path, keys: Keys) -> Kept:
    """The statement at the end of a file. Raises StatementInvalid; OSError when it cannot be read."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - LINE_BYTES_MAX))
        tail = file.read(LINE_BYTES_MAX)
    line = tail.removesuffix(b"\n").rpartition(b"\n")[2]
    if not tail.endswith(b"\n"):
        raise StatementInvalid("it does not end with a signed line: it was cut off")
    return Kept(path, keys.read(line), size - len(line) - 1, line)


def check_heads(kept: Kept) -> None:
    """Raise StatementInvalid when the heads are not those that were signed."""
    seen, left = hashlib.sha256(), kept.heads_bytes
    with kept.path.open("rb") as file:
        while left and (chunk := file.read(min(CHUNK_BYTES, left))):
            seen.update(chunk)
            left -= len(chunk)
    if seen.hexdigest() != kept.statement.heads:
        raise StatementInvalid("its heads are not those that were signed")


def statement_paths(folder: Path) -> list[Path]:
    """The files that have a statement's name, by number. Raises OSError."""
    return sorted(one for one in folder.iterdir() if _NAME.fullmatch(one.name))


def read_folder(folder: Path, keys: Keys) -> Series:
    """Every statement of the folder. The oldest ones may have been taken away, none behind them.

    Raises OSError when the folder cannot be read.
    """
    series, expected, previous = Series(), 0, ""
    for path in statement_paths(folder):
        number = series.highest = int(path.name.split("-")[1])
        try:
            one = read_file(path, keys)
            if file_name(one.statement) != path.name:
                raise StatementInvalid("it is another one than its name says")
        except StatementInvalid as error:
            series.wrong.append(f"{path.name}: {error}")
            expected, previous = number + 1, ""
            continue
        if one.statement.restart:
            series = Series(highest=number, restart=number)
        elif expected and number > expected:
            series.wrong.append(_missing(expected, number - 1))
        elif number < expected:
            series.wrong.append(f"{path.name}: there is another statement {number}")
        elif previous and one.statement.previous != previous:
            series.wrong.append(f"{path.name}: it follows another statement than the one before it")
        series.kept.append(one)
        expected, previous = number + 1, one.read.hash
    return series


def _missing(first: int, last: int) -> str:
    many = f"statement {first} is" if first == last else f"statements {first} to {last} are"
    return f"{many} missing"


class HeadFile:
    """The heads of a statement or a draft, read in order of the account's id."""

    def __init__(self, path: Path, size: int) -> None:
        self._file, self._left = path.open("rb"), size
        self._ahead: Head | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def upto(self, last_id: int) -> dict[int, Head]:
        """Those up to this id that were not given before."""
        found: dict[int, Head] = {}
        while (head := self._peek()) is not None and head.account_id <= last_id:
            found[head.account_id] = head
            self._ahead = None
        return found

    def take(self, most: int) -> list[Head]:
        """The next ones, at most so many."""
        found: list[Head] = []
        while len(found) < most and (head := self._peek()) is not None:
            found.append(head)
            self._ahead = None
        return found

    def _peek(self) -> Head | None:
        if self._ahead is None and self._left > 0:
            line = self._file.readline(LINE_BYTES_MAX)
            self._left -= len(line)
            try:
                self._ahead = _decoder.decode(line)
            except msgspec.MsgspecError:
                raise StatementInvalid("a line of its heads cannot be read") from None
        return self._ahead


class Draft:
    """A statement being written. It gets its name when it is whole and on the disk, and only then."""

    def __init__(self, folder: Path) -> None:
        """Raises OSError. Drafts of processes that died are removed: one writes at a time."""
        for left in folder.glob(f"{DRAFT}*"):
            left.unlink(missing_ok=True)
        self.path = folder / f"{DRAFT}{uuid4().hex}"
        self._file: IO[bytes] = self.path.open("xb")
        self._hash = hashlib.sha256()
        self.accounts = self.records = self.sum_micros = self.size = 0

    @property
    def heads(self) -> str:
        """What is signed for the heads added so far."""
        return self._hash.hexdigest()

    def add(self, heads: Sequence[Head]) -> None:
        """Append heads, in order of the account's id."""
        lines = _encoder.encode_lines(heads)
        self._file.write(lines)
        self._hash.update(lines)
        self.accounts += len(heads)
        self.records += sum(head.seq for head in heads)
        self.sum_micros += sum(head.balance_micros for head in heads)
        self.size += len(lines)

    def read(self) -> HeadFile:
        """What was added."""
        self._file.flush()
        return HeadFile(self.path, self.size)

    def keep(self, name: str, signed: bytes) -> Path:
        """Append the signed line, see it on the disk, give it its name. Raises FileExistsError."""
        self._file.write(signed + b"\n")
        self._file.flush()
        os.fchmod(self._file.fileno(), FILE_MODE)
        os.fsync(self._file.fileno())
        kept = self.path.with_name(name)
        os.link(self.path, kept)  # unlike a rename it never replaces what is there
        self.discard()
        _sync_folder(kept.parent)
        return kept

    def discard(self) -> None:
        """Close it and remove what has no name."""
        self._file.close()
        with suppress(FileNotFoundError):
            self.path.unlink()


def _sync_folder(folder: Path) -> None:
    """A new name is on the disk when its folder is."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
