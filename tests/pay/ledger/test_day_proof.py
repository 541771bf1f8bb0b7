"""Promises of closed days: they are listed, and proved by all their records."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from shoudan.pay.v1 import ledger_service_pb2 as pb
from shoudan_kit.db.pool import Database
from shoudan_pay.commands import day_proof, ledger
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
