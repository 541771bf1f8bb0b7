"""The two forms of a bill's rows: CSV, packed or not, and XLSX written row by row in constant memory."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import IO, Any, Final, Protocol, cast

import xlsxwriter

from shoudan_kit.spreadsheet import BOM

SHEET_ROWS_MAX: Final = 1_000_000  # a sheet holds 1 048 576
READ_BYTES: Final = 1 << 20
# In every file, so that the same rows make the same bytes.
MADE: Final = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Style:
    """How a bill is written: a byte order mark, a ` before each cell, packed; or in a form without these."""

    bom: bool = False
    backtick: bool = False
    packed: bool = False
    xlsx: bool = False
    pdf: bool = False

    @property
    def suffix(self) -> str:
        """What the file's name ends with."""
        if self.xlsx:
            return ".xlsx"
        if self.pdf:
            return ".pdf"
        return ".csv.gz" if self.packed else ".csv"


class Lines(Protocol):
    """Where rows go."""

    def head(self, names: Sequence[str]) -> None:
        """Append a header; the rows that follow are below it."""
        ...

    def add(self, rows: Iterable[Sequence[str]]) -> None:
        """Append rows."""
        ...

    def close(self) -> None:
        """Write what is left, and close the file."""
        ...

    def drop(self) -> None:
        """Let go of what is open of a file that will not be closed."""
        ...


class Sink(Protocol):
    """Where the bytes of a bill go."""

    def write(self, data: bytes, /) -> object:
        """Append bytes."""
        ...


class CsvLines:
    """Rows as CSV."""

    def __init__(self, sink: Sink, style: Style) -> None:
        # Without a name and a time in its header, so that the same rows make the same bytes.
        packed: Any = (
            gzip.GzipFile("", "wb", 6, cast("IO[bytes]", sink), 0) if style.packed else None
        )
        self._packed, self._backtick = packed, style.backtick
        self._out: Sink = packed or sink
        if style.bom:
            self._out.write(BOM.encode())

    def head(self, names: Sequence[str]) -> None:
        """Append a header."""
        self.add([names])

    def add(self, rows: Iterable[Sequence[str]]) -> None:
        """Append rows."""
        text = io.StringIO()
        given = ([f"`{cell}" for cell in row] for row in rows) if self._backtick else rows
        csv.writer(text).writerows(given)
        self._out.write(text.getvalue().encode())

    def close(self) -> None:
        """Write what is left."""
        if self._packed is not None:
            self._packed.close()

    def drop(self) -> None:
        """It waits in memory."""


class XlsxLines:
    """Rows as sheets: one for each header, another when it is full. No cell is a formula or a link."""

    def __init__(self, sink: Sink, folder: Path) -> None:
        """Rows wait in files of this folder. Raises OSError when it is closed."""
        self._sink, self._path = sink, folder / "bill.xlsx"
        given = {"constant_memory": True, "tmpdir": str(folder)}
        self._book: Any = xlsxwriter.Workbook(str(self._path), given)
        self._book.set_properties({"created": MADE})
        self._bold: Any = self._book.add_format({"bold": True})
        self._sheet: Any = None
        self._names: Sequence[str] = ()
        self._numbers: frozenset[int] = frozenset()
        self._row = 0

    def head(self, names: Sequence[str]) -> None:
        """Begin another sheet with a header; columns of amounts and counts are numbers."""
        self._names, self._row = names, 1
        self._numbers = frozenset(
            at for at, name in enumerate(names) if name.endswith(("(元)", "笔数", "序号"))
        )
        self._sheet = self._book.add_worksheet()
        self._sheet.freeze_panes(1, 0)
        self._sheet.set_column(0, len(names) - 1, 18)
        for at, name in enumerate(names):
            self._sheet.write_string(0, at, name, self._bold)

    def add(self, rows: Iterable[Sequence[str]]) -> None:
        """Append rows."""
        for row in rows:
            if self._row == SHEET_ROWS_MAX:
                self.head(self._names)
            for at, cell in enumerate(row):
                if not cell:
                    continue  # nothing there, instead of a text without characters
                if at in self._numbers:
                    self._sheet.write_number(self._row, at, Decimal(cell))
                else:
                    self._sheet.write_string(self._row, at, cell)
            self._row += 1

    def close(self) -> None:
        """Write the file, and give it to the sink."""
        self._book.close()
        with self._path.open("rb") as file:
            while data := file.read(READ_BYTES):
                self._sink.write(data)

    def drop(self) -> None:
        """Close the files in which rows wait."""
        for sheet in self._book.worksheets():
            sheet.row_data_fh.close()


def lines(sink: Sink, style: Style, folder: Path) -> Lines:
    """Where the rows of a bill go; `folder` holds what a workbook needs meanwhile."""
    return XlsxLines(sink, folder) if style.xlsx else CsvLines(sink, style)
