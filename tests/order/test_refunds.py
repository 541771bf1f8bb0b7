"""Promises of refunds: documented refusals, goods or money first, exact sums, never more than delivered."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from shoudan.order.v1 import channel_service_pb2 as channel_pb
from shoudan.order.v1 import order_service_pb2 as pb
from tests.order.harness import YUAN, OrderHarness, catalogue_pb, down_product, up_product
from tests.poll import eventually

GENERAL, MANDATORY = pb.REFUND_TYPE_GENERAL, pb.REFUND_TYPE_MANDATORY


def returns_end(*ends: Any) -> Any:
    """A script: deliveries succeed, returns end so, one after the other."""
    left = iter(ends)
    return lambda item: True if item.key.service_class != 21 else next(left, True)


async def delivered(harness: OrderHarness, **changes: Any) -> pb.Order:
    """An order delivered and paid upstream."""
    order_id = await harness.order(**changes)

    async def done() -> bool:
        return (await harness.get(order_id)).up_paid

    await eventually(done)
    return await harness.get(order_id)


async def ask(
    harness: OrderHarness,
    order: pb.Order,
    no: str,
    num: int = 1,
    kind: int = GENERAL,
    reason: str = "",
) -> Any:
    """The result of one refund request."""
    new = pb.NewRefund(
        channel_no="test",
        request_no=order.state.request_no,
        refund_no=no,
        refund_num=num,
        notify_url=harness.inbox.url,
        type=kind,
        reason=reason,
    )
    answer = await harness.orders.CreateRefunds(pb.CreateRefundsRequest(refunds=[new]))
    return answer.results[0]


async def ends(harness: OrderHarness, order: pb.Order, no: str, *statuses: int) -> pb.Refund:
    """The refund once it has one of these statuses and its channel knows."""
    key = pb.RefundKey(channel_no="test", request_no=order.state.request_no, refund_no=no)

    async def read() -> pb.Refund:
        answer = await harness.orders.QueryRefunds(pb.QueryRefundsRequest(keys=[key]))
        return answer.results[0].refund

    async def there() -> bool:
        refund = await read()
        return refund.status in statuses and refund.refund_notify_status == 0

    await eventually(there)
    return await read()


def sums(harness: OrderHarness, order: pb.Order) -> dict[str, int]:
    """All the ledger holds for the one channel."""
    kinds = ("channel", "commission", "service")
    return {kind: harness.ledger.of(f"down_{kind}", "test") for kind in kinds}


async def test_a_general_refund_returns_the_goods_then_the_money(harness: OrderHarness) -> None:
    harness.delivery.script = returns_end(True)
    order = await delivered(harness)
    taken = await ask(harness, order, "f1")
    assert taken.HasField("refund")
    refund = await ends(harness, order, "f1", 0)
    assert (refund.up_return_status, refund.down_refund_status) == (0, 0)
    after = await harness.get(order.state.order_id)
    assert (after.state.status, after.success_face_micros, after.profit_micros) == (90, 0, 0)
    assert sums(harness, order) == {"channel": 0, "commission": 0, "service": 0}
    assert harness.ledger.of("up_channel", "ycup") == 0
    assert [t for t in harness.inbox.told if "refund_no" in t] == [
        {
            "channel_no": "test",
            "request_no": order.state.request_no,
            "refund_no": "f1",
            "refund_num": 1,
            "status": 0,
        }
    ]


async def test_a_mandatory_refund_gives_the_money_back_at_once_and_keeps_the_costs(
    harness: OrderHarness,
) -> None:
    order = await delivered(harness)
    assert (await ask(harness, order, "m1", kind=MANDATORY)).HasField("refund")
    refund = await ends(harness, order, "m1", 0)
    assert refund.up_return_status == 99
    after = await harness.get(order.state.order_id)
    assert after.profit_micros == (-160 + 2 + 1) * YUAN
    assert sums(harness, order)["channel"] == 0


async def test_a_failed_return_fails_the_refund_and_moves_no_money(harness: OrderHarness) -> None:
    harness.delivery.script = returns_end(False)
    order = await delivered(harness)
    await ask(harness, order, "f1")
    refund = await ends(harness, order, "f1", 90)
    assert refund.down_refund_status == 99
    assert (await harness.get(order.state.order_id)).state.status == 0
    assert sums(harness, order)["channel"] == -180 * YUAN


async def test_bug_03_a_partly_returned_refund_ends_as_partial_with_what_came_back(
    harness: OrderHarness,
) -> None:
    await harness.apply(
        down_products=[down_product(can_split_order=True, split_order_face_micros=100 * YUAN)],
        up_products=[up_product(face_micros=100 * YUAN)],
    )
    harness.delivery.script = returns_end(True, False)
    order = await delivered(harness)
    await ask(harness, order, "f1")
    refund = await ends(harness, order, "f1", 91)
    assert refund.refund_sell_amount_micros == 90 * YUAN

    async def paid_back() -> bool:
        return sums(harness, order)["channel"] == -90 * YUAN

    await eventually(paid_back)
    assert (await harness.get(order.state.order_id)).state.status == 91


async def test_partial_refunds_add_up_to_the_last_micro(harness: OrderHarness) -> None:
    await harness.apply(
        down_products=[down_product(sell_discount_ppm=900_001, commission_discount_ppm=33_333)],
        up_products=[up_product(cost_discount_ppm=777_777)],
        lines=[catalogue_pb.Line(line_id=1, line_name="包", can_package_delivery=True, service_class=10)],
    )  # fmt: skip
    order = await delivered(harness, num=3, amount_micros=3 * 180 * YUAN)
    for number in range(3):
        assert (await ask(harness, order, f"f{number}")).HasField("refund")
        await ends(harness, order, f"f{number}", 0)
    assert sums(harness, order) == {"channel": 0, "commission": 0, "service": 0}
    assert harness.ledger.of("up_channel", "ycup") == 0
    after = await harness.get(order.state.order_id)
    assert (after.profit_micros, after.state.status) == (0, 90)


async def test_concurrent_refunds_never_exceed_what_was_delivered(harness: OrderHarness) -> None:
    order = await delivered(harness, num=2, amount_micros=2 * 180 * YUAN)
    answers = await asyncio.gather(
        *(ask(harness, order, f"c{n}", kind=MANDATORY) for n in range(6))
    )
    assert sum(a.HasField("refund") for a in answers) == 2
    for n, answer in enumerate(answers):
        if answer.HasField("refund"):
            await ends(harness, order, f"c{n}", 0)
    assert sums(harness, order)["channel"] == 0


async def test_a_second_refund_waits_for_the_first(harness: OrderHarness) -> None:
    harness.delivery.script = returns_end(None)
    order = await delivered(harness, num=2, amount_micros=2 * 180 * YUAN)
    await ask(harness, order, "f1")
    again = await ask(harness, order, "f2")
    assert again.refusal.reason == "ERROR_REASON_REFUND_IN_PROGRESS"


async def test_of_two_refunds_in_one_call_the_second_waits_for_the_first(
    harness: OrderHarness,
) -> None:
    harness.delivery.script = returns_end(None)
    order = await delivered(harness, num=2, amount_micros=2 * 180 * YUAN)
    both = [
        pb.NewRefund(
            channel_no="test",
            request_no=order.state.request_no,
            refund_no=no,
            refund_num=1,
            type=GENERAL,
        )
        for no in ("f1", "f2")
    ]
    answer = await harness.orders.CreateRefunds(pb.CreateRefundsRequest(refunds=both))
    first, second = answer.results
    assert first.HasField("refund")
    assert second.refusal.reason == "ERROR_REASON_REFUND_IN_PROGRESS"


async def test_a_repeated_refund_gives_the_first_and_other_content_is_refused(
    harness: OrderHarness,
) -> None:
    order = await delivered(harness, num=2, amount_micros=2 * 180 * YUAN)
    first = await ask(harness, order, "f1")
    again = await ask(harness, order, "f1")
    assert again.existed
    assert again.refund.refund_id == first.refund.refund_id
    other = await ask(harness, order, "f1", num=2)
    assert other.refusal.reason == "ERROR_REASON_REFUND_DIFFERS"


@pytest.mark.parametrize(
    ("kind", "reason"),
    [(GENERAL, "REFUND_ORDER_NOT_FOUND"), (MANDATORY, "MANDATORY_ORDER_NOT_FOUND")],
)
async def test_an_unknown_order_is_refused(harness: OrderHarness, kind: int, reason: str) -> None:
    order = pb.Order(state=pb.OrderState(request_no="nope"))
    answer = await ask(harness, order, "f1", kind=kind)
    assert answer.refusal.reason == f"ERROR_REASON_{reason}"


async def test_what_cannot_be_refunded_is_refused(harness: OrderHarness) -> None:
    order = await delivered(harness)
    await harness.apply(down_products=[down_product(can_refund=False)])
    assert (await ask(harness, order, "f1")).refusal.reason == "ERROR_REASON_NOT_REFUNDABLE"
    assert (await ask(harness, order, "m1", kind=MANDATORY)).HasField("refund")
    after = await ask(harness, order, "m2", kind=MANDATORY)
    assert after.refusal.reason == "ERROR_REASON_ORDER_NOT_SUCCEEDED"


async def test_too_many_units_are_refused(harness: OrderHarness) -> None:
    order = await delivered(harness)
    assert (await ask(harness, order, "f1", 2)).refusal.reason == "ERROR_REASON_REFUND_NUM_TOO_HIGH"


async def test_a_split_order_is_refunded_whole_or_not_at_all(harness: OrderHarness) -> None:
    await harness.apply(down_products=[down_product(can_split_order=True)])
    order = await delivered(harness, num=2, amount_micros=2 * 180 * YUAN)
    answer = await ask(harness, order, "f1", 1)
    assert answer.refusal.reason == "ERROR_REASON_PARTIAL_REFUND_REFUSED"
    assert (await ask(harness, order, "f2", 2)).HasField("refund")
    await ends(harness, order, "f2", 0)


async def test_refunds_are_listed_newest_first_by_channel_status_and_time(
    harness: OrderHarness,
) -> None:
    numbers: list[int] = []
    for _ in range(3):
        order = await delivered(harness)
        no = f"f{len(numbers)}"
        numbers.append((await ask(harness, order, no, kind=MANDATORY)).refund.refund_id)
        await ends(harness, order, no, 0)

    async def listed(**given: Any) -> list[int]:
        found: list[int] = []
        request = pb.ListRefundsRequest(**given)
        while True:
            page = await harness.orders.ListRefunds(request)
            assert len(page.refunds) <= (request.page_size or 100)
            found += [one.refund_id for one in page.refunds]
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    newest = numbers[::-1]
    assert await listed() == newest
    assert await listed(page_size=2) == newest
    assert await listed(channel_no="test", statuses=[pb.REFUND_STATUS_SUCCEEDED]) == newest
    assert await listed(statuses=[pb.REFUND_STATUS_FAILED]) == []
    assert await listed(channel_no="other") == []
    middle = Timestamp()
    (refund,) = [
        one
        for one in (await harness.orders.ListRefunds(pb.ListRefundsRequest())).refunds
        if one.refund_id == numbers[1]
    ]
    middle.CopyFrom(refund.create_time)
    assert await listed(start_time=middle) == newest[:2]
    assert await listed(end_time=middle) == newest[2:]
    assert refund.request.refund_no == "f1"
    assert refund.refund_sell_amount_micros == 180 * YUAN
    with pytest.raises(grpc.RpcError, match="page_token"):
        await listed(page_token="x")


async def test_a_refund_keeps_why_it_was_asked_for_with_no_number_of_a_person_in_it(
    harness: OrderHarness,
) -> None:
    order = await delivered(harness)
    why = "充错号码 13800138000, customer called"
    kept = "充错号码 138******00, customer called"
    first = await ask(harness, order, "why1", kind=MANDATORY, reason=why)
    assert first.refund.request.reason == kept
    # Of a repeat the first one stands, whatever the other says.
    again = await ask(harness, order, "why1", kind=MANDATORY, reason="because")
    assert (again.existed, again.refund.request.reason) == (True, kept)
    refund = await ends(harness, order, "why1", 0)
    assert refund.request.reason == kept
    order_id = order.state.order_id
    (shown,) = (await harness.get(order_id)).refunds
    assert shown.request.reason == kept
    listed = await harness.orders.ListRefunds(pb.ListRefundsRequest(channel_no="test"))
    assert [one.request.reason for one in listed.refunds] == [kept]
    life = await harness.orders.GetLifecycle(pb.GetLifecycleRequest(order_id=order_id))
    assert [one.text for one in life.moments if one.text == kept] == [kept]
    own = await harness.channels.ListChannelRefunds(
        channel_pb.ListChannelRefundsRequest(channel_no="test", request_no=order.state.request_no)
    )
    assert [one.request.reason for one in own.refunds] == [""]  # it may be words of our own people


async def test_a_refund_without_a_reason_has_none(harness: OrderHarness) -> None:
    order = await delivered(harness)
    assert (await ask(harness, order, "mute", kind=MANDATORY)).refund.request.reason == ""


@pytest.mark.parametrize("reason", ["x" * 257, "two\nlines"])
async def test_a_reason_is_short_and_can_be_printed(harness: OrderHarness, reason: str) -> None:
    order = await delivered(harness)
    answer = await ask(harness, order, "long", kind=MANDATORY, reason=reason)
    assert answer.refusal.reason == "ERROR_REASON_FIELD_INVALID"
    assert answer.refusal.metadata["field"] == "reason"
