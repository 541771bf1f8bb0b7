"""Files of the head log: signed entries of where chains ended, each quoting the one before it.

Everything here waits for the disk: call it in a thread.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

import msgspec

from shoudan_pay.ledger.entries import Head
from shoudan_pay.ledger.statements import Keys, StatementInvalid

PATTERN: Final = "heads-*.jsonl"
ENTRY_HEADS_MAX: Final = 1000
_LOST: Final = (
    "the logged record with seq {} of account {} was gone or another one when its chain grew on"
)
LOST_MAX: Final = 100  # named in an entry: more need no more proof
LINE_BYTES_MAX: Final = 2**20
_FILE_MODE: Final = 0o640
_PURPOSE: Final = b"shoudan ledger heads\0"


class Entry(msgspec.Struct, frozen=True):
    """One line. `after` is the number of the newest statement there was; `previous` the SHA-256 of the
    line before it in its file, empty for the first; a head is account, seq, balance in micros, hash. `lost`:
    heads whose records were not there any more when the chain had grown on."""

    number: int
    at: str
    after: int
    previous: str
    heads: list[tuple[int, int, int, bytes]]
    lost: list[tuple[int, int, int, bytes]] = []


@dataclass(slots=True)
class Logged:
    """The newest logged head of each account, and what is wrong with the files."""

    heads: dict[int, Head] = field(default_factory=dict[int, Head])
    wrong: dict[str, None] = field(default_factory=dict[str, None])


class Segment:
    """One file of one process, only appended to."""

    def __init__(self, path: Path, keys: Keys, after: int) -> None:
        """Raises OSError."""
        self.path, self.after, self.size = path, after, 0
        self._keys, self._number, self._previous = keys, 0, ""
        self._file: IO[bytes] = path.open("xb")
        os.fchmod(self._file.fileno(), _FILE_MODE)

    def append(self, at: str, heads: Mapping[int, Head], lost: Mapping[int, Head]) -> None:
        """Write these heads and see them on the disk. Raises OSError."""
        given, gone = _rows(heads), _rows(lost)[:LOST_MAX]
        for start in range(0, len(given), ENTRY_HEADS_MAX):
            some = given[start : start + ENTRY_HEADS_MAX]
            entry = Entry(self._number + 1, at, self.after, self._previous, some, gone)
            line = self._keys.sign_bytes(_PURPOSE, msgspec.json.encode(entry)) + b"\n"
            self._file.write(line)
            self._number, self._previous = entry.number, hashlib.sha256(line).hexdigest()
            self.size += len(line)
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Nothing more is appended."""
        self._file.close()


def read_logged(folder: Path, keys: Keys, since: int) -> Logged:
    """What the files of a folder say; entries from before statement `since` count no more.

    Raises OSError when the folder cannot be read.
    """
    logged = Logged()
    for path in sorted(folder.glob(PATTERN)):
        try:
            with path.open("rb") as file:
                _read(file, keys, since, logged)
        except FileNotFoundError:
            continue  # its process has put another one in its place meanwhile
        except StatementInvalid as error:
            logged.wrong[f"{path.name}: {error}"] = None
    return logged


def _read(file: IO[bytes], keys: Keys, since: int, logged: Logged) -> None:
    number, previous = 0, ""
    # A line without its end is being written, or its process died in it.
    while (line := file.readline(LINE_BYTES_MAX)).endswith(b"\n"):
        number += 1
        try:
            entry = msgspec.json.decode(keys.read_bytes(_PURPOSE, line.rstrip(b"\n")), type=Entry)
        except msgspec.MsgspecError:
            raise StatementInvalid(f"entry {number} cannot be read") from None
        except StatementInvalid as error:
            raise StatementInvalid(f"entry {number}: {error}") from None
        if (entry.number, entry.previous) != (number, previous):
            raise StatementInvalid(f"entry {number} does not follow the one before it")
        previous = hashlib.sha256(line).hexdigest()
        if entry.after >= since:
            keep_newest(logged.heads, (Head(i, 0, s, b, h, b"") for i, s, b, h in entry.heads))
            for account_id, seq, *_ in entry.lost:
                logged.wrong.setdefault(_LOST.format(seq, account_id))
    if len(line) == LINE_BYTES_MAX:
        raise StatementInvalid(f"entry {number + 1} is too long")


def _rows(heads: Mapping[int, Head]) -> list[tuple[int, int, int, bytes]]:
    return [(one.account_id, one.seq, one.balance_micros, one.hash) for one in heads.values()]


def keep_newest(known: dict[int, Head], heads: Iterable[Head]) -> None:
    """Put heads where they are further than what is known; a chain that grew again changes nothing."""
    for head in heads:
        there = known.get(head.account_id)
        if there is None or there.seq < head.seq:
            known[head.account_id] = head
