"""撤单: the cancelling or the binding, never both; the answer is true, and the money goes back once."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import pytest

from shoudan.order.v1 import channel_service_pb2 as pb
from shoudan.order.v1 import order_service_pb2 as order_pb
from shoudan_kit.embedded import DatabaseUrls
from tests.order.harness import Inbox, OrderHarness, running, up_product
from tests.order.test_trouble import reaches
from tests.order.walk import Steps
from tests.poll import eventually

CANCELLED, TOO_LATE = pb.CANCEL_RESULT_CANCELLED, pb.CANCEL_RESULT_TOO_LATE
ENDED, IN_REVIEW = pb.CANCEL_RESULT_ENDED, pb.CANCEL_RESULT_IN_REVIEW
REPEATED = 200
calls = itertools.count(1)


@pytest.fixture
async def without_tasks(
    new_database: Callable[[str], Awaitable[DatabaseUrls]], inbox: Inbox
) -> AsyncIterator[OrderHarness]:
    """An order service in which nothing runs by itself."""
    async with running(await new_database("order"), inbox, roles=frozenset({"rpc"})) as made:
        yield made


async def cancel(harness: OrderHarness, request_no: str, **more: Any) -> pb.CancelOrderResponse:
    wanted = pb.CancelOrderRequest(channel_no="test", request_no=request_no, **more)
    return await harness.channels.CancelOrder(wanted)


async def ordered(harness: OrderHarness, **changes: Any) -> tuple[int, str]:
    """A new order: our number and its channel's."""
    (result,) = await harness.create(harness.new(**changes))
    return result.order.order_id, result.order.request_no


async def nothing_sold(harness: OrderHarness) -> None:
    """From now on no supplier has what is ordered."""
    await harness.apply(up_products=[up_product(enabled=False)])


def left(harness: OrderHarness, order_id: int) -> list[int]:
    """What an order and its refund leave on the channel's accounts together."""
    paid, back = harness.ledger.trades(str(order_id)), harness.ledger.trades(f"r{order_id}")
    return [paid.get(group, 0) + back.get(group, 0) for group in {*paid, *back}]


async def settled(harness: OrderHarness, order_id: int) -> order_pb.Order:
    """The order once it has ended and its money is where it belongs."""

    async def there() -> bool:
        now = await harness.get(order_id)
        failed = now.state.status == order_pb.ORDER_STATUS_FAILED
        return now.refund_status in {0, 99} if failed else now.state.status == 0

    await eventually(there)
    return await harness.get(order_id)


async def test_a_paid_order_without_a_supplier_is_cancelled_and_its_money_goes_back_once(
    harness: OrderHarness,
) -> None:
    await nothing_sold(harness)
    order_id, request_no = await ordered(harness, notify_url=harness.inbox.url)
    await reaches(harness, order_id, 20)
    done = await cancel(harness, request_no)
    assert (done.result, done.refund_status) == (CANCELLED, 20)
    assert (done.order.status, done.order.fail_code) == (order_pb.ORDER_STATUS_FAILED, "900")
    assert done.order.fail_msg == "订单已撤单"
    whole = await settled(harness, order_id)
    assert whole.refund_status == 0
    assert list(whole.deliveries) == []
    again = await cancel(harness, request_no)
    assert (again.result, again.refund_status) == (CANCELLED, 0)
    assert (done.existed, again.existed) == (False, True)
    assert set(left(harness, order_id)) == {0}
    await eventually(lambda: len(harness.inbox.told) == 1)
    assert harness.inbox.told[0]["status"] == 90


async def test_an_order_that_waits_for_its_payment_is_cancelled_and_never_charged(
    harness: OrderHarness,
) -> None:
    harness.ledger.limits["test"] = -1
    order_id, request_no = await ordered(harness)
    await eventually(lambda: harness.ledger.calls > 0)
    done = await cancel(harness, request_no)
    assert (done.result, done.refund_status) == (CANCELLED, 20)
    harness.ledger.limits.clear()
    whole = await settled(harness, order_id)
    assert (whole.refund_status, list(whole.deliveries)) == (99, [])
    assert set(left(harness, order_id)) <= {0}

    async def nothing_left() -> bool:
        await harness.sql("UPDATE task SET next_execute_time = shoudan_now()")
        return not await harness.sql("SELECT FROM task WHERE status = 20")

    await eventually(nothing_left)
    assert harness.ledger.balances["down_channel", "test"] == 0


async def test_an_order_with_a_supplier_or_delivered_goes_on(harness: OrderHarness) -> None:
    harness.delivery.script = lambda item: None
    order_id, request_no = await ordered(harness)
    await eventually(lambda: bool(harness.delivery.sent))
    done = await cancel(harness, request_no)
    assert (done.result, done.order.status) == (TOO_LATE, 20)
    number = (await harness.get(order_id)).deliveries[0].delivery_id
    await harness.report(order_pb.DeliveryResult(id=number, succeeded=True))
    await reaches(harness, order_id, 0)
    done = await cancel(harness, request_no)
    assert (done.result, done.order.status, done.refund_status) == (ENDED, 0, 10)


