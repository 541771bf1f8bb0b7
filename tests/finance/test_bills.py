"""Promises of bills: they are the ledger's days to the micro, the same bytes when made again, never half."""

from __future__ import annotations

import csv
import gzip
import re
import zipfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from grpc import aio
from typer.testing import Result

from shoudan.finance.v1 import bill_service_pb2 as pb
from shoudan.finance.v1 import events_pb2
from shoudan.pay.v1 import ledger_service_pb2 as ledger_pb
from shoudan_finance import bill_commands, bill_files, bill_pieces, bills, events, trade_bills
from shoudan_finance.bill_files import HEADER, SUMS, BillInvalid
from shoudan_finance.bill_making import file_of
from shoudan_finance.store.bills import Spec
from shoudan_kit.embedded import DatabaseUrls
from shoudan_kit.spreadsheet import safe
from tests.finance.harness import FinanceHarness, opened
from tests.finance.test_bill_pdfs import words
from tests.finance.test_trade_books import DELIVERY, ORDER, REFUND, refused
from tests.pay.ledger.harness import YUAN, LedgerHarness, deduct, posting
from tests.poll import eventually

Databases = Callable[[str], Awaitable[DatabaseUrls]]
EID = "billed"


@dataclass
class Billed:
    """A channel with two accounts that moved on two complete days, and one that did not."""

    harness: FinanceHarness
    day: date

    @property
    def next_day(self) -> date:
        return self.day + timedelta(days=1)

    @property
    def stub(self) -> Any:
        return self.harness.bill_stub

    async def make(self, out: Path, *words: str, day: date | None = None) -> Result:
        when = () if "--month" in words else ("--day", str(day or self.day))
        of = ("make", "oms", EID, "--out", str(out))
        return await self.harness.run(*of, *when, *words, app=bill_commands.app)

    async def run(self, *words: str) -> Result:
        return await self.harness.run(*words, app=bill_commands.app)

    async def published(self, **more: Any) -> pb.Bill:
        given = {"kind": "fund", "ident": "oms", "eid": EID, "first_day": str(self.day), **more}
        return await published(self.stub, pb.MakeBillRequest(**given))


async def published(stub: Any, request: pb.MakeBillRequest) -> pb.Bill:
    """The bill when it is published."""
    number = (await stub.MakeBill(request)).bill.bill_id

    async def there() -> bool:
        found = (await stub.GetBill(pb.GetBillRequest(bill_id=number))).bill
        assert found.status != pb.BILL_STATUS_FAILED, found.what
        return found.status == pb.BILL_STATUS_PUBLISHED

    await eventually(there, 20)
    return (await stub.GetBill(pb.GetBillRequest(bill_id=number))).bill


async def content(stub: Any, number: int, after: int = 0) -> bytes:
    request = pb.ExportBillRequest(bill_id=number, after_piece=after)
    return b"".join([part.body async for part in stub.ExportBill(request)])


async def account(ledger: LedgerHarness, groups: str) -> ledger_pb.AccountKey:
    key = ledger_pb.AccountKey(ident="oms", groups=groups, eid=EID)
    item = ledger_pb.CreateAccountsRequest.Item(key=key, name="=渠道")
    await ledger.stub.CreateAccounts(ledger_pb.CreateAccountsRequest(items=[item]))
    return key


@pytest.fixture(scope="module")
async def billed(harness: FinanceHarness) -> Billed:
    ledger = harness.ledger
    main, fees, rests = [
        await account(ledger, one) for one in ("down_channel", "down_service", "down_commission")
    ]
    await ledger.groups([posting(rests, 7 * YUAN, "before")])
    before = await harness.close_day()
    await ledger.groups(
        [posting(main, 100 * YUAN, "=1+1", memo="@evil", about=ledger_pb.ABOUT_MANUAL)]
    )
    await ledger.groups(
        [deduct(main, 20 * YUAN, "o1", about=ledger_pb.ABOUT_ORDER)],
        [deduct(main, 10 * YUAN, "o2", about=ledger_pb.ABOUT_ORDER), posting(fees, 30)],
    )
    day = await harness.close_day()
    assert day == before + timedelta(days=1)
    await ledger.groups([deduct(main, 70 * YUAN, "o3", about=ledger_pb.ABOUT_ORDER)])
    after = await harness.close_day()
    await ledger.groups([posting(main, 5 * YUAN)])  # of a day that is still open: in no bill
    for one in (before, day, after):
        await harness.completed(one)
    return Billed(harness, day)


