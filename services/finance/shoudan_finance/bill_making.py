"""Making a bill: its rows from the facts, its file piece by piece, its manifest; nothing half is published.

Nothing in a file depends on when or where it is made, so that it has the same bytes when it is made again.
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Final

import msgspec

from shoudan_finance import bill_files, bill_pdfs, bill_sheets, fund_bills, trade_bills
from shoudan_finance.bill_files import AccountSum, BillInvalid, Manifest
from shoudan_finance.bill_pieces import Pieces
from shoudan_finance.bill_sheets import Lines, Style
from shoudan_finance.context import Context
from shoudan_finance.fund_bills import Whose
from shoudan_finance.store.bills import Published, Spec
from shoudan_finance.trade_bills import MERCHANT, SUPPLY, TRADE, Totals, TradeManifest

FUND: Final = "fund"
XLSX: Final = "xlsx"
PDF: Final = "pdf"
TITLES: Final = {
    FUND: "资金账单",
    TRADE: "下游交易账单",
    SUPPLY: "上游交易账单",
    MERCHANT: "商户交易账单",
}

Store = Callable[[int, Sequence[tuple[int, bytes]]], Awaitable[None]]


def style_of(spec: Spec) -> Style:
    """How its file is written."""
    marks = bool(spec.bom), bool(spec.backtick), bool(spec.packed)
    return Style(*marks, xlsx=spec.format == XLSX, pdf=spec.format == PDF)


def file_of(spec: Spec) -> str:
    """The name of its file, of letters, digits, - and _ alone."""
    days = f"{spec.first_day}" if spec.first_day == spec.last_day else f"{spec.first_day:%Y-%m}"
    if not whole(spec):
        days = f"{spec.first_day}_{spec.last_day}"
    marks = "-".join(n for n in ("bom", "backtick") if getattr(spec, n))
    names = (spec.kind, spec.ident, spec.groups, spec.eid, days, marks)
    return "-".join(_plain(one) for one in names if one) + style_of(spec).suffix


def titles_of(spec: Spec) -> list[str]:
    """What heads a statement for people: what it is, whose, of which days."""
    whose = " / ".join(one for one in (spec.ident, spec.groups, spec.eid) if one)
    days = f"{spec.first_day}"
    if spec.first_day != spec.last_day:
        days += f" 至 {spec.last_day}"
    return [TITLES[spec.kind], f"对象：{whose}", f"期间：{days}（北京时间）　　金额单位：元"]


def whole(spec: Spec) -> bool:
    """Of one day, or of a month."""
    after = spec.last_day + timedelta(days=1)
    month = spec.first_day.day == after.day == 1 and (after - spec.first_day).days <= 31
    return spec.first_day == spec.last_day or month


def _plain(text: str) -> str:
    return "".join(one if (one.isalnum() and one.isascii()) or one == "-" else "_" for one in text)


async def make(context: Context, spec: Spec, store: Store) -> Published:
    """Write the file, giving its pieces to `store` with the rows so far. Raises BillInvalid, refusals."""
    folder = context.app.settings.work_dir or None
    with tempfile.TemporaryDirectory(prefix="bill-", dir=folder) as name:
        sink = Pieces()
        if spec.format == PDF:
            lines: Lines = bill_pdfs.PdfLines(sink, titles_of(spec))
        else:
            lines = bill_sheets.lines(sink, style_of(spec), Path(name))
        write = _fund if spec.kind == FUND else _trade
        try:
            return await write(context, spec, _Writer(sink, lines, store))
        finally:
            lines.drop()


class _Writer:
    """A file in the middle."""

    def __init__(self, sink: Pieces, lines: Lines, store: Store) -> None:
        self.sink, self.lines, self._store, self.rows = sink, lines, store, 0

    async def add(self, rows: Sequence[list[str]], most: int) -> None:
        """Append rows, and store what is whole. Raises BillInvalid above `most` rows."""
        self.rows += len(rows)
        if self.rows > most:
            raise BillInvalid(f"more than {most} rows: take csv")
        self.lines.add(rows)
        if pieces := self.sink.take():
            await self._store(self.rows, pieces)

    async def end(self, header: Sequence[str], sums: Sequence[list[str]]) -> None:
        """Write the sums, and store the rest."""
        self.lines.head(header)
        self.lines.add(sums)
        self.lines.close()
        for piece in self.sink.take(rest=True):
            await self._store(self.rows, [piece])


def _most(context: Context, spec: Spec) -> int:
    settings = context.app.settings
    return settings.xlsx_rows_max if spec.format == XLSX else settings.bill_rows_max


async def _fund(context: Context, spec: Spec, writer: _Writer) -> Published:
    whose = Whose(spec.ident, spec.groups, spec.eid)
    found = await fund_bills.accounts(context, whose, spec.first_day, spec.last_day)
    sums: list[AccountSum] = []
    writer.lines.head(bill_files.HEADER)
    for account in found:
        async for page in fund_bills.rows(context, account, spec.first_day, spec.last_day, sums):
            await writer.add(page, _most(context, spec))
    await writer.end(bill_files.SUMS, [fund_bills.sum_cells(one) for one in sums])
    manifest = Manifest(
        file=file_of(spec),
        sha256=writer.sink.sha256,
        bytes=writer.sink.bytes,
        rows=writer.rows,
        ident=spec.ident,
        eid=spec.eid,
        first_day=spec.first_day.isoformat(),
        last_day=spec.last_day.isoformat(),
        accounts=sums,
    )
    return _published(manifest)


async def _trade(context: Context, spec: Spec, writer: _Writer) -> Published:
    totals = Totals()
    writer.lines.head(trade_bills.HEADER)
    async for day in _days(spec.first_day, spec.last_day):
        whose = spec.kind, spec.eid
        async for page in trade_bills.rows(context, totals, whose, day):
            await writer.add(page, _most(context, spec))
    sums = totals.listed()
    await writer.end(trade_bills.SUMS, [trade_bills.sum_cells(one) for one in sums])
    manifest = TradeManifest(
        file=file_of(spec),
        sha256=writer.sink.sha256,
        bytes=writer.sink.bytes,
        rows=writer.rows,
        bill=spec.kind,
        eid=spec.eid,
        first_day=spec.first_day.isoformat(),
        last_day=spec.last_day.isoformat(),
        sums=sums,
    )
    return _published(manifest)


async def _days(first: date, last: date) -> AsyncIterator[date]:
    for at in range((last - first).days + 1):
        yield first + timedelta(days=at)


def _published(manifest: Manifest | TradeManifest) -> Published:
    text = msgspec.json.format(msgspec.json.encode(manifest)).decode() + "\n"
    return Published(manifest.file, manifest.sha256, manifest.bytes, manifest.rows, text)
