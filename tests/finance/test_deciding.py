"""Promises of decisions: made once, repeated without effect, and known before they are made."""

from __future__ import annotations

import asyncio

import pytest

from shoudan.finance.v1 import exception_service_pb2 as pb
from tests.finance.desk import DAY, Desk
from tests.finance.test_day_books import refused
from tests.finance.test_reconciling import HEAD

YUAN = 1_000_000


async def test_two_decisions_at_once_are_one(desk: Desk) -> None:
    numbers = await desk.differ(5)
    kinds = (pb.DECISION_BOOK, pb.DECISION_WRITE_OFF)
    calls = [desk.stub.DecideExceptions(desk.decision(*numbers, decision=one)) for one in kinds * 2]
    done = await asyncio.gather(*calls, return_exceptions=True)
    made = [not isinstance(one, BaseException) for one in done]
    # Whichever came first stands: a repeat of it is answered as it was, the other is refused.
    assert made in ([True, False, True, False], [False, True, False, True])
    for number in numbers:
        await desk.settled(number)
        kinds_noted = [note.kind for note in (await desk.get(number)).notes]
        assert kinds_noted == ["decided", "booked"]
    assert len(await desk.records("suspense" if made[0] else "write_off")) == 5


async def test_a_repeat_is_answered_as_the_first_time_and_another_decision_is_refused(
    desk: Desk,
) -> None:
    first, second = await desk.differ()
    request = desk.decision(first, second)
    for _ in range(2):
        assert (await desk.stub.DecideExceptions(request)).decided == 2
    for number in (first, second):
        await desk.settled(number)
    assert (await desk.stub.DecideExceptions(request)).decided == 2  # settled by now
    other = desk.decision(first, second)
    other.items[1].remark = "something else"
    assert await refused(desk.stub.DecideExceptions(other)) == "EXCEPTION_DECIDED"
    assert len(await desk.records("suspense")) == 2


async def test_what_decisions_come_to_is_said_one_by_one_and_in_sum(desk: Desk) -> None:
    first, second, third, fourth = await desk.differ(4)
    await desk.stub.DecideExceptions(desk.decision(third))
    request = desk.decision(second, third, 1, first, decision=pb.DECISION_WRITE_OFF)
    item = pb.DecideExceptionsRequest.Item
    request.items.append(item(exception_id=fourth, decision=pb.DECISION_BOOK, remark="x" * 257))
    found = await desk.stub.CheckDecisions(pb.CheckDecisionsRequest(items=request.items))
    assert [one.exception_id for one in found.results] == [second, third, 1, first, fourth]
    said = [one.refusal.reason.removeprefix("ERROR_REASON_") for one in found.results]
    assert said == ["", "EXCEPTION_DECIDED", "EXCEPTION_NOT_FOUND", "", "FIELD_INVALID"]
    account = f"oms/write_off/{desk.source}"
    for one in (found.results[0], found.results[3]):
        booking = one.booking
        assert (booking.account, booking.amount_micros) == (account, 98 * YUAN)
        assert (booking.trade_no, booking.refunds) == (f"EX{one.exception_id}", False)
        assert one.exception.source == desk.source
    assert not found.results[2].HasField("exception")
    (total,) = found.sums
    assert (total.account, total.count, total.amount_micros) == (account, 2, 2 * 98 * YUAN)
    for number in (first, second, fourth):  # nothing is decided
        assert (await desk.get(number)).exception.status == pb.EXCEPTION_STATUS_OPEN
    # By the rules of the decision itself, which is made of all or none.
    assert await refused(desk.stub.DecideExceptions(request)) == "FIELD_INVALID"
    assert await refused(desk.stub.CheckDecisions(pb.CheckDecisionsRequest())) == "FIELD_INVALID"


async def test_a_cost_is_a_supplier_s_and_no_payment_component_s(desk: Desk) -> None:
    stranger = f",S9,,,,12.00,{DAY} 12:00:00,支付,成功"
    data = f"{HEAD}\n{stranger}\n合计,1,12.00\n".encode()
    await desk.books.imported(desk.source, data)
    await desk.books.quiet(desk.source)
    (one,) = await desk.listed()
    number = one.exception_id
    request = desk.decision(number, decision=pb.DECISION_ADJUST_COST)
    assert await refused(desk.stub.DecideExceptions(request)) == "FIELD_INVALID"
    assert await refused(desk.propose(request)) == "FIELD_INVALID"
    found = await desk.stub.CheckDecisions(pb.CheckDecisionsRequest(items=request.items))
    assert found.results[0].refusal.reason == "ERROR_REASON_FIELD_INVALID"
    assert list(found.sums) == []
    assert (await desk.get(number)).exception.status == pb.EXCEPTION_STATUS_OPEN
    assert await refused(desk.records("up_channel")) == "ACCOUNT_NOT_FOUND"
    # What it may be is booked to the suspense account.
    assert one.suggestion == pb.DECISION_BOOK
    await desk.stub.DecideExceptions(desk.decision(number))
    assert (await desk.settled(number)).status == pb.EXCEPTION_STATUS_SETTLED


async def test_no_decision_is_none(desk: Desk) -> None:
    (number,) = await desk.differ(1)
    request = desk.decision(number, decision=pb.DECISION_UNSPECIFIED)
    assert await refused(desk.stub.DecideExceptions(request)) == "FIELD_INVALID"


@pytest.mark.parametrize(
    "numbers", [[], [1, 1], list(range(1, 1002))], ids=["none", "twice", "too many"]
)
async def test_a_decision_names_each_exception_once_and_not_too_many(
    desk: Desk, numbers: list[int]
) -> None:
    assert await refused(desk.stub.DecideExceptions(desk.decision(*numbers))) == "FIELD_INVALID"
