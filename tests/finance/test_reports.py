"""Promises of reports: they come to what the ledger and the trades say, to the micro; periods close whole."""

from __future__ import annotations

import csv
import hashlib
from dataclasses import dataclass, replace
from datetime import date, timedelta
from struct import pack
from typing import Any

import pytest

from shoudan.finance.v1 import book_service_pb2 as pb
from shoudan.pay.v1 import ledger_service_pb2 as ledger_pb
from shoudan_finance import book_commands, losses
from shoudan_finance.states import DayStatus, TradeDayStatus
from shoudan_finance.store import days
from shoudan_finance.store import losses as losses_store
from shoudan_finance.store import trades as trade_days
from shoudan_finance.tax_rates import Rate, Rates
from shoudan_order import pay_client as order_pay_client
from tests.finance.harness import FinanceHarness
from tests.finance.test_trade_books import DELIVERY, ORDER, REFUND, RETURN, refused
from tests.pay.ledger.harness import YUAN, deduct, posting


@dataclass
class Books:
    """Three closed days, what moved on them, and when each was closed."""

    harness: FinanceHarness
    days: list[date]
    ends: list[Any]
    keys: list[ledger_pb.AccountKey]

    async def run(self, *words: str) -> Any:
        return await self.harness.run(*words, app=book_commands.app)

    async def all(self, stream: Any, name: str) -> list[Any]:
        return [one async for part in stream for one in getattr(part, name)]

    async def balances(self, first: date, last: date, ident: str = "") -> list[Any]:
        request = pb.ExportTrialBalanceRequest(
            first_day=str(first), last_day=str(last), ident=ident
        )
        return await self.all(self.harness.book_stub.ExportTrialBalance(request), "accounts")


@pytest.fixture(scope="module")
async def books(harness: FinanceHarness) -> Books:
    ledger = harness.ledger
    debtor = await ledger.account(10 * YUAN, credit=100 * YUAN)
    others = [await ledger.account(50 * YUAN) for _ in range(3)]
    supplier = await ledger.account(500 * YUAN, groups="up_channel")
    days, ends = list[date](), list[Any]()
    for amount in (5, 20, 30):
        memo = "亏本 1.5 元" if amount == 30 else ""
        about = {"about": ledger_pb.ABOUT_DELIVERY, "memo": memo}
        await ledger.groups([deduct(supplier, 90 * YUAN, str(6_000 + amount), **about)])
        for wrong in ("亏本", "亏本 x 元", "亏本 1 分", "not 亏本 1 元"):
            no_loss = {"about": ledger_pb.ABOUT_DELIVERY, "memo": wrong}
            await ledger.groups([deduct(supplier, YUAN, **no_loss)])
        other = {"about": ledger_pb.ABOUT_MANUAL, "memo": "亏本 7 元"}
        await ledger.groups([deduct(supplier, YUAN, **other)])
        await ledger.groups([deduct(debtor, amount * YUAN)])
        await ledger.groups([deduct(others[0], YUAN)])
        day = days[-1] + timedelta(days=1) if days else None
        if day is not None:
            harness.orders.add(
                day, ORDER, 5_000 + amount, down_channel_no="c1", line_id=7, invoice_type=2,
                amount_micros=100 * YUAN, service_micros=YUAN, commission_micros=2 * YUAN,
            )  # fmt: skip
            harness.orders.add(
                day, DELIVERY, 6_000 + amount, down_channel_no="c1", up_channel_no="s1",
                line_id=7, amount_micros=90 * YUAN, commission_micros=3 * YUAN,
            )  # fmt: skip
        days.append(await harness.close_day())
        (last,) = await harness.sql("SELECT clock_timestamp() AS now")
        ends.append(last["now"])
    harness.orders.add(
        days[2], REFUND, 7_001, order_id=5_030, down_channel_no="c1", line_id=7,
        amount_micros=40 * YUAN,
    )  # fmt: skip
    harness.orders.add(
        days[2], RETURN, 7_002, order_id=5_030, down_channel_no="c1", up_channel_no="s1",
        line_id=7, amount_micros=36 * YUAN,
    )  # fmt: skip
    harness.orders.add(days[2], ORDER, 7_003, down_channel_no="c2", line_id=8, amount_micros=YUAN)
    harness.orders.add(
        days[2], REFUND, 7_004, order_id=7_003, down_channel_no="c2", line_id=8, amount_micros=YUAN
    )
    await ledger.groups([posting(others[1], 7 * YUAN)])  # of a day that is still open
    for day in days:
        await harness.completed(day)
        await harness.agreed(day, 15, 20, 80)
    return Books(harness, days, ends, [debtor, *others])


