"""Trade bills (交易账单): a row for each order, refund, delivery and return, as it stood when it ended."""

from __future__ import annotations

import csv
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final

import msgspec

from shoudan_finance import bill_files, pay_books, trade_books
from shoudan_finance.bill_files import VERSION, BillInvalid
from shoudan_finance.context import Context
from shoudan_finance.store.trades import Trade
from shoudan_kit.clock import beijing
from shoudan_kit.money import micros_to_yuan
from shoudan_kit.spreadsheet import safe

BEGINNING: Final = datetime(1970, 1, 1, tzinfo=UTC)
# Of a down channel; of a supplier; of a merchant of PayServer.
TRADE, SUPPLY, MERCHANT = "trade", "supply", "merchant"
KINDS: Final = (
    *("", "订单", "退款", "发货", "退货"),
    *("支付", "支付退款", "支付更正", "退款更正"),
)
RESULTS: Final = {0: "成功", 90: "失败", 91: "部分成功"}
HEADER: Final = (
    "业务日",
    "业务类型",
    "编号",
    "订单编号",
    "对方单号",
    "商品编号",
    "运营商",
    "面值(元)",
    "数量",
    "结果",
    "成功面值(元)",
    "金额(元)",
    "佣金(元)",
    "服务费(元)",
    "手续费(元)",
    "结束时间",
)
SUMS: Final = (
    "业务类型",
    "结果",
    "笔数",
    "成功面值合计(元)",
    "金额合计(元)",
    "佣金合计(元)",
    "服务费合计(元)",
    "手续费合计(元)",
)
AMOUNTS: Final = (
    "done_face_micros",
    "amount_micros",
    "commission_micros",
    "service_micros",
    "fee_micros",
)


class KindSum(msgspec.Struct):
    """What the rows of one kind and result come to."""

    kind: str
    result: str
    rows: int = 0
    done_face_micros: int = 0
    amount_micros: int = 0
    commission_micros: int = 0
    service_micros: int = 0
    fee_micros: int = 0


class TradeManifest(msgspec.Struct, frozen=True):
    """What was published: the hash of the file as it stands, and the sums that it must come to."""

    file: str
    sha256: str
    bytes: int
    rows: int
    bill: str
    eid: str
    first_day: str
    last_day: str
    sums: list[KindSum]
    version: int = VERSION


@dataclass(slots=True)
class Totals:
    """The sums of a bill in the middle of it, and that its rows come in their order."""

    sums: dict[tuple[int, int], KindSum] = field(default_factory=dict[tuple[int, int], KindSum])
    last: tuple[datetime, int] = (BEGINNING, 0)

    def cells(self, one: Trade, day: str) -> list[str]:
        """The row of the next trade. Raises BillInvalid when it does not follow."""
        moment = one.end_time
        place = (moment, one.number)
        if place <= self.last or one.result not in RESULTS or beijing(moment)[:10] != day:
            raise BillInvalid(f"{one.number} does not follow the row before it on {day}")
        self.last = place
        key = (int(one.kind), one.result)
        if key not in self.sums:
            self.sums[key] = KindSum(KINDS[one.kind], RESULTS[one.result])
        total = self.sums[key]
        total.rows += 1
        for name in AMOUNTS:
            setattr(total, name, getattr(total, name) + getattr(one, name))
        return [
            day,
            KINDS[one.kind],
            str(one.number),
            str(one.order_id),
            safe(one.their_no),
            safe(one.product_no),
            safe(one.carrier_no),
            micros_to_yuan(one.face_micros),
            str(one.num),
            RESULTS[one.result],
            *(micros_to_yuan(getattr(one, name)) for name in AMOUNTS),
            beijing(moment),
        ]

    def listed(self) -> list[KindSum]:
        """By kind and result."""
        return [self.sums[key] for key in sorted(self.sums)]


def sum_cells(one: KindSum) -> list[str]:
    """The row of a kind in the sums."""
    amounts = (micros_to_yuan(getattr(one, name)) for name in AMOUNTS)
    return [one.kind, one.result, str(one.rows), *amounts]


async def rows(
    context: Context, totals: Totals, whose: tuple[str, str], day: date
) -> AsyncIterator[list[list[str]]]:
    """The rows of a day; `whose`: kind of bill and number. Refuses TradeDayIncomplete; BillInvalid."""
    kind, eid = whose
    if kind == MERCHANT:
        pages = pay_books.of_merchant(context, day, eid)
    else:
        pages = trade_books.of_channel(context, day, eid, up=kind == SUPPLY)
    async for page in pages:
        yield [totals.cells(one, day.isoformat()) for one in page]


def read_manifest(path: Path) -> TradeManifest:
    """The manifest. Raises BillInvalid, OSError."""
    return bill_files.read(path.read_bytes(), TradeManifest, path.name)


def verify(bill: Path) -> TradeManifest:
    """The manifest of a bill whose bytes and sums are as it says. Raises BillInvalid, OSError."""
    manifest = read_manifest(bill_files.manifest_path(bill))
    bill_files.hold_bytes(bill, manifest.sha256)
    if bill.suffix in bill_files.FOR_PEOPLE:
        return manifest
    counted: dict[tuple[str, str], KindSum] = {}
    with bill_files.opened(bill) as lines:
        for cells in bill_files.details(csv.reader(lines), HEADER, SUMS):
            total = counted.setdefault((cells[1], cells[9]), KindSum(cells[1], cells[9]))
            total.rows += 1
            for at, name in enumerate(AMOUNTS, 10):
                setattr(total, name, getattr(total, name) + bill_files.micros(cells[at]))
    if sum(one.rows for one in counted.values()) != manifest.rows or not _same(
        counted, manifest.sums
    ):
        raise BillInvalid("its rows do not come to the sums of its manifest")
    return manifest


def _same(counted: dict[tuple[str, str], KindSum], sums: Iterable[KindSum]) -> bool:
    return counted == {(one.kind, one.result): one for one in sums}
