"""What a channel sees of its own business, page by page, and of nobody else's."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from shoudan.order.v1 import catalogue_service_pb2 as catalogue_pb
from shoudan.order.v1 import channel_service_pb2 as pb
from shoudan.order.v1 import order_service_pb2 as order_pb
from shoudan_kit.ids import first_of
from shoudan_kit.rpc.refusal import refused_from_rpc
from shoudan_order import self_service
from tests.order.harness import LOOPBACK, YUAN, OrderHarness
from tests.order.test_trouble import reaches
from tests.poll import eventually

HOUR = timedelta(hours=1)
LATE = str(first_of(datetime(2088, 1, 1, tzinfo=UTC)))


def stamp(moment: datetime) -> Timestamp:
    made = Timestamp()
    made.FromDatetime(moment)
    return made


def period(**more: Any) -> dict[str, Any]:
    """From an hour ago to in an hour."""
    now = datetime.now(UTC)
    facts = {"channel_no": "test", "start_time": stamp(now - HOUR), "end_time": stamp(now + HOUR)}
    return facts | more


async def refused(call: Any) -> str:
    with pytest.raises(grpc.RpcError) as error:
        await call
    found = refused_from_rpc(error.value)
    assert found is not None
    return found.reason.removeprefix("ERROR_REASON_")


async def delivered(harness: OrderHarness, count: int, **changes: Any) -> list[int]:
    numbers = [await harness.order(**changes) for _ in range(count)]
    for number in numbers:
        await reaches(harness, number, 0)
    return numbers


async def refund(
    harness: OrderHarness, order_id: int, refund_no: str, notify_url: str = ""
) -> None:
    whole = await harness.get(order_id)
    one = order_pb.NewRefund(
        channel_no="test",
        request_no=whole.state.request_no,
        refund_no=refund_no,
        refund_num=1,
        notify_url=notify_url,
        type=order_pb.REFUND_TYPE_MANDATORY,
    )
    answer = await harness.orders.CreateRefunds(order_pb.CreateRefundsRequest(refunds=[one]))
    assert answer.results[0].HasField("refund"), answer.results[0].refusal


async def test_all_orders_of_a_period_are_listed_once_oldest_first(harness: OrderHarness) -> None:
    numbers = await delivered(harness, 5)
    seen: list[int] = []
    token = ""
    for size in (2, 2, 1):
        request = pb.ListChannelOrdersRequest(**period(page_size=2, page_token=token))
        page = await harness.channels.ListChannelOrders(request)
        assert len(page.orders) == size
        seen += [one.state.order_id for one in page.orders]
        token = page.next_page_token
    assert (seen, token) == (numbers, "")
    one = page.orders[0]
    assert (one.face_micros, one.num, one.success_face_micros) == (200 * YUAN, 1, 200 * YUAN)
    assert one.sell_amount_micros == 180 * YUAN
    assert one.state.status == 0
    assert one.HasField("end_time")


async def test_the_newest_orders_come_first_where_that_is_asked_for(harness: OrderHarness) -> None:
    numbers = await delivered(harness, 5)
    seen: list[int] = []
    token = ""
    for size in (2, 2, 1):
        wanted = period(page_size=2, page_token=token, newest_first=True)
        page = await harness.channels.ListChannelOrders(pb.ListChannelOrdersRequest(**wanted))
        assert len(page.orders) == size
        seen += [one.state.order_id for one in page.orders]
        token = page.next_page_token
    assert (seen, token) == (numbers[::-1], "")


async def test_orders_are_found_by_status_and_by_the_channel_s_number(
    harness: OrderHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(self_service, "READ_MAX", 2)
    numbers = await delivered(harness, 3)
    found, token, pages = [], "", 0
    while pages == 0 or token:
        wanted = period(statuses=[order_pb.ORDER_STATUS_FAILED], page_token=token)
        page = await harness.channels.ListChannelOrders(pb.ListChannelOrdersRequest(**wanted))
        found, token, pages = [*found, *page.orders], page.next_page_token, pages + 1
    assert (found, pages) == ([], 2)  # two are looked at, and one
    wanted = period(statuses=[order_pb.ORDER_STATUS_SUCCEEDED], page_size=1)
    page = await harness.channels.ListChannelOrders(pb.ListChannelOrdersRequest(**wanted))
    assert [one.state.order_id for one in page.orders] == numbers[:1]
    assert page.next_page_token == str(numbers[0])
    await refund(harness, numbers[1], "back")
    request_no = (await harness.get(numbers[1])).state.request_no
    for channel_no, count in (("test", 1), ("other", 0)):
        key = {"channel_no": channel_no, "request_no": request_no}
        orders = await harness.channels.ListChannelOrders(pb.ListChannelOrdersRequest(**key))
        refunds = await harness.channels.ListChannelRefunds(pb.ListChannelRefundsRequest(**key))
        assert [one.state.order_id for one in orders.orders] == numbers[1:2] * count
        assert [one.request.refund_no for one in refunds.refunds] == ["back"] * count


async def test_a_period_has_its_start_and_not_its_end(harness: OrderHarness) -> None:
    (first,) = await delivered(harness, 1)
    made = (await harness.get(first)).create_time.ToDatetime(UTC).replace(microsecond=0)
    second = timedelta(seconds=1)

    async def listed(start: datetime, end: datetime) -> int:
        wanted = period(start_time=stamp(start), end_time=stamp(end))
        page = await harness.channels.ListChannelOrders(pb.ListChannelOrdersRequest(**wanted))
        return len(page.orders)

    assert await listed(made - second, made + 2 * second) == 1
    assert await listed(made - 10 * second, made - second) == 0
    assert await listed(made + 2 * second, made + 9 * second) == 0


async def test_a_channel_sees_none_of_another(harness: OrderHarness) -> None:
    await delivered(harness, 1)
    await harness.apply(
        down_channels=[
            catalogue_pb.DownChannel(
                channel_no="other", channel_name="其他", enabled=True, allowed_networks=LOOPBACK
            )
        ]
    )
    foreign = period(channel_no="other")
    channels = harness.channels
    orders = await channels.ListChannelOrders(pb.ListChannelOrdersRequest(**foreign))
    refunds = await channels.ListChannelRefunds(pb.ListChannelRefundsRequest(**foreign))
    assert (list(orders.orders), list(refunds.refunds)) == ([], [])
    request_no = (
        (await channels.ListChannelOrders(pb.ListChannelOrdersRequest(**period())))
        .orders[0]
        .state.request_no
    )
    key = {"channel_no": "other", "request_no": request_no}
    for call in (
        channels.ListChannelNotifies(pb.ListChannelNotifiesRequest(**key)),
        channels.ResendChannelNotify(pb.ResendChannelNotifyRequest(**key)),
        channels.CancelOrder(pb.CancelOrderRequest(**key)),
    ):
        assert await refused(call) == "ORDER_NOT_FOUND"


async def test_refunds_are_listed_by_the_moment_they_were_asked_for(harness: OrderHarness) -> None:
    for number in await delivered(harness, 3):
        await refund(harness, number, f"f{number}")
    request = pb.ListChannelRefundsRequest(**period(page_size=2))
    first = await harness.channels.ListChannelRefunds(request)
    request.page_token = first.next_page_token
    second = await harness.channels.ListChannelRefunds(request)
    numbers = [one.request.refund_no for one in [*first.refunds, *second.refunds]]
    assert (len(first.refunds), len(second.refunds), second.next_page_token) == (2, 1, "")
    assert numbers == sorted(numbers)
    assert first.refunds[0].refund_sell_amount_micros == 180 * YUAN


@pytest.mark.parametrize(
    "changes",
    [
        {"end_time": stamp(datetime(2026, 1, 1, tzinfo=UTC))},
        {"start_time": stamp(datetime(2026, 1, 1, tzinfo=UTC))},
        {"start_time": None},
        {"page_token": "x"},
        {"page_size": -1},
        {"channel_no": ""},
    ],
)
async def test_a_list_without_bounds_is_refused(
    harness: OrderHarness, changes: dict[str, Any]
) -> None:
    for name in ("Orders", "Refunds"):
        request = getattr(pb, f"ListChannel{name}Request")(**period(**changes))
        call = getattr(harness.channels, f"ListChannel{name}")(request)
        assert await refused(call) == "FIELD_INVALID"


async def test_a_page_goes_on_behind_numbers_of_years_to_come(harness: OrderHarness) -> None:
    """From July 2027 on they have a digit more."""
    for name in ("Orders", "Refunds"):
        year = datetime(9998, 12, 31, tzinfo=UTC)  # after the last of all numbers
        for more in (
            {"page_token": LATE},
            {"start_time": stamp(year), "end_time": stamp(year + HOUR)},
        ):
            request = getattr(pb, f"ListChannel{name}Request")(**period(**more))
            page = await getattr(harness.channels, f"ListChannel{name}")(request)
            assert page.next_page_token == ""
    request = pb.ListChannelNotifiesRequest(channel_no="test", page_token=LATE)
    assert not (await harness.channels.ListChannelNotifies(request)).notifies


async def test_the_accounts_are_those_of_the_ledger(harness: OrderHarness) -> None:
    harness.ledger.balances["down_channel", "test"] = 7 * YUAN
    harness.ledger.balances["down_commission", "test"] = 2 * YUAN
    harness.ledger.balances["down_service", "test"] = -YUAN
    wanted = pb.GetChannelAccountRequest(channel_no="test")
    found = await harness.channels.GetChannelAccount(wanted)
    assert (found.balance_micros, found.available_micros) == (7 * YUAN, 7 * YUAN)
    assert (found.commission_micros, found.service_micros) == (2 * YUAN, -YUAN)
    assert found.locked is False


async def test_a_notify_that_was_given_up_is_shown_and_sent_again(harness: OrderHarness) -> None:
    harness.inbox.answer = lambda told: (500, "not now")
    (number,) = await delivered(harness, 1, notify_url=harness.inbox.url)
    key = {"channel_no": "test", "request_no": (await harness.get(number)).state.request_no}
    channels = harness.channels

    async def tried() -> bool:
        page = await channels.ListChannelNotifies(pb.ListChannelNotifiesRequest(**key))
        return [len(one.attempts) for one in page.notifies] == [1]

    await eventually(tried)
    early = await channels.ResendChannelNotify(pb.ResendChannelNotifyRequest(**key))
    assert (early.resent, early.notify.notify_count) == (False, 1)
    await harness.sql("UPDATE oms_notify_info SET given_up = true, max_count = notify_count")
    await harness.sql("DELETE FROM task WHERE name = 'order.notify'")
    dead = pb.ListChannelNotifiesRequest(channel_no="test")
    (shown,) = (await channels.ListChannelNotifies(dead)).notifies
    assert (shown.given_up, shown.request_no, shown.refund_no) == (True, key["request_no"], "")
    harness.inbox.answer = lambda told: (200, "success")
    again = await channels.ResendChannelNotify(pb.ResendChannelNotifyRequest(**key))
    assert (again.resent, again.notify.max_count) == (True, 4)

    async def done() -> bool:
        page = await channels.ListChannelNotifies(pb.ListChannelNotifiesRequest(**key))
        return page.notifies[0].notify_status == 0

    await eventually(done)
    (shown,) = (await channels.ListChannelNotifies(pb.ListChannelNotifiesRequest(**key))).notifies
    assert [one.http_status for one in shown.attempts] == [200, 500]
    assert shown.attempts[1].answer == "not now"
    assert list((await channels.ListChannelNotifies(dead)).notifies) == []
    operations = await harness.sql(
        "SELECT operator FROM oms_operation WHERE operation = 'notify.resend'"
    )
    assert [row.operator for row in operations] == ["channel test"]


async def test_an_order_has_its_notify_and_those_of_its_refunds(harness: OrderHarness) -> None:
    url = harness.inbox.url
    (number,) = await delivered(harness, 1, notify_url=url)
    await refund(harness, number, "f1", url)
    await eventually(lambda: len(harness.inbox.told) == 2)
    key = {"channel_no": "test", "request_no": (await harness.get(number)).state.request_no}
    channels = harness.channels
    request = pb.ListChannelNotifiesRequest(**key, page_size=1)
    first = await channels.ListChannelNotifies(request)
    request.page_token = first.next_page_token
    second = await channels.ListChannelNotifies(request)
    assert [one.refund_no for one in [*first.notifies, *second.notifies]] == ["", "f1"]
    of_refund = pb.ResendChannelNotifyRequest(**key, refund_no="f1")
    assert (await channels.ResendChannelNotify(of_refund)).notify.refund_no == "f1"
    unknown = channels.ResendChannelNotify(pb.ResendChannelNotifyRequest(**key, refund_no="f2"))
    assert await refused(unknown) == "REFUND_NOT_FOUND"


async def test_what_was_never_to_be_notified_has_no_notify(harness: OrderHarness) -> None:
    (number,) = await delivered(harness, 1)
    key = {"channel_no": "test", "request_no": (await harness.get(number)).state.request_no}
    answer = await harness.channels.ResendChannelNotify(pb.ResendChannelNotifyRequest(**key))
    assert (answer.HasField("notify"), answer.resent) == (False, False)
    shown = await harness.channels.ListChannelNotifies(pb.ListChannelNotifiesRequest(**key))
    assert list(shown.notifies) == []


async def test_many_resends_of_one_notify_at_once_give_it_three_attempts(
    harness: OrderHarness,
) -> None:
    harness.inbox.answer = lambda told: (500, "")
    (number,) = await delivered(harness, 1, notify_url=harness.inbox.url)
    await eventually(lambda: len(harness.inbox.told) == 1)
    key = {"channel_no": "test", "request_no": (await harness.get(number)).state.request_no}

    async def recorded() -> bool:
        return bool(await harness.sql("SELECT FROM oms_notify_info WHERE notify_count = 1"))

    await eventually(recorded)
    await harness.sql("UPDATE oms_notify_info SET given_up = true, max_count = notify_count")
    request = pb.ResendChannelNotifyRequest(**key)
    answers = await asyncio.gather(
        *(harness.channels.ResendChannelNotify(request) for _ in range(8))
    )
    assert sum(one.resent for one in answers) == 1
    (row,) = await harness.sql("SELECT max_count FROM oms_notify_info")
    assert row.max_count == 4
