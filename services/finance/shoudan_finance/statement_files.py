"""The rows of a file, whatever its form: CSV, workbook, lines of fixed width; hardened against hostile ones.

A file is read row by row, so that its size is not memory. What cannot be read is a FileWrong with the row.
"""

from __future__ import annotations

import csv
import gzip
import io
import zipfile
import zlib
from collections.abc import Iterator
from datetime import date, datetime
from typing import IO, Any, Final

import openpyxl
from openpyxl.packaging.manifest import Manifest
from openpyxl.xml.constants import ARC_CONTENT_TYPES, SHARED_STRINGS, WORKSHEET_TYPE
from openpyxl.xml.functions import fromstring

from shoudan_finance.row_errors import wrong
from shoudan_finance.templates import Template

CELL_MAX: Final = 1024  # characters
CELLS_MAX: Final = 200  # of one row
LINE_BYTES_MAX: Final = 16_384
ROW_CHARS_MAX: Final = 2 * CELLS_MAX * CELL_MAX  # of a CSV, quotes and all
ROUNDED_FROM: Final = 10**15  # a spreadsheet keeps fifteen digits of a number
ZIP_FILES_MAX: Final = 500
ZIP_RATIO_MAX: Final = 200  # a workbook of our own bills packs to a tenth
# Rows are read one by one; the texts that they share, and everything else of a workbook, are memory.
STRINGS_BYTES_MAX: Final = 64 << 20
OTHERS_MAX: Final = 8 << 20
TYPES_BYTES_MAX: Final = 1 << 20
UNREAD: Final = ("xl/media/", "xl/drawings/", "xl/charts/", "xl/printerSettings/")

# What the library and those below it raise for a workbook that is none, is cut, or is locked.
_BROKEN: Final = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)


class FileWrong(Exception):
    """The file cannot be read on from this row."""

    def __init__(self, row_no: int, code: str, **facts: object) -> None:
        self.wrong = wrong(row_no, "", code, **facts)
        super().__init__(f"row {row_no}: {self.wrong.why}")


class FileTooLarge(Exception):
    """The file, or what it unpacks to, is beyond a bound."""

    def __init__(self, what: str, most: int) -> None:
        super().__init__(f"more than {most} {what}")
        self.what, self.most = what, most


class _Bounded(io.RawIOBase):
    """What a packed file unpacks to, as far as the bound."""

    def __init__(self, inner: IO[bytes], most: int) -> None:
        super().__init__()
        self._inner, self._most, self._left = inner, most, most

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._inner.read(len(buffer))
        except (OSError, EOFError, zlib.error):
            raise FileWrong(0, "PACKED_BROKEN") from None
        self._left -= len(data)
        if self._left < 0:
            raise FileTooLarge("bytes unpacked", self._most)
        buffer[: len(data)] = data
        return len(data)


def rows_of(
    file: IO[bytes], template: Template, unpacked_max: int
) -> Iterator[tuple[int, list[str]]]:
    """Every row that is not empty: its number in the file, from 1, and its cells as text.

    Raises FileWrong, FileTooLarge.
    """
    if template.format == "xlsx":
        yield from _workbook(file, template, unpacked_max)
        return
    plain = _unpacked(file, unpacked_max)
    yield from _fixed(plain, template) if template.format == "fixed" else _csv(plain, template)


def _unpacked(file: IO[bytes], most: int) -> io.BufferedReader:
    packed = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    inner: Any = gzip.GzipFile(fileobj=file) if packed else file
    return io.BufferedReader(_Bounded(inner, most))


def _csv(file: io.BufferedReader, template: Template) -> Iterator[tuple[int, list[str]]]:
    text = io.TextIOWrapper(file, encoding=template.encoding, newline="")
    csv.field_size_limit(4 * CELL_MAX)
    lines = _Lines(text)
    reader = csv.reader(lines, delimiter=template.delimiter)
    while True:
        lines.left = ROW_CHARS_MAX
        try:
            cells = next(reader)
        except StopIteration:
            return
        except UnicodeDecodeError:
            raise FileWrong(
                reader.line_num + 1, "ENCODING_OTHER", encoding=template.encoding
            ) from None
        except csv.Error:
            raise FileWrong(reader.line_num, "CSV_BROKEN") from None
        except _RowTooLong:
            raise FileWrong(reader.line_num + 1, "ROW_TOO_LONG", most=ROW_CHARS_MAX) from None
        if any(cells):
            yield reader.line_num, _checked(reader.line_num, cells)


class _RowTooLong(Exception):
    """A row that is longer than its cells may be, with or without ends of lines."""


class _Lines:
    """Lines of a text, of which a row may have `left` characters: a file without lines is no memory."""

    def __init__(self, text: io.TextIOWrapper) -> None:
        self._text, self.left = text, 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._text.readline(self.left + 1)
        self.left -= len(line)
        if self.left < 0:
            raise _RowTooLong
        if not line:
            raise StopIteration
        return line


