"""Promises of workbooks: any number of rows over several sheets, the same bytes again, constant memory."""

from __future__ import annotations

import io
import tracemalloc
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from shoudan_finance import bill_sheets
from shoudan_finance.bill_sheets import XlsxLines

NAMES = ("记账日", "账内序号", "变动金额(元)", "备注")
EXCEL_ROWS_MAX = 1_048_576


def rows(count: int, first: int = 1) -> Iterator[Sequence[str]]:
    return (("2026-11-20", str(at), f"-{at}.5", f"memo {at}") for at in range(first, first + count))


def made(folder: Path, count: int) -> bytes:
    """A workbook of so many rows, and of one sum."""
    folder.mkdir(exist_ok=True)
    sink = io.BytesIO()
    book = XlsxLines(sink, folder)
    book.head(NAMES)
    for first in range(1, count + 1, 7):  # pages do not end where sheets do
        book.add(rows(min(7, count + 1 - first), first))
    book.head(("账户编号", "收入笔数"))
    book.add([("42", "3")])
    book.close()
    return sink.getvalue()


def test_a_sheet_holds_less_than_a_spreadsheet_may() -> None:
    assert bill_sheets.SHEET_ROWS_MAX < EXCEL_ROWS_MAX


@pytest.mark.parametrize(
    ("count", "sheets"), [(10, [10]), (11, [10, 1]), (25, [10, 10, 5])], ids=str
)
def test_rows_beyond_a_sheet_go_on_in_another_below_the_same_header(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, sheets: list[int]
) -> None:
    monkeypatch.setattr(bill_sheets, "SHEET_ROWS_MAX", 11)  # with its header
    data = made(tmp_path / "one", count)
    book: Any = openpyxl.load_workbook(io.BytesIO(data), read_only=True)
    read = [list(book[name].iter_rows(values_only=True)) for name in book.sheetnames]
    *details, sums = read
    assert [len(one) - 1 for one in details] == sheets
    assert {one[0] for one in details} == {NAMES}
    body = [row for one in details for row in one[1:]]
    assert body == [("2026-11-20", at, -(at + 0.5), f"memo {at}") for at in range(1, count + 1)]
    assert sums == [("账户编号", "收入笔数"), ("42", 3)]
    assert made(tmp_path / "two", count) == data  # the same bytes again


def test_what_is_given_up_leaves_no_file_open(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for ended in (False, True):
        book = XlsxLines(io.BytesIO(), tmp_path)
        for _ in range(3):
            book.head(NAMES)
            book.add(rows(5))
        if ended:
            book.close()
        book.drop()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_what_a_row_costs_is_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bill_sheets, "SHEET_ROWS_MAX", 500)
    peaks = list[int]()
    for count in (300, 3000):  # on one sheet, and on seven
        tracemalloc.start()
        made(tmp_path / str(count), count)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    packed = 3000 * 20  # what the test itself holds of the file
    assert peaks[1] < peaks[0] + packed + 1_000_000
