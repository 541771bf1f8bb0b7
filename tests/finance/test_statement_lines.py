"""Promises of reading statements: a line is what its row says, or the row and the reason."""

from __future__ import annotations

import gzip
import io
import zipfile
from datetime import UTC, datetime
from typing import Any

import openpyxl
import pytest
import xlsxwriter
from hypothesis import given
from hypothesis import strategies as st

from shoudan_finance import statement_files
from shoudan_finance.entries import Line
from shoudan_finance.row_errors import Wrong
from shoudan_finance.statement_files import STRINGS_BYTES_MAX, FileTooLarge
from shoudan_finance.statement_lines import Reading
from shoudan_finance.states import EntryKind, Outcome
from shoudan_finance.templates import Footer, Skip, Template, load

OWN = load("")
YUAN = 1_000_000
HEAD = "商户单号,平台单号,结算单号,充值账号,面值,金额,时间,类型,状态"
ROW = "4611,S1,J1,139,100,98.5,2026-11-20 10:00:00,发货,成功"


def read(data: bytes, template: Template, most: int = 2**20) -> tuple[list[Line], list[Wrong]]:
    found = list(Reading(io.BytesIO(data), template, "sup1", most).lines())
    return (
        [one for one in found if isinstance(one, Line)],
        [one for one in found if isinstance(one, Wrong)],
    )


def plain(*rows: str, foot: str | None = None) -> bytes:
    lines = [HEAD, *rows, *([foot] if foot else [])]
    return "\r\n".join(lines).encode("utf-8-sig")


def why(data: bytes, template: Template = OWN["plain-csv"]) -> list[tuple[int, str]]:
    return [(one.row_no, one.why) for one in read(data, template)[1]]


def test_a_line_is_what_its_row_says() -> None:
    (line,), wrong = read(plain(ROW, foot="合计,1,98.50"), OWN["plain-csv"])
    assert not wrong
    assert line == Line(
        row_no=2,
        source="sup1",
        kind=EntryKind.DELIVERY,
        our_no="4611",
        their_no="S1",
        settle_no="J1",
        account="139",
        face_micros=100 * YUAN,
        amount_micros=-98_500_000,
        outcome=Outcome.SUCCESS,
        happen_time=datetime(2026, 11, 20, 2, tzinfo=UTC),
    )


def test_columns_are_found_by_their_names_in_any_order_and_with_others_between() -> None:
    data = (
        "类型,多余,金额,时间,平台单号,商户单号,结算单号,充值账号,面值,状态\n"
        "退货,x,5,2026-11-20 10:00:00,S1,1,,,,成功\n合计,1,5\n"
    ).encode()
    (line,), wrong = read(data, OWN["plain-csv"])
    assert (line.kind, line.amount_micros, wrong) == (EntryKind.RETURN, 5 * YUAN, [])


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (ROW.replace("98.5", "1e3"), "'1e3' is no amount in yuan"),
        (ROW.replace("98.5", "98.123456"), "'98.123456' is no amount in yuan"),
        (ROW.replace("10:00:00", "25:00:00"), "'2026-11-20 25:00:00' is no time of the forms"),
        (ROW.replace("成功", "?"), "'?' is not among the codes of the template"),
        (ROW.replace("4611", "=HYPERLINK(1)"), "begins as a formula does"),
        (ROW.replace("4611", "4.61E+18"), "was rounded by a spreadsheet"),
        (ROW.replace("4611", "4" * 65), "has more than 64 characters"),
        (ROW.replace("4611", "4\x07"), "has a character that cannot be printed"),
        (ROW.replace("4611,S1,J1,139", ",,,"), "the row has no number and no account"),
    ],
)
def test_what_is_wrong_with_a_row_is_said_with_its_number(row: str, said: str) -> None:
    ((row_no, text),) = why(plain(row, foot="合计,0,0"))
    assert row_no == 2
    assert text.startswith(said)


