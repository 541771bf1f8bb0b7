"""Promises of the trades: each is here once, and the ledger moved what it says, whatever is lost or dies."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest
from grpc import aio

from shoudan.finance.v1 import trade_service_pb2 as pb
from shoudan.pay.v1 import ledger_service_pb2 as ledger_pb
from shoudan_finance import trade_books
from shoudan_finance.store import days
from shoudan_finance.store import trades as store
from shoudan_kit.rpc.refusal import refused_from_rpc
from tests.finance.harness import FinanceHarness
from tests.pay.ledger.harness import YUAN

ORDER, REFUND, DELIVERY, RETURN = 1, 2, 3, 4
DIFFERS, FETCHED, FILLING = 80, 15, 10
GROUPS = ("channel", "commission", "service")
# Numbers of trades are of ids of that moment in the product; here any number that is new will do.
_numbers = iter(range(1_000_001, 2_000_000))


async def accounts(harness: FinanceHarness, side: str, eid: str) -> None:
    """The three accounts of a channel or supplier."""
    for group in GROUPS:
        key = ledger_pb.AccountKey(ident="oms", groups=f"{side}_{group}", eid=eid)
        item = ledger_pb.CreateAccountsRequest.Item(key=key, name=f"{eid} {group}")
        await harness.ledger.stub.CreateAccounts(ledger_pb.CreateAccountsRequest(items=[item]))
        await move(harness, side, eid, group, 10_000 * YUAN, number=f"load-{next(_numbers)}")


async def move(
    harness: FinanceHarness, side: str, eid: str, group: str, micros: int,
    *, number: str, ext_no: str = "", about: int = 0,
) -> None:  # fmt: skip
    one = ledger_pb.Posting(
        account=ledger_pb.AccountKey(ident="oms", groups=f"{side}_{group}", eid=eid),
        trade_no=number,
        ext_no=ext_no,
        change_type=ledger_pb.ChangeType.ValueType(4 if ext_no else 3 if micros < 0 else 1),
        trade_type=ledger_pb.TRADE_TYPE_TRADE,
        amount_micros=micros,
        about=ledger_pb.About.ValueType(about),
    )
    group_ = ledger_pb.PostEntriesRequest.Group(postings=[one])
    request = ledger_pb.PostEntriesRequest(groups=[group_])
    (result,) = (await harness.ledger.stub.PostEntries(request)).results
    assert not result.HasField("refusal"), result.refusal


async def sold(harness: FinanceHarness, day: date, eid: str, micros: int, *, charged: int) -> int:
    """An order of the day that says it cost `micros`, and was charged something."""
    number = next(_numbers)
    harness.orders.add(day, ORDER, number, down_channel_no=eid, amount_micros=micros)
    await move(harness, "down", eid, "channel", -charged, number=str(number), about=ORDER)
    return number


async def back(
    harness: FinanceHarness, side: str, eid: str, micros: int, number: str, of: int
) -> None:
    """Money that goes back about a number."""
    about = RETURN if side == "up" else REFUND
    await move(
        harness, side, eid, "channel", micros, number=number, ext_no=str(of), about=about
    )  # fmt: skip


async def refused(call: Any) -> str:
    with pytest.raises(aio.AioRpcError) as raised:
        await call
    found = refused_from_rpc(raised.value)
    assert found is not None
    return found.reason.removeprefix("ERROR_REASON_")


async def test_a_day_agrees_when_the_ledger_moved_what_each_trade_says(
    harness: FinanceHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trade_books, "AWAY_S", 0.05)
    await accounts(harness, "down", "d1")
    await accounts(harness, "up", "u1")
    day = await next_day(harness)
    whole = await sold(harness, day, "d1", 180 * YUAN, charged=180 * YUAN)
    # In part: charged whole, the rest given back under the order's number.
    part = await sold(harness, day, "d1", 60 * YUAN, charged=180 * YUAN)
    await back(harness, "down", "d1", 120 * YUAN, f"r{part}", part)
    failed = await sold(harness, day, "d1", 0, charged=50 * YUAN)
    await back(harness, "down", "d1", 50 * YUAN, f"r{failed}", failed)
    refund, delivery, return_ = (next(_numbers) for _ in range(3))
    harness.orders.add(day, REFUND, refund, order_id=whole, amount_micros=30 * YUAN, reason="wrong")
    await back(harness, "down", "d1", 30 * YUAN, str(refund), whole)
    harness.orders.add(
        day, DELIVERY, delivery, up_channel_no="u1", amount_micros=160 * YUAN,
        commission_micros=2 * YUAN, service_micros=YUAN,
    )  # fmt: skip
    for group, micros in zip(GROUPS, (-160 * YUAN, 2 * YUAN, YUAN), strict=True):
        await move(harness, "up", "u1", group, micros, number=str(delivery), about=DELIVERY)
    harness.orders.add(day, RETURN, return_, up_channel_no="u1", amount_micros=16 * YUAN)
    await back(harness, "up", "u1", 16 * YUAN, str(return_), delivery)
    harness.deliveries.numbers[str(delivery)] = ("880001", "13800138000")
    harness.deliveries.away = True  # a day waits for what delivery alone knows
    assert await harness.close_day() == day
    await harness.completed(day)
    await harness.agreed(day, FILLING)
    harness.deliveries.away = False
    found = await harness.agreed(day)
    assert (found.trades, found.apart, found.what) == (6, 0, "")
    given = {one.number: one for one in harness.orders.trades[day.isoformat()]}
    ours = await harness.trades(day)
    assert [one.number for one in ours] == sorted(given)
    for one in ours:
        theirs = given[one.number]
        own = ("880001", "138****00") if one.number == delivery else ("", "")
        assert (one.supplier_no, one.account) == own
        for name in {f.name for f in pb.TradeFact.DESCRIPTOR.fields} - {"supplier_no", "account"}:
            assert getattr(one, name) == getattr(theirs, name), name
    assert await harness.trades(day, after_number=ours[2].number) == ours[3:]
    shown = await harness.run("trade-day", str(day))
    assert (shown.exit_code, f"{day}: 6 trades: agrees" in shown.output) == (0, True)
    assert f"{day}: 6 trades: agrees" in (await harness.run("trade-days")).output


async def next_day(harness: FinanceHarness) -> date:
    """The day that the ledger's accounts are in, once the one before is closed."""
    return await harness.close_day() + timedelta(days=1)


