"""Number segments (号段): the carrier and province that a number belongs to, sorted and compact. Pure.

Numbers of one length that begin with the same digits are a range, known by its first and last number. A
digit 1 before a number keeps numbers of different lengths apart, so that one sorted list holds all.
"""

from __future__ import annotations

import csv
import heapq
import io
import zlib
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import msgspec

from shoudan_kit.secrets.sealing import plain_account

HEADER: Final = ("segment", "carrier_no", "province_no", "digits")
DIGITS: Final = 11  # of a number, where a row does not say
DIGITS_MAX: Final = 18  # with the digit before them, numbers fit into 64 bits
CODE_CHARS_MAX: Final = 8
ROWS_MAX: Final = 1_000_000
AREAS_MAX: Final = 1_000
PROBLEMS_MAX: Final = 1_000  # named; all are counted
FILE_BYTES_MAX: Final = 8 * 2**20
PLAIN_BYTES_MAX: Final = 64 * 2**20
# Sorting holds up every other thread, so it is done piece by piece.
PIECE: Final = 20_000
# A row while it is sorted is one whole number: its first number, its row, its width, its area.
ROW_BITS: Final = 21
WIDTH_BITS: Final = 5
AREA_BITS: Final = 10


class Area(msgspec.Struct, frozen=True):
    """A carrier in a province, and how many numbers lie there."""

    carrier_no: str
    province_no: str
    numbers: int = 0


class _Content(msgspec.Struct, array_like=True):
    """How a table is stored."""

    rows: int
    areas: list[Area]
    firsts: bytes
    lasts: bytes
    which: bytes


@dataclass(frozen=True, slots=True)
class Segments:
    """All of them at one version, as ranges that follow each other."""

    version: int = 0
    rows: int = 0
    areas: tuple[Area, ...] = ()
    firsts: array[int] = field(default_factory=lambda: array("Q"))
    lasts: array[int] = field(default_factory=lambda: array("Q"))
    which: array[int] = field(default_factory=lambda: array("H"))

    def find(self, account: str) -> Area | None:
        """Where a number belongs; None when no segment holds it, or it is no number."""
        number = _keyed(plain_account(account))
        at = bisect_right(self.firsts, number) - 1
        if at < 0 or number > self.lasts[at]:
            return None
        return self.areas[self.which[at]]

    def filled(self, account: str, carrier_no: str, province_no: str) -> tuple[str, str]:
        """Carrier and province; what is empty is that of the account's segment, where one is known.

        A segment of another carrier than the given one says nothing: the number may have moved (携号转网).
        """
        if (carrier_no and province_no) or not self.firsts:
            return carrier_no, province_no
        area = self.find(account)
        if area is None or carrier_no not in {"", area.carrier_no}:
            return carrier_no, province_no
        return area.carrier_no, province_no or area.province_no


NO_SEGMENTS: Final = Segments()
# A row whose numbers others may have, too: its last number, its row, its width. Of the rows with the same
# numbers only the first is kept, so there are at most as many as widths.
_Opened = tuple[int, int, int]


@dataclass(slots=True)
class Problems:
    """What is wrong with a file: the first ones in words, and how many there are."""

    words: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])
    count: int = 0

    def add(self, row: int, why: str) -> None:
        """One more, of this row; the header is row 1."""
        self.count += 1
        if len(self.words) < PROBLEMS_MAX:
            self.words.append((row, why))


def _keyed(digits: str) -> int:
    """A number among numbers of any length; 0 for what is none."""
    if not (digits.isascii() and digits.isdigit()) or len(digits) > DIGITS_MAX:
        return 0
    return int("1" + digits)


def read(file: bytes) -> tuple[Segments, Problems]:
    """The table of a CSV file compressed with zlib, and all that is wrong with it; then it is no table."""
    problems = Problems()
    try:
        unpacked = zlib.decompressobj()
        plain = unpacked.decompress(file, PLAIN_BYTES_MAX + 1)
    except zlib.error:
        problems.add(1, "the file is not compressed with zlib")
        return NO_SEGMENTS, problems
    if len(plain) > PLAIN_BYTES_MAX or not unpacked.eof:
        problems.add(1, f"the file is cut off, or larger than {PLAIN_BYTES_MAX} bytes")
        return NO_SEGMENTS, problems
    areas: dict[tuple[str, str], int] = {}
    pieces = _sorted_pieces(plain, areas, problems)
    made = _ranges(heapq.merge(*pieces), list(areas), problems)
    problems.words.sort()
    return made, problems