def test_numbers_that_programs_wrap_for_spreadsheets_are_unwrapped() -> None:
    row = '`4611,"=""00S1""",\'J1,139,"1,000.00","098.500000",2026/11/20 10:00:00,发货,成功'
    template = OWN["plain-csv"]
    data = plain(row.replace("2026/11/20", "2026-11-20"), foot="合计,1,98.5")
    (line,), wrong = read(data, template)
    assert not wrong
    assert (line.our_no, line.their_no, line.settle_no) == ("4611", "00S1", "J1")
    assert (line.face_micros, line.amount_micros) == (1000 * YUAN, -98_500_000)


def test_half_a_file_is_known_by_its_footer() -> None:
    assert why(plain(ROW)) == [(0, "no row begins with 合计: half a file")]
    assert why(plain(ROW, foot="合计,2,98.5")) == [(3, "says 2 rows, 1 are here")]
    assert why(plain(ROW, foot="合计,1,98.51")) == [(3, "says 98.51, the rows come to another sum")]


def test_a_file_in_another_character_set_is_refused_where_it_begins_to_differ() -> None:
    data = plain(ROW, foot="合计,1,98.5").decode("utf-8-sig").encode("gb18030")
    ((row_no, said),) = why(data)
    assert (row_no, said) == (1, "is not written in utf-8-sig")
    renamed = Template(**{**_fields(OWN["plain-csv"]), "encoding": "gb18030"})
    assert read(data, renamed)[1] == []


def _fields(one: Template) -> dict[str, Any]:
    return {name: getattr(one, name) for name in one.__struct_fields__}


def test_a_missing_column_is_named() -> None:
    assert why("商户单号,金额\n1,2\n".encode())[0][1].startswith("has no column 平台单号")


def test_skipped_rows_are_counted_and_not_read() -> None:
    template = Template(
        name="t",
        columns={"their_no": "1", "amount": "2", "time": "3", "kind": "4"},
        header=False,
        signs="negated",
        kinds={"a": "delivery", "none": "fee"},
        skip=(Skip(column="kind", words=("none",)), Skip(begins="#")),
        time_formats=("%Y-%m-%d %H:%M:%S",),
    )
    data = b"#note\nS1,2.5,2026-11-20 10:00:00,a\nS2,oops,,none\n"
    reading = Reading(io.BytesIO(data), template, "sup1", 2**20)
    (line,) = list(reading.lines())
    assert isinstance(line, Line)
    assert (line.amount_micros, reading.counted.skipped) == (-2_500_000, 2)


def test_lines_of_fixed_width_are_cut_by_bytes_and_amounts_may_be_fen() -> None:
    row = f"{'1':<32}{'单2':<31}{'9850':>16}20261120100000" + "01S"
    data = f"{row}\r\nEND 1 9850\r\n".encode("gb18030")
    (line,), wrong = read(data, OWN["fixed-fen"])
    assert (line.our_no, line.their_no, line.amount_micros) == ("1", "单2", -98_500_000)
    assert not wrong


def test_a_bill_of_wechat_is_read_as_it_comes() -> None:
    data = (
        "\ufeff交易时间,商户订单号,微信订单号,交易状态,订单金额\n"
        "`2026-11-20 10:00:00,`p1,`420001,`SUCCESS,`10.00\n"
        "`2026-11-20 11:00:00,`p1,`420001,`REFUND,`4.00\n"
        "总交易单数,应结订单总金额\n`2,`6.00\n"
    ).encode()
    lines, wrong = read(data, OWN["wechat-trade"])
    assert [one.amount_micros for one in lines] == [10 * YUAN, -4 * YUAN]
    assert not wrong


