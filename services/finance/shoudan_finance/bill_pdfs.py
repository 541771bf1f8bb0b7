"""A bill as a statement for people: whose, opening, movements by kind, closing, and the line that proves it.

The rows pass as they do in every form of the bill and are added up; no page has them. The font is one that
every reader of PDF has for Chinese, so that a file of a hundred accounts is some kilobytes.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.pdfgen.canvas import Canvas

from shoudan_finance.bill_files import HEADER, SUMS, BillInvalid, micros
from shoudan_kit.money import micros_to_yuan

FONT: Final = "STSong-Light"
PAGE: Final = (595, 842)  # A4 in points
LEFT, RIGHT, TOP, BOTTOM = 40, 555, 790, 60
STEP: Final = 16  # from line to line
SIZE: Final = 9
LINES_MAX: Final = 50_000  # of one file
AT: Final = {name: at for at, name in enumerate(HEADER)}
DAY, ACCOUNT, ABOUT, CHANGE = (AT[one] for one in ("记账日", "账户编号", "业务类型", "变动类型"))
AMOUNT, AFTER = AT["变动金额(元)"], AT["变动后余额(元)"]
KIND_HEAD: Final = ("业务类型", "变动类型", "收入笔数", "收入合计", "支出笔数", "支出合计")
DAY_HEAD: Final = ("记账日", "笔数", "收入合计", "支出合计", "期末余额")

_fonts: Any = pdfmetrics  # its functions have no types
_fonts.registerFont(UnicodeCIDFont(FONT))


class PdfLines:
    """Rows as a statement. Rows of a fund bill are added up by account, kind and day; a trade bill's sums
    are its statement."""

    def __init__(self, sink: Any, titles: Sequence[str]) -> None:
        """`titles`: the first lines of every page, the first of them large."""
        self._sink, self._titles = sink, titles
        self._names: Sequence[str] = ()
        self._sums: list[Sequence[str]] = []
        # By account, then by kind and by day: how many and how much went up and down.
        self._kinds: dict[str, dict[tuple[str, str], list[int]]] = {}
        self._days: dict[str, dict[str, list[int]]] = {}

    def head(self, names: Sequence[str]) -> None:
        """What the rows that follow are."""
        self._names = names

    def add(self, rows: Iterable[Sequence[str]]) -> None:
        """Add rows up, or keep them as sums."""
        if self._names == HEADER:
            for row in rows:
                self._movement(row)
        elif "笔数" in self._names or self._names == SUMS:
            self._sums += rows

    def _movement(self, row: Sequence[str]) -> None:
        amount, after = micros(row[AMOUNT]), micros(row[AFTER])
        kinds = self._kinds.setdefault(row[ACCOUNT], {})
        kind = kinds.setdefault((row[ABOUT], row[CHANGE]), [0, 0, 0, 0])
        day = self._days.setdefault(row[ACCOUNT], {}).setdefault(row[DAY], [0, 0, 0, 0])
        down = amount < 0
        kind[2 * down] += 1
        kind[2 * down + 1] += abs(amount)
        day[0] += 1
        day[1 + down] += abs(amount)
        day[3] = after

    def drop(self) -> None:
        """It waits in memory."""

    def close(self) -> None:
        """Write the file, and give it to the sink. Raises BillInvalid when it would have too many lines."""
        pages = _Pages(self._titles)
        if self._names == SUMS:
            for row in self._sums:
                self._account(pages, row)
        else:
            pages.table(self._names, self._sums, [50, 60, 60, 90, 90, 60, 60, 45])
            rows = sum(int(row[2]) for row in self._sums)
            pages.text(f"共 {rows} 笔", 10)
        self._sink.write(pages.file())

    def _account(self, pages: _Pages, row: Sequence[str]) -> None:
        """An account: its sums, and that they prove each other."""
        account, groups, name, opening, ups, up, downs, down, closing = row
        kinds, days = self._kinds.get(account, {}), self._days.get(account, {})
        added = [sum(one[at] for one in kinds.values()) for at in range(4)]
        if added != [int(ups), micros(up), int(downs), micros(down)]:
            raise BillInvalid(f"account {account}: its rows come to other sums")
        if micros(opening) + added[1] - added[3] != micros(closing):
            raise BillInvalid(f"account {account} does not end with what it should")
        pages.text(f"账户 {account}　{groups}　{_shown(name)}", 11)
        pages.text(f"期初余额 {opening} 元　　期末余额 {closing} 元", 10)
        pages.table(
            KIND_HEAD,
            [
                [*kind, str(one[0]), _yuan(one[1]), str(one[2]), _yuan(one[3])]
                for kind, one in sorted(kinds.items())
            ],
            [90, 90, 70, 100, 70, 95],
        )
        if len(days) > 1:
            pages.table(
                DAY_HEAD,
                [[day, str(one[0]), *map(_yuan, one[1:])] for day, one in sorted(days.items())],
                [105, 80, 110, 110, 110],
            )
        pages.text(f"核对：{opening} ＋ {up} － {down} ＝ {closing} 元", 10)
        pages.text("", 6)


def _shown(name: str) -> str:
    """A name without the mark that keeps a spreadsheet from calculating it, and what has no form on paper."""
    return "".join(one for one in name.removeprefix("'") if one.isprintable())


def _yuan(amount: int) -> str:
    return micros_to_yuan(amount)


class _Pages:
    """Lines on pages. Everything is kept until the end, which knows how many pages there are."""

    def __init__(self, titles: Sequence[str]) -> None:
        self._titles = titles
        self._pages: list[list[Callable[[Canvas], None]]] = []
        self._y, self._lines = 0, 0
        self._next_page()

    def _next_page(self) -> None:
        self._pages.append([])
        self._y = TOP
        for at, title in enumerate(self._titles):
            self._draw(LEFT, title, SIZE if at else 15)
            self._y -= STEP if at else 24
        self._y -= 6

    def _draw(self, x: int, text: str, size: int, *, right: bool = False) -> None:
        y = self._y

        def drawn(canvas: Canvas) -> None:
            canvas.setFont(FONT, size)
            (canvas.drawRightString if right else canvas.drawString)(x, y, text)

        self._pages[-1].append(drawn)

    def _line(self) -> None:
        self._lines += 1
        if self._lines > LINES_MAX:
            raise BillInvalid(f"more than {LINES_MAX} lines: take csv")
        if self._y < BOTTOM:
            self._next_page()

    def text(self, text: str, size: int) -> None:
        """A line."""
        self._line()
        self._draw(LEFT, _fitting(text, size, RIGHT - LEFT), size)
        self._y -= STEP

    def table(
        self, head: Sequence[str], rows: Sequence[Sequence[str]], widths: Sequence[int]
    ) -> None:
        """A table; numbers stand at the right of their column."""
        for at, row in enumerate([head, *rows]):
            self._line()
            x = LEFT
            for place, cell in enumerate(row):
                text = _fitting(cell, SIZE, widths[place] - 4)
                if place < 1 or not _numeric(rows, place):
                    self._draw(x, text, SIZE)
                else:
                    self._draw(x + widths[place] - 4, text, SIZE, right=True)
                x += widths[place]
            self._y -= STEP
            if at == 0:
                self._rule()

    def _rule(self) -> None:
        y = self._y + 11
        self._pages[-1].append(lambda canvas: canvas.line(LEFT, y, RIGHT, y))

    def file(self) -> bytes:
        """The bytes, which are the same for the same lines."""
        made = io.BytesIO()
        canvas = Canvas(made, pagesize=PAGE, invariant=1, pageCompression=1)
        canvas.setTitle(self._titles[0])
        canvas.setAuthor("shoudan")
        for number, page in enumerate(self._pages, 1):
            for draw in page:
                draw(canvas)
            canvas.setFont(FONT, 8)
            canvas.drawCentredString(PAGE[0] / 2, 30, f"第 {number} 页，共 {len(self._pages)} 页")
            canvas.showPage()
        canvas.save()
        return made.getvalue()


def _numeric(rows: Sequence[Sequence[str]], place: int) -> bool:
    return bool(rows) and all(row[place][-1:].isdecimal() for row in rows)


def _fitting(text: str, size: int, width: int) -> str:
    """As much of a text as a place takes: of names, which the CSV has whole. Numbers are never cut."""
    if _fonts.stringWidth(text, FONT, size) <= width or text[-1:].isdecimal():
        return text
    while text and _fonts.stringWidth(f"{text}…", FONT, size) > width:
        text = text[:-1]
    return f"{text}…"