def sheets(path: Path) -> list[list[str]]:
    """Balance before, amount and balance after of the main account's rows, as the workbook's numbers."""
    with zipfile.ZipFile(path) as files:
        assert [n for n in files.namelist() if n.startswith("xl/worksheets/sheet")] == [
            "xl/worksheets/sheet1.xml",
            "xl/worksheets/sheet2.xml",
        ]
        detail = files.read("xl/worksheets/sheet1.xml").decode()
    assert "<f>" not in detail  # no cell is calculated
    assert "'=1+1" in detail
    lines = [line for line in detail.split("<row ") if "down_channel" in line]
    cells = [dict(re.findall(r'<c r="([L-N])\d+"[^>]*><v>([^<]*)</v>', line)) for line in lines]
    return [[one[column] for column in "LMN"] for one in cells]


def new_folder(path: Path) -> None:
    path.mkdir()


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def rows(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.reader(file))


async def test_a_bill_is_the_day_of_the_ledger_to_the_micro(billed: Billed, tmp_path: Path) -> None:
    made = await billed.make(tmp_path)
    assert made.exit_code == 0, made.output
    path = tmp_path / f"fund-oms-{EID}-{billed.day}.csv"
    header, *details, sums, channel, commission, service = rows(path)
    assert (tuple(header), tuple(sums)) == (HEADER, SUMS)
    assert [row[0] for row in details] == [str(billed.day)] * 4
    of_main = [row for row in details if row[3] == "down_channel"]
    assert [row[11:14] for row in of_main] == [
        ["0", "100", "100"],
        ["100", "-20", "80"],
        ["80", "-10", "70"],
    ]
    assert [row[6] for row in of_main] == ["人工", "订单", "订单"]
    assert (of_main[0][9], of_main[0][14]) == ("'=1+1", "'@evil")
    assert channel[2:] == ["'=渠道", "0", "1", "100", "2", "30", "70"]
    assert commission[3:] == ["7", "0", "0", "0", "0", "7"]
    assert service[3:] == ["0", "1", "0.00003", "0", "0", "0.00003"]
    shown = await billed.run("verify", str(path))
    assert (shown.exit_code, "4 rows" in shown.output) == (0, True)
    assert "down_channel/billed: 0 + 100 - 30 = 70 元" in shown.output
    assert "is there" in (await billed.make(tmp_path)).output
    (number,) = re.findall(r"^(\d+) fund", made.output, re.MULTILINE)
    assert "same bytes" in (await billed.run("verify", number)).output
    assert "= 70 元" in (await billed.run("show", number)).output
    listed = (await billed.run("ls", "--eid", EID)).output
    assert (number in listed, path.name in (await billed.run("ls")).output) == (True, True)


async def test_the_next_day_begins_with_what_the_day_before_left(
    billed: Billed, tmp_path: Path
) -> None:
    await billed.make(tmp_path, day=billed.next_day)
    found = rows(tmp_path / f"fund-oms-{EID}-{billed.next_day}.csv")
    (channel,) = [row for row in found if row[1] == "down_channel"]
    assert channel[3:] == ["70", "0", "0", "1", "70", "0"]
    assert [row[9] for row in found if row[0] == str(billed.next_day)] == ["o3"]


async def test_a_period_is_the_days_one_after_the_other(billed: Billed) -> None:
    days = [await billed.published(first_day=str(one)) for one in (billed.day, billed.next_day)]
    both = await billed.published(last_day=str(billed.next_day))
    details = [
        line
        for one in days
        for line in (await content(billed.stub, one.bill_id)).decode().splitlines()
        if line.startswith("20") and ",down_channel," in line
    ]
    assert [
        line
        for line in (await content(billed.stub, both.bill_id)).decode().splitlines()
        if line.startswith("20") and ",down_channel," in line
    ] == details
    sums = bill_files.read(both.manifest.encode(), bill_files.Manifest, both.file).accounts
    assert [(one.groups, one.opening_micros, one.closing_micros) for one in sums] == [
        ("down_channel", 0, 0),
        ("down_commission", 7 * YUAN, 7 * YUAN),
        ("down_service", 0, 30),
    ]


