"""Promises of trade bills: a row for each end, as it was when it ended, whatever is refunded later."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from grpc import aio

from shoudan.order.v1 import audit_service_pb2 as pb
from shoudan_kit.clock import BEIJING
from shoudan_kit.ids import first_of
from shoudan_kit.rpc.refusal import refused_from_rpc
from shoudan_order import trades
from tests.order.harness import YUAN, OrderHarness
from tests.order.test_refunds import ask, delivered, ends, returns_end
from tests.poll import eventually

DAYS_BACK = 40
TABLES = ("oms_order_info", "oms_order_delivery", "oms_refund_info", "oms_refund_up_return")


def day_of(back: int) -> str:
    return (datetime.now(BEIJING).date() - timedelta(days=back)).isoformat()


async def set_back(harness: OrderHarness, *order_ids: int, back: int = DAYS_BACK) -> str:
    """What ended of these orders since today began ended so many days ago; which day that was."""
    today = datetime.combine(datetime.now(BEIJING).date(), datetime.min.time(), BEIJING)
    for table in TABLES:
        await harness.sql(
            f"UPDATE {table} SET create_time = create_time - make_interval(days => :back),"
            " end_time = end_time - make_interval(days => :back)"
            " WHERE order_id = ANY(CAST(:ids AS bigint[])) AND end_time >= :today",
            ids=list(order_ids),
            back=back,
            today=today,
        )
    return day_of(back)


async def listed(harness: OrderHarness, day: str, page_size: int = 2, **whose: Any) -> list[Any]:
    request = pb.ListTradesRequest(day=day, page_size=page_size, **whose)
    found: list[Any] = []
    while True:
        page = await harness.audits.ListTrades(request)
        found += page.trades
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


def short(found: list[Any]) -> list[tuple[int, int, int]]:
    return [(one.kind, one.result, one.amount_micros // YUAN) for one in found]


async def test_a_day_has_a_row_for_each_end_and_keeps_it_when_refunds_come(
    harness: OrderHarness,
) -> None:
    harness.delivery.script = returns_end(True)
    orders = [await delivered(harness) for _ in range(3)]
    ids = [one.state.order_id for one in orders]
    day = await set_back(harness, *ids)
    sold = await listed(harness, day, down_channel_no="test")
    assert short(sold) == [(pb.TRADE_KIND_ORDER, 0, 180)] * 3
    assert [one.number for one in sold] == ids
    assert [one.their_no for one in sold] == [one.state.request_no for one in orders]
    bought = await listed(harness, day, up_channel_no="ycup")
    assert short(bought) == [(pb.TRADE_KIND_DELIVERY, 0, 160)] * 3
    await ask(harness, orders[0], "f1", reason="丢了")
    await ends(harness, orders[0], "f1", 0)
    assert await listed(harness, day, down_channel_no="test") == sold
    assert await listed(harness, day, up_channel_no="ycup") == bought
    later = await set_back(harness, ids[0], back=DAYS_BACK - 1)
    (refund,) = await listed(harness, later, down_channel_no="test")
    assert short([refund]) == [(pb.TRADE_KIND_REFUND, 0, 180)]
    assert (refund.their_no, refund.order_id, refund.reason) == ("f1", ids[0], "丢了")
    returned = await listed(harness, later, up_channel_no="ycup")
    assert short(returned) == [(pb.TRADE_KIND_RETURN, 0, 160)]
    assert await listed(harness, day, down_channel_no="other") == []
    everyone = await listed(harness, day, everyone=True)
    assert sorted(one.number for one in everyone) == sorted(one.number for one in [*sold, *bought])
    assert {(one.kind, one.down_channel_no, one.up_channel_no) for one in everyone} == {
        (pb.TRADE_KIND_ORDER, "test", ""),
        (pb.TRADE_KIND_DELIVERY, "test", "ycup"),
    }
    both = await listed(harness, later, everyone=True)
    assert sorted(one.number for one in both) == sorted([refund.number, returned[0].number])


async def test_what_failed_is_a_row_without_amounts(harness: OrderHarness) -> None:
    harness.delivery.script = lambda item: False
    order_id = await harness.order()
    ended = "SELECT delivery_id FROM oms_order_delivery WHERE delivery_status = 90"
    failed: list[Any] = []

    async def there() -> bool:
        failed[:] = await harness.sql(ended)
        return bool(failed)

    await eventually(there)
    day = await set_back(harness, order_id)
    (delivery, *_) = await listed(harness, day, up_channel_no="ycup")
    assert delivery.number == failed[0].delivery_id
    assert (delivery.result, delivery.done_face_micros, delivery.amount_micros) == (90, 0, 0)


@pytest.mark.parametrize(
    "request_", [
        pb.ListTradesRequest(day=day_of(0), down_channel_no="test"),
        pb.ListTradesRequest(day="2999-01-01", down_channel_no="test"),
        pb.ListTradesRequest(day="yesterday", down_channel_no="test"),
        pb.ListTradesRequest(day="2026-W01-1", down_channel_no="test"),
        pb.ListTradesRequest(day=day_of(2)),
        pb.ListTradesRequest(day=day_of(2), down_channel_no="a", up_channel_no="b"),
        pb.ListTradesRequest(day=day_of(2), down_channel_no="a", everyone=True),
        pb.ListTradesRequest(day=day_of(2), down_channel_no="test", page_token="1"),
        pb.ListTradesRequest(day=day_of(2), down_channel_no="test", page_token="9" * 18 + ".1"),
        pb.ListTradesRequest(day=day_of(2), down_channel_no="test", page_token="1.1"),
        pb.ListTradesRequest(day="2020-01-01", down_channel_no="test", page_token="1" * 16 + ".1"),
    ], ids=["today", "to come", "no day", "a week", "nobody", "two", "one and all", "no token", "no time",
            "a place before the day", "a place after it"],
)  # fmt: skip
async def test_what_is_no_day_that_is_over_is_refused(
    harness: OrderHarness, request_: pb.ListTradesRequest
) -> None:
    with pytest.raises(aio.AioRpcError) as raised:
        await harness.audits.ListTrades(request_)
    found = refused_from_rpc(raised.value)
    assert found is not None
    assert found.reason == "ERROR_REASON_FIELD_INVALID"


async def test_a_page_of_trades_goes_on_behind_numbers_of_years_to_come(
    harness: OrderHarness,
) -> None:
    late = first_of(datetime(2088, 1, 1, tzinfo=UTC))
    noon = datetime.fromisoformat(f"{day_of(2)}T12:00:00+08:00")
    for number in (late, 2**63 - 1):
        token = f"{int(noon.timestamp())}000000.{number}"
        request = pb.ListTradesRequest(day=day_of(2), down_channel_no="test", page_token=token)
        assert not (await harness.audits.ListTrades(request)).trades
    dead = pb.ListDeadNotifiesRequest(page_token=str(late))
    assert not (await harness.audits.ListDeadNotifies(dead)).notifies


async def test_a_page_reads_little_of_a_day_and_leaves_nothing_out(
    harness: OrderHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the ends of the spans that are read, and at one moment, nothing is lost or comes twice."""
    ids = [await harness.order() for _ in range(6)]
    for order_id in ids:
        await delivered_of(harness, order_id)
    day = await set_back(harness, *ids)
    midnight = datetime.combine(date.fromisoformat(day), datetime.min.time(), BEIJING)
    moments = [
        *(midnight, midnight + trades.SPAN, midnight + trades.SPAN),
        *(midnight + 3 * trades.SPAN, midnight + timedelta(hours=23), midnight + trades.DAY),
    ]
    for order_id, moment in zip(ids, moments, strict=True):
        await harness.sql(
            "UPDATE oms_order_info SET end_time = :at WHERE order_id = :id",
            at=moment.astimezone(UTC), id=order_id,
        )  # fmt: skip
    for size in (1, 2, 5, 100):
        found = await listed(harness, day, size, down_channel_no="test")
        assert [one.number for one in found] == ids[:5], size


async def delivered_of(harness: OrderHarness, order_id: int) -> None:
    async def done() -> bool:
        return (await harness.get(order_id)).up_paid

    await eventually(done)