async def test_a_part_that_failed_leaves_an_order_that_may_be_cancelled(
    harness: OrderHarness,
) -> None:
    harness.delivery.script = lambda item: False
    await harness.apply(up_products=[up_product(limit_count=1)])
    order_id, request_no = await ordered(harness)

    async def failed() -> bool:
        return [d.delivery_status for d in (await harness.get(order_id)).deliveries] == [90]

    await eventually(failed)
    done = await cancel(harness, request_no)
    assert done.result == CANCELLED
    assert (await settled(harness, order_id)).refund_status == 0
    assert set(left(harness, order_id)) == {0}


async def test_what_a_person_is_to_decide_is_not_cancelled(harness: OrderHarness) -> None:
    await nothing_sold(harness)
    order_id, request_no = await ordered(harness)
    await reaches(harness, order_id, 20)
    await harness.sql("UPDATE oms_order_info SET parked_reason = 'why'")
    done = await cancel(harness, request_no)
    assert (done.result, done.order.status) == (IN_REVIEW, 20)


async def test_an_order_that_is_not_there_is_refused_and_the_nonce_is_used_up(
    harness: OrderHarness,
) -> None:
    def nonce() -> order_pb.CallNonce:
        return order_pb.CallNonce(nonce="n" * 16, call_id=next(calls), keep_s=600)

    with pytest.raises(grpc.RpcError, match="ERROR_REASON_ORDER_NOT_FOUND"):
        await cancel(harness, "nope", nonce=nonce())
    _, request_no = await ordered(harness)
    with pytest.raises(grpc.RpcError, match="ERROR_REASON_NONCE_USED"):
        await cancel(harness, request_no, nonce=nonce())


async def test_two_hundred_races_with_the_binding_have_one_winner_each(
    harness: OrderHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of the cancels start as the order is there, half as its debit is posted."""
    racing: dict[str, asyncio.Future[pb.CancelOrderResponse]] = {}
    at_debit: set[str] = set()
    group = harness.ledger._group

    def posting(postings: Any) -> Any:
        trade_no = postings[0].trade_no
        cached = harness.context.memory.get(int(trade_no)) if trade_no.isdigit() else None
        if cached is not None and cached.order.request_no in at_debit:
            request_no = cached.order.request_no
            at_debit.remove(request_no)
            racing[request_no] = asyncio.ensure_future(cancel(harness, request_no))
        return group(postings)

    monkeypatch.setattr(harness.ledger, "_group", posting)
    numbers: dict[str, int] = {}
    for turn in range(REPEATED):
        new = harness.new()
        if turn % 2:
            at_debit.add(new.request_no)
        (made,) = await harness.create(new)
        numbers[new.request_no] = made.order.order_id
        if not turn % 2:
            racing[new.request_no] = asyncio.ensure_future(cancel(harness, new.request_no))
    await eventually(lambda: len(racing) == REPEATED)
    answers = {name: await one for name, one in racing.items()}
    won = Counter(one.result for one in answers.values())
    assert set(won) <= {CANCELLED, TOO_LATE, ENDED}
    assert min(won[CANCELLED], won[TOO_LATE] + won[ENDED]) > 0, won
    for name, answer in answers.items():
        whole = await settled(harness, numbers[name])
        cancelled = answer.result == CANCELLED
        assert (whole.state.status == order_pb.ORDER_STATUS_FAILED) == cancelled
        assert bool(whole.deliveries) != cancelled
        assert (set(left(harness, numbers[name])) <= {0}) == cancelled
        assert (await cancel(harness, name)).result == (CANCELLED if cancelled else ENDED)
    sold = REPEATED - won[CANCELLED]
    assert len(harness.delivery.sent) == sold


@pytest.mark.parametrize("first", ["cancel", "order.pay"])
async def test_a_step_that_comes_after_the_other_changes_nothing(
    without_tasks: OrderHarness, first: str
) -> None:
    harness = without_tasks
    order_id, request_no = await ordered(harness)
    steps = Steps(harness)
    if first == "cancel":
        assert (await cancel(harness, request_no)).result == CANCELLED
        await steps.run("order.pay")
        assert list((await harness.get(order_id)).deliveries) == []
        await steps.run("order.refund")
        assert set(left(harness, order_id)) <= {0}
    else:
        await steps.run("order.pay")
        await steps.run("order.bind")
        assert (await cancel(harness, request_no)).result == TOO_LATE
        assert len((await harness.get(order_id)).deliveries) == 1