def _fixed(file: io.BufferedReader, template: Template) -> Iterator[tuple[int, list[str]]]:
    """Whole lines as one cell: the columns are cut from their bytes by who reads them."""
    row_no = 0
    while line := file.readline(LINE_BYTES_MAX + 1):
        row_no += 1
        if len(line) > LINE_BYTES_MAX:
            raise FileWrong(row_no, "LINE_TOO_LONG", most=LINE_BYTES_MAX)
        try:
            words = line.decode(template.encoding).rstrip("\r\n")
        except UnicodeDecodeError:
            raise FileWrong(row_no, "ENCODING_OTHER", encoding=template.encoding) from None
        if words.strip():
            yield row_no, [words]


def _checked(row_no: int, cells: list[str]) -> list[str]:
    if len(cells) > CELLS_MAX:
        raise FileWrong(row_no, "TOO_MANY_CELLS", most=CELLS_MAX)
    for at, cell in enumerate(cells, 1):
        if len(cell) > CELL_MAX:
            raise FileWrong(row_no, "CELL_TOO_LONG", cell=at, most=CELL_MAX)
    return cells


# ------------------------------------------------------------ workbooks
def _workbook(
    file: IO[bytes], template: Template, unpacked_max: int
) -> Iterator[tuple[int, list[str]]]:
    try:
        _check_zip(file, unpacked_max)
        book: Any = openpyxl.load_workbook(file, read_only=True, data_only=True, keep_links=False)
    except (FileWrong, FileTooLarge):
        raise
    except _BROKEN:
        raise FileWrong(0, "WORKBOOK_BROKEN") from None
    try:
        names = book.sheetnames
        if template.sheet and template.sheet not in names:
            raise FileWrong(0, "SHEET_MISSING", text=template.sheet)
        yield from _sheet(book[template.sheet or names[0]])
    finally:
        book.close()


def _sheet(sheet: Any) -> Iterator[tuple[int, list[str]]]:
    rows = iter(sheet.iter_rows(values_only=True, max_col=CELLS_MAX))
    row_no = 0
    while True:
        row_no += 1
        try:
            values = next(rows)
        except StopIteration:
            return
        except _BROKEN:
            raise FileWrong(row_no, "ROW_BROKEN") from None
        cells = [_cell(row_no, value) for value in values]
        while cells and not cells[-1]:
            cells.pop()
        if cells:
            yield row_no, _checked(row_no, cells)


def _cell(row_no: int, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, int) and abs(value) >= ROUNDED_FROM:
        raise FileWrong(row_no, "ROUNDED_NUMBER")
    return repr(value)


def _check_zip(file: IO[bytes], unpacked_max: int) -> None:
    """A workbook is a ZIP file: what its entries unpack to is bounded before one is opened."""
    packed = file.seek(0, io.SEEK_END)
    file.seek(0)
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        if len(entries) > ZIP_FILES_MAX:
            raise FileTooLarge("files in a workbook", ZIP_FILES_MAX)
        unpacked = sum(one.file_size for one in entries)
        if unpacked > unpacked_max or unpacked > ZIP_RATIO_MAX * max(packed, 1):
            raise FileTooLarge("bytes unpacked", min(unpacked_max, ZIP_RATIO_MAX * packed))
        for one in entries:
            if one.filename.startswith(("/", "\\")) or ".." in one.filename.split("/"):
                raise FileWrong(0, "OUTSIDE")
        strings, sheets = _parts(archive)
    file.seek(0)
    if sum(one.file_size for one in entries if one.filename in strings) > STRINGS_BYTES_MAX:
        raise FileTooLarge("bytes of texts that cells share", STRINGS_BYTES_MAX)
    others = [one for one in entries if one.filename not in strings | sheets]
    if sum(one.file_size for one in others if not one.filename.startswith(UNREAD)) > OTHERS_MAX:
        raise FileTooLarge("bytes beside the sheets", OTHERS_MAX)


def _parts(archive: zipfile.ZipFile) -> tuple[set[str], set[str]]:
    """The entries with shared texts, and the sheets, as the library finds them: they may have any name."""
    if archive.getinfo(ARC_CONTENT_TYPES).file_size > TYPES_BYTES_MAX:
        raise FileTooLarge("bytes of a workbook's contents", TYPES_BYTES_MAX)
    root: Any = fromstring(archive.read(ARC_CONTENT_TYPES))
    manifest: Any = Manifest.from_tree(root)
    found = [(one.ContentType, one.PartName.removeprefix("/")) for one in manifest.Override]
    strings = {name for kind, name in found if kind == SHARED_STRINGS}
    return strings, {name for kind, name in found if kind == WORKSHEET_TYPE} - strings