def _sorted_pieces(
    plain: bytes, areas: dict[tuple[str, str], int], problems: Problems
) -> list[list[int]]:
    pieces: list[list[int]] = [[]]
    # What is no UTF-8 becomes characters that are not printable, so its row is named.
    text = io.TextIOWrapper(io.BytesIO(plain), "utf-8-sig", "surrogateescape", newline="")
    row = 0
    try:
        for row, cells in enumerate(csv.reader(text, strict=True), 1):
            if row == 1:
                if tuple(cells) not in {HEADER, HEADER[:-1]}:
                    problems.add(row, f"the header is {','.join(HEADER)}; digits may be left out")
                    return []
                continue
            if row > ROWS_MAX + 1:
                problems.add(row, f"more than {ROWS_MAX} segments")
                break
            if len(pieces[-1]) == PIECE:
                pieces[-1].sort()
                pieces.append([])
            one = _row(cells, row, areas)
            if isinstance(one, str):
                problems.add(row, one)
            else:
                pieces[-1].append(one)
        if row == 0:
            problems.add(1, "the file is empty: not even a header")
    except csv.Error:
        problems.add(row + 1, "the file is no CSV from here on")
    pieces[-1].sort()
    return pieces


def _row(cells: list[str], row: int, areas: dict[tuple[str, str], int]) -> int | str:
    """A row as one number, or why it is none."""
    if len(cells) not in {len(HEADER) - 1, len(HEADER)}:
        return f"{len(HEADER) - 1} or {len(HEADER)} cells are wanted"
    segment, carrier_no, province_no, *more = cells
    said = more[0] if more and more[0] else str(DIGITS)
    if not (said.isascii() and said.isdigit()) or len(said) > 2 or not 1 <= int(said) <= DIGITS_MAX:
        return f"digits: 1 to {DIGITS_MAX}"
    digits = int(said)
    if not (segment.isascii() and segment.isdigit() and len(segment) <= digits):
        return f"segment: 1 to {digits} digits"
    for name, code in (("carrier_no", carrier_no), ("province_no", province_no)):
        if not 1 <= len(code) <= CODE_CHARS_MAX or not code.isprintable() or code == "*":
            return f"{name}: 1 to {CODE_CHARS_MAX} printable characters in UTF-8, not *"
    area = areas.setdefault((carrier_no, province_no), len(areas))
    if area >= AREAS_MAX:
        return f"more than {AREAS_MAX} pairs of carrier and province"
    width = digits - len(segment)
    first = int("1" + segment) * 10**width
    return (((first << ROW_BITS | row) << WIDTH_BITS) | width) << AREA_BITS | area


def _ranges(ordered: Iterator[int], areas: list[tuple[str, str]], problems: Problems) -> Segments:
    """The ranges of rows in order, those that go on in the same area as one."""
    firsts, lasts, which = array("Q"), array("Q"), array("H")
    numbers = [0] * len(areas)
    rows, opened, met = 0, list[_Opened](), dict[int, int]()
    for packed in ordered:
        area = packed & (1 << AREA_BITS) - 1
        width = packed >> AREA_BITS & (1 << WIDTH_BITS) - 1
        row = packed >> AREA_BITS + WIDTH_BITS & (1 << ROW_BITS) - 1
        first = packed >> AREA_BITS + WIDTH_BITS + ROW_BITS
        last = first + 10**width - 1
        rows += 1
        numbers[area] += 10**width
        opened = [one for one in opened if one[0] >= first]
        for _, there, _ in opened:
            earlier, later = sorted((row, there))
            met[later] = min(earlier, met.get(later, earlier))
        if not any(one[2] == width for one in opened):
            opened.append((last, row, width))
        if firsts and first == lasts[-1] + 1 and which[-1] == area:
            lasts[-1] = last
        else:
            firsts.append(first)
            lasts.append(last)
            which.append(area)
    for later, earlier in sorted(met.items()):
        problems.add(later, f"has numbers of row {earlier}")
    found = (Area(*pair, count) for pair, count in zip(areas, numbers, strict=True))
    return Segments(0, rows, tuple(found), firsts, lasts, which)


def packed(made: Segments) -> bytes:
    """As it is stored."""
    content = _Content(
        made.rows,
        list(made.areas),
        made.firsts.tobytes(),
        made.lasts.tobytes(),
        made.which.tobytes(),
    )
    return zlib.compress(msgspec.msgpack.encode(content))


def unpacked(version: int, stored: bytes) -> Segments:
    """As it is used."""
    content = msgspec.msgpack.decode(zlib.decompress(stored), type=_Content)
    firsts, lasts, which = array("Q"), array("Q"), array("H")
    firsts.frombytes(content.firsts)
    lasts.frombytes(content.lasts)
    which.frombytes(content.which)
    return Segments(version, content.rows, tuple(content.areas), firsts, lasts, which)
