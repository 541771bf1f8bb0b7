"""Exceptions as a workbook that people fill in, and what they filled in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import xlsxwriter

from shoudan.finance.v1 import exception_service_pb2 as pb
from shoudan_finance.row_errors import Wrong, wrong
from shoudan_finance.statement_files import FileTooLarge, FileWrong, rows_of
from shoudan_finance.templates import Template
from shoudan_kit.money import micros_to_yuan

HEAD: Final = (
    *("差错编号", "来源", "类型", "日期", "差额(元)", "我方单号", "对方单号", "我方金额(元)"),
    *("对方金额(元)", "建议", "处理方式", "备注"),
)
KINDS: Final = {1: "长款", 2: "短款", 3: "金额不符", 4: "状态不符", 5: "结算不符"}
WORDS: Final = {1: "挂账", 2: "核销", 3: "调整成本", 4: "退款"}
NUMBERS: Final = {word: number for number, word in WORDS.items()}
UNPACKED_MAX: Final = 256 * 2**20
REMARK_MAX: Final = 256


@dataclass(frozen=True, slots=True)
class Filled:
    """What is to be decided about one."""

    exception_id: int
    decision: int
    remark: str


def write_sheet(path: Path | IO[bytes], found: Iterable[pb.Exception]) -> None:
    """Write a workbook; every cell is text, so that a spreadsheet calculates and rounds nothing."""
    book: Any = xlsxwriter.Workbook(path, {"constant_memory": True})
    with book:
        sheet = book.add_worksheet("差错")
        for at, word in enumerate(HEAD):
            sheet.write_string(0, at, word)
        for row_no, one in enumerate(found, 1):
            for at, word in enumerate(_row(one)):
                sheet.write_string(row_no, at, word)
        last = HEAD.index("处理方式")
        words = {"validate": "list", "source": list(WORDS.values())}
        sheet.data_validation(1, last, 100_000, last, words)


def _row(one: pb.Exception) -> list[str]:
    ours, theirs = one.ours, one.theirs
    return [
        str(one.exception_id),
        one.source,
        KINDS[one.kind],
        one.day,
        micros_to_yuan(one.diff_micros),
        ours.our_no or theirs.our_no,
        theirs.their_no or ours.their_no,
        micros_to_yuan(ours.amount_micros) if one.HasField("ours") else "",
        micros_to_yuan(theirs.amount_micros) if one.HasField("theirs") else "",
        WORDS[one.suggestion],
        "",
        "",
    ]


def read_sheet(file: IO[bytes]) -> tuple[list[Filled], list[Wrong]]:
    """What was filled in, and what is wrong; rows without 处理方式 are left alone."""
    template = Template(name="exceptions", columns={}, format="xlsx")
    filled, errors, seen = list[Filled](), list[Wrong](), set[int]()
    try:
        rows = rows_of(file, template, UNPACKED_MAX)
        _, head = next(rows, (0, list[str]()))
        if tuple(head) != HEAD:
            return [], [wrong(1, "", "SHEET_OTHER")]
        for row_no, cells in rows:
            padded = [*(cell.strip() for cell in cells), *("" for _ in HEAD)]
            one = _filled(row_no, padded)
            if isinstance(one, Wrong):
                errors.append(one)
            elif one is not None and one.exception_id in seen:
                errors.append(wrong(row_no, HEAD[0], "EXCEPTION_TWICE"))
            elif one is not None:
                seen.add(one.exception_id)
                filled.append(one)
    except FileWrong as error:
        errors.append(error.wrong)
    except FileTooLarge as error:
        errors.append(wrong(0, "", "FILE_TOO_LARGE", most=error.most, what=error.what))
    return filled, errors


def _filled(row_no: int, cells: list[str]) -> Filled | Wrong | None:
    number, word, remark = cells[0], cells[HEAD.index("处理方式")], cells[HEAD.index("备注")]
    if not word:
        return None
    if word not in NUMBERS:
        known = ", ".join(NUMBERS)
        return wrong(row_no, "处理方式", "DECISION_UNKNOWN", text=word, known=known)
    if not (number.isascii() and number.isdecimal()) or len(number) > 19:
        return wrong(row_no, HEAD[0], "EXCEPTION_NO_NUMBER", text=number)
    if len(remark) > REMARK_MAX or not remark.isprintable():
        return wrong(row_no, "备注", "REMARK_TOO_LONG", most=REMARK_MAX)
    return Filled(int(number), NUMBERS[word], remark)
