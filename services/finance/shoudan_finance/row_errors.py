"""What may be wrong with a row of a file: a code that programs read, and its text in two languages.

The texts hold the words of the glossary and what stands in the file, and never an exception's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

FACT_CHARS_MAX: Final = 40

# By code: the text in English, and in Chinese.
WORDS: Final[Mapping[str, tuple[str, str]]] = {
    "AMOUNT_NOT_FEN": ("'{text}' is no amount in fen", "“{text}”不是以分为单位的金额"),
    "AMOUNT_NOT_YUAN": ("'{text}' is no amount in yuan", "“{text}”不是以元为单位的金额"),
    "CELL_TOO_LONG": (
        "cell {cell} has more than {most} characters",
        "第 {cell} 格超过 {most} 个字符",
    ),
    "CODE_UNKNOWN": (
        "'{text}' is not among the codes of the template",
        "“{text}”不在模板的代码对照中",
    ),
    "COLUMNS_MISSING": ("has no column {columns}", "缺少列：{columns}"),
    "CSV_BROKEN": (
        "is no CSV: a quote or an end of line is out of place, or a cell is too long",
        "不是合法的 CSV：引号或换行位置有误，或单元格过长",
    ),
    "DECISION_UNKNOWN": (
        "处理方式 '{text}' is none of {known}",
        "处理方式“{text}”不是以下之一：{known}",
    ),
    "ENCODING_OTHER": ("is not written in {encoding}", "不是 {encoding} 编码"),
    "EXCEPTION_DECIDED": (
        "exception {number}: is decided by now, or is none",
        "差错 {number}：已处理，或没有这笔差错",
    ),
    "EXCEPTION_NO_NUMBER": ("差错编号 '{text}' is no number", "差错编号“{text}”不是编号"),
    "EXCEPTION_TWICE": ("stands there twice", "重复出现"),
    "FILE_TOO_LARGE": ("is too large: more than {most} {what}", "文件过大，超过上限 {most}"),
    "FOOTER_AMOUNT": (
        "says {text}, the rows come to another sum",
        "合计行的金额为 {text}，与各行合计不符",
    ),
    "FOOTER_MISSING": (
        "no row begins with {begins}: half a file",
        "没有以“{begins}”开头的合计行：文件不完整",
    ),
    "FOOTER_NO_AMOUNT": ("'{text}' is no amount", "合计行的“{text}”不是金额"),
    "FOOTER_ROWS": ("says {text} rows, {rows} are here", "合计行的行数为 {text}，实有 {rows} 行"),
    "FORMULA": ("begins as a formula does", "以公式字符开头"),
    "LINE_TOO_LONG": ("has more than {most} bytes", "超过 {most} 字节"),
    "NOT_PRINTABLE": ("has a character that cannot be printed", "含有不可打印的字符"),
    "NO_NUMBER": ("the row has no number and no account", "该行既没有单号也没有充值账号"),
    "OUTSIDE": ("is a workbook with a file outside of it", "工作簿含有越界的文件"),
    "PACKED_BROKEN": ("is packed, and cannot be unpacked", "压缩文件无法解压"),
    "REMARK_TOO_LONG": (
        "备注 has more than {most} printable characters",
        "备注超过 {most} 个可打印字符",
    ),
    "ROUNDED": ("was rounded by a spreadsheet", "已被电子表格舍入为科学计数"),
    "ROUNDED_NUMBER": (
        "has a number of which a spreadsheet keeps fifteen digits: use text",
        "含有超过十五位的数字，电子表格会舍入：请改为文本",
    ),
    "ROW_BROKEN": ("cannot be read as a row of a sheet", "无法作为工作表的一行读取"),
    "ROW_TOO_LONG": ("has more than {most} characters", "整行超过 {most} 个字符"),
    "SHEET_MISSING": ("has no sheet {text}", "没有名为“{text}”的工作表"),
    "SHEET_OTHER": (
        "has not the columns of the workbook that was downloaded",
        "表头不是下载的差错工作簿的表头",
    ),
    "TEXT_TOO_LONG": ("has more than {most} characters", "超过 {most} 个字符"),
    "TIME_WRONG": ("'{text}' is no time of the forms configured", "“{text}”不符合模板的时间格式"),
    "TOO_MANY_CELLS": ("has more than {most} cells", "超过 {most} 格"),
    "TOO_MANY_DECISIONS": ("more than {most} are decided at once", "一次最多处理 {most} 笔"),
    "WORKBOOK_BROKEN": ("is no workbook", "不是可读取的工作簿"),
}


def facts_of(given: Mapping[str, object]) -> dict[str, str]:
    """Facts as the texts take them, what stands in the file cut short."""
    made = {name: str(one) for name, one in given.items()}
    return {name: one[:FACT_CHARS_MAX] if name == "text" else one for name, one in made.items()}


@dataclass(frozen=True, slots=True)
class Wrong:
    """What is wrong with a row; row 0 is the whole file."""

    row_no: int
    column: str
    code: str
    facts: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def why(self) -> str:
        """In English."""
        return WORDS[self.code][0].format_map(self.facts)

    @property
    def why_zh(self) -> str:
        """In Chinese."""
        return WORDS[self.code][1].format_map(self.facts)


def wrong(row_no: int, column: str, code: str, **facts: object) -> Wrong:
    """A row's error with its facts."""
    return Wrong(row_no, column, code, facts_of(facts))


class RowProblem(Protocol):
    """A row's error, here or as it travels."""

    @property
    def row_no(self) -> int: ...
    @property
    def column(self) -> str: ...
    @property
    def code(self) -> str: ...
    @property
    def why(self) -> str: ...
    @property
    def why_zh(self) -> str: ...


def for_people(one: RowProblem, language: str) -> str:
    """A row's error as a line: where, what in the language asked for, and the code for programs."""
    if language == "zh":
        row = f"第 {one.row_no} 行" if one.row_no else "整个文件"
        where = f"{row}，{one.column}" if one.column else row
        return f"{where}：{one.why_zh or one.why} [{one.code}]"
    row = f"row {one.row_no}" if one.row_no else "file"
    where = f"{row}, {one.column}" if one.column else row
    return f"{where}: {one.why} [{one.code}]"