async def test_the_trial_balance_is_what_the_ledger_had_at_the_end_of_each_day(
    books: Books,
) -> None:
    for day, end in zip(books.days, books.ends, strict=True):
        found = {one.eid: one for one in await books.balances(day, day, "oms")}
        for key in books.keys:
            request = ledger_pb.GetBalanceRequest(key=key)
            request.time.FromDatetime(end)
            there = await books.harness.ledger.stub.GetBalance(request)
            assert found[key.eid].closing_micros == there.balance_micros, (day, key.eid)
    whole = {one.eid: one for one in await books.balances(books.days[0], books.days[-1])}
    debtor = whole[books.keys[0].eid]
    assert (debtor.opening_micros, debtor.debits_micros) == (0, 55 * YUAN)
    assert (debtor.credits_micros, debtor.closing_micros) == (10 * YUAN, -45 * YUAN)
    rested = whole[books.keys[3].eid]
    assert (rested.opening_micros, rested.closing_micros) == (0, 50 * YUAN)
    later = {one.eid: one for one in await books.balances(books.days[2], books.days[2])}
    assert later[books.keys[3].eid].opening_micros == 50 * YUAN
    assert await books.balances(books.days[0], books.days[0], "other") == []


async def test_all_accounts_come_to_what_the_days_were_closed_with(books: Books) -> None:
    for day in books.days:
        closed = await books.harness.get(day)
        found = await books.balances(day, day)
        assert sum(one.debits_micros for one in found) == closed.debits_micros
        assert sum(one.credits_micros for one in found) == closed.credits_micros
        for one in found:
            moved = one.credits_micros - one.debits_micros
            assert one.opening_micros + moved == one.closing_micros
    shown = await books.run("trial-balance", f"{books.days[0]}..{books.days[-1]}")
    assert shown.exit_code == 0, shown.output
    assert f"oms/down_channel/{books.keys[0].eid}: 0 + 10 - 55 = -45 元" in shown.output
    said = await books.run("trial-balance", str(books.days[0]), "--csv")
    rows = list(csv.DictReader(said.output.splitlines()))
    assert {row["eid"]: row["closing_yuan"] for row in rows}[books.keys[0].eid] == "5"
    marked = await books.run("trial-balance", str(books.days[0]), "--csv", "--bom")
    assert marked.output == "\ufeff" + said.output
    assert (await books.run("trial-balance", str(books.days[0]), "--bom")).exit_code == 2


