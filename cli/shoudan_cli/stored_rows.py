"""Rows of a sample, copied to other moments: its numbers, times and seals follow, all else stays.

A number of `shoudan_kit.ids` holds the moment at which it was made, so a copy from a week ago has the same
numbers less a week, wherever they stand: in columns, in texts such as `S916273645546372819`, in the
protobuf of an event. Read and written in PostgreSQL's binary form, where each of them has a fixed place.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from struct import Struct
from typing import Any, Final

from shoudan_cli.clients import Failed
from shoudan_kit.ids import TIME_SHIFT, first_of
from shoudan_kit.secrets.sealing import SealedColumn, is_sealed

HEAD: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
END: Final = b"\xff\xff"
LONG: Final = Struct(">q")
LENGTH: Final = Struct(">i")
COUNT: Final = Struct(">h")
NULL: Final = LENGTH.pack(-1)
MICROS: Final = 1000  # of a millisecond

_TEXTS: Final = frozenset({"text", "character varying", "json", "jsonb"})
_DECIMAL: Final = re.compile(rb"(?<![0-9])[0-9]{18,19}(?![0-9])")
_VARINT: Final = re.compile(
    rb"[\x80-\xff]{8}[\x00-\x7f]"
)  # of 57 to 63 bits, as all numbers since 2020-07
_COLUMNS: Final = """
    SELECT a.attname AS name, format_type(a.atttypid, NULL) AS type,
        coalesce(a.attnum = i.indkey[0], false) AS key
    FROM pg_attribute a LEFT JOIN pg_index i ON i.indrelid = a.attrelid AND i.indisprimary
    WHERE a.attrelid = CAST($1 AS regclass) AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
    ORDER BY a.attnum