async def test_a_bill_of_a_kind_has_every_account_of_it_that_moved(billed: Billed) -> None:
    made = await billed.published(eid="", groups="down_channel")
    sums = bill_files.read(made.manifest.encode(), bill_files.Manifest, made.file).accounts
    facts = await billed.harness.accounts(billed.day)
    of_kind = [one for one in facts if one.groups == "down_channel"]
    assert {one.account_id: one.closing_micros for one in sums} == {
        one.account_id: one.closing_micros for one in of_kind
    }
    assert await refused_make(billed, eid="", groups="") == "FIELD_INVALID"


async def refused_make(billed: Billed, **more: Any) -> str:
    given = {"kind": "fund", "ident": "oms", "eid": EID, "first_day": str(billed.day), **more}
    return await refused(billed.stub.MakeBill(pb.MakeBillRequest(**given)))


MARKS, PDF = {"bom": True, "backtick": True}, {"format": "pdf"}


@pytest.mark.parametrize("style", [{}, MARKS, {"packed": True}, {"format": "xlsx"}, PDF])
async def test_a_bill_made_again_has_the_same_bytes(
    billed: Billed, tmp_path: Path, style: dict[str, Any]
) -> None:
    one = await billed.published(**style)
    first = await content(billed.stub, one.bill_id)
    assert (await billed.stub.VerifyBill(pb.VerifyBillRequest(bill_id=one.bill_id))).same
    # What nobody but the owner of the database can do: the same bill is made where none was.
    await billed.harness.sql("DELETE FROM bill WHERE bill_id = $1", one.bill_id)
    two = await billed.published(**style)
    assert two.bill_id != one.bill_id
    assert (two.sha256, two.manifest) == (one.sha256, one.manifest)
    assert await content(billed.stub, two.bill_id) == first
    assert (await billed.published(**style)).bill_id == two.bill_id
    exported = await billed.run("export", str(two.bill_id), "--out", str(tmp_path))
    assert exported.exit_code == 0, exported.output
    bill_files.verify(tmp_path / two.file)
    if style == {"format": "xlsx"}:
        assert sheets(tmp_path / two.file) == [
            ["0", "100", "100"],
            ["100", "-20", "80"],
            ["80", "-10", "70"],
        ]
        return
    if style == PDF:
        assert "核对：0 ＋ 100 － 30 ＝ 70 元" in words(first)[0]
        return
    raw = gzip.decompress(first) if "packed" in style else first
    assert raw.startswith("\ufeff`记账日".encode() if "bom" in style else "记账日".encode())


