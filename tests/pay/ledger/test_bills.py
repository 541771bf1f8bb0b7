"""Promises of bills: they are the ledger's days to the micro, the same bytes when made again, never half."""

from __future__ import annotations

import csv
import gzip
import re
import zipfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from typer.testing import Result

from shoudan.pay.v1 import ledger_service_pb2 as pb
from shoudan_kit.db.pool import Database
from shoudan_pay.commands import bill_files, bills, day_proof, ledger
from shoudan_pay.commands.bill_files import HEADER, SUMS, BillInvalid, BillWriter
from shoudan_pay.commands.bill_sheets import Style, safe
from shoudan_pay.ledger import closing
from shoudan_pay.ledger.days import day_of
from shoudan_pay.ledger.store import days as store
from tests.pay.ledger.harness import YUAN, LedgerHarness, deduct, posting
from tests.pay.ledger.test_commands import runner

NO_CUT = timedelta()
EID = "billed"


@dataclass
class Billed:
    """A channel with two accounts that moved on two closed days, and one that did not."""

    harness: LedgerHarness
    day: date

    @property
    def next_day(self) -> date:
        return self.day + timedelta(days=1)

    async def make(self, out: Path, *words: str, day: date | None = None) -> Result:
        of = ("make", "oms", EID, "--out", str(out))
        when = () if "--month" in words else ("--day", str(day or self.day))
        return await runner(self.harness, bills.app)(*of, *when, *words)


async def account(harness: LedgerHarness, groups: str) -> pb.AccountKey:
    key = pb.AccountKey(ident="oms", groups=groups, eid=EID)
    item = pb.CreateAccountsRequest.Item(key=key, name="=渠道")
    await harness.stub.CreateAccounts(pb.CreateAccountsRequest(items=[item]))
    return key


@pytest.fixture(scope="module")
async def billed(harness: LedgerHarness) -> Billed:
    app = harness.process.app
    async with app.db.connect() as db:
        day = day_of(await store.now(db), NO_CUT)
    main, fees = [await account(harness, one) for one in ("down_channel", "down_service")]
    await account(harness, "down_commission")
    await harness.groups([posting(main, 100 * YUAN, "=1+1", memo="@evil", about=pb.ABOUT_MANUAL)])
    await harness.groups(
        [deduct(main, 20 * YUAN, "o1", about=pb.ABOUT_ORDER)],
        [deduct(main, 10 * YUAN, "o2", about=pb.ABOUT_ORDER), posting(fees, 30)],
    )
    await closing.close(app, day, NO_CUT)
    await harness.groups([deduct(main, 70 * YUAN, "o3", about=pb.ABOUT_ORDER)])
    await closing.close(app, day + timedelta(days=1), NO_CUT)
    await harness.groups([posting(main, 5 * YUAN)])  # of a day that is still open: in no bill
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
    header, *details, sums, commission, service, channel = sorted_sums(rows(path))
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
    assert commission[3:] == ["0", "0", "0", "0", "0", "0"]
    assert service[3:] == ["0", "1", "0.00003", "0", "0", "0.00003"]
    shown = await runner(billed.harness, bills.app)("verify", str(path))
    assert (shown.exit_code, "4 rows" in shown.output) == (0, True)
    assert "down_channel/billed: 0 + 100 - 30 = 70 元" in shown.output


def sorted_sums(found: list[list[str]]) -> list[list[str]]:
    """Sums of accounts by group; the rest as it stands."""
    return [*found[:-3], *sorted(found[-3:], key=lambda row: (row[1] == "down_channel", row[1]))]


async def test_the_next_day_begins_with_what_the_day_before_left(
    billed: Billed, tmp_path: Path
) -> None:
    await billed.make(tmp_path, day=billed.next_day)
    found = rows(tmp_path / f"fund-oms-{EID}-{billed.next_day}.csv")
    channel = sorted_sums(found)[-1]
    assert channel[3:] == ["70", "0", "0", "1", "70", "0"]
    assert [row[9] for row in found if row[0] == str(billed.next_day)] == ["o3"]