"""

Field = bytes | None
Shown = Callable[[int], bytes]  # a number of ids, as it stands in a row


@dataclass(frozen=True, slots=True)
class Window:
    """The numbers that were made while the sample was: only these move."""

    first: int
    last: int

    @classmethod
    def between(cls, began: datetime, ended: datetime) -> Window:
        """Of what was made from one moment to another."""
        return cls(first_of(began), first_of(ended))

    @property
    def span_ms(self) -> int:
        """How long the sample took; copies that are further apart share no number."""
        return (self.last - self.first >> TIME_SHIFT) + 1

    def __contains__(self, number: int) -> bool:
        return self.first <= number < self.last

    def check(self, shift_ms: int) -> None:
        """Raises Failed where the numbers of a copy would have other digits than those of the sample."""
        oldest = self.first + (shift_ms << TIME_SHIFT)
        if oldest < 1 << 56 or len(str(oldest)) != len(str(self.last)):
            raise Failed("numbers of so long ago have fewer digits: take fewer days")


@dataclass(frozen=True, slots=True)
class Sample:
    """The rows of one table as they stand."""

    table: str
    names: Sequence[str]
    types: Sequence[str]
    key: int
    rows: Sequence[Sequence[Field]]


async def read(db: Any, table: str, window: Window | None, more: str = "") -> Sample:
    """The rows whose key was made in the window, all without one; generated columns are left out."""
    found = await db.fetch(_COLUMNS, table)
    names = [row["name"] for row in found]
    key = next(at for at, row in enumerate(found) if row["key"])
    where = (
        "true"
        if window is None
        else f"{names[key]} >= {window.first} AND {names[key]} < {window.last}"
    )
    whole = bytearray()

    async def take(data: bytes) -> None:
        whole.extend(data)

    query = f"SELECT {', '.join(names)} FROM {table} WHERE {where}{more} ORDER BY {names[key]}"
    await db.copy_from_query(query, output=take, format="binary")
    return Sample(table, names, [row["type"] for row in found], key, _parsed(bytes(whole)))


async def write(db: Any, sample: Sample, parts: Iterable[bytes]) -> None:
    """Add rows, each of the parts some of them whole."""

    async def source() -> AsyncIterator[bytes]:
        yield HEAD
        for part in parts:
            yield part
        yield END

    await db.copy_to_table(
        sample.table, source=source(), columns=list(sample.names), format="binary"
    )


def _parsed(data: bytes) -> list[list[Field]]:
    at, rows = len(HEAD), list[list[Field]]()
    while (count := COUNT.unpack_from(data, at)[0]) >= 0:
        at += COUNT.size
        row: list[Field] = []
        for _ in range(count):
            length = LENGTH.unpack_from(data, at)[0]
            at += LENGTH.size
            row.append(None if length < 0 else data[at : at + length])
            at += max(0, length)
        rows.append(row)
    return rows


def field(value: Field) -> bytes:
    """A value with its length before it."""
    return NULL if value is None else LENGTH.pack(len(value)) + value


def decimal(number: int) -> bytes:
    """As texts hold numbers."""
    return b"%d" % number


def varint(number: int) -> bytes:
    """As protobuf holds numbers: seven bits a byte, the lowest first."""
    return bytes(number >> bits & 0x7F | 0x80 for bits in range(0, 56, 7)) + bytes((number >> 56,))


def _of_varint(data: bytes) -> int:
    return sum((byte & 0x7F) << 7 * at for at, byte in enumerate(data))


class Text:
    """Bytes in which numbers stand, each in as many bytes as every other number."""

    def __init__(self, value: bytes, window: Window, *, protobuf: bool = False) -> None:
        found: list[tuple[int, int, int, Shown]] = [
            (*one.span(), int(one[0]), decimal) for one in _DECIMAL.finditer(value)
        ]
        varints = _VARINT.finditer(value) if protobuf else ()
        found += [(*one.span(), _of_varint(one[0]), varint) for one in varints]
        self.parts: list[bytes] = []
        self.numbers: list[tuple[int, Shown]] = []
        at = 0
        for begin, end, number, shown in sorted(found, key=lambda one: one[0]):
            if number in window and begin >= at:
                self.parts.append(value[at:begin])
                self.numbers.append((number, shown))
                at = end
        self.parts.append(value[at:])

    def at(self, ids: int) -> bytes:
        """With all numbers moved by so much."""
        made = self.parts[0]
        for (number, shown), part in zip(self.numbers, self.parts[1:], strict=True):
            made += shown(number + ids) + part
        return made


class Template:
    """The rows of a sample, ready to be copied often: what moves by its form, and what lies between."""

    def __init__(self, sample: Sample, window: Window, seals: SealedColumn | None = None) -> None:
        self._pieces: list[bytes] = [b""]
        self._longs: list[tuple[int, int]] = []
        self._times: list[tuple[int, int]] = []
        self._shown: list[tuple[int, int, Shown]] = []
        self._sealed: list[tuple[int, int, str]] = []
        self._window, self._seals = window, seals
        for row in sample.rows:
            self._still(COUNT.pack(len(row)))
            key = row[sample.key]
            assert key is not None
            for kind, value in zip(sample.types, row, strict=True):
                self._add(kind, value, key)

    def at(self, shift_ms: int) -> bytes:
        """All rows as they would be, had they been made so much later."""
        ids, micros = shift_ms << TIME_SHIFT, shift_ms * MICROS
        made, pack = self._pieces.copy(), LONG.pack
        for at, number in self._longs:
            made[at] = pack(number + ids)
        for at, moment in self._times:
            made[at] = pack(moment + micros)
        for at, number, shown in self._shown:
            made[at] = shown(number + ids)
        for at, number, text in self._sealed:
            assert self._seals is not None
            made[at] = field(self._seals.seal(number + ids, text).encode())
        return b"".join(made)

    def _still(self, value: bytes) -> None:
        self._pieces[-1] += value

    def _moving(self) -> int:
        """The place of what changes with each copy."""
        self._pieces += [b"", b""]
        return len(self._pieces) - 2

    def _add(self, kind: str, value: Field, key: bytes) -> None:
        if value is None:
            self._still(NULL)
        elif kind == "bigint" and (number := LONG.unpack(value)[0]) in self._window:
            self._still(LENGTH.pack(LONG.size))
            self._longs.append((self._moving(), number))
        elif kind == "timestamp with time zone":
            self._still(LENGTH.pack(LONG.size))
            self._times.append((self._moving(), LONG.unpack(value)[0]))
        elif kind == "text" and self._seals and is_sealed(text := value.decode()):
            number = LONG.unpack(key)[0]
            self._sealed.append((self._moving(), number, self._seals.open(number, text)))
        elif kind in _TEXTS or kind == "bytea":
            self._add_text(Text(value, self._window, protobuf=kind == "bytea"), len(value))
        else:
            self._still(field(value))

    def _add_text(self, text: Text, length: int) -> None:
        self._still(LENGTH.pack(length) + text.parts[0])
        for (number, shown), part in zip(text.numbers, text.parts[1:], strict=True):
            self._shown.append((self._moving(), number, shown))
            self._still(part)