async def test_a_workbook_of_more_rows_than_configured_is_refused_in_words(
    billed: Billed, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = billed.harness.context.app.settings
    monkeypatch.setitem(settings.__dict__, "xlsx_rows_max", 2)
    given = {"kind": "fund", "ident": "oms", "eid": EID, "format": "xlsx"}
    days = {"first_day": str(billed.day), "last_day": str(billed.next_day)}
    number = (await billed.stub.MakeBill(pb.MakeBillRequest(**given, **days))).bill.bill_id

    async def failed() -> bool:
        found = (await billed.stub.GetBill(pb.GetBillRequest(bill_id=number))).bill
        assert found.status != pb.BILL_STATUS_PUBLISHED
        return found.status == pb.BILL_STATUS_FAILED and "more than 2 rows: take csv" in found.what

    await eventually(failed, 30)
    rows = await billed.harness.sql("SELECT 1 FROM bill_piece WHERE bill_id = $1", number)
    assert rows == []  # nothing of it stays
    assert (await billed.published(format="csv", last_day=days["last_day"])).rows > 2


async def test_a_file_is_exported_on_from_any_piece(
    billed: Billed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bill_pieces, "PIECE_BYTES", 100)
    made = await billed.published(backtick=True)
    whole = await content(billed.stub, made.bill_id)
    assert len(whole) == made.bytes
    for after in range(made.bytes // 100 + 2):
        assert await content(billed.stub, made.bill_id, after) == whole[100 * after :]


async def test_a_day_that_is_open_has_no_bill(billed: Billed, tmp_path: Path) -> None:
    open_day = billed.next_day + timedelta(days=1)
    made = await billed.make(tmp_path, day=open_day)
    assert (made.exit_code, "DAY_NOT_FOUND" in made.output) == (1, True)
    assert names_in(tmp_path) == []
    assert await refused_make(billed, last_day=str(open_day)) == "DAY_NOT_FOUND"
    assert await refused_make(billed, kind="trade", ident="", first_day=str(open_day)) == (
        "TRADE_DAY_NOT_FOUND"
    )


@pytest.mark.parametrize(
    "more",
    [
        {"kind": "other"},
        {"format": "doc"},
        {"format": "xlsx", "bom": True},
        {"format": "pdf", "packed": True},
        {"last_day": "2000-01-01"},
        {"first_day": "yesterday"},
        {"ident": ""},
        {"kind": "trade"},
        {"kind": "supply", "ident": "", "eid": ""},
        {"eid": "\0"},
    ],
)
async def test_what_is_no_bill_is_refused(billed: Billed, more: dict[str, Any]) -> None:
    assert await refused_make(billed, **more) == "FIELD_INVALID"
    assert await refused(billed.stub.GetBill(pb.GetBillRequest(bill_id=1))) == "BILL_NOT_FOUND"


async def test_a_bill_that_cannot_be_made_says_why_and_is_made_when_it_can(
    billed: Billed,
) -> None:
    change = "UPDATE movement SET amount_micros = amount_micros + $1 WHERE trade_no = 'o3'"
    await billed.harness.sql(change, 10)
    request = pb.MakeBillRequest(
        kind="fund", ident="oms", eid=EID, first_day=str(billed.next_day), bom=True
    )
    number = (await billed.stub.MakeBill(request)).bill.bill_id

    async def failed() -> bool:
        found = (await billed.stub.GetBill(pb.GetBillRequest(bill_id=number))).bill
        return found.status == pb.BILL_STATUS_FAILED and "does not follow" in found.what

    await eventually(failed)
    assert (await billed.run("show", str(number))).exit_code == 1
    export = billed.stub.ExportBill(pb.ExportBillRequest(bill_id=number))
    with pytest.raises(aio.AioRpcError, match="BILL_NOT_PUBLISHED"):
        await export.read()
    await billed.harness.sql(change, -10)
    assert (await published(billed.stub, request)).bill_id == number


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("o1", "o9"),
        lambda text: text.replace("-20,80", "-21,80"),
        lambda text: text[: text.index("账户名称")],
        lambda text: text.replace("70,", "71,"),
    ],
)
async def test_a_changed_bill_does_not_hold(
    billed: Billed, tmp_path: Path, change: Callable[[str], str]
) -> None:
    await billed.make(tmp_path)
    path = tmp_path / f"fund-oms-{EID}-{billed.day}.csv"
    text = path.read_text(encoding="utf-8")
    assert change(text) != text
    path.write_text(change(text), encoding="utf-8")
    assert (await billed.run("verify", str(path))).exit_code == 1
    # Even when who changed it also writes its hash into the manifest, the sums speak, where they can.
    place = bill_files.manifest_path(path)
    old = bill_files.read_manifest(place)
    place.write_text(place.read_text().replace(old.sha256, bill_files.file_hash(path)))
    if "o9" not in path.read_text(encoding="utf-8"):
        with pytest.raises(BillInvalid):
            bill_files.verify(path)
    # What was exported stays: another one is refused, not written over it.
    assert (await billed.make(tmp_path)).exit_code == 1


@pytest.mark.parametrize(
    ("text", "cell"), [("=1", "'=1"), ("+1", "'+1"), ("-a", "'-a"), ("@a", "'@a"), ("a=1", "a=1")]
)
def test_no_cell_from_outside_is_a_formula(text: str, cell: str) -> None:
    assert safe(text) == cell