WRONG = {
    "too much was charged": (0, 1, ORDER, "down", "d2"),
    "nothing was charged": (0, 0, ORDER, "down", "d2"),
    "it is about something else": (0, 10, RETURN, "down", "d2"),
    "another channel was charged": (0, 10, ORDER, "down", "d3"),
    "a supplier's account was charged": (0, 10, ORDER, "up", "u2"),
}


@pytest.mark.parametrize("how", WRONG)
async def test_what_the_ledger_did_not_move_so_is_found_when_the_day_after_is_complete(
    harness: FinanceHarness, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(trade_books, "PROVE_AGAIN_S", 0.05)
    for side, eid in (("down", "d2"), ("down", "d3"), ("up", "u2")):
        await accounts(harness, side, eid)
    day = await next_day(harness)
    _, charged, about, side, eid = WRONG[how]
    number = next(_numbers)
    harness.orders.add(day, ORDER, number, down_channel_no="d2", amount_micros=10 * YUAN)
    if charged:
        await move(harness, side, eid, "channel", -charged * YUAN, number=str(number), about=about)
    assert await harness.close_day() == day
    await harness.completed(day)
    early = await harness.agreed(day, FETCHED, apart=1)
    assert str(number) in early.what
    after = await harness.close_day()
    await harness.completed(after)
    found = await harness.agreed(day, DIFFERS)
    assert (found.apart, str(number) in found.what) == (1, True)
    assert (await harness.run("trade-day", str(day))).exit_code == 1
    harness.orders.trades.clear()


async def test_money_that_comes_moments_after_midnight_agrees(
    harness: FinanceHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trade_books, "PROVE_AGAIN_S", 0.05)
    await accounts(harness, "down", "d4")
    day = await next_day(harness)
    number = next(_numbers)
    harness.orders.add(day, ORDER, number, down_channel_no="d4", amount_micros=10 * YUAN)
    await harness.completed(await harness.close_day())
    await harness.agreed(day, FETCHED, apart=1)
    await move(harness, "down", "d4", "channel", -10 * YUAN, number=str(number), about=ORDER)
    await harness.completed(await harness.close_day())
    assert (await harness.agreed(day)).apart == 0


async def test_pages_that_are_lost_or_come_twice_leave_each_trade_once(
    harness: FinanceHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process dies between a page and its mark, and the order service forgets its own tokens."""
    await accounts(harness, "down", "d5")
    day = await next_day(harness)
    numbers = [await sold(harness, day, "d5", YUAN, charged=YUAN) for _ in range(7)]
    deaths = iter((True, False, True))
    reached = store.reached

    async def dying(db: Any, *values: Any, **more: Any) -> bool:
        if next(deaths, False):
            raise ConnectionResetError("died")
        return await reached(db, *values, **more)

    await harness.completed(await harness.close_day())
    async with harness.process.app.db.connect() as db:
        await store.note(db, day - timedelta(days=1), 1)
    monkeypatch.setattr(store, "reached", dying)
    for _ in range(2):
        before = await trade_books.get(harness.context, day)
        with pytest.raises(ConnectionResetError):
            await trade_books.fetch(harness.context, before)
    stored = await harness.sql("SELECT count(*) FROM trade WHERE down_channel_no = 'd5'")
    assert (stored[0][0], (await harness.trade_day(day)).trades) == (2, 2)
    assert await refused(harness.trades(day)) == "TRADE_DAY_INCOMPLETE"
    # It forgot where it was: the day begins again, and what is here is passed over.
    await trade_books.begin_again(harness.context, day)
    found = await harness.agreed(day)
    assert found.trades == 7
    assert [one.number for one in await harness.trades(day)] == numbers


async def test_a_day_that_order_refuses_is_asked_for_again(
    harness: FinanceHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trade_books, "REFUSED_S", 0.05)
    harness.orders.refuses = True
    day = await harness.close_day()
    await harness.completed(day)
    assert await refused(harness.trade_day(day)) == "TRADE_DAY_NOT_FOUND"
    await harness.agreed(day, FILLING)
    assert await refused(harness.trades(day)) == "TRADE_DAY_INCOMPLETE"
    harness.orders.refuses = False
    assert (await harness.agreed(day)).trades == 0


async def test_days_that_differ_for_long_keep_no_new_day_waiting(harness: FinanceHarness) -> None:
    """A hundred of them, or of any number that a look takes."""
    trades = (
        "INSERT INTO trade_day (day, status, trades, page_token, apart, what, create_time)"
        " VALUES ($1, $2, 0, '', $3, $4, now()) ON CONFLICT DO NOTHING"
    )
    books = (
        "INSERT INTO finance_day (day, status, accounts, movements, debits_micros, credits_micros,"
        " close_time, create_time, digest, what)"
        " VALUES ($1, $2, 0, 0, 0, 0, now(), now(), '', $3) ON CONFLICT DO NOTHING"
    )
    for at in range(3):
        what = "" if at == 2 else "a trade"
        status = FILLING if at == 2 else DIFFERS
        day = date(1980, 1, 1 + at)
        await harness.sql(trades, day, status, 0 if at == 2 else 1, what)
        await harness.sql(books, day, status, what)
    async with harness.context.app.db.connect() as db:
        assert date(1980, 1, 3) in await store.unproved(db, 2)
        assert date(1980, 1, 3) in await days.incomplete(db, 2)
    for table in ("trade_day", "finance_day"):
        await harness.sql(f"DELETE FROM {table} WHERE day < $1", date(1981, 1, 1))