@pytest.mark.parametrize("style", [(), ("--bom", "--backtick"), ("--gzip",), ("--xlsx",)])
async def test_a_bill_made_again_has_the_same_bytes(
    billed: Billed, tmp_path: Path, style: tuple[str, ...]
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        new_folder(folder)
        made = await billed.make(folder, *style)
        assert (made.exit_code, "published" in made.output) == (0, True)
    names = names_in(one)
    assert names == names_in(two)
    assert [(one / n).read_bytes() for n in names] == [(two / n).read_bytes() for n in names]
    again = await billed.make(one, *style)
    assert (again.exit_code, "was there before" in again.output) == (0, True)
    (bill,) = [one / name for name in names if not name.endswith(".json")]
    bill_files.verify(bill)
    if style == ("--xlsx",):
        assert sheets(bill) == [["0", "100", "100"], ["100", "-20", "80"], ["80", "-10", "70"]]
        return
    raw = gzip.decompress(bill.read_bytes()) if style == ("--gzip",) else bill.read_bytes()
    assert raw.startswith("\ufeff`记账日".encode() if len(style) == 2 else "记账日".encode())


async def test_a_day_that_is_open_has_no_bill(billed: Billed, tmp_path: Path) -> None:
    made = await billed.make(tmp_path, day=billed.next_day + timedelta(days=1))
    assert (made.exit_code, "LEDGER_DAY_OPEN" in made.output) == (1, True)
    assert names_in(tmp_path) == []


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
    run = runner(billed.harness, bills.app)
    assert (await run("verify", str(path))).exit_code == 1
    # Even when who changed it also writes its hash into the manifest, the sums speak, where they can.
    place = bill_files.manifest_path(path)
    old = bill_files.read_manifest(place)
    place.write_text(place.read_text().replace(old.sha256, bill_files.file_hash(path)))
    if "o9" not in path.read_text(encoding="utf-8"):
        with pytest.raises(BillInvalid):
            bill_files.verify(path)
    # What was published stays: another one is refused, not written over it.
    assert (await billed.make(tmp_path)).exit_code == 1


def test_a_bill_that_a_killed_process_left_is_not_published(tmp_path: Path) -> None:
    dead = BillWriter(tmp_path, "fund-x", Style())
    dead.add([["half"]])
    assert list(tmp_path.glob("fund-*")) == []
    # Killed behind the file and before its manifest: it is made again over what has no manifest.
    (tmp_path / "fund-x.csv").write_bytes(b"of a process that died")
    with pytest.raises(OSError, match="fund-x"):
        bill_files.verify(tmp_path / "fund-x.csv")
    again = BillWriter(tmp_path, "fund-x", Style())
    made, existed = again.publish("oms", "x", ("2026-11-20", "2026-11-20"), [])
    assert (existed, made.rows) == (False, 0)
    assert bill_files.verify(tmp_path / "fund-x.csv") == made
    dead.discard()


@pytest.mark.parametrize(
    ("text", "cell"), [("=1", "'=1"), ("+1", "'+1"), ("-a", "'-a"), ("@a", "'@a"), ("a=1", "a=1")]
)
def test_no_cell_from_outside_is_a_formula(text: str, cell: str) -> None:
    assert safe(text) == cell


async def test_records_that_are_not_what_the_day_was_closed_with_make_no_bill(
    billed: Billed,
) -> None:
    key = pb.AccountKey(ident="oms", groups="down_channel", eid=EID)
    asked = pb.ListAccountDaysRequest(
        account=key, from_day=str(billed.day), to_day=str(billed.next_day)
    )
    days = (await billed.harness.stub.ListAccountDays(asked)).days
    piece = pb.ExportRecordsRequest.Piece(account_id=days[0].account_id, seq_from=1, seq_to=4)
    stream = billed.harness.stub.ExportRecords(pb.ExportRecordsRequest(pieces=[piece]))
    records = [one async for part in stream for one in part.records]

    def proved(given: list[Any]) -> list[str]:
        proof = day_proof.DayProof(days)
        found = [proof.day_of(record) for record in given]
        proof.end()
        return found

    assert proved(records) == [str(billed.day)] * 3 + [str(billed.next_day)]
    changed = [pb.Record.FromString(one.SerializeToString()) for one in records]
    changed[1].amount_micros += 10
    for wrong in (records[:-1], records[1:], [*records, records[-1]], records[::-1], changed):
        with pytest.raises(day_proof.DayDiffers):
            proved(wrong)


@pytest.fixture
async def owner(harness: LedgerHarness) -> AsyncIterator[Database]:
    database = Database(harness.urls.owner)
    yield database
    await database.dispose()


async def test_the_closed_days_are_listed(billed: Billed) -> None:
    shown = await runner(billed.harness, ledger)("days", "--from", str(billed.day))
    assert (shown.exit_code, str(billed.day) in shown.output) == (0, True)
    assert str(billed.next_day) in shown.output
    later = str(billed.next_day + timedelta(days=1))
    assert later not in (await runner(billed.harness, ledger)("days", "--from", later)).output


async def test_a_closed_day_is_proved_by_all_its_records(billed: Billed, owner: Database) -> None:
    run = runner(billed.harness, ledger)
    whole = await run("day", str(billed.day))
    assert whole.exit_code == 0, whole.output
    assert "4 records of 2 accounts, + 100.00003 - 30 元: complete" in whole.output
    opened = await run("day", str(billed.next_day + timedelta(days=1)))
    assert (opened.exit_code, "LEDGER_DAY_OPEN" in opened.output) == (1, True)
    assert (await run("day", "yesterday")).exit_code == 2
    # What only one who owns the database can do, and what the nightly proof finds as well.
    change = """UPDATE account_record SET amount_micros = amount_micros + :by
        WHERE trade_no = 'o1' AND account_id IN (
            SELECT account_id FROM account_info WHERE eid = 'billed')"""
    gone = "UPDATE account_record SET account_id = account_id + :by WHERE trade_no = 'o2'"
    for sql, by in ((change, 10), (gone, 1_000_000)):
        await run_sql(owner, sql, by)
        broken = await run("day", str(billed.day))
        await run_sql(owner, sql.replace("+ :by", "- :by"), by)
        assert (broken.exit_code, str(billed.day) in broken.output) == (1, True)
    assert (await run("day", str(billed.day))).exit_code == 0


async def run_sql(owner: Database, sql: str, by: int) -> None:
    async with owner.begin() as db:
        assert (await db.execute(text(sql), {"by": by})).rowcount > 0
