"""Promises of statements for people: they say what the bill's rows come to, or they are not made."""

from __future__ import annotations

import io
from typing import Any

import pytest
from pypdf import PdfReader

from shoudan_finance import bill_pdfs, trade_bills
from shoudan_finance.bill_files import HEADER, SUMS, BillInvalid
from shoudan_finance.bill_pdfs import PdfLines

TITLES = ["资金账单", "对象：oms / ycdown", "期间：2026-11-29（北京时间）"]


def movement(day: str, about: str, change: str, before: int, amount: int) -> list[str]:
    after = before + amount
    cells = [day, "1", "7", "down_channel", "1", f"{day} 10:00:00", about, change, "交易"]
    return [*cells, "o1", "", str(before), str(amount), str(after), ""]


ROWS = [
    movement("2026-11-28", "人工", "加款", 0, 100),
    movement("2026-11-29", "订单", "扣款", 100, -20),
    movement("2026-11-29", "订单", "扣款", 80, -10),
    movement("2026-11-29", "订单退款", "退款", 70, 5),
]
SUM = ["7", "down_channel", "渠道一", "0", "2", "105", "2", "30", "75"]


def made(rows: list[list[str]], sums: list[list[str]], names: Any = (HEADER, SUMS)) -> bytes:
    sink = io.BytesIO()
    lines = PdfLines(sink, TITLES)
    lines.head(names[0])
    lines.add(rows[:1])
    lines.add(rows[1:])
    lines.head(names[1])
    lines.add(sums)
    lines.close()
    return sink.getvalue()


def words(data: bytes) -> list[list[str]]:
    """The lines of each page, cells parted by blanks."""
    pages = [one.extract_text(extraction_mode="plain") for one in PdfReader(io.BytesIO(data)).pages]
    return [page.splitlines() for page in pages]


def test_it_says_opening_movements_by_kind_and_day_closing_and_what_proves_them() -> None:
    (page,) = words(made(ROWS, [SUM]))
    text = "\n".join(page)
    for title in TITLES:
        assert title in text
    assert "账户 7　down_channel　渠道一" in text
    assert "期初余额 0 元　　期末余额 75 元" in text
    assert "核对：0 ＋ 105 － 30 ＝ 75 元" in text
    cells = text.split("\n")
    at = cells.index("订单")
    assert cells[at : at + 6] == ["订单", "扣款", "0", "0", "2", "30"]
    at = cells.index("2026-11-29")
    assert cells[at : at + 5] == ["2026-11-29", "3", "5", "30", "75"]
    assert "第 1 页，共 1 页" in text


def test_the_same_rows_have_the_same_bytes() -> None:
    assert made(ROWS, [SUM]) == made(ROWS, [SUM])


@pytest.mark.parametrize(("place", "other"), [(4, "3"), (5, "106"), (6, "1"), (8, "76")])
def test_sums_that_are_not_those_of_the_rows_are_not_published(place: int, other: str) -> None:
    wrong = [*SUM]
    wrong[place] = other
    with pytest.raises(BillInvalid):
        made(ROWS, [wrong])


def test_an_account_that_rested_shows_its_balance() -> None:
    (page,) = words(made([], [["7", "down_channel", "渠道一", "9", "0", "0", "0", "0", "9"]]))
    assert "核对：9 ＋ 0 － 0 ＝ 9 元" in page


def test_many_accounts_are_on_numbered_pages_and_too_many_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sums = [[str(at), "down_channel", f"渠道{at}", *["0"] * 6] for at in range(100)]
    pages = words(made([], sums))
    assert len(pages) > 5
    for number, page in enumerate(pages, 1):
        assert f"第 {number} 页，共 {len(pages)} 页" in page
        assert TITLES[1] in page
    assert sum(line.startswith("账户 ") for page in pages for line in page) == 100
    monkeypatch.setattr(bill_pdfs, "LINES_MAX", 100)
    with pytest.raises(BillInvalid, match="more than 100 lines: take csv"):
        made([], sums)


def test_names_that_no_page_holds_are_cut_and_amounts_never() -> None:
    long = [
        "7",
        "down_channel",
        "'=长" * 200 + "😀\x07",
        *["1234567890.12345"],
        "0",
        "0",
        "0",
        "0",
    ]
    (page,) = words(made([], [[*long, "1234567890.12345"]]))
    assert any(line.startswith("账户 7　down_channel　") and line.endswith("…") for line in page)
    assert "核对：1234567890.12345 ＋ 0 － 0 ＝ 1234567890.12345 元" in page


def test_a_trade_bill_says_its_sums_by_kind_and_result() -> None:
    orders = ["订单", "成功", "3", "300", "290", "0", "1.5", "0"]
    sums = [orders, ["退款", "失败", "1", *["0"] * 5]]
    (page,) = words(made([], sums, (trade_bills.HEADER, trade_bills.SUMS)))
    text = "\n".join(page)
    assert "共 4 笔" in text
    at = page.index("订单")
    assert page[at : at + 8] == orders