def test_refunds_of_a_wechat_bill_have_their_own_numbers_and_amount() -> None:
    data = (
        "\ufeff交易时间,商户订单号,微信订单号,交易状态,微信退款单号,商户退款单号,订单金额,申请退款金额\n"
        "`2026-11-20 10:00:00,`p1,`420001,`SUCCESS,`,`,`10.00,`0.00\n"
        "`2026-11-20 11:00:00,`p1,`420001,`REFUND,`500001,`r1,`10.00,`4.00\n"
        "总交易单数,应结订单总金额\n`2,`6.00\n"
    ).encode()
    lines, wrong = read(data, OWN["wechat-trade"])
    assert [(one.our_no, one.their_no, one.amount_micros) for one in lines] == [
        ("p1", "420001", 10 * YUAN),
        ("r1", "500001", -4 * YUAN),
    ]
    assert not wrong


def workbook(*rows: list[Any]) -> bytes:
    book = openpyxl.Workbook()
    sheet: Any = book.active
    for row in rows:
        sheet.append(row)
    made = io.BytesIO()
    book.save(made)
    return made.getvalue()


def test_a_workbook_is_read_as_a_csv_is() -> None:
    moment = datetime.fromisoformat("2026-11-20 10:00:00")
    row = ["4611", "S1", "J1", "139", 100, 98.5, moment, "发货", "成功"]
    lines, wrong = read(workbook(HEAD.split(","), row, ["合计", 1, 98.5]), OWN["plain-xlsx"])
    assert not wrong
    assert lines == read(plain(ROW, foot="合计,1,98.5"), OWN["plain-csv"])[0]


def test_a_number_that_a_spreadsheet_rounded_is_no_number() -> None:
    row = [4611686018427387904, "S1", "", "", 100, 98.5, "2026-11-20 10:00:00", "发货", "成功"]
    first = why(workbook(HEAD.split(","), row), OWN["plain-xlsx"])[0]
    assert first == (2, "was rounded by a spreadsheet")
    row[0] = 4 * 10**15
    first = why(workbook(HEAD.split(","), row), OWN["plain-xlsx"])[0]
    assert first == (
        2,
        "has a number of which a spreadsheet keeps fifteen digits: use text",
    )


class Endless(io.RawIOBase):
    """A file without an end of a line, or of a row, that says how much of it was read."""

    def __init__(self, piece: bytes) -> None:
        self.piece, self.given = piece, 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = (self.piece * (size // len(self.piece) + 1))[:size]
        self.given += len(data)
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        return 0


@pytest.mark.parametrize("piece", [b"x", b"1,", b'"a\n",'], ids=["cell", "cells", "lines"])
def test_a_row_without_an_end_is_refused_before_it_is_memory(piece: bytes) -> None:
    file = Endless(piece)
    lines = Reading(file, OWN["plain-csv"], "sup1", 2**30).lines()
    assert isinstance(next(lines), Wrong)
    assert file.given < 2**21


def test_a_footer_that_promises_a_row_below_and_has_none_is_wrong() -> None:
    fixed = Template(
        name="f",
        columns={"our_no": "1-4", "amount": "5-12", "time": "13-31"},
        format="fixed",
        footer=Footer("T", rows_cell=1, below=True),
    )
    assert why(b"T\n", fixed) == [(1, "says  rows, 0 are here")]


def test_a_bomb_is_not_unpacked() -> None:
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/worksheets/sheet1.xml", b"0" * 30_000_000)
    with pytest.raises(FileTooLarge):
        read(bomb.getvalue(), OWN["plain-xlsx"])
    with pytest.raises(FileTooLarge):
        read(gzip.compress(plain(*[ROW] * 20_000)), OWN["plain-csv"])


def shared() -> bytes:
    """A workbook of one line, with its texts beside the sheet, as Excel writes them."""
    made = io.BytesIO()
    book: Any = xlsxwriter.Workbook(made)
    sheet = book.add_worksheet()
    for at, cells in enumerate((HEAD.split(","), ROW.split(","), ["合计", "1", "98.5"])):
        for place, cell in enumerate(cells):
            sheet.write_string(at, place, cell)
    book.close()
    return made.getvalue()


def _with(book: bytes, name: str, body: bytes, *, named: str = "") -> bytes:
    """A workbook with another entry in place of one, which has another name in its contents then."""
    made = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(book)) as old,
        zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as new,
    ):
        for one in old.infolist():
            data = old.read(one)
            if one.filename == "[Content_Types].xml" and named:
                data = data.replace(f"/{name}".encode(), f"/{named}".encode())
            if one.filename != name:
                new.writestr(one.filename, data)
        new.writestr(named or name, body)
    return made.getvalue()


