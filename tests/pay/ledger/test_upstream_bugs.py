"""The fourteen faults found in the original ledger stay out: one test names each."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shoudan.pay.v1 import ledger_service_pb2 as pb
from tests.pay.ledger.harness import (
    YUAN,
    LedgerHarness,
    deduct,
    posting,
    reason,
    refund,
    refusal_of,
    reverse_add,
    told,
)
from tests.poll import eventually


async def package(harness: LedgerHarness, key: pb.AccountKey, total: int, **fields: Any) -> None:
    request = pb.CreatePackageRequest(account=key, spkg_id="p", total_capacity=total, **fields)
    await told(harness.stub.CreatePackage(request))


async def move(
    harness: LedgerHarness, key: pb.AccountKey, change: pb.ChangeType, num: int, trade_no: str
) -> Any:
    one = pb.MoveCapacityRequest.Move(
        account=key, spkg_id="p", trade_no=trade_no, change_type=change, num=num
    )
    answer = await told(harness.stub.MoveCapacity(pb.MoveCapacityRequest(moves=[one])))
    return answer.results[0]


@pytest.mark.parametrize("part", [100, 60, 40])
async def test_bug_1_a_replayed_refund_of_any_size_is_a_repeat(
    harness: LedgerHarness, part: int
) -> None:
    key = await harness.account(100 * YUAN)
    await harness.post(deduct(key, 100 * YUAN, "o1"))
    first = await harness.post(refund(key, part * YUAN, "o1", "r1"))
    again = await harness.post(refund(key, part * YUAN, "o1", "r1"))
    assert again.existed
    assert again.record == first.record


@pytest.mark.parametrize(
    ("change", "micros"),
    [(pb.CHANGE_TYPE_ADD, -YUAN), (pb.CHANGE_TYPE_DRAWING, YUAN), (pb.CHANGE_TYPE_ADD, 0)],
)
async def test_bug_2_add_and_drawing_have_their_own_sign(
    harness: LedgerHarness, change: pb.ChangeType, micros: int
) -> None:
    key = await harness.account(10 * YUAN)
    refused = await refusal_of(harness.post(posting(key, micros, change_type=change)))
    assert reason(refused) == "AMOUNT_INVALID"


async def test_bug_3_an_account_over_its_limit_may_be_paid_into(harness: LedgerHarness) -> None:
    key = await harness.account(credit=500 * YUAN)
    await harness.post(deduct(key, 500 * YUAN))
    await told(harness.stub.UpdateAccount(pb.UpdateAccountRequest(key=key, credit_micros=0)))
    made = await harness.post(posting(key, 100 * YUAN))
    assert made.record.balance_micros == -400 * YUAN
    assert reason(await refusal_of(harness.post(deduct(key, 10)))) == "BALANCE_TOO_LOW"


async def test_bug_4_the_trade_type_asked_for_is_the_one_recorded(harness: LedgerHarness) -> None:
    key = await harness.account(100 * YUAN)
    for trade in (pb.TRADE_TYPE_TRADE, pb.TRADE_TYPE_SERVICE, pb.TRADE_TYPE_COMMISSION):
        made = await harness.post(deduct(key, YUAN, "o1", trade_type=trade))
        assert (made.record.trade_type, made.existed) == (trade, False)
    wrong = refund(key, YUAN, "nothing under 2", trade_type=pb.TRADE_TYPE_SERVICE)
    assert reason(await refusal_of(harness.post(wrong))) == "RECORD_NOT_FOUND"
    back = refund(key, YUAN, "o1", trade_type=pb.TRADE_TYPE_SERVICE)
    assert (await harness.post(back)).record.trade_type == pb.TRADE_TYPE_SERVICE
    for change in (pb.CHANGE_TYPE_TRADE_FLAT, pb.CHANGE_TYPE_BALANCE_FLAT):
        flat = posting(key, YUAN, change_type=change, trade_type=pb.TRADE_TYPE_FLAT)
        assert (await harness.post(flat)).record.trade_type == pb.TRADE_TYPE_FLAT


async def test_bug_5_lock_expiry_and_the_daily_count_are_looked_at(harness: LedgerHarness) -> None:
    key = await harness.account(10 * YUAN)
    await package(harness, key, 10, expires="20200101")
    assert reason_of(await move(harness, key, pb.CHANGE_TYPE_DEDUCT, 1, "d")) == "PACKAGE_EXPIRED"
    await told(harness.stub.UpdateAccount(pb.UpdateAccountRequest(key=key, locked=True)))
    assert reason(await refusal_of(harness.post(posting(key, YUAN)))) == "ACCOUNT_LOCKED"
    assert reason_of(await move(harness, key, pb.CHANGE_TYPE_DRAWING, 1, "w")) == "ACCOUNT_LOCKED"
    # That the count begins anew each day is shown in test_packages, where the day is turned.


async def test_bug_6_the_daily_limit_holds_and_the_whole_capacity_may_be_used(
    harness: LedgerHarness,
) -> None:
    limited = await harness.account()
    await package(harness, limited, 1000, capacity_daily=100)
    answers = [await move(harness, limited, pb.CHANGE_TYPE_DEDUCT, 60, f"d{n}") for n in range(2)]
    assert answers[0].record.remain == 940
    assert reason_of(answers[1]) == "CAPACITY_TOO_LOW"
    free = await harness.account()
    await package(harness, free, 1000)
    assert (await move(harness, free, pb.CHANGE_TYPE_DEDUCT, 1000, "all")).record.remain == 0
    for n in range(4):
        added = await move(harness, free, pb.CHANGE_TYPE_ADD, 600, f"a{n}")
        assert added.record.remain == 600 * (n + 1)


async def test_bug_7_package_records_are_kept_and_paged_from_the_first(
    harness: LedgerHarness,
) -> None:
    key = await harness.account()
    await package(harness, key, 100)
    for n in range(5):
        await move(harness, key, pb.CHANGE_TYPE_DEDUCT, 1, f"d{n}")
    lost = await move(harness, key, pb.CHANGE_TYPE_REFUND, 1, "never deducted")
    assert reason_of(lost) == "RECORD_NOT_FOUND"
    request = pb.ListPackageRecordsRequest(account=key, spkg_id="p", page_size=2)
    first = await told(harness.stub.ListPackageRecords(request))
    assert [r.trade_no for r in first.records] == ["d4", "d3"]
    assert first.count == 5
    request.page_token = first.next_page_token
    second = await told(harness.stub.ListPackageRecords(request))
    assert [r.trade_no for r in second.records] == ["d2", "d1"]


async def test_bug_8_nobody_sees_the_records_of_another_system(harness: LedgerHarness) -> None:
    mine = await harness.account(YUAN, ident="mine", groups="-")
    other = await harness.account(YUAN, ident="other", groups="-")
    by_ident = await harness.records(pb.AccountKey(ident="mine"))
    assert {r.account.ident for r in by_ident} == {"mine"}
    by_eid = await harness.records(pb.AccountKey(ident="other", eid=other.eid))
    assert {r.account.eid for r in by_eid} == {other.eid}
    assert not await harness.records(pb.AccountKey(ident="mine", eid=other.eid))
    assert reason(await refusal_of(harness.records(pb.AccountKey(eid=mine.eid)))) == "FIELD_INVALID"


async def test_bug_9_refusals_leave_no_connection_behind(harness: LedgerHarness) -> None:
    key = await harness.account()
    for _ in range(20):  # more than twice the pool
        await refusal_of(harness.post(posting(key, 0)))
        await refusal_of(harness.post(deduct(key, YUAN)))
    database = harness.process.app.db
    await eventually(lambda: database.in_use == 0)  # the service's own looks come and go
    assert (await harness.post(posting(key, 12_340))).record.balance_micros == 12_340


async def test_bug_10_of_two_reversals_at_once_one_is_made(harness: LedgerHarness) -> None:
    key = await harness.account(100 * YUAN)
    await harness.post(posting(key, 50 * YUAN, "a1"))
    answers = await asyncio.gather(
        *[harness.post(reverse_add(key, "a1", trade_no=f"x{n}")) for n in range(2)],
        return_exceptions=True,
    )
    refused = [one for one in answers if isinstance(one, Exception)]
    assert [reason(one) for one in refused] == ["ALREADY_REVERSED"]
    assert await harness.balance(key) == 100 * YUAN
    made = next(one for one in answers if isinstance(one, pb.PostResponse))
    again = await harness.post(reverse_add(key, "a1", trade_no=made.record.trade_no))
    assert again.existed
    assert again.record == made.record


async def test_bug_11_a_repeat_with_another_amount_is_refused(harness: LedgerHarness) -> None:
    key = await harness.account(100 * YUAN)
    first = await harness.post(deduct(key, 30 * YUAN, "o1"))
    refused = await refusal_of(harness.post(deduct(key, 31 * YUAN, "o1")))
    assert reason(refused) == "POSTING_DIFFERS"
    assert (await harness.post(deduct(key, 30 * YUAN, "o1"))).record == first.record


async def test_bug_12_a_refused_reversal_is_told_to_who_asked(harness: LedgerHarness) -> None:
    key = await harness.account(10 * YUAN)
    refused = await refusal_of(harness.post(reverse_add(key, "never added")))
    assert reason(refused) == "RECORD_NOT_FOUND"


async def test_bug_13_every_kind_of_movement_stops_at_a_locked_account(
    harness: LedgerHarness,
) -> None:
    key = await harness.account(100 * YUAN)
    await harness.post(posting(key, YUAN, "a1"))
    await harness.post(deduct(key, YUAN, "o1"))
    await told(harness.stub.UpdateAccount(pb.UpdateAccountRequest(key=key, locked=True)))
    flat = {"change_type": pb.CHANGE_TYPE_BALANCE_FLAT, "trade_type": pb.TRADE_TYPE_FLAT}
    asked = [
        posting(key, YUAN),
        posting(key, -YUAN, change_type=pb.CHANGE_TYPE_DRAWING),
        deduct(key, YUAN),
        refund(key, YUAN, "o1"),
        reverse_add(key, "a1"),
        posting(key, YUAN, **flat),
    ]
    results = await harness.groups(*[[one] for one in asked])
    assert {reason(one) for one in results} == {"ACCOUNT_LOCKED"}
    assert (await harness.post(deduct(key, YUAN, "o1"))).existed  # a repeat moves nothing
    await told(harness.stub.UpdateAccount(pb.UpdateAccountRequest(key=key, locked=False)))
    await harness.post(refund(key, YUAN, "o1"))


async def test_bug_14_a_freeze_is_a_lock_that_keeps_money_and_credit_still(
    harness: LedgerHarness,
) -> None:
    key = await harness.account(100 * YUAN)
    await told(harness.stub.UpdateAccount(pb.UpdateAccountRequest(key=key, locked=True)))
    change = pb.UpdateAccountRequest(key=key, credit_micros=YUAN)
    assert reason(await refusal_of(told(harness.stub.UpdateAccount(change)))) == "ACCOUNT_LOCKED"
    renamed = pb.UpdateAccountRequest(key=key, name="still may be renamed")
    answer = await told(harness.stub.UpdateAccount(renamed))
    assert (answer.account.locked, answer.account.balance_micros) == (True, 100 * YUAN)


async def test_periods_and_pages_find_what_is_there(harness: LedgerHarness) -> None:
    key = await harness.account()
    made = [await harness.post(posting(key, YUAN, f"n{n}")) for n in range(7)]
    times = [m.record.create_time.ToDatetime(UTC) for m in made]
    found = await harness.records(key, start_time=times[2], end_time=times[5])
    assert [r.trade_no for r in found] == ["n4", "n3", "n2"]
    request = pb.ListRecordsRequest(account=key, page_size=3)
    first = await told(harness.stub.ListRecords(request))
    assert (first.count, [r.seq for r in first.records]) == (7, [7, 6, 5])
    request.page_token = first.next_page_token
    assert [r.seq for r in (await told(harness.stub.ListRecords(request))).records] == [4, 3, 2]
    by_number = await told(
        harness.stub.ListRecords(pb.ListRecordsRequest(account=key, page_size=3, offset=6))
    )
    assert [r.seq for r in by_number.records] == [1]
    trade = await told(
        harness.stub.ListRecords(pb.ListRecordsRequest(trade_no=made[3].record.trade_no))
    )
    assert made[3].record in trade.records
    at = pb.GetBalanceRequest(key=key)
    at.time.FromDatetime(times[3])
    assert (await told(harness.stub.GetBalance(at))).balance_micros == 4 * YUAN
    at.time.FromDatetime(times[0] - timedelta(seconds=1))
    assert (await told(harness.stub.GetBalance(at))).seq == 0
    at.time.FromDatetime(datetime(2100, 1, 1, tzinfo=UTC))
    assert (await told(harness.stub.GetBalance(at))).seq == 7


def reason_of(result: Any) -> str:
    assert result.HasField("refusal"), result
    return str(result.refusal.reason).removeprefix("ERROR_REASON_")