async def test_income_is_summed_by_line_channel_and_supplier(books: Books) -> None:
    def shown(one: Any) -> tuple[int, ...]:
        amounts = (
            *(one.sales_micros, one.refunds_micros, one.costs_micros, one.returns_micros),
            *(one.commissions_out_micros, one.commissions_in_micros, one.services_micros),
        )
        return (one.orders, *(amount // YUAN for amount in amounts), one.profit_micros // YUAN)

    async def income(by: str, first: date, last: date) -> dict[str, tuple[int, ...]]:
        request = pb.ExportIncomeRequest(first_day=str(first), last_day=str(last), by=by)
        stream = books.harness.book_stub.ExportIncome(request)
        return {one.key: shown(one) for one in await books.all(stream, "incomes")}

    first, last = books.days[0], books.days[-1]
    of_line = (2, 200, 40, 180, 36, 4, 6, 2, 200 - 40 - 180 + 36 - 4 + 6 + 2)
    assert await income("line", first, last) == {"7": of_line, "8": (1, 1, 1, 0, 0, 0, 0, 0, 0)}
    by_channel = await income("channel", first, last)
    assert by_channel["c1"] == of_line
    by_supplier = await income("supplier", first, last)
    assert by_supplier == {"s1": (0, 0, 0, 180, 36, 0, 6, 0, -180 + 36 + 6)}
    assert (await income("line", books.days[1], books.days[1]))["7"][0] == 1
    assert await income("line", first, first) == {}
    said = await books.run("income", f"{first}..{last}", "--by", "channel")
    assert "channel c1: 2 orders, + 200 - 40 - 180 + 36: profit 20 元" in said.output
    wrong = pb.ExportIncomeRequest(first_day=str(first), by="colour")
    assert await refused(books.harness.book_stub.ExportIncome(wrong).read()) == "FIELD_INVALID"


async def test_what_was_booked_at_a_loss_is_listed_and_summed(books: Books) -> None:
    first, last = str(books.days[0]), str(books.days[-1])
    request = pb.ExportLossesRequest(first_day=first, last_day=last)
    (one,) = await books.all(books.harness.book_stub.ExportLosses(request), "losses")
    assert (one.day, one.number, one.line_id) == (last, 6_030, 7)
    assert (one.down_channel_no, one.up_channel_no) == ("c1", "s1")
    assert (one.amount_micros, one.loss_micros) == (-90 * YUAN, 1_500_000)
    for by, key in (("line", "7"), ("channel", "c1"), ("supplier", "s1")):
        asked = pb.ExportIncomeRequest(first_day=first, last_day=last, by=by)
        found = await books.all(books.harness.book_stub.ExportIncome(asked), "incomes")
        lost = {one.key: (one.losses, one.loss_micros) for one in found if one.losses}
        assert lost == {key: (1, 1_500_000)}, by
    said = await books.run("losses", f"{first}..{last}")
    assert f"{last} #6030 of order 6030, line 7, s1: 1.5 元" in said.output
    assert "line 7, s1: 1 at a loss, 1.5 元" in said.output
    rows = list(csv.DictReader((await books.run("losses", last, "--csv")).output.splitlines()))
    assert [(row["number"], row["loss_yuan"]) for row in rows] == [("6030", "1.5")]
    income = await books.run("income", last)
    assert "1 deliveries at a loss of 1.5 元" in income.output
    after = str(books.days[-1] + timedelta(days=1))
    none = books.harness.book_stub.ExportLosses(pb.ExportLossesRequest(first_day=after)).read()
    assert await refused(none) == "DAY_NOT_FOUND"


def test_the_mark_of_a_loss_is_what_orders_write() -> None:
    assert losses_store.LOSS_MEMO == order_pay_client.LOSS_MEMO
    assert losses.said(f"{order_pay_client.LOSS_MEMO} 0.00004 元") == 40


async def test_debts_are_as_old_as_the_first_day_below_zero(books: Books) -> None:
    async def debts(day: date) -> dict[str, tuple[int, str, int]]:
        stream = books.harness.book_stub.ExportDebts(pb.ExportDebtsRequest(day=str(day)))
        found = await books.all(stream, "debts")
        return {one.eid: (one.owed_micros // YUAN, one.since_day, one.days) for one in found}

    debtor = books.keys[0].eid
    assert debtor not in await debts(books.days[0])
    assert (await debts(books.days[1]))[debtor] == (15, str(books.days[1]), 0)
    assert (await debts(books.days[2]))[debtor] == (45, str(books.days[1]), 1)
    said = (await books.run("debts", str(books.days[2]))).output
    assert f"oms/down_channel/{debtor}: 45 元 since {books.days[1]}, 1 days" in said
    assert "0-7 days: 45 元" in said


async def test_what_needs_an_invoice_is_listed_with_its_refunds(books: Books) -> None:
    stream = books.harness.book_stub.ExportInvoices(
        pb.ExportInvoicesRequest(day=str(books.days[2]))
    )
    found = await books.all(stream, "invoices")
    assert [(one.kind, one.number, one.amount_micros // YUAN) for one in found] == [
        (ORDER, 5_030, 100),
        (REFUND, 7_001, 40),
    ]
    assert not any(one.HasField("rate_ppm") for one in found)
    said = await books.run("invoices", f"{books.days[1]}..{books.days[2]}")
    rows = list(csv.DictReader(said.output.splitlines()))
    assert [(row["number"], row["amount_yuan"], row["service_yuan"]) for row in rows] == [
        ("5020", "100", "1"),
        ("5030", "100", "1"),
        ("7001", "40", "0"),
    ]


async def test_what_is_invoiced_has_the_rates_of_its_line_on_the_day_of_the_order(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = books.days[2]
    rates = Rates(
        [
            Rate(line=7, goods="0.13", service="0.06"),
            Rate(line=7, goods="0.09", service="0.03", first_day=later),
        ]
    )
    monkeypatch.setattr(books.harness.context.rates, "_known", rates._known)
    said = await books.run("invoices", f"{books.days[1]}..{later}")
    rows = list(csv.DictReader(said.output.splitlines()))
    assert [(row["number"], row["rate"], row["service_rate"]) for row in rows] == [
        ("5020", "0.13", "0.06"),
        ("5030", "0.09", "0.03"),
        ("7001", "0.09", "0.03"),
    ]
    sums = (await books.run("invoices", f"{books.days[1]}..{later}", "--sums")).output
    assert sums.splitlines() == [
        "amounts at 13%: 100 - 0 = 100 元",
        "amounts at 9%: 100 - 40 = 60 元",
        "service fees at 3%: 1 - 0 = 1 元",
        "service fees at 6%: 1 - 0 = 1 元",
    ]


async def test_a_period_closes_once_and_keeps_what_it_came_to(books: Books) -> None:
    stub, day = books.harness.book_stub, str(books.days[0])
    request = pb.ClosePeriodRequest(first_day=day, last_day=day, by="zhang")
    made = await stub.ClosePeriod(request)
    assert not made.existed
    found = await books.balances(books.days[0], books.days[0])
    sha = hashlib.sha256()
    for one in found:
        sha.update(
            pack(
                ">qqqqq", one.account_id, one.opening_micros, one.debits_micros,
                one.credits_micros, one.closing_micros,
            )
        )  # fmt: skip
    assert made.period.digest == sha.digest()
    assert made.period.accounts == len(found)
    assert made.period.closing_micros == sum(one.closing_micros for one in found)
    again = await stub.ClosePeriod(pb.ClosePeriodRequest(first_day=day, last_day=day, by="li"))
    assert (again.existed, again.period) == (True, made.period)
    other = await books.run("close", str(books.days[1]), "--by", "zhang")
    assert (other.exit_code, f"closed: {books.days[1]}" in other.output) == (0, True)
    listed = [one async for one in _periods(stub)]
    assert listed == [day, str(books.days[1])]
    assert "by zhang" in (await books.run("periods")).output


async def _periods(stub: Any) -> Any:
    request = pb.ListPeriodsRequest(page_size=1)
    while True:
        page = await stub.ListPeriods(request)
        for one in page.periods:
            yield one.first_day
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


async def test_a_period_stays_open_while_a_day_is_not_complete(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    after = str(books.days[-1] + timedelta(days=1))

    async def close(first: str, last: str, by: str = "zhang") -> str:
        request = pb.ClosePeriodRequest(first_day=first, last_day=last, by=by)
        return await refused(books.harness.book_stub.ClosePeriod(request))

    assert await close(after, after) == "TRADE_DAY_NOT_FOUND"
    first = str(books.days[0])
    assert await close(first, str(books.days[1])) == "FIELD_INVALID"
    assert await close(first, first, "") == "FIELD_INVALID"
    last = str(books.days[2])
    for module, status, reason in (
        (trade_days, TradeDayStatus.FILLING, "TRADE_DAY_INCOMPLETE"),
        (days, DayStatus.DIFFERS, "DAY_INCOMPLETE"),
    ):
        get = module.get

        async def other(db: Any, day: date, get: Any = get, status: Any = status) -> Any:
            return replace(await get(db, day), status=status)

        with monkeypatch.context() as patched:
            patched.setattr(module, "get", other)
            assert await close(last, last) == reason


async def test_a_period_stays_open_while_differences_wait_for_a_decision(books: Books) -> None:
    stub, day = books.harness.book_stub, str(books.days[2])
    request = pb.ClosePeriodRequest(first_day=day, last_day=day, by="zhang")
    insert = """INSERT INTO exception (exception_id, source, kind, status, ours_id, theirs_id, diff_micros,
        day, run_id, assignee, decision, remark, decided_by, record_id, create_time, change_time)
        VALUES ($1, 's1', 1, 10, $1, 0, 0, $2, 0, '', 0, '', '', 0, now(), now())"""
    await books.harness.sql(insert, 1, books.days[2] + timedelta(days=1))  # of a later day
    await books.harness.sql(insert, 2, books.days[1])
    assert await refused(stub.ClosePeriod(request)) == "EXCEPTIONS_OPEN"
    await books.harness.sql("DELETE FROM exception WHERE exception_id = 2")
    assert not (await stub.ClosePeriod(request)).existed