@pytest.mark.parametrize("named", ["", "xl/worksheets/texts.xml"], ids=["usual", "as a sheet"])
def test_texts_that_cells_share_are_bounded_before_they_are_memory(
    named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = shared()
    with zipfile.ZipFile(io.BytesIO(book)) as archive:
        texts = archive.read("xl/sharedStrings.xml")
    same = _with(book, "xl/sharedStrings.xml", texts, named=named)
    assert len(read(same, OWN["plain-xlsx"])[0]) == 1
    monkeypatch.setattr(statement_files, "STRINGS_BYTES_MAX", len(texts) - 1)
    with pytest.raises(FileTooLarge, match="texts that cells share"):
        read(same, OWN["plain-xlsx"])
    assert 1 << 20 <= STRINGS_BYTES_MAX <= 64 << 20


def test_what_stands_beside_the_sheets_is_bounded() -> None:
    book = workbook(HEAD.split(","))
    styles = _with(book, "xl/styles.xml", b"<x/>" * (2 << 20))
    with pytest.raises(FileTooLarge, match="beside the sheets"):
        read(styles, OWN["plain-xlsx"], 2**28)
    contents = _with(book, "[Content_Types].xml", b"<x/>" * (1 << 20))
    with pytest.raises(FileTooLarge, match="contents"):
        read(contents, OWN["plain-xlsx"], 2**28)


def test_a_workbook_whose_texts_grow_by_themselves_is_none() -> None:
    entity = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10 if n else "x" * 10}">' for n in range(9))
    bomb = f'<?xml version="1.0"?><!DOCTYPE sst [{entity}]><sst><si><t>&e8;</t></si></sst>'
    assert why(_with(shared(), "xl/sharedStrings.xml", bomb.encode()), OWN["plain-xlsx"])


def test_a_workbook_that_reaches_outside_of_itself_is_refused() -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("../evil", b"1")
    assert why(made.getvalue(), OWN["plain-xlsx"]) == [
        (0, "is a workbook with a file outside of it")
    ]


def test_a_packed_file_is_read_and_a_cut_one_is_refused() -> None:
    packed = gzip.compress(plain(ROW, foot="合计,1,98.5"))
    assert len(read(packed, OWN["plain-csv"])[0]) == 1
    assert why(packed[:-20])[-1] == (0, "is packed, and cannot be unpacked")


@given(st.binary(max_size=600), st.sampled_from(sorted(OWN)))
def test_no_bytes_are_anything_but_lines_or_reasons(data: bytes, name: str) -> None:
    lines, wrong = read(data, OWN[name])
    assert all(isinstance(one.amount_micros, int) for one in lines)
    assert all(one.why for one in wrong)


@given(st.lists(st.integers(0, 10**9), max_size=20))
def test_a_footer_holds_exactly_when_the_sum_is_that_of_the_rows(fen: list[int]) -> None:
    rows = [
        f"{at},S{at},,,,{one // 100}.{one % 100:02d},2026-11-20 10:00:00,发货,成功"
        for at, one in enumerate(fen)
    ]
    total = sum(fen)
    good = f"合计,{len(fen)},{total // 100}.{total % 100:02d}"
    assert why(plain(*rows, foot=good)) == []
    other = total + 1
    bad = f"合计,{len(fen)},{other // 100}.{other % 100:02d}"
    assert len(why(plain(*rows, foot=bad))) == 1


def test_footers_of_gross_sums() -> None:
    template = Template(**{**_fields(OWN["plain-csv"]), "footer": Footer("合计", 2, 3, gross=True)})
    back = ROW.replace("发货", "退货").replace("4611", "4612")
    assert why(plain(ROW, back, foot="合计,2,197"), template) == []