async def test_trade_bills_have_what_ended_of_a_channel_and_of_a_supplier(
    billed: Billed, tmp_path: Path
) -> None:
    harness = billed.harness
    day = await harness.close_day() + timedelta(days=1)
    for number in (1, 2):
        harness.orders.add(
            day, ORDER, 10**15 + number, down_channel_no="t1", amount_micros=180 * YUAN,
            done_face_micros=200 * YUAN, their_no="=x", face_micros=200 * YUAN,
        )  # fmt: skip
    harness.orders.add(day, REFUND, 10**15 + 3, down_channel_no="t1", result=90)
    harness.orders.add(
        day, DELIVERY, 10**15 + 4, down_channel_no="t1", up_channel_no="s1", amount_micros=YUAN
    )
    assert await harness.close_day() == day
    await harness.completed(day - timedelta(days=1))
    await harness.completed(day)
    await harness.agreed(day, 15)
    words = ("make", "oms", "t1", "--kind", "trade", "--day", str(day), "--out", str(tmp_path))
    made = await billed.run(*words)
    assert made.exit_code == 0, made.output
    assert "订单 成功: 2 笔, 360 元" in made.output
    path = tmp_path / f"trade-t1-{day}.csv"
    header, *details, sums, orders, refunds = rows(path)
    assert (tuple(header), tuple(sums)) == (trade_bills.HEADER, trade_bills.SUMS)
    assert [row[1:3] for row in details] == [
        ["订单", f"{10**15 + 1}"],
        ["订单", f"{10**15 + 2}"],
        ["退款", f"{10**15 + 3}"],
    ]
    assert details[0][4] == "'=x"
    assert (orders[:5], refunds[:3]) == (["订单", "成功", "2", "400", "360"], ["退款", "失败", "1"])
    assert (await billed.run("verify", str(path))).exit_code == 0
    bought = await billed.run(*words[:2], "s1", "--kind", "supply", *words[5:], "--gzip")
    assert "发货 成功: 1 笔, 1 元" in bought.output
    packed = tmp_path / f"supply-s1-{day}.csv.gz"
    assert (await billed.run("verify", str(packed))).exit_code == 0
    path.write_bytes(path.read_bytes().replace(b"180", b"181", 1))
    assert (await billed.run("verify", str(path))).exit_code == 1


async def test_the_bills_of_a_day_and_month_are_made_by_themselves_once(
    new_database: Databases, ledger: LedgerHarness
) -> None:
    urls = await new_database("finance")
    async with opened(urls, ledger, daily_bills=["fund", "trade", "supply"]) as harness:
        key = await ledger.account(10 * YUAN)
        days = [await harness.close_day()]
        while (days[-1] + timedelta(days=1)).day != 1:  # to the end of a month
            days.append(await harness.close_day())
        day = days[-1]
        harness.orders.add(day, ORDER, 7, down_channel_no="m1")
        harness.orders.add(day, DELIVERY, 8, down_channel_no="m1", up_channel_no="m2")
        for one in days:  # a day that is complete later is asked for later
            await harness.completed(one)
        await harness.agreed(day, 15, 20, 80)
        for _ in range(3):  # some days at a time
            await bills.daily(harness.context)
        asked = await harness.sql("SELECT count(*) FROM bill")
        await bills.daily(harness.context)
        assert await harness.sql("SELECT count(*) FROM bill") == asked
        request = pb.ListBillsRequest(eid=key.eid)

        async def made() -> bool:
            found = (await harness.bill_stub.ListBills(request)).bills
            return [one.status for one in found] == [pb.BILL_STATUS_PUBLISHED] * len(found) != []

        await eventually(made, 60)  # of a whole month's days
        found = (await harness.bill_stub.ListBills(request)).bills
        assert (str(day.replace(day=1)), str(day)) in {(b.first_day, b.last_day) for b in found}
        for eid, kind in (("m1", "trade"), ("m2", "supply")):
            listed = (await harness.bill_stub.ListBills(pb.ListBillsRequest(eid=eid))).bills
            assert [(one.kind, one.first_day) for one in listed] == [
                (kind, str(day.replace(day=1))),
                (kind, str(day)),
            ]
        rows_ = await harness.sql("SELECT body FROM event WHERE subject = $1", events.BILL_READY)
        said = [events_pb2.BillReady.FromString(row["body"]) for row in rows_]
        assert {one.sha256 for one in found} <= {one.sha256 for one in said}


def test_days_of_bills_are_written_as_days_and_months() -> None:
    day = datetime(2026, 11, 1, tzinfo=UTC).date()

    def name(last: date, **more: Any) -> str:
        given = {"format": "csv", "bom": 0, "backtick": 0, "packed": 0, **more}
        return file_of(Spec("fund", "oms", "", "a/b", day, last, **given))

    assert name(day) == "fund-oms-a_b-2026-11-01.csv"
    assert name(date(2026, 11, 30), bom=1) == "fund-oms-a_b-2026-11-bom.csv"
    assert name(date(2026, 11, 29), packed=1) == "fund-oms-a_b-2026-11-01_2026-11-29.csv.gz"
